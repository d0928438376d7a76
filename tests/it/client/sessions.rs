//! Read your own writes, across replicas.

use std::time::Duration;

use ambit::authz::change::{Change, GrantHolder};
use ambit::authz::model::{Grant, Id, Level, PermissionKey, Provenance};
use ambit::client::{Client, Consistency, Question, Session, Write};

use super::{client_of, reason};
use crate::faults::scene::{ACCOUNT, Scene};
use crate::grpc::server::TestServer;
use crate::postgres::proxy::{Flow, Which};

/// How late the second replica's network is.
const LATE: Duration = Duration::from_millis(25);

fn set_view(level: Level) -> Write {
    let id = |text: &str| Id::parse(text).unwrap();
    let key = PermissionKey {
        resource_type: id("contact"),
        permission: id("view"),
    };
    let grant = Grant {
        key: key.clone(),
        level,
        include_unassigned: false,
        not_before: None,
        expires_at: None,
        provenance: Provenance::Manual,
        granted_by: None,
    };
    let change = Change::SetGrants {
        holder: GrantHolder::User(id("u")),
        key,
        provenance: Provenance::Manual,
        grants: vec![grant],
    };
    Write::of(ACCOUNT, vec![change])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_a_session_every_replica_sees_what_was_written() {
    let scene = Scene::new().await;
    scene.reader.until_listening().await;
    scene.proxy.set(Which::All, Flow::Delay(LATE));
    let writer = Client::builder(&scene.writer.server).build().unwrap();
    let reader = Client::builder(&scene.reader.server).build().unwrap();
    let view = Question::new(ACCOUNT, "u", "contact", "view").on("c");
    let session = Session::new();
    let mut stale = 0;
    for round in 0..20 {
        let allowed = round % 2 == 1;
        let level = if allowed {
            Level::Everything
        } else {
            Level::None
        };
        let write = set_view(level).keyed_at_random().unwrap();
        writer.in_session(&session).apply(&write).await.unwrap();
        let within = reader.in_session(&session);
        // Both at once, so that the one gains nothing from what the other one fetched.
        let (within, without) = tokio::join!(within.check(&view), reader.check(&view));
        assert_eq!(within.unwrap().is_allow(), allowed, "round {round}");
        if without.is_ok_and(|decision| decision.is_allow() != allowed) {
            stale += 1;
        }
    }
    println!("without a session {stale} of 20 answers were from before the write");
    assert!(stale > 0, "the control was never stale: it tells nothing");
}

#[tokio::test]
async fn a_session_that_meets_another_history_says_so_once() {
    let server = TestServer::start().await;
    server.make_account("acme", &["c".to_owned()]).await;
    let other = TestServer::start().await;
    let foreign = other.make_account("acme", &["c".to_owned()]).await;
    let session = Session::new();
    session.saw("acme", &foreign).unwrap();
    let client = client_of(&server).in_session(&session);
    let view = Question::new("acme", "u", "contact", "view").on("c");
    assert_eq!(
        reason(client.check(&view).await),
        "REVISION_OF_ANOTHER_HISTORY"
    );
    assert!(client.check(&view).await.unwrap().is_allow());
    assert_ne!(session.revision("acme"), Some(foreign));
    let met = session.revision("acme").unwrap();
    // A token in the options counts like one that was met.
    let client = client.with_consistency(Consistency::AtLeastAsFresh(met.clone()));
    assert_eq!(client.check(&view).await.unwrap().revision(), met);
}
