//! Each refusal with its reason and field, and what is let through.

use super::*;
use Reason::{
    ActorMayNot, BeyondOwnRights, NoAssignAuthority, OwnRights, ProtectedUser, ReservedChange,
};
use wire::Level;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_26_without_the_right_to_manage_users_nothing_of_them_is_changed() {
    assert_refused(&[
        (
            "so",
            changes("users: [{id: new}]"),
            ActorMayNot,
            "changes[0].put_user",
        ),
        (
            "so",
            changes("users: [{id: e, email: e@x.example}]"),
            ActorMayNot,
            "changes[0].put_user",
        ),
        (
            "so",
            set_grants("e", "contact.view", Some(Level::Owned)),
            ActorMayNot,
            "changes[0].set_grants",
        ),
        (
            "so",
            delete_user("e"),
            ActorMayNot,
            "changes[0].delete_user",
        ),
        (
            "so",
            set_grants("set:viewers", "contact.view", None),
            ActorMayNot,
            "changes[0].set_grants",
        ),
        (
            "so",
            changes("teams: [{id: new}]"),
            ActorMayNot,
            "changes[0].put_team",
        ),
        (
            "nobody",
            changes("users: [{id: new}]"),
            ActorMayNot,
            "actor_user_id",
        ),
        (
            "big",
            changes("users: [{id: new}]"),
            ActorMayNot,
            "actor_user_id",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_27_who_manages_users_invites_changes_and_removes_them() {
    assert_made(&[
        (
            "m",
            changes(
                "users: [{id: new, status: invited, main_team: de, permission_sets: [viewers]}]",
            ),
        ),
        ("m", changes("users: [{id: e, email: e@x.example}]")),
        ("m", changes("users: [{id: e, status: deactivated}]")),
        ("m", changes("users: [{id: e, main_team: eu}]")),
        ("m", set_grants("e", "contact.edit", Some(Level::Team))),
        ("m", delete_user("e")),
        // It is the power to end a membership, not to choose rights.
        ("m", delete_user("r")),
        ("m", changes("teams: [{id: at, parent: de}]")),
        (
            "m",
            changes("permission_sets: [{id: new, grants: {contact.view: owned}}]"),
        ),
        ("sa", changes("users: [{id: sa, super_admin: false}]")),
        ("sa", changes("users: [{id: pa, partner_admin: false}]")),
        (
            "sa",
            changes("settings: {partition_mode: {contact: share}}"),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_nobody_changes_themselves_or_who_is_above_them() {
    assert_refused(&[
        (
            "m",
            set_grants("m", "report.view", Some(Level::Owned)),
            OwnRights,
            "changes[0].set_grants",
        ),
        (
            "m",
            set_grants("m", "user_management.edit", None),
            OwnRights,
            "changes[0].set_grants",
        ),
        (
            "m",
            changes("users: [{id: m, main_team: de}]"),
            OwnRights,
            "changes[0].put_user",
        ),
        ("m", delete_user("m"), OwnRights, "changes[0].delete_user"),
        (
            "m",
            set_grants("sa", "contact.view", Some(Level::Owned)),
            ProtectedUser,
            "changes[0].set_grants",
        ),
        (
            "m",
            delete_user("sa"),
            ProtectedUser,
            "changes[0].delete_user",
        ),
        (
            "m",
            changes("users: [{id: pa, email: p@x.example}]"),
            ProtectedUser,
            "changes[0].put_user",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_rule_gives_is_for_owner_and_super_admin() {
    assert_refused(&[
        (
            "m",
            changes("plan: professional"),
            ReservedChange,
            "changes[0].put_account",
        ),
        (
            "m",
            changes("settings: {partition_mode: {contact: share}}"),
            ReservedChange,
            "changes[0].put_account",
        ),
        (
            "m",
            changes("users: [{id: e, super_admin: true}]"),
            ReservedChange,
            "changes[0].put_user.super_admin",
        ),
        (
            "m",
            changes("users: [{id: e, account_owner: true}]"),
            ReservedChange,
            "changes[0].put_user.account_owner",
        ),
        (
            "m",
            changes("users: [{id: e, partner_admin: true}]"),
            ReservedChange,
            "changes[0].put_user.partner_admin",
        ),
        (
            "m",
            changes("users: [{id: e, kind: contractor}]"),
            ReservedChange,
            "changes[0].put_user.kind",
        ),
        (
            "m",
            changes("users: [{id: e, seats: [core]}]"),
            ReservedChange,
            "changes[0].put_user.seats",
        ),
        (
            "m",
            changes("users: [{id: e, person: mara2}]"),
            ReservedChange,
            "changes[0].put_user.person",
        ),
        // The account itself is handed on by its owner alone.
        (
            "sa",
            changes("users: [{id: e, account_owner: true}]"),
            ReservedChange,
            "changes[0].put_user.account_owner",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_reach_is_handed_on_by_those_who_have_it() {
    let assign = |resource: &str, principal: &str| {
        changes(&format!(
            "resources: [{{type: contact, id: {resource}, assigned_to: ['{principal}']}}]"
        ))
    };
    let open = vec![change(Change::PutResource(wire::ResourcePatch {
        resource_type: "contact".to_owned(),
        id: "c1".to_owned(),
        partitioned: Some(false),
        ..wire::ResourcePatch::default()
    }))];
    assert_refused(&[
        (
            "m",
            changes("users: [{id: e, teams: [us]}]"),
            NoAssignAuthority,
            "changes[0].put_user.teams",
        ),
        (
            "m",
            changes("users: [{id: us1, main_team: de}]"),
            NoAssignAuthority,
            "changes[0].put_user.teams",
        ),
        (
            "m",
            changes("teams: [{id: us, parent: eu}]"),
            NoAssignAuthority,
            "changes[0].put_team.parent",
        ),
        (
            "m",
            vec![change(Change::DeleteTeam("de".to_owned()))],
            NoAssignAuthority,
            "changes[0].delete_team",
        ),
        (
            "group",
            changes("access_groups: [{id: vip, members: [{user: so, actions: [view]}]}]"),
            NoAssignAuthority,
            "changes[0].put_access_group",
        ),
        (
            "m",
            changes("access_groups: [{id: new}]"),
            ActorMayNot,
            "changes[0].put_access_group",
        ),
        (
            "group",
            changes("segments: [{id: s, type: contact, when: 'true', assign_to: ['team:us']}]"),
            NoAssignAuthority,
            "changes[0].put_segment",
        ),
        (
            "m",
            assign("c1", "team:de"),
            NoAssignAuthority,
            "changes[1].put_assignment",
        ),
        (
            "us1",
            assign("c1", "team:de"),
            NoAssignAuthority,
            "changes[1].put_assignment",
        ),
        (
            "us1",
            open,
            NoAssignAuthority,
            "changes[0].put_resource.partitioned",
        ),
        (
            "m",
            changes("resources: [{type: contact, id: new, owners: [us1]}]"),
            ActorMayNot,
            "changes[0].put_resource",
        ),
    ])
    .await;
    assert_made(&[
        ("us1", assign("c3", "team:us")),
        ("us1", assign("c3", "user:us1")),
        ("assigner", assign("c1", "team:de")),
        (
            "assigner",
            changes("access_groups: [{id: vip, members: [{user: so, actions: [view]}]}]"),
        ),
        (
            "assigner",
            changes("segments: [{id: s, type: contact, when: 'true', assign_to: ['team:us']}]"),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_is_worth_what_they_hold() {
    assert_refused(&[
        (
            "m",
            changes("users: [{id: big, status: active}]"),
            BeyondOwnRights,
            "changes[0].put_user.status",
        ),
        (
            "m",
            changes("users: [{id: r, email: m@x.example}]"),
            BeyondOwnRights,
            "changes[0].put_user.email",
        ),
        (
            "m",
            vec![change(Change::DeletePermissionSet("free".to_owned()))],
            BeyondOwnRights,
            "changes[0].delete_permission_set",
        ),
    ])
    .await;
}

/// D11: a client's own people may always reduce or remove partner users.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_partner_users_may_always_be_reduced_and_removed() {
    let scene = Scene::new().await;
    let answer = scene
        .write("m", set_grants("pa", "report.view", None))
        .await
        .unwrap();
    assert_eq!(answer.ceiling, None);
    assert!(!scene.may("pa", "report.view").await);
    let given = scene
        .write("m", set_grants("pa", "contact.edit", Some(Level::Owned)))
        .await;
    assert_eq!(refused(given).0, ProtectedUser);
    scene
        .write("m", changes("users: [{id: pa, status: deactivated}]"))
        .await
        .unwrap();
    scene.write("m", delete_user("pa")).await.unwrap();
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_written_by_their_own_actions() {
    let scene = Scene::new().await;
    let edit = |id: &str| {
        changes(&format!(
            "resources: [{{type: contact, id: {id}, attributes: {{a: 1}}}}]"
        ))
    };
    scene.write("m", edit("c2")).await.unwrap();
    // Behind a wall, and without the right at all.
    for (actor, id) in [("m", "c1"), ("e", "c2")] {
        assert_eq!(
            refused(scene.write(actor, edit(id)).await).0,
            ActorMayNot,
            "{actor} {id}"
        );
    }
    let delete = |id: &str| vec![crate::grpc::server::delete_contact(id)];
    assert_eq!(refused(scene.write("m", delete("c2")).await).0, ActorMayNot);
    scene.write("sa", delete("c2")).await.unwrap();
    scene.stop().await;
}
