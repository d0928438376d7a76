//! Ways around that were found by attacking it, each with what stays possible beside it.

use super::*;
use crate::grpc::server::{change, put_user};
use std::sync::Arc;

fn changes(account: &str, text: &str) -> Vec<wire::Change> {
    let text = format!("account: {account}\n{text}");
    let documents = parse_file(&text, &mut |_| Err(String::new())).unwrap();
    let changes = documents[0].to_changes(None, false).unwrap();
    let nothing = change(wire::change::Change::PutAccount(
        wire::AccountPatch::default(),
    ));
    let changes = changes.iter().map(ambit::grpc::convert::change_to_wire);
    changes.filter(|change| *change != nothing).collect()
}

impl Scene {
    async fn operate(&self, account: &str, text: &str) {
        let made = self.server.apply(account, changes(account, text)).await;
        made.unwrap_or_else(|status| panic!("{text}: {status:?}"));
    }

    async fn reactivate(&self, person: &str) -> Result<(), Status> {
        let request = wire::ReactivateEmployeeRequest {
            account_id: "kite".to_owned(),
            actor_user_id: "petra".to_owned(),
            partner_user_id: person.to_owned(),
            client_account_ids: vec!["acme".to_owned()],
        };
        let mut partners = self.server.partners();
        partners.reactivate_employee(request).await.map(drop)
    }

    async fn previewed(&self, actor: &str, person: &str) -> wire::PreviewRemovalResponse {
        let request = wire::PreviewRemovalRequest {
            account_id: "kite".to_owned(),
            actor_user_id: actor.to_owned(),
            partner_user_id: person.to_owned(),
            client_account_ids: vec!["acme".to_owned()],
        };
        let previewed = self.server.partners().preview_removal(request).await;
        previewed.unwrap().into_inner()
    }
}

/// D1, D3: a link brings nobody back with more than who approves it could give.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_a_link_brings_back_no_right_that_its_approver_lacks() {
    for away in [
        "users: [{id: petra-k, status: deactivated}]",
        "users: [{id: petra-k, partner: {account: kite, user: petra, role: admin, partnership: ended}}]",
    ] {
        for held in ["super_admin: true", "grants: {report.view: everything}"] {
            let scene = Scene::new().await;
            let given = format!("users: [{{id: petra-k, {held}}}]");
            scene.operate("acme", &given).await;
            scene.operate("acme", away).await;
            let link = scene.create("petra").await.unwrap().link;
            let approved = scene.approve("acme", "manager", &link).await;
            assert_eq!(reason(approved), Reason::BeyondOwnRights, "{away} {held}");
            let user = scene.user("acme", "petra-k").await;
            assert!(
                user.status() != wire::UserStatus::Active
                    || user.partner.unwrap().partnership() == wire::Partnership::Ended
            );
            // Who is above the ceiling may.
            scene.approve("acme", "sa", &link).await.unwrap();
        }
    }
    // And where nothing comes back but the access of a partner admin, a manager may.
    let scene = Scene::new().await;
    let link = scene.create("boss").await.unwrap().link;
    scene.approve("acme", "manager", &link).await.unwrap();
}

/// S4.28, D8: what is taken back is a deactivation of the agency's employee, and nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_28_nobody_of_an_agency_makes_a_super_admin_by_reactivating() {
    let scene = Scene::new().await;
    for text in [
        "users: [{id: anna-k, super_admin: true, status: deactivated}]",
        "users: [{id: anna-k, super_admin: true, status: invited}]",
        "users: [{id: anna-k, super_admin: false, status: invited}]",
    ] {
        scene.operate("acme", text).await;
        let back = scene.reactivate("anna").await;
        assert_eq!(reason(back), Reason::StaffNotChangeable, "{text}");
    }
    let added = scene.add("acme", "petra", &["anna"], "readers").await;
    assert_eq!(reason(added), Reason::StaffNotChangeable, "yet to accept");
    scene
        .operate("acme", "users: [{id: anna-k, status: deactivated}]")
        .await;
    scene.reactivate("anna").await.unwrap();
}

/// D4: the account owner is above any partner admin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_the_account_owner_is_changed_by_no_partner_admin() {
    let scene = Scene::new().await;
    scene
        .operate("acme", "users: [{id: anna-k, account_owner: true}]")
        .await;
    let changed = scene.change_set("petra", "anna", "readers").await;
    assert_eq!(reason(changed), Reason::StaffNotChangeable);
    let off = scene.deactivate("petra", "anna").await;
    assert_eq!(reason(off), Reason::StaffNotChangeable);
    let previewed = scene.previewed("petra", "anna").await;
    assert_eq!(previewed.clients[0].blocker, "STAFF_NOT_CHANGEABLE");
}

