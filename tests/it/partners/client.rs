//! The Rust client: typed answers of `PartnerService`, within a session.

use ambit::client::{
    Client, HandOver, InClient, PersonInClients, Question, Session, Side, StaffMember,
};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_the_rust_client_has_every_call_and_a_session_sees_what_it_did() {
    let scene = Scene::new().await;
    let session = Session::new();
    let client = Client::builder(scene.server.url()).build().unwrap();
    let client = client.in_session(&session);
    let may = async |account: &str, user: &str, resource_type: &str| {
        let question = Question::new(account, user, resource_type, "view");
        client.check(&question).await.unwrap().is_allow()
    };

    let created = client.create_access_link("kite", "petra").await.unwrap();
    let secret = created.link.rsplit('.').next().unwrap();
    assert!(!format!("{created:?}").contains(secret));
    let links = client.list_access_links("kite", "boss", None).await;
    let made = std::slice::from_ref(&created.access_link);
    assert_eq!(links.unwrap().found, made);
    let link = &created.link;
    let approved = client.approve_access_link("bravo", link, "sa", Some("petra-b"));
    assert_eq!(approved.await.unwrap().user_id, "petra-b");
    let id = &created.access_link.id;
    client
        .revoke_access_link("kite", id, "petra")
        .await
        .unwrap();
    let again = client
        .approve_access_link("charlie", link, "sa", None)
        .await;
    let again = again.unwrap_err();
    assert_eq!(again.reason(), Some("ACCESS_LINK_REVOKED"));

    let acme = InClient::new("kite", "acme", "petra");
    let people = [
        StaffMember::new("boss"),
        StaffMember::new("viewer").known_as("v"),
    ];
    let added = client.add_staff(&acme, &people, "analysts").await.unwrap();
    let ids: Vec<&str> = added.staff.iter().map(|one| one.user_id.as_str()).collect();
    assert_eq!(ids, ["kite/boss", "v"]);
    assert_eq!(added.staff[0].withheld.len(), 2);
    assert!(may("acme", "v", "contact").await && !may("acme", "v", "report").await);
    let changed = client.change_permission_set(&acme, "carl", "editors").await;
    assert_eq!(changed.unwrap().staff[0].user_id, "carl-k");
    let helpers = ambit::authz::change::Change::PutPermissionSet("helpers".parse().unwrap());
    let write = ambit::client::Write::of("bravo", vec![helpers]);
    client.apply(&write).await.unwrap();
    let bravo = InClient::new("kite", "bravo", "petra");
    let carl = StaffMember::new("carl");
    let linked = client.link_contractor(&bravo, &carl, "helpers").await;
    assert_eq!(linked.unwrap().staff[0].user_id, "kite/carl");

    let clients = client.list_clients("kite", "petra", Some("petra"), None);
    let clients = clients.await.unwrap();
    let named: Vec<&str> = clients
        .found
        .iter()
        .map(|one| one.client_account_id.as_str())
        .collect();
    assert_eq!((named, clients.next), (vec!["acme", "bravo"], None));
    let employees = client.list_partner_employees("kite", "petra", None).await;
    assert_eq!(employees.unwrap().found.len(), 5);
    let contractors = client.list_contractors("kite", "petra", None).await;
    assert_eq!(contractors.unwrap().found[0].clients, 2);

    let anna = PersonInClients::new("kite", "anna", "petra");
    let stands = client.deactivate_employee(&anna).await.unwrap();
    assert!(stands[0].changed && !may("acme", "anna-k", "contact").await);
    let anna = anna.in_clients(["acme"]);
    let stands = client.reactivate_employee(&anna).await.unwrap();
    assert!(stands[0].changed && may("acme", "anna-k", "contact").await);
    let previewed = client.preview_removal(&anna).await.unwrap();
    assert_eq!(previewed.clients[0].role, "employee");
    let stale = client.commit_removal(&anna, "x", &HandOver::Unassign, false);
    assert_eq!(stale.await.unwrap_err().reason(), Some("PREVIEW_STALE"));
    let heir = HandOver::ReassignTo("carl".to_owned());
    let token = &previewed.preview_token;
    let removed = client.commit_removal(&anna, token, &heir, false).await;
    assert!(removed.unwrap()[0].done);

    let migrating = client.migrate_to_partner_admin("acme", "sa", true).await;
    assert_eq!(migrating.unwrap_err().reason(), Some("NOT_A_PARTNER"));
    let ended = client.end_partnership("kite", "acme", Side::Client, "sa");
    assert_eq!(ended.await.unwrap().users_ended, 4);
    assert!(!may("acme", "v", "contact").await);
    // The control: the other client's stands, until the agency ends it.
    assert_eq!(
        scene
            .check("bravo", "petra-b", "partner_staff.manage")
            .await,
        "RESERVED_HOLDER"
    );
    let ended = client.end_partnership("kite", "bravo", Side::Agency, "petra");
    assert_eq!(ended.await.unwrap().users_ended, 2);
}
