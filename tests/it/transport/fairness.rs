//! What one account may take of the places for calls and streams (case 22): as much as is free, so
//! that others find some. Each with the bound out of reach as the control.

use std::time::Duration;

use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::lives::{metric, server};
use crate::database::Database;
use crate::grpc::reason;
use crate::grpc::server::{TestServer, check};

const PLACES: &str = "8";
const BOUNDLESS: &str = "1000000000";

type Writing = (
    mpsc::Sender<wire::ApplyChangesRequest>,
    tokio::task::JoinHandle<Result<(), Status>>,
);

/// Begins a write that is in flight until its sender is dropped; `Err` where it is refused.
async fn begin_write(server: &TestServer, account: &str) -> Result<Writing, Status> {
    let in_flight = metric(server.http, "ambit_calls_in_flight").await;
    let (sender, messages) = mpsc::channel(1);
    let mut directory = server.directory();
    let first = wire::ApplyChangesRequest {
        account_id: account.to_owned(),
        ..wire::ApplyChangesRequest::default()
    };
    sender.send(first).await.unwrap();
    let writing = tokio::spawn(async move {
        let messages = ReceiverStream::new(messages);
        directory.apply_changes(messages).await.map(|_| ())
    });
    // Seen twice: one that is refused is in flight for a moment too.
    let mut seen = 0;
    while seen < 2 {
        if writing.is_finished() {
            return Err(writing.await.unwrap().unwrap_err());
        }
        let now = metric(server.http, "ambit_calls_in_flight").await;
        seen += i32::from(now > in_flight);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok((sender, writing))
}

/// Begins writes of an account until one is refused.
async fn hammer(server: &TestServer, account: &str) -> (Vec<Writing>, Status) {
    let mut running = Vec::new();
    loop {
        match begin_write(server, account).await {
            Ok(writing) => running.push(writing),
            Err(status) => return (running, status),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_22_an_account_that_takes_all_it_gets_leaves_places_for_others() {
    let database = Database::new();
    let server = server(&database, &[("calls_max", PLACES)]).await;
    for account in ["loud", "quiet", "louder"] {
        server.make_account(account, &["c1".to_owned()]).await;
    }
    let (loud, status) = hammer(&server, "loud").await;
    assert_eq!(Reason::of(&status), Some(Reason::AccountOverloaded));
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    assert_eq!(loud.len(), 4, "half of the places");
    for _ in 0..20 {
        let asked = server.decisions().check(check("quiet", "c1")).await;
        asked.expect("an account that asks little is served");
        let refused = server.decisions().check(check("loud", "c1")).await;
        assert_eq!(reason(refused), Reason::AccountOverloaded);
    }
    // A second one of that kind leaves room too.
    let (louder, status) = hammer(&server, "louder").await;
    assert_eq!(Reason::of(&status), Some(Reason::AccountOverloaded));
    assert_eq!(louder.len(), 2, "half of what was left");
    let asked = server.decisions().check(check("quiet", "c1")).await;
    asked.expect("an account that asks little is served");
    assert!(metric(server.http, "ambit_account_calls_shed_total").await >= 22.0);
    assert_eq!(metric(server.http, "ambit_calls_shed_total").await, 0.0);
    // What ran ends as it would have, and its places are free again.
    for (sender, writing) in loud.into_iter().chain(louder) {
        drop(sender);
        writing.await.unwrap().unwrap();
    }
    server.decisions().check(check("loud", "c1")).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_22_control_without_the_share_one_account_takes_everything() {
    let database = Database::new();
    let limits = [("calls_max", PLACES), ("account_share_percent", BOUNDLESS)];
    let server = server(&database, &limits).await;
    for account in ["loud", "quiet"] {
        server.make_account(account, &["c1".to_owned()]).await;
    }
    let (loud, status) = hammer(&server, "loud").await;
    assert_eq!(Reason::of(&status), Some(Reason::Overloaded));
    assert_eq!(loud.len(), 8, "all places");
    let refused = server.decisions().check(check("quiet", "c1")).await;
    assert_eq!(reason(refused), Reason::Overloaded);
    drop(loud);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_22_streams_are_shared_like_calls() {
    let database = Database::new();
    let server = server(&database, &[("open_streams_max", "8")]).await;
    for account in ["loud", "quiet"] {
        server.make_account(account, &["c1".to_owned()]).await;
    }
    let watch = |account: &'static str| {
        let request = wire::WatchChangesRequest {
            account_id: account.to_owned(),
            ..wire::WatchChangesRequest::default()
        };
        let mut directory = server.directory();
        async move { directory.watch_changes(request).await }
    };
    let mut open = Vec::new();
    let refused = loop {
        match watch("loud").await {
            Ok(stream) => open.push(stream),
            refused => break refused,
        }
    };
    assert_eq!(reason(refused), Reason::AccountOverloaded);
    assert_eq!(open.len(), 4, "half of the streams");
    let _quiet = watch("quiet").await.expect("a stream is left for others");
    // Streams take no places of calls.
    server.decisions().check(check("loud", "c1")).await.unwrap();
    drop(open);
    tokio::time::timeout(Duration::from_secs(10), async {
        while watch("loud").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("streams that ended keep their places");
    server.stop().await;
}
