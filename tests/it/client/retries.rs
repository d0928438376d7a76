//! What is tried again, and what is not. Beside each fault stands a call that it brings down.

use std::collections::HashMap;
use std::time::Duration;

use ambit::authz::change::{Change, ResourcePatch};
use ambit::authz::model::{Id, ResourceKey};
use ambit::client::{
    Client, ClientError, Consistency, FileToken, Narrowing, Question, RetryPolicy, StaticToken,
    Write,
};
use ambit::clock::{Clock as _, SystemClock};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::gate::Gate;
use super::reason;
use super::relay::Relay;
use crate::faults::replica::until;
use crate::grpc::server::{TestServer, fully_consistent};

async fn acme() -> TestServer {
    let server = TestServer::start().await;
    server.make_account("acme", &["c".to_owned()]).await;
    server
}

fn client(url: String) -> Client {
    Client::builder(url)
        .build()
        .unwrap()
        .with_consistency(Consistency::FullyConsistent)
}

fn view() -> Question {
    Question::new("acme", "u", "contact", "view").on("c")
}

fn make(contact: &str) -> Write {
    let patch = ResourcePatch {
        key: ResourceKey {
            resource_type: Id::parse("contact").unwrap(),
            id: Id::parse(contact).unwrap(),
        },
        owners: None,
        owning_team: None,
        partitioned: None,
        attributes: None,
        creator: None,
    };
    Write::of("acme", vec![Change::PutResource(patch)])
}

/// The revision of the account, by a straight way to the server.
async fn revision(server: &TestServer) -> String {
    let request = ambit::grpc::wire::GetAccountRequest {
        account_id: "acme".to_owned(),
        consistency: fully_consistent(),
    };
    let answer = server.directory().get_account(request).await.unwrap();
    answer.into_inner().revision
}

#[tokio::test]
async fn a_read_survives_connections_that_are_reset() {
    let server = acme().await;
    let relay = Relay::to(server.grpc).await;
    relay.reset_next(2);
    assert!(client(relay.url()).check(&view()).await.unwrap().is_allow());
    assert_eq!(relay.opened(), 3, "two were reset");

    // The control: without retries the fault brings the call down.
    relay.reset_next(1);
    let once = Client::builder(relay.url())
        .retries(RetryPolicy::never())
        .build()
        .unwrap();
    let error = once.check(&view()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error:?}");
    // And it ends: what stays broken is told.
    relay.reset_next(u64::MAX);
    let error = client(relay.url()).check(&view()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error:?}");
    assert_eq!(relay.opened(), 3 + 1 + 4, "four tries");
}

#[tokio::test]
async fn a_write_is_tried_again_only_where_it_has_a_key() {
    let server = acme().await;
    let relay = Relay::to(server.grpc).await;
    let before = revision(&server).await;
    relay.reset_next(1);
    let error = client(relay.url()).apply(&make("one")).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error:?}");
    assert_eq!(relay.opened(), 1, "it was tried once");
    assert_eq!(revision(&server).await, before);

    relay.reset_next(1);
    let keyed = make("two").keyed("two");
    let applied = client(relay.url()).apply(&keyed).await.unwrap();
    assert_eq!(relay.opened(), 3);
    assert_eq!(revision(&server).await, applied.revision);
}

/// The write is made, and its answer lost: the case for which there are keys.
#[tokio::test]
async fn a_write_whose_answer_is_lost_is_made_once() {
    let server = acme().await;
    let relay = Relay::to(server.grpc).await;
    let lost = async |write: Write| {
        let client = client(relay.url());
        // The connection stands, so that it is the answer that is lost.
        assert!(client.check(&view()).await.unwrap().is_allow());
        let before = revision(&server).await;
        relay.hold_back();
        let writing = tokio::spawn(async move { client.apply(&write).await });
        until("the write is made", async || {
            revision(&server).await != before
        })
        .await;
        let made = revision(&server).await;
        relay.cut();
        let answered = writing.await.unwrap();
        assert_eq!(revision(&server).await, made, "it was made once");
        (answered, made)
    };
    let (answered, made) = lost(make("one").keyed("one")).await;
    assert_eq!(answered.unwrap().revision, made);
    // The control: without a key nobody knows, and so it is told.
    let (answered, _made) = lost(make("two")).await;
    let error = answered.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error:?}");
}

fn later(after: Duration) -> Status {
    let mut details =
        ErrorDetails::with_error_info("OVERLOADED", "ambit", HashMap::<String, String>::new());
    details.set_retry_info(Some(after));
    Status::with_error_details(Code::ResourceExhausted, "too much at once", details)
}

#[tokio::test]
async fn no_try_comes_before_the_server_asks_for_it() {
    let server = acme().await;
    let gate = Gate::to(server.channel.clone()).await;
    let clock = SystemClock::new();
    let asked = Duration::from_millis(700);
    gate.refuse_next([later(asked)]);
    let began = clock.monotonic();
    assert!(client(gate.url()).check(&view()).await.unwrap().is_allow());
    let took = clock.monotonic() - began;
    assert!(took >= asked, "{took:?}");
    assert_eq!(gate.calls(), 2);

    // What lies beyond the call's time is not waited for.
    gate.refuse_next([later(Duration::from_secs(60))]);
    let began = clock.monotonic();
    let hurried = client(gate.url()).with_deadline(Duration::from_secs(20));
    assert_eq!(reason(hurried.check(&view()).await), "OVERLOADED");
    assert!(clock.monotonic() - began < Duration::from_secs(10));
    assert_eq!(gate.calls(), 3);

    // The control: a limit that says nothing of later stays one.
    gate.refuse_next([Status::resource_exhausted("too large")]);
    let error = client(gate.url()).check(&view()).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(_)), "{error:?}");
    assert_eq!(gate.calls(), 4);
}

