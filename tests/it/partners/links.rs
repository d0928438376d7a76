//! Personal access links: S4.2-S4.5 and D1.

use std::sync::Arc;

use ambit::callers::Role;
use ambit::clock::SystemClock;
use ambit::partners::LINK_TTL_MICROS;

use super::*;
use crate::callers::make;
use crate::callers::wire::with;
use crate::grpc::refused;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_2_only_who_manages_the_agencys_people_makes_links() {
    let scene = Scene::new().await;
    for actor in ["anna", "viewer", "carl", "gone", "nobody"] {
        let created = scene.create(actor).await;
        assert_eq!(reason(created), Reason::NoPartnerManagement, "{actor}");
    }
    // The control: a super admin, and a holder of view and edit.
    for actor in ["boss", "petra"] {
        scene.create(actor).await.unwrap();
    }
    for actor in ["anna", "viewer"] {
        let request = wire::ListAccessLinksRequest {
            account_id: "kite".to_owned(),
            actor_user_id: actor.to_owned(),
            ..wire::ListAccessLinksRequest::default()
        };
        let listed = scene.server.partners().list_access_links(request).await;
        assert_eq!(reason(listed), Reason::NoPartnerManagement);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_3_only_solutions_partners_and_providers_have_partner_admins() {
    let scene = Scene::new().await;
    let created = scene.create_in("none-such", "boss").await;
    assert_eq!(reason(created), Reason::NotAPartner);
    // One that is no partner any more has none let in by the links that it made.
    let link = scene.create("petra").await.unwrap().link;
    for (program, expected) in [
        (wire::PartnerProgram::None, Err(Reason::NotAPartner)),
        (wire::PartnerProgram::Provider, Ok(())),
    ] {
        let patch = wire::change::Change::PutAccount(wire::AccountPatch {
            partner_program: program.into(),
            ..wire::AccountPatch::default()
        });
        let change = crate::grpc::server::change(patch);
        scene.server.apply("kite", vec![change]).await.unwrap();
        let approved = scene.approve("bravo", "sa", &link).await;
        match expected {
            Ok(()) => drop(approved.unwrap()),
            Err(expected) => assert_eq!(reason(approved), expected),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_4_s4_5_one_personal_link_lets_its_user_into_many_clients_as_partner_admin() {
    let scene = Scene::new().await;
    let created = scene.create("petra").await.unwrap();
    let kept = created.access_link.unwrap();
    assert_eq!((kept.user_id.as_str(), kept.approvals), ("petra", 0));
    for (client, approver) in [("bravo", "manager"), ("charlie", "sa")] {
        let approved = scene
            .approve(client, approver, &created.link)
            .await
            .unwrap();
        assert_eq!(
            approved.user_id, "kite/petra",
            "`petra` is another user in bravo"
        );
        assert!(!approved.already_approved);
        let user = scene.user(client, "kite/petra").await;
        assert_eq!(user.kind(), wire::UserKind::PartnerEmployee);
        assert!(user.partner_admin && !user.super_admin);
        assert_eq!(user.seats, ["partner"], "S4.28: the seat comes first");
        assert_eq!(user.email, "petra@kite.example");
        let partner = user.partner.unwrap();
        assert_eq!(
            (partner.account.as_str(), partner.user.as_str()),
            ("kite", "petra")
        );
        assert_eq!(partner.role(), wire::PartnerRole::Admin);
        // S4.7: partner admins manage the agency's people, and super admins don't.
        let manage = scene
            .check(client, "kite/petra", "partner_staff.manage")
            .await;
        assert_eq!(manage, "RESERVED_HOLDER");
        let manage = scene.check(client, "sa", "partner_staff.manage").await;
        assert_eq!(manage, "RESERVED");
        // S4.9-S4.11: payment connection yes; payment tools and billing no.
        let connection = scene
            .check(client, "kite/petra", "payment_connection.use")
            .await;
        assert_eq!(connection, "RESERVED_HOLDER");
        let tools = scene.check(client, "kite/petra", "payment_tools.use").await;
        assert_eq!(tools, "PARTNER_FORBIDDEN");
        let billing = scene
            .check(client, "kite/petra", "account.billing.view")
            .await;
        assert_ne!(billing, "RESERVED_HOLDER");
    }
    // What was done is on record in both accounts, with who did it.
    let last = scene.audited("bravo").await;
    let last = last.iter().find(|one| one.method == "ApproveAccessLink");
    assert_eq!(last.unwrap().actor_user_id, "manager");
    let noted = scene.audited("kite").await;
    let noted = noted.iter().filter(|one| one.method == "ApproveAccessLink");
    assert_eq!(noted.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_a_client_approves_a_link_once_and_is_told_the_same_again() {
    let scene = Scene::new().await;
    let link = scene.create("petra").await.unwrap().link;
    let first = scene.approve("bravo", "sa", &link).await.unwrap();
    let again = scene.approve("bravo", "manager", &link).await.unwrap();
    assert!(again.already_approved);
    assert_eq!(again.user_id, first.user_id);
    assert_eq!(again.revision, first.revision, "nothing was written");
    // What it gave was taken back: the same link doesn't bring it back.
    let client = ("bravo", wire::PartnerSide::Client, "kite");
    end(&scene.server, client, "sa").await.unwrap();
    let used = scene.approve("bravo", "sa", &link).await;
    assert_eq!(reason(used), Reason::AccessLinkUsed);
    // A new one does, for the user that they were before.
    let renewed = scene.create("petra").await.unwrap().link;
    let renewed = scene.approve("bravo", "sa", &renewed).await.unwrap();
    assert_eq!(renewed.user_id, first.user_id);
    let manage = scene
        .check("bravo", "kite/petra", "partner_staff.manage")
        .await;
    assert_eq!(manage, "RESERVED_HOLDER");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_only_the_clients_own_admins_approve() {
    let scene = Scene::new().await;
    let link = scene.create("boss").await.unwrap().link;
    // `petra-k` may edit users, and is a partner user: partner admins make no partner admins.
    for actor in ["u", "reader", "petra-k", "anna-k", "nobody"] {
        let approved = scene.approve("acme", actor, &link).await;
        let expected = (Reason::NotAnApprover, Some("actor_user_id".to_owned()));
        assert_eq!(refused(approved), expected, "{actor}");
    }
    // The control: one who may edit users, and is the client's own.
    scene.approve("acme", "manager", &link).await.unwrap();
    // One that works there already becomes partner admin, as the user that they are.
    let link = scene.create("petra").await.unwrap().link;
    let approved = scene.approve("acme", "sa", &link).await.unwrap();
    assert_eq!(approved.user_id, "petra-k");
    let user = scene.user("acme", "petra-k").await;
    assert_eq!(user.grants.len(), 3, "what the client gave stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_a_link_that_is_not_good_is_refused_with_its_reason() {
    let scene = Scene::new().await;
    let created = scene.create("petra").await.unwrap();
    let link = created.link;
    // Another secret, another agency, another link: all alike.
    let mut forged = link.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'Q' } else { 'A' });
    let of_another = scene.create("boss").await.unwrap().link;
    let part = |text: &str, at: usize| text.split('.').nth(at).unwrap().to_owned();
    let swapped = link.replace(&part(&link, 2), &part(&of_another, 2));
    let elsewhere = link.replace(&part(&link, 1), "YWNtZQ");
    let nowhere = link.replace(&part(&link, 1), "bm9ib2R5");
    for wrong in [&forged, &swapped, &elsewhere, &nowhere] {
        let approved = scene.approve("bravo", "sa", wrong).await;
        assert_eq!(reason(approved), Reason::AccessLinkNotFound, "{wrong}");
    }
    for wrong in ["", "ambitlink", "https://kite.example"] {
        let approved = scene.approve("bravo", "sa", wrong).await;
        let expected = (Reason::InvalidField, Some("link".to_owned()));
        assert_eq!(refused(approved), expected, "{wrong}");
    }
    let own = scene.approve("kite", "boss", &link).await;
    assert_eq!(
        reason(own),
        Reason::InvalidField,
        "an agency is no client of itself"
    );
    // Revoked, by whoever manages the agency's people; twice is once.
    let revoke = |link_id: &str, actor: &str| {
        let request = wire::RevokeAccessLinkRequest {
            account_id: "kite".to_owned(),
            link_id: link_id.to_owned(),
            actor_user_id: actor.to_owned(),
        };
        let mut client = scene.server.partners();
        async move { client.revoke_access_link(request).await }
    };
    let id = created.access_link.unwrap().id;
    assert_eq!(
        reason(revoke(&id, "anna").await),
        Reason::NoPartnerManagement
    );
    let unknown = revoke("unknown", "boss").await;
    assert_eq!(reason(unknown), Reason::AccessLinkNotFound);
    for _twice in 0..2 {
        revoke(&id, "boss").await.unwrap();
    }
    let approved = scene.approve("bravo", "sa", &link).await;
    assert_eq!(reason(approved), Reason::AccessLinkRevoked);
    // Whoever lost the right to manage doesn't get in by an old link.
    let change = crate::grpc::server::put_user("boss", Some(false));
    let second = crate::grpc::server::put_user("anna", Some(true));
    let changes = vec![second, change];
    scene.server.apply("kite", changes).await.unwrap();
    let approved = scene.approve("bravo", "sa", &of_another).await;
    assert_eq!(reason(approved), Reason::NoPartnerManagement);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_a_link_expires_after_thirty_days() {
    let database = Database::new();
    let now = TestServer::start_on(&database, Arc::new(SystemClock::new())).await;
    load(&now).await;
    let scene = Scene { server: now };
    let link = scene.create("petra").await.unwrap().link;
    scene.server.stop().await;
    const HOUR: i64 = 3_600_000_000;
    for (ahead, expected) in [
        (LINK_TTL_MICROS + HOUR, Err(Reason::AccessLinkExpired)),
        // The control: an hour before its end.
        (LINK_TTL_MICROS - HOUR, Ok(())),
    ] {
        let clock = Arc::new(Ahead(SystemClock::new(), ahead));
        let later = TestServer::start_on(&database, clock).await;
        let approved = approve(&later, "bravo", "sa", &link).await;
        match expected {
            Ok(()) => drop(approved.unwrap()),
            Err(expected) => assert_eq!(reason(approved), expected),
        }
        later.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_id_in_the_client_is_chosen_and_never_anothers() {
    let scene = Scene::new().await;
    let link = scene.create("petra").await.unwrap().link;
    let approve = |user: &str| {
        let request = wire::ApproveAccessLinkRequest {
            account_id: "bravo".to_owned(),
            link: link.clone(),
            actor_user_id: "sa".to_owned(),
            user_id: user.to_owned(),
        };
        let mut client = scene.server.partners();
        async move { client.approve_access_link(request).await }
    };
    let expected = (Reason::InvalidField, Some("user_id".to_owned()));
    for taken in ["petra", "sa"] {
        assert_eq!(refused(approve(taken).await), expected, "{taken}");
        let before = scene.user("bravo", taken).await;
        assert!(before.partner.is_none());
    }
    let approved = approve("petra-of-kite").await.unwrap().into_inner();
    assert_eq!(approved.user_id, "petra-of-kite");
}

/// Cases 35 and 36: a caller names both accounts, or neither is told of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_may_name_one_account_alone_is_told_nothing_of_the_other() {
    let both = make(&[Role::Write], &[]);
    let client_only = make(&[Role::Write], &["bravo"]);
    let agency_only = make(&[Role::Admin], &["kite", "charlie"]);
    let database = Database::new();
    let open = TestServer::start_on(&database, Arc::new(SystemClock::new())).await;
    load(&open).await;
    let scene = Scene { server: open };
    let link = scene.create("petra").await.unwrap().link;
    scene.server.stop().await;
    let tokens = database.open_tokens().await;
    for token in [&both, &client_only, &agency_only] {
        tokens.put_token(&token.kept).await.unwrap();
    }
    let clock = Arc::new(SystemClock::new());
    let settings = [("authentication", "required")];
    let server = TestServer::start_with(&database, clock, &settings).await;
    let approve = |token: &str| {
        let request = wire::ApproveAccessLinkRequest {
            account_id: "bravo".to_owned(),
            link: link.clone(),
            actor_user_id: "sa".to_owned(),
            user_id: String::new(),
        };
        let mut client = server.partners();
        let request = with(request, Some(token));
        async move { client.approve_access_link(request).await }
    };
    let foreign = approve(&client_only.text).await;
    assert_eq!(reason(foreign), Reason::AccessLinkNotFound);
    let foreign = approve(&agency_only.text).await;
    assert_eq!(reason(foreign), Reason::AccountNotFound);
    approve(&both.text).await.unwrap();
    let end = |token: &str| {
        let request = wire::EndPartnershipRequest {
            account_id: "kite".to_owned(),
            side: wire::PartnerSide::Agency.into(),
            other_account_id: "bravo".to_owned(),
            actor_user_id: "petra".to_owned(),
        };
        let mut client = server.partners();
        let request = with(request, Some(token));
        async move { client.end_partnership(request).await }
    };
    let expected = (Reason::AccountNotFound, Some("other_account_id".to_owned()));
    assert_eq!(refused(end(&agency_only.text).await), expected);
    // Lists leave out what the caller may not name, and count it nowhere.
    let clients = |token: &str| {
        let request = wire::ListClientsRequest {
            account_id: "kite".to_owned(),
            actor_user_id: "petra".to_owned(),
            ..wire::ListClientsRequest::default()
        };
        let mut client = server.partners();
        let request = with(request, Some(token));
        async move { client.list_clients(request).await }
    };
    assert!(
        clients(&agency_only.text)
            .await
            .unwrap()
            .into_inner()
            .memberships
            .is_empty()
    );
    let employees = wire::ListPartnerEmployeesRequest {
        account_id: "kite".to_owned(),
        actor_user_id: "petra".to_owned(),
        ..wire::ListPartnerEmployeesRequest::default()
    };
    let request = with(employees, Some(&agency_only.text));
    let listed = server
        .partners()
        .list_partner_employees(request)
        .await
        .unwrap();
    assert!(
        listed
            .into_inner()
            .employees
            .iter()
            .all(|one| one.clients == 0)
    );
    end(&both.text).await.unwrap();
}