/// D2: who has no standing in a client learns nothing of what is in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d2_a_removal_that_one_may_not_make_is_previewed_without_the_clients_records() {
    let scene = Scene::new().await;
    scene.operate(
        "acme",
        "resources: [{type: contact, id: secret, owners: [anna-k], assigned_to: ['user:anna-k']}]",
    )
    .await;
    let seen = scene.previewed("petra", "anna").await;
    assert_eq!(
        (seen.clients[0].owned.len(), seen.clients[0].assigned_total),
        (1, 1)
    );
    let hidden = scene.previewed("boss", "anna").await;
    let one = &hidden.clients[0];
    assert_eq!(one.blocker, "NOT_PARTNER_ADMIN");
    assert!(one.owned.is_empty() && one.orphans.is_empty());
    assert_eq!(
        (one.assigned_total, one.orphans_total, one.pending_requests),
        (0, 0, 0)
    );
    // Nor after the client has ended the partnership.
    end(
        &scene.server,
        ("acme", wire::PartnerSide::Client, "kite"),
        "sa",
    )
    .await
    .unwrap();
    let ended = scene.previewed("petra", "anna").await;
    assert!(ended.clients[0].owned.is_empty());
}

/// Seats are the client's: adding somebody again lifts no limit that the client set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_28_a_seat_that_the_client_limits_stays_limited() {
    let scene = Scene::new().await;
    scene
        .operate("acme", "users: [{id: anna-k, seats: [view_only]}]")
        .await;
    scene
        .add("acme", "petra", &["anna", "viewer"], "editors")
        .await
        .unwrap();
    assert_eq!(scene.user("acme", "anna-k").await.seats, ["view_only"]);
    assert_eq!(
        scene.check("acme", "anna-k", "contact.edit").await,
        "SEAT_READ_ONLY"
    );
    // Somebody new has the partner seat.
    assert_eq!(scene.user("acme", "kite/viewer").await.seats, ["partner"]);
}

/// D4: one human in two places is one all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_nobody_lets_in_or_changes_themselves_by_another_user_of_theirs() {
    let scene = Scene::new().await;
    scene.operate("kite", "users: [{id: boss, person: bea}, {id: viewer, person: petra-p}, {id: petra, person: petra-p}]").await;
    scene
        .operate(
            "acme",
            "users: [{id: manager, person: bea}, {id: petra-k, person: petra-p}]",
        )
        .await;
    let link = scene.create("boss").await.unwrap().link;
    let own = scene.approve("acme", "manager", &link).await;
    assert_eq!(reason(own), Reason::SamePerson);
    scene.approve("acme", "sa", &link).await.unwrap();
    // Who they are goes along, so that approvals of requests know it too (R4).
    assert_eq!(scene.user("acme", "kite/boss").await.person, "bea");
    let own = scene.add("acme", "petra", &["viewer"], "editors").await;
    assert_eq!(reason(own), Reason::SamePerson);
    scene
        .add("acme", "boss", &["viewer"], "readers")
        .await
        .unwrap();
    let own = scene.change_set("petra", "viewer", "editors").await;
    assert_eq!(reason(own), Reason::StaffNotChangeable);
}

/// D4: what goes is not handed to another partner admin, and takes nothing from the heir.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_an_heir_is_no_partner_admin_and_keeps_what_lasts_longer() {
    let scene = Scene::new().await;
    let link = scene.create("boss").await.unwrap().link;
    scene.approve("acme", "sa", &link).await.unwrap();
    scene.operate(
        "acme",
        "resources:
          - {type: contact, id: c, owners: [anna-k], assigned_to: [{to: 'user:anna-k', expires_at: 2100-01-01T00:00:00Z}, 'user:carl-k']}",
    )
    .await;
    let token = scene.previewed("petra", "anna").await.preview_token;
    let commit = async |heir: &str| {
        let request = wire::CommitRemovalRequest {
            account_id: "kite".to_owned(),
            actor_user_id: "petra".to_owned(),
            partner_user_id: "anna".to_owned(),
            client_account_ids: vec!["acme".to_owned()],
            preview_token: token.clone(),
            resolution: Some(
                wire::commit_removal_request::Resolution::ReassignToPartnerUserId(heir.to_owned()),
            ),
            ..wire::CommitRemovalRequest::default()
        };
        scene
            .server
            .partners()
            .commit_removal(request)
            .await
            .map(drop)
    };
    assert_eq!(reason(commit("boss").await), Reason::InvalidField);
    commit("carl").await.unwrap();
    let request = wire::GetResourceRequest {
        account_id: "acme".to_owned(),
        resource_type: "contact".to_owned(),
        resource_id: "c".to_owned(),
        consistency: fully_consistent(),
    };
    let got = scene
        .server
        .directory()
        .get_resource(request)
        .await
        .unwrap();
    let contact = got.into_inner().resource.unwrap();
    assert_eq!(contact.owners, ["carl-k"]);
    assert_eq!(contact.assigned_to.len(), 1);
    assert_eq!(contact.assigned_to[0].expires_at, None);
}

