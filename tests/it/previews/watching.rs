//! `WatchAccess` on a running server, and `ambit watch`. That it tells all there is, is shown on random
//! accounts (`properties/watched.rs`).

use std::collections::BTreeSet;
use std::time::Duration;

use ambit::authz::document::parse_file;
use ambit::authz::model::Timestamp;
use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::convert::timestamp_to_wire;
use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use tonic::{Status, Streaming};
use wire::watch_access_response::Event;

use crate::grpc::server::{TestServer, change, delete_contact, list, put_contact};
use crate::grpc::{collect, names, refused};

type Watch = Streaming<wire::WatchAccessResponse>;

fn question(user: &str) -> wire::WatchAccessRequest {
    wire::WatchAccessRequest {
        account_id: "acme".to_owned(),
        user_id: user.to_owned(),
        resource_type: "contact".to_owned(),
        action: "view".to_owned(),
        ..wire::WatchAccessRequest::default()
    }
}

async fn watch(server: &TestServer, asked: wire::WatchAccessRequest) -> Result<Watch, Status> {
    Ok(server.partitions().watch_access(asked).await?.into_inner())
}

/// The next event that is no sign of life.
async fn next(events: &mut Watch) -> Result<wire::WatchAccessResponse, Status> {
    loop {
        let told = events.message().await?.expect("the watch goes on");
        if !matches!(told.event, Some(Event::Heartbeat(_))) {
            return Ok(told);
        }
    }
}

/// Of a list: users with what they see. Of differences: with + and -.
fn lines(told: &wire::WatchAccessResponse) -> Vec<String> {
    let mut lines: Vec<String> = match told.event.as_ref().expect("an event") {
        Event::Heartbeat(_) => Vec::new(),
        Event::Listed(listed) => {
            let users = listed.users.iter();
            users
                .flat_map(|one| {
                    one.resource_ids
                        .iter()
                        .map(|id| format!("{} {id}", one.user_id))
                })
                .collect()
        }
        Event::Changed(changed) => changed
            .users
            .iter()
            .flat_map(|one| {
                let visible = one
                    .visible_ids
                    .iter()
                    .map(|id| format!("+ {} {id}", one.user_id));
                let hidden = one
                    .hidden_ids
                    .iter()
                    .map(|id| format!("- {} {id}", one.user_id));
                visible.chain(hidden).collect::<Vec<_>>()
            })
            .collect(),
    };
    lines.sort_unstable();
    lines
}

fn moved() -> Vec<wire::Change> {
    vec![change(wire::change::Change::PutTeam(wire::TeamPatch {
        id: "de".to_owned(),
        parent: Some("us".to_owned()),
    }))]
}

fn assigned(until: Option<Timestamp>) -> wire::Change {
    change(wire::change::Change::PutAssignment(wire::PutAssignment {
        resource: Some(wire::ResourceRef {
            resource_type: "contact".to_owned(),
            id: "c3".to_owned(),
        }),
        principal: Some(wire::Principal {
            principal: Some(wire::principal::Principal::UserId("de2".to_owned())),
        }),
        expires_at: until.map(timestamp_to_wire),
        ..wire::PutAssignment::default()
    }))
}

