//! How connections end: in silence, of age, and with the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;

use crate::database::Database;
use crate::grpc::server::{TestServer, check};

pub async fn server(database: &Database, more: &[(&str, &str)]) -> TestServer {
    TestServer::start_with(database, Arc::new(SystemClock::new()), more).await
}

/// The other side ends the connection, whatever it says before.
pub async fn closed_within(mut stream: TcpStream, time: Duration) {
    let mut said = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(time, stream.read_to_end(&mut said))
        .await
        .expect("the connection is still open");
}

async fn is_open_after(address: SocketAddr, time: Duration) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut said = Vec::new();
    tokio::time::timeout(time, stream.read_to_end(&mut said))
        .await
        .is_err()
}

/// Who connects and says nothing does not keep its place for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_26_a_silent_connection_is_closed_and_gives_its_place_back() {
    let database = Database::new();
    let limits = [("handshake_timeout_ms", "200"), ("connections_max", "20")];
    let server = server(&database, &limits).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(server.grpc).await.unwrap());
    }
    // Ten times as many as there are places, and still someone who speaks is served.
    let last = TcpStream::connect(server.grpc).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), super::floods::ping(last))
        .await
        .expect("silent connections keep others out")
        .unwrap();
    for stream in silent {
        closed_within(stream, Duration::from_secs(5)).await;
    }
    server.stop().await;
    // The control: it is the timeout that ends them.
    let control = Database::new();
    let patient = self::server(&control, &[("handshake_timeout_ms", "60000")]).await;
    assert!(is_open_after(patient.grpc, Duration::from_millis(600)).await);
    patient.stop().await;
}

/// Calls go on over the next connection, and none that was sent fails. One that the client still held
/// back when its connection ended was not sent, so it is made again, as clients of gRPC do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_age_is_told_and_no_call_fails() {
    let database = Database::new();
    let server = server(&database, &[("connection_age_ms", "150")]).await;
    server.make_account("acme", &["c1".to_owned()]).await;
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    while clock.monotonic() - begun < Duration::from_millis(1_500) {
        let mut tries = 1;
        while let Err(status) = server.decisions().check(check("acme", "c1")).await {
            assert!(was_not_sent(&status), "{status:?}");
            assert!(tries < 5, "{tries} tries: {status:?}");
            tries += 1;
        }
    }
    let aged = metric(server.http, "ambit_connections_aged_total").await;
    assert!(aged >= 3.0, "{aged} connections were told to end");
    assert_eq!(
        metric(server.http, "ambit_connections_ended_total{how=\"cut\"}").await,
        0.0
    );
    server.stop().await;
}

/// What tells that the server has not begun a request: hyper's word for one that was dropped before any
/// of it was sent, and a GOAWAY in good order, which is the end of what came after the last one begun.
pub fn was_not_sent(status: &tonic::Status) -> bool {
    if format!("{status:?}").contains("GoAway(b\"\", NO_ERROR, Remote)") {
        return true;
    }
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A stream that would go on for ever has its grace, and is cut after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_stream_is_cut_after_the_grace_of_its_connection() {
    let database = Database::new();
    let limits = [
        ("connection_age_ms", "200"),
        ("connection_age_grace_ms", "200"),
    ];
    let server = server(&database, &limits).await;
    let mut watch = server
        .health()
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let ended = tokio::time::timeout(Duration::from_secs(5), async {
        while watch.message().await.is_ok_and(|answer| answer.is_some()) {}
    });
    ended.await.expect("the stream goes on");
    assert!(metric(server.http, "ambit_connections_ended_total{how=\"cut\"}").await >= 1.0);
    server.stop().await;
}

/// One number of `/metrics`.
pub async fn metric(http: SocketAddr, name: &str) -> f64 {
    let mut stream = TcpStream::connect(http).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("{name} is not there:\n{text}"));
    line.trim().parse().unwrap()
}