/// S4.15: one set in place of what they have by hand, by a membership too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_15_a_changed_set_takes_the_place_of_memberships_too() {
    let scene = Scene::new().await;
    let text = "users: [{id: anna-k, memberships: [{permission_set: analysts}, {permission_set: editors}]}]";
    scene.operate("acme", text).await;
    let changed = scene.change_set("petra", "anna", "readers").await.unwrap();
    let user = scene.user("acme", "anna-k").await;
    assert_eq!(user.permission_sets, ["readers"]);
    assert!(user.memberships.is_empty(), "{:?}", user.memberships);
    // Of the set that went the admin lacks reports: they stay, and are told (S4.17).
    assert_eq!(changed.kept.len(), 2, "{:?}", changed.kept);
    assert_eq!(scene.check("acme", "anna-k", "report.view").await, "TOOL");
    assert_eq!(
        scene.check("acme", "anna-k", "email.view").await,
        "NO_PERMISSION"
    );
    let promoted = vec![put_user("anna-k", Some(true))];
    scene.server.apply("acme", promoted).await.unwrap();
    let above = scene.change_set("petra", "anna", "readers").await;
    assert_eq!(reason(above), Reason::StaffNotChangeable);
}

/// What lies in an account that the caller may not name is counted nowhere and decides nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_35_of_clients_that_a_caller_may_not_name_nothing_shows() {
    use crate::callers::make;
    use crate::callers::wire::with;
    use ambit::callers::Role;
    let database = Database::new();
    let open = TestServer::start_on(&database, Arc::new(SystemClock::new())).await;
    load(&open).await;
    let scene = Scene { server: open };
    let link = scene.create("petra").await.unwrap().link;
    for client in ["bravo", "charlie"] {
        scene.approve(client, "sa", &link).await.unwrap();
    }
    scene
        .operate("bravo", "permission_sets: [{id: helpers}]")
        .await;
    // A contractor whom the agency's own account doesn't have, known in acme alone.
    let ghost = "users: [{id: zoe-k, kind: contractor, partner: {account: kite, user: zoe, role: contractor}}]";
    scene.operate("acme", ghost).await;
    let promoted = "users: [{id: kite/petra, super_admin: true}]";
    scene.operate("bravo", promoted).await;
    scene.server.stop().await;
    let some = make(&[Role::Admin], &["kite", "bravo"]);
    let client_alone = make(&[Role::Admin], &["bravo"]);
    let all = make(&[Role::Admin], &[]);
    let tokens = database.open_tokens().await;
    for made in [&some, &client_alone, &all] {
        tokens.put_token(&made.kept).await.unwrap();
    }
    let clock = Arc::new(SystemClock::new());
    let settings = [("authentication", "required")];
    let server = TestServer::start_with(&database, clock, &settings).await;
    let mut partners = server.partners();
    for (token, expected) in [(&some, 1), (&all, 2)] {
        let request = wire::ListAccessLinksRequest {
            account_id: "kite".to_owned(),
            actor_user_id: "petra".to_owned(),
            ..wire::ListAccessLinksRequest::default()
        };
        let listed = partners
            .list_access_links(with(request, Some(&token.text)))
            .await;
        assert_eq!(
            listed.unwrap().into_inner().access_links[0].approvals,
            expected
        );
    }
    let link_contractor = || wire::LinkContractorRequest {
        account_id: "kite".to_owned(),
        client_account_id: "bravo".to_owned(),
        actor_user_id: "petra".to_owned(),
        contractor: Some(wire::StaffMember {
            partner_user_id: "zoe".to_owned(),
            user_id: String::new(),
        }),
        permission_set_id: "helpers".to_owned(),
    };
    let hidden = partners
        .link_contractor(with(link_contractor(), Some(&some.text)))
        .await;
    assert_eq!(reason(hidden), Reason::UnknownReference);
    partners
        .link_contractor(with(link_contractor(), Some(&all.text)))
        .await
        .unwrap();
    let migrate = || wire::MigrateToPartnerAdminRequest {
        account_id: "bravo".to_owned(),
        actor_user_id: "kite/petra".to_owned(),
        user_id: "kite/petra".to_owned(),
        keep_billing: false,
    };
    let hidden = partners
        .migrate_to_partner_admin(with(migrate(), Some(&client_alone.text)))
        .await;
    assert_eq!(reason(hidden), Reason::NotAPartner);
    partners
        .migrate_to_partner_admin(with(migrate(), Some(&some.text)))
        .await
        .unwrap();
    server.stop().await;
}