async fn served() -> TestServer {
    let server = TestServer::start().await;
    let documents = parse_file(super::ACCOUNT, &mut super::none).unwrap();
    server.write(documents).await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_begins_with_the_list_and_tells_each_difference() {
    let server = served().await;
    let mut one = watch(&server, question("us1")).await.unwrap();
    let mut all = watch(&server, question("")).await.unwrap();
    assert_eq!(lines(&next(&mut one).await.unwrap()), ["us1 c3"]);
    let everybody = [
        "de1 c1", "de1 c2", "eu1 c1", "eu1 c2", "sa c1", "sa c2", "sa c3", "us1 c3",
    ];
    assert_eq!(lines(&next(&mut all).await.unwrap()), everybody);
    let applied = server.apply("acme", moved()).await.unwrap();
    let told = next(&mut one).await.unwrap();
    assert_eq!(lines(&told), ["+ us1 c1", "+ us1 c2"]);
    assert_eq!(told.revision, applied.revision);
    let told = next(&mut all).await.unwrap();
    assert_eq!(
        lines(&told),
        ["+ us1 c1", "+ us1 c2", "- eu1 c1", "- eu1 c2"]
    );
    // What is gone is hidden, what is new is told to those who see it.
    server
        .apply("acme", vec![delete_contact("c1"), put_contact("c9")])
        .await
        .unwrap();
    assert_eq!(lines(&next(&mut one).await.unwrap()), ["- us1 c1"]);
    assert_eq!(
        lines(&next(&mut all).await.unwrap()),
        ["+ sa c9", "- de1 c1", "- sa c1", "- us1 c1"]
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_by_itself_is_told_when_it_ends() {
    let server = served().await;
    let mut events = watch(&server, question("de2")).await.unwrap();
    assert_eq!(lines(&next(&mut events).await.unwrap()), [""; 0]);
    let now = SystemClock::new().now();
    let end = Timestamp::from_unix_micros(now.unix_micros() + 1_500_000);
    server.apply("acme", vec![assigned(end)]).await.unwrap();
    assert_eq!(lines(&next(&mut events).await.unwrap()), ["+ de2 c3"]);
    let told = next(&mut events).await.unwrap();
    assert_eq!(lines(&told), ["- de2 c3"]);
    // Not before its end.
    let moment = |at: prost_types::Timestamp| (at.seconds, at.nanos);
    let end = end.map(timestamp_to_wire);
    assert!(told.at.map(moment) >= end.map(moment), "{told:?}");
    server.stop().await;
}

/// The list is the caller's own; the watch goes on after it, and after what it told last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_after_a_list_and_after_a_break() {
    let server = served().await;
    let at = timestamp_to_wire(SystemClock::new().now());
    let listed = server
        .decisions()
        .list_accessible(wire::ListAccessibleRequest {
            user_id: "us1".to_owned(),
            at: Some(at),
            ..list("acme")
        })
        .await
        .unwrap();
    let listed = collect(listed.into_inner()).await.unwrap();
    let after = |revision: &str, at| wire::WatchAccessRequest {
        after_revision: revision.to_owned(),
        at,
        ..question("us1")
    };
    let mut events = watch(&server, after(&listed[0].revision, Some(at)))
        .await
        .unwrap();
    let first = events.message().await.unwrap().unwrap();
    assert!(
        matches!(first.event, Some(Event::Heartbeat(_))),
        "{first:?}"
    );
    assert_eq!(first.revision, listed[0].revision);
    let write = vec![change(wire::change::Change::PutResource(
        wire::ResourcePatch {
            resource_type: "contact".to_owned(),
            id: "c4".to_owned(),
            owners: Some(wire::IdList {
                ids: vec!["us1".to_owned()],
            }),
            ..wire::ResourcePatch::default()
        },
    ))];
    server.apply("acme", write).await.unwrap();
    let told = next(&mut events).await.unwrap();
    assert_eq!(lines(&told), ["+ us1 c4"]);
    drop(events);
    // Resources alone were touched meanwhile: they are told, with what is held already perhaps.
    server
        .apply("acme", vec![delete_contact("c3")])
        .await
        .unwrap();
    let mut events = watch(&server, after(&told.revision, told.at))
        .await
        .unwrap();
    let told = next(&mut events).await.unwrap();
    assert_eq!(lines(&told), ["- us1 c3"]);
    drop(events);
    // More than that was: the list comes whole.
    server.apply("acme", moved()).await.unwrap();
    let mut events = watch(&server, after(&told.revision, told.at))
        .await
        .unwrap();
    let told = next(&mut events).await.unwrap();
    assert!(matches!(told.event, Some(Event::Listed(_))), "{told:?}");
    assert_eq!(lines(&told), ["us1 c1", "us1 c2", "us1 c4"]);
    server.stop().await;
}

/// Memory is flat: a long list comes in parts, and only the last one stands at its revision.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_comes_in_parts() {
    let server = TestServer::start().await;
    let contacts = names("c", 20_000);
    let revision = server.make_account("acme", &contacts).await;
    let mut events = watch(&server, question("u")).await.unwrap();
    let (mut ids, mut parts) = (BTreeSet::new(), 0);
    loop {
        let told = next(&mut events).await.unwrap();
        parts += 1;
        let Some(Event::Listed(listed)) = told.event else {
            panic!("{told:?}");
        };
        ids.extend(listed.users.into_iter().flat_map(|user| user.resource_ids));
        assert_eq!(told.revision.is_empty(), listed.more_follow);
        if !listed.more_follow {
            assert_eq!(told.revision, revision);
            break;
        }
    }
    assert!(
        parts > 1 && ids.iter().eq(&contacts),
        "{parts} parts, {} ids",
        ids.len()
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_with_its_account_and_with_the_server() {
    let server = served().await;
    let mut first = watch(&server, question("us1")).await.unwrap();
    next(&mut first).await.unwrap();
    let deleted = wire::DeleteAccountRequest {
        account_id: "acme".to_owned(),
        ..wire::DeleteAccountRequest::default()
    };
    server.directory().delete_account(deleted).await.unwrap();
    assert_eq!(refused(next(&mut first).await).0, Reason::AccountNotFound);
    server.make_account("acme", &[]).await;
    let mut second = watch(&server, question("us1")).await.unwrap();
    next(&mut second).await.unwrap();
    server.shutdown.begin();
    let ended = tokio::time::timeout(Duration::from_secs(30), next(&mut second));
    assert_eq!(refused(ended.await.unwrap()).0, Reason::ShuttingDown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_can_not_be_is_refused_by_its_field() {
    let server = served().await;
    let revision = server
        .apply("acme", vec![put_contact("c8")])
        .await
        .unwrap()
        .revision;
    let at = Some(timestamp_to_wire(SystemClock::new().now()));
    let cases = [
        (
            wire::WatchAccessRequest {
                after_revision: revision.clone(),
                ..question("us1")
            },
            Reason::InvalidField,
            "at",
        ),
        (
            wire::WatchAccessRequest {
                at,
                ..question("us1")
            },
            Reason::InvalidField,
            "at",
        ),
        (
            wire::WatchAccessRequest {
                after_revision: "garbage".to_owned(),
                at,
                ..question("us1")
            },
            Reason::RevisionMalformed,
            "after_revision",
        ),
        (
            wire::WatchAccessRequest {
                action: "wave".to_owned(),
                ..question("us1")
            },
            Reason::UnknownAction,
            "action",
        ),
        (
            wire::WatchAccessRequest {
                account_id: "other".to_owned(),
                ..question("us1")
            },
            Reason::AccountNotFound,
            "account_id",
        ),
    ];
    for (asked, reason, field) in cases {
        let told = refused(watch(&server, asked).await);
        assert_eq!(told, (reason, Some(field.to_owned())));
    }
    // The control.
    let good = wire::WatchAccessRequest {
        after_revision: revision,
        at,
        ..question("us1")
    };
    assert!(watch(&server, good).await.is_ok());
    server.stop().await;
}
