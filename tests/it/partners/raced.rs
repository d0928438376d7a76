//! Races of section 7, on two servers of one database where that is PostgreSQL.

use super::*;
use crate::database::{Kind, kind};

/// `1000` in the long form.
pub fn rounds() -> usize {
    let rounds = std::env::var("AMBIT_PROPERTY_ROUNDS").ok();
    rounds.and_then(|text| text.parse().ok()).unwrap_or(5)
}

async fn servers(database: &Database) -> Vec<TestServer> {
    match kind() {
        Kind::Postgres => {
            let (first, second) = replicas(database).await;
            vec![first, second]
        }
        Kind::Sqlite => {
            let clock = Arc::new(SystemClock::new());
            let first = TestServer::start_on(database, clock).await;
            load(&first).await;
            vec![first]
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_approved_twice_at_once_lets_in_once() {
    let database = Database::new();
    let mut servers = servers(&database).await;
    let second = servers.pop().unwrap();
    let first = servers.pop();
    let other = first.as_ref().unwrap_or(&second);
    for round in 0..rounds() {
        let request = wire::CreateAccessLinkRequest {
            account_id: "kite".to_owned(),
            actor_user_id: "petra".to_owned(),
        };
        let link = second.partners().create_access_link(request).await;
        let link = link.unwrap().into_inner().link;
        let (one, two) = tokio::join!(
            approve(&second, "bravo", "sa", &link),
            approve(other, "bravo", "manager", &link)
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.user_id, two.user_id);
        assert!(one.already_approved ^ two.already_approved, "round {round}");
        let client = ("bravo", wire::PartnerSide::Client, "kite");
        end(&second, client, "sa").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partnership_that_ends_while_somebody_is_let_in_leaves_nobody_half_in() {
    let database = Database::new();
    let mut servers = servers(&database).await;
    let second = servers.pop().unwrap();
    let first = servers.pop();
    let other = first.as_ref().unwrap_or(&second);
    let create = async |actor: &str| {
        let request = wire::CreateAccessLinkRequest {
            account_id: "kite".to_owned(),
            actor_user_id: actor.to_owned(),
        };
        let link = second.partners().create_access_link(request).await;
        link.unwrap().into_inner().link
    };
    let client = ("bravo", wire::PartnerSide::Client, "kite");
    let link = create("petra").await;
    approve(&second, "bravo", "sa", &link).await.unwrap();
    for round in 0..rounds() {
        let link = create("boss").await;
        let (ended, approved) = tokio::join!(
            end(&second, client, "sa"),
            approve(other, "bravo", "manager", &link)
        );
        ended.unwrap();
        let approved = approved.unwrap();
        // Either the end came later and took them along, or they were let in after it.
        let request = wire::ListClientsRequest {
            account_id: "kite".to_owned(),
            actor_user_id: "petra".to_owned(),
            partner_user_id: "boss".to_owned(),
            ..wire::ListClientsRequest::default()
        };
        let listed = second.partners().list_clients(request).await.unwrap();
        let listed = listed.into_inner().memberships;
        assert_eq!(listed.len(), 1, "round {round}");
        let again = approve(&second, "bravo", "sa", &link).await;
        match listed[0].partnership() {
            wire::Partnership::Active => assert!(again.unwrap().already_approved),
            wire::Partnership::Ended => assert_eq!(reason(again), Reason::AccessLinkUsed),
            wire::Partnership::Unspecified => panic!("round {round}: {approved:?}"),
        }
        end(&second, client, "sa").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_handed_on_before_the_admin_is_demoted_or_not_at_all() {
    for round in 0..rounds() {
        let scene = Scene::new().await;
        let demoted = crate::grpc::server::change(wire::change::Change::PutUser(wire::UserPatch {
            id: "petra-k".to_owned(),
            partner_admin: Some(false),
            ..wire::UserPatch::default()
        }));
        let (changed, demoted) = tokio::join!(
            scene.change_set("petra", "anna", "editors"),
            scene.server.apply("acme", vec![demoted])
        );
        demoted.unwrap();
        let user = scene.user("acme", "anna-k").await;
        match changed {
            Ok(_) => assert_eq!(user.permission_sets, ["editors"], "round {round}"),
            Err(status) => {
                let refused: Result<(), Status> = Err(status);
                assert_eq!(reason(refused), Reason::NotPartnerAdmin);
                assert!(user.permission_sets.is_empty(), "round {round}");
            }
        }
        // From the demotion on there is no more of it.
        let late = scene.change_set("petra", "anna", "readers").await;
        assert_eq!(reason(late), Reason::NotPartnerAdmin);
        scene.server.stop().await;
    }
}
