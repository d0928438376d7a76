//! How many calls run, and for how long (cases 21 and 28): what is beyond is refused at once.

use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_types::StatusExt as _;

use super::lives::{metric, server};
use crate::database::Database;
use crate::grpc::reason;
use crate::grpc::server::{TestServer, check};

/// A write that has begun and waits for its next message, so that it is in flight for as long as
/// the test likes.
async fn begin_write(
    server: &TestServer,
) -> (
    mpsc::Sender<wire::ApplyChangesRequest>,
    tokio::task::JoinHandle<Result<wire::ApplyChangesResponse, Status>>,
) {
    let (sender, messages) = mpsc::channel(1);
    let mut directory = server.directory();
    let first = wire::ApplyChangesRequest {
        account_id: "acme".to_owned(),
        ..wire::ApplyChangesRequest::default()
    };
    sender.send(first).await.unwrap();
    let writing = tokio::spawn(async move {
        let answer = directory
            .apply_changes(ReceiverStream::new(messages))
            .await?;
        Ok(answer.into_inner())
    });
    tokio::time::timeout(Duration::from_secs(10), async {
        while metric(server.http, "ambit_calls_in_flight").await < 1.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the write never begins");
    (sender, writing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_bound_calls_are_refused_at_once_and_health_is_not() {
    let database = Database::new();
    let server = server(&database, &[("calls_max", "1")]).await;
    server.make_account("acme", &["c1".to_owned()]).await;
    let (sender, writing) = begin_write(&server).await;
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    for _ in 0..100 {
        let status = server
            .decisions()
            .check(check("acme", "c1"))
            .await
            .unwrap_err();
        assert_eq!(Reason::of(&status), Some(Reason::Overloaded), "{status:?}");
        assert!(status.get_details_retry_info().is_some(), "{status:?}");
    }
    let each = (clock.monotonic() - begun) / 100;
    assert!(each < Duration::from_millis(50), "a refusal took {each:?}");
    server
        .health()
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    assert!(metric(server.http, "ambit_calls_shed_total").await >= 100.0);
    // What ran goes on to its end, and then there is room again.
    drop(sender);
    writing.await.unwrap().unwrap();
    server.decisions().check(check("acme", "c1")).await.unwrap();
    assert_eq!(metric(server.http, "ambit_calls_in_flight").await, 0.0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_streams_have_a_bound_of_their_own() {
    let database = Database::new();
    let limits = [("open_streams_max", "2"), ("account_share_percent", "1000")];
    let server = server(&database, &limits).await;
    server.make_account("acme", &["c1".to_owned()]).await;
    let watch = || async {
        let request = wire::WatchChangesRequest {
            account_id: "acme".to_owned(),
            ..wire::WatchChangesRequest::default()
        };
        server.directory().watch_changes(request).await
    };
    let one = watch().await.unwrap();
    let _other = watch().await.unwrap();
    assert_eq!(reason(watch().await), Reason::Overloaded);
    server.decisions().check(check("acme", "c1")).await.unwrap();
    drop(one);
    tokio::time::timeout(Duration::from_secs(10), async {
        while watch().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("a stream that ended keeps its place");
    server.stop().await;
}

/// A call that is given up, by the server or by its client, takes no place any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_28_a_call_ends_at_its_deadline_and_with_its_client() {
    let database = Database::new();
    let server = server(&database, &[("bulk_timeout_ms", "1000")]).await;
    server.make_account("acme", &["c1".to_owned()]).await;
    let (_sender, writing) = begin_write(&server).await;
    assert_eq!(reason(writing.await.unwrap()), Reason::Timeout);
    // The client's own time is shorter, and is told to the server.
    let (_sender, messages) = mpsc::channel(1);
    let mut late = Request::new(ReceiverStream::new(messages));
    late.set_timeout(Duration::from_millis(50));
    server.directory().apply_changes(late).await.unwrap_err();
    // A client that goes away.
    let (_sender, writing) = begin_write(&server).await;
    writing.abort();
    tokio::time::timeout(Duration::from_millis(900), async {
        while metric(server.http, "ambit_calls_in_flight").await > 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the call of a client that went away goes on");
    server.stop().await;
}
