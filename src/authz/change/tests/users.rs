//! Users, permission sets and access groups; D9 and C11.
#![cfg(test)]

use super::super::super::model::{Level, Provenance, UserStatus};
use super::super::{Change, ChangeProblem, GrantHolder};
use super::{
    account, after, assign, grant, grants, group, hubspot, id, ids, member, object_grant,
    permission, principal, refused, resource, resource_key, resource_with, segment, super_admin,
    team, the_user, user, user_with,
};

#[test]
fn p11_deleting_a_user_drops_ownership_memberships_and_assignments() {
    let graph = hubspot(&[
        user("u"),
        user("v"),
        group("g"),
        member("g", "user:u", "view"),
        resource_with("email/e1", |patch| patch.owners = Some(ids("u v"))),
        assign("email/e1", "user:u"),
        segment("s", "user:u user:v"),
        object_grant("u", "email/e1", "edit"),
    ]);
    let graph = after(Some(&graph), &[Change::DeleteUser(id("u"))]);
    assert!(graph.user("u").is_none());
    assert!(
        graph
            .access_group("g")
            .expect("the group")
            .members
            .is_empty()
    );
    let resource = graph
        .resource(&resource_key("email/e1"))
        .expect("the resource");
    assert_eq!(resource.owners, ids("v"));
    assert!(resource.assignments.is_empty() && resource.partitioned);
    assert_eq!(graph.segment("s").expect("the segment").assign_to.len(), 1);
    // Made anew, the user has nothing of the old one.
    let again = after(Some(&graph), &[user("u")]);
    assert!(the_user(&again, "u").object_grants.is_empty());
}

#[test]
fn c11_deactivation_keeps_what_a_user_has_and_removal_clears_it() {
    let changes = [
        team("de", None),
        user_with("u", |patch| {
            patch.main_team = Some(Some(id("de")));
            patch.person = Some(Some(id("p")));
        }),
        grants("u", "email.edit", Level::Team),
        resource_with("email/e1", |patch| patch.owners = Some(ids("u"))),
        assign("email/e1", "user:u"),
    ];
    let graph = hubspot(&changes);
    let status = |status| user_with("u", |patch| patch.status = Some(status));
    let off = after(Some(&graph), &[status(UserStatus::Deactivated)]);
    assert_eq!(the_user(&off, "u").grants.len(), 1);
    assert_eq!(
        off.resource(&resource_key("email/e1"))
            .expect("the resource")
            .owners,
        ids("u")
    );
    let removed = after(Some(&graph), &[status(UserStatus::Removed)]);
    let user = the_user(&removed, "u");
    assert!(user.grants.is_empty() && user.main_team.is_none());
    assert_eq!(user.person, Some(id("p")));
    let resource = removed
        .resource(&resource_key("email/e1"))
        .expect("the resource");
    assert!(resource.owners.is_empty() && resource.assignments.is_empty() && resource.partitioned);
}

#[test]
fn deleting_a_set_takes_it_from_its_holders() {
    let graph = hubspot(&[
        Change::PutPermissionSet(id("reader")),
        Change::SetGrants {
            holder: GrantHolder::PermissionSet(id("reader")),
            key: permission("email.view"),
            provenance: Provenance::Manual,
            grants: vec![grant("email.view", Level::Everything)],
        },
        user_with("u", |patch| patch.permission_sets = Some(ids("reader"))),
    ]);
    let graph = after(Some(&graph), &[Change::DeletePermissionSet(id("reader"))]);
    assert!(the_user(&graph, "u").permission_sets.is_empty());
}

#[test]
fn seats_are_those_of_the_catalog() {
    let graph = hubspot(&[user_with("u", |patch| patch.seats = Some(ids("sales")))]);
    let (_, field, _) = refused(
        &graph,
        &[user_with("u", |patch| patch.seats = Some(ids("window")))],
    );
    assert_eq!(field, "user.seats");
}