#[tokio::test]
async fn an_answer_is_never_asked_for_again() {
    let server = acme().await;
    let gate = Gate::to(server.channel.clone()).await;
    let client = client(gate.url());
    for (at, code) in [
        Code::InvalidArgument,
        Code::NotFound,
        Code::PermissionDenied,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::DataLoss,
        Code::DeadlineExceeded,
    ]
    .into_iter()
    .enumerate()
    {
        gate.refuse_next([Status::new(code, "so it is")]);
        client.check(&view()).await.unwrap_err();
        assert_eq!(gate.calls(), at + 1, "{code:?}");
    }
    // UNAVAILABLE is none, and is met by another try.
    let calls = gate.calls();
    gate.refuse_next([Status::unavailable("just now"); 1]);
    assert!(client.check(&view()).await.unwrap().is_allow());
    assert_eq!(gate.calls(), calls + 2);
}

#[tokio::test]
async fn a_list_is_tried_again_until_it_has_begun() {
    let server = TestServer::start().await;
    let contacts: Vec<String> = (0..60_000).map(|n| format!("contact-{n:032}")).collect();
    server.make_account("acme", &contacts).await;
    let relay = Relay::to(server.grpc).await;
    let client = client(relay.url());
    let question = Question::new("acme", "u", "contact", "view");
    relay.reset_next(1);
    let mut listing = client.list(&question, &Narrowing::default()).await.unwrap();
    assert_eq!(relay.opened(), 2);
    assert_eq!(listing.total(), 60_000);
    listing.next().await.unwrap().unwrap();
    // It breaks off in the middle: an error, no shorter list, and no second one.
    relay.hold_back();
    relay.cut();
    let mut came = 1;
    let error = loop {
        match listing.next().await.expect("it can't end well") {
            Ok(_id) => came += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ClientError::Unreachable(_)), "{error:?}");
    assert!(came < 60_000, "{came}");
    assert!(listing.next().await.is_none());
    assert_eq!(relay.opened(), 2);
}

#[tokio::test]
async fn a_call_ends_with_its_time() {
    let server = acme().await;
    let relay = Relay::to(server.grpc).await;
    relay.hold_back();
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let hurried = client(relay.url()).with_deadline(Duration::from_millis(300));
    let error = hurried.check(&view()).await.unwrap_err();
    assert_eq!(error, ClientError::Timeout(Duration::from_millis(300)));
    assert!(clock.monotonic() - began < Duration::from_secs(5));
}

#[tokio::test]
async fn another_replica_stands_in_for_one_that_is_gone() {
    let server = acme().await;
    let gone = Relay::to(server.grpc).await;
    gone.reset_next(u64::MAX);
    let (gone_url, url) = (gone.url(), server.url());
    let both = Client::builder_of_replicas([gone_url, url])
        .build()
        .unwrap()
        .with_consistency(Consistency::FullyConsistent);
    // Accounts whose home is either one; none is there but acme, which is an answer too.
    for number in 0..20 {
        let question = Question::new(format!("a{number}"), "u", "contact", "view");
        assert_eq!(reason(both.check(&question).await), "ACCOUNT_NOT_FOUND");
    }
    assert!(both.check(&view()).await.unwrap().is_allow());
    assert!(gone.opened() > 0, "nobody's home was the one that is gone");
    assert!(gone.opened() < 20, "it was not let rest: {}", gone.opened());
}

#[tokio::test]
async fn the_bearer_token_goes_along_and_is_read_anew() {
    let server = acme().await;
    let gate = Gate::to(server.channel.clone()).await;
    gate.demand("Bearer two");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "one\n").unwrap();
    let rotating = Client::builder(gate.url())
        .token(FileToken::new(&file))
        .build()
        .unwrap();
    let error = rotating.check(&view()).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused(refusal) if refusal.code == Code::Unauthenticated),
        "{error:?}"
    );
    // It is exchanged while the old one is held.
    gate.demand("Bearer one");
    assert!(rotating.check(&view()).await.unwrap().is_allow());
    gate.demand("Bearer two");
    std::fs::write(&file, "two\n").unwrap();
    assert!(rotating.check(&view()).await.unwrap().is_allow());
    let (_path, last) = gate.came().pop().unwrap();
    assert_eq!(last.as_deref(), Some("Bearer two"));

    let wrong = Client::builder(gate.url())
        .token(StaticToken::new("t\n"))
        .build()
        .unwrap();
    let error = wrong.check(&view()).await.unwrap_err();
    assert!(matches!(error, ClientError::Credential(_)), "{error:?}");
    std::fs::remove_file(&file).unwrap();
    let missing = Client::builder(gate.url())
        .token(FileToken::new(&file))
        .build()
        .unwrap();
    let calls = gate.calls();
    let error = missing.check(&view()).await.unwrap_err();
    assert!(matches!(error, ClientError::Credential(_)), "{error:?}");
    assert_eq!(gate.calls(), calls, "nothing is sent without it");
}
