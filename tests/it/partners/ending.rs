//! The end of a partnership.

use super::*;
use crate::grpc::refused;
use crate::grpc::server::{change, put_user};

const BY_CLIENT: (&str, wire::PartnerSide, &str) = ("acme", wire::PartnerSide::Client, "kite");
const BY_AGENCY: (&str, wire::PartnerSide, &str) = ("kite", wire::PartnerSide::Agency, "acme");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_a_client_ends_a_partnership_and_all_its_users_are_inactive_at_once() {
    let scene = Scene::new().await;
    for actor in ["u", "reader", "petra-k", "nobody"] {
        let ended = end(&scene.server, BY_CLIENT, actor).await;
        assert_eq!(reason(ended), Reason::NotAnApprover, "{actor}");
    }
    assert_eq!(scene.check("acme", "anna-k", "contact.view").await, "TOOL");
    let ended = end(&scene.server, BY_CLIENT, "manager").await.unwrap();
    assert_eq!(ended.users_ended, 3);
    for user in ["petra-k", "anna-k", "carl-k"] {
        let told = scene.check("acme", user, "contact.view").await;
        assert_eq!(told, "PARTNERSHIP_INACTIVE", "{user}");
        assert!(
            !scene.user("acme", user).await.grants.is_empty(),
            "on record"
        );
    }
    // The control: another agency's user, though of the same id there.
    let other = scene.check("acme", "other-agency", "contact.view").await;
    assert_eq!(other, "TOOL");
    // Twice is once, in one revision.
    let again = end(&scene.server, BY_CLIENT, "sa").await.unwrap();
    assert_eq!((again.users_ended, &again.revision), (0, &ended.revision));
    let records = scene.audited("acme").await;
    let ended = records.iter().filter(|one| one.method == "EndPartnership");
    let ended: Vec<&str> = ended.map(|one| one.actor_user_id.as_str()).collect();
    assert_eq!(ended, ["manager"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d2_the_agency_ends_it_by_two_authorities_each_with_its_own_refusal() {
    let scene = Scene::new().await;
    // In the client without the right in the agency, and the other way round.
    for (actor, expected) in [
        ("anna", Reason::NoPartnerManagement),
        ("viewer", Reason::NoPartnerManagement),
        ("boss", Reason::NotPartnerAdmin),
    ] {
        let ended = end(&scene.server, BY_AGENCY, actor).await;
        assert_eq!(reason(ended), expected, "{actor}");
    }
    let ended = end(&scene.server, BY_AGENCY, "petra").await.unwrap();
    assert_eq!(ended.users_ended, 3);
    // From then on the partner admin is one no more.
    let again = end(&scene.server, BY_AGENCY, "petra").await;
    assert_eq!(reason(again), Reason::NotPartnerAdmin);
    // Who did it is the user whom the client knows.
    let records = scene.audited("acme").await;
    let ended = records.iter().find(|one| one.method == "EndPartnership");
    assert_eq!(ended.unwrap().actor_user_id, "petra-k");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_partnership_is_told_apart() {
    let scene = Scene::new().await;
    let none = ("bravo", wire::PartnerSide::Client, "kite");
    let ended = end(&scene.server, none, "sa").await;
    assert_eq!(reason(ended), Reason::NoPartnership);
    // An agency whose account is gone, or never was here, doesn't keep a client from ending it.
    let heron = ("acme", wire::PartnerSide::Client, "heron");
    let ended = end(&scene.server, heron, "sa").await.unwrap();
    assert_eq!(ended.users_ended, 1);
    let unsaid = ("acme", wire::PartnerSide::Unspecified, "kite");
    let ended = end(&scene.server, unsaid, "sa").await;
    assert_eq!(
        refused(ended),
        (Reason::InvalidField, Some("side".to_owned()))
    );
    let nowhere = ("kite", wire::PartnerSide::Agency, "nowhere");
    let ended = end(&scene.server, nowhere, "petra").await;
    let expected = (Reason::AccountNotFound, Some("other_account_id".to_owned()));
    assert_eq!(refused(ended), expected);
    let nowhere = ("nowhere", wire::PartnerSide::Client, "kite");
    let ended = end(&scene.server, nowhere, "sa").await;
    assert_eq!(reason(ended), Reason::AccountNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_the_end_of_a_partnership_never_takes_the_last_super_admin_away() {
    let scene = Scene::new().await;
    // `anna-k` is the only super admin left, and `manager` may still end partnerships.
    let changes = vec![put_user("anna-k", Some(true)), put_user("sa", Some(false))];
    scene.server.apply("acme", changes).await.unwrap();
    let ended = end(&scene.server, BY_CLIENT, "manager").await;
    assert_eq!(reason(ended), Reason::LastSuperAdmin);
    assert_eq!(
        scene.check("acme", "anna-k", "contact.view").await,
        "SUPER_ADMIN"
    );
    // A deactivated one doesn't count.
    let deactivated = change(wire::change::Change::PutUser(wire::UserPatch {
        id: "sa".to_owned(),
        super_admin: Some(true),
        status: wire::UserStatus::Deactivated.into(),
        ..wire::UserPatch::default()
    }));
    scene.server.apply("acme", vec![deactivated]).await.unwrap();
    let ended = end(&scene.server, BY_CLIENT, "manager").await;
    assert_eq!(reason(ended), Reason::LastSuperAdmin);
    // The control: with one of the client's own it goes.
    let own = vec![put_user("u", Some(true))];
    scene.server.apply("acme", own).await.unwrap();
    end(&scene.server, BY_CLIENT, "manager").await.unwrap();
    let told = scene.check("acme", "anna-k", "contact.view").await;
    assert_eq!(told, "PARTNERSHIP_INACTIVE");
}