#[test]
fn an_account_has_at_most_one_owner() {
    let owner = |name: &str, owns| user_with(name, |patch| patch.account_owner = Some(owns));
    let graph = hubspot(&[owner("a", true), user("b")]);
    let (index, field, _) = refused(&graph, &[user("c"), owner("b", true)]);
    assert_eq!((index, field.as_str()), (1, "user.account_owner"));
    let graph = after(Some(&graph), &[owner("b", true), owner("a", false)]);
    assert!(the_user(&graph, "b").account_owner);
    let inherited = after(
        Some(&graph),
        &[owner("a", true), Change::DeleteUser(id("b"))],
    );
    assert!(the_user(&inherited, "a").account_owner);
}

#[test]
fn d9_the_last_active_super_admin_stays() {
    let status = |name: &str, status| user_with(name, |patch| patch.status = Some(status));
    let demote = |name: &str| user_with(name, |patch| patch.super_admin = Some(false));
    let graph = hubspot(&[
        super_admin("sa"),
        super_admin("off"),
        status("off", UserStatus::Deactivated),
        super_admin("inv"),
        status("inv", UserStatus::Invited),
        user_with("owner", |patch| patch.account_owner = Some(true)),
    ]);
    let cases = [
        (demote("sa"), "user.super_admin"),
        (status("sa", UserStatus::Deactivated), "user.status"),
        (status("sa", UserStatus::Removed), "user.status"),
        (status("sa", UserStatus::Invited), "user.status"),
        (Change::DeleteUser(id("sa")), "delete_user"),
    ];
    for (change, field) in cases {
        let refusal = refused(&graph, &[user("x"), change.clone()]);
        assert_eq!(
            refusal,
            (1, field.to_owned(), ChangeProblem::LastSuperAdmin)
        );
        // With another one made active in the same list, before or after, it is allowed.
        let activate = status("off", UserStatus::Active);
        after(Some(&graph), &[change.clone(), activate.clone()]);
        after(Some(&graph), &[activate, change]);
    }
    let two = hubspot(&[super_admin("a"), super_admin("b")]);
    after(Some(&two), &[demote("a")]);
    assert_eq!(refused(&two, &[demote("a"), demote("b")]).0, 1);
    // An account that had none needs none.
    after(None, &[account("hubspot", "enterprise"), user("u")]);
}

#[test]
fn d9_an_owner_stands_alone_where_the_catalog_says_so() {
    let owner = user_with("owner", |patch| patch.account_owner = Some(true));
    let graph = after(
        None,
        &[account("brevo", "enterprise"), super_admin("sa"), owner],
    );
    after(Some(&graph), &[Change::DeleteUser(id("sa"))]);
    let owner_off = user_with("owner", |patch| {
        patch.status = Some(UserStatus::Deactivated)
    });
    let both = [owner_off, Change::DeleteUser(id("sa"))];
    assert_eq!(refused(&graph, &both).2, ChangeProblem::LastSuperAdmin);
}

#[test]
fn s5_8_a_mask_names_actions_and_a_member_is_no_group() {
    let graph = hubspot(&[group("g"), user("u"), member("g", "user:u", "")]);
    assert_eq!(graph.access_group("g").expect("the group").members.len(), 1);
    assert_eq!(
        refused(&graph, &[member("g", "user:u", "view fly")]).1,
        "group_member.actions"
    );
    assert_eq!(
        refused(&graph, &[member("g", "group:g", "view")]).1,
        "group_member.principal"
    );
    let leave = Change::SetGroupMember {
        group: id("g"),
        principal: principal("user:u"),
        actions: None,
    };
    let graph = after(Some(&graph), &[leave]);
    assert!(
        graph
            .access_group("g")
            .expect("the group")
            .members
            .is_empty()
    );
}

#[test]
fn p11_deleting_a_group_drops_its_assignments() {
    let graph = hubspot(&[
        group("g"),
        resource("contact/c1"),
        assign("contact/c1", "group:g"),
        segment("s", "group:g"),
    ]);
    let graph = after(Some(&graph), &[Change::DeleteAccessGroup(id("g"))]);
    let resource = graph
        .resource(&resource_key("contact/c1"))
        .expect("the resource");
    assert!(resource.assignments.is_empty() && resource.partitioned);
    assert!(
        graph
            .segment("s")
            .expect("the segment")
            .assign_to
            .is_empty()
    );
}
