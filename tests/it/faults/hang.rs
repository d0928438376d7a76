//! The database hangs: connections stay open and nothing answers.

use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::wire;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::by_soak;
use super::replica::{Replica, until};
use super::scene::{ACCOUNT, BOUND, Scene, view};
use crate::grpc::server::{fully_consistent, put_contact};

/// The longest unary call, as this server is told.
const DEADLINE: Duration = Duration::from_secs(4);
/// For a machine that does other things too.
const MARGIN: Duration = Duration::from_secs(2);

/// Everything that a client may ask, over and over: each call ends in time, in an error past the
/// bound.
async fn ask(replica: &Replica, for_so_long: Duration) {
    let begun = SystemClock::new();
    let mut number = 0;
    while begun.monotonic() < for_so_long {
        let asked_at = begun.monotonic();
        let current = wire::CheckRequest {
            consistency: fully_consistent(),
            ..view()
        };
        number += 1;
        let write = vec![put_contact(&format!("hung-{number}"))];
        let timed = async |call: &mut (dyn Future<Output = Option<Code>> + Unpin + Send)| {
            let clock = SystemClock::new();
            let code = call.await;
            let took = clock.monotonic();
            assert!(took < DEADLINE + MARGIN, "a call of {took:?}: {code:?}");
            code
        };
        let mut cached = Box::pin(async { replica.check(view()).await.err().map(|e| e.code()) });
        let mut current = Box::pin(async { replica.check(current).await.err().map(|e| e.code()) });
        let mut written = Box::pin(async {
            let written = replica.apply(ACCOUNT, write).await;
            written.err().map(|e| e.code())
        });
        let (cached, current, written) =
            tokio::join!(timed(&mut cached), timed(&mut current), timed(&mut written));
        for code in [current, written] {
            assert!(
                matches!(code, Some(Code::Unavailable | Code::DeadlineExceeded)),
                "{code:?}"
            );
        }
        if asked_at > BOUND {
            assert_eq!(cached, Some(Code::Unavailable));
        }
    }
}

/// reliability.md case 4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_4_a_database_that_hangs_holds_up_no_call_and_is_used_again_when_it_goes_on() {
    let scene = Scene::alone().await;
    let url = scene.cluster.url(&scene.database);
    let deadline = DEADLINE.as_millis().to_string();
    let mut replica = Replica::start_with(
        &url,
        &[
            "--request-timeout-ms",
            &deadline,
            "--bulk-timeout-ms",
            &deadline,
        ],
    )
    .await;
    assert!(replica.check(view()).await.unwrap());
    let descriptors = replica.descriptors();
    let hangs = by_soak(BOUND * 3, Duration::from_secs(60));

    scene.cluster.pause();
    let paused = SystemClock::new();
    let health = async {
        while paused.monotonic() < hangs {
            let asked = SystemClock::new();
            let mut client = HealthClient::new(replica.channel.clone());
            client.check(HealthCheckRequest::default()).await.unwrap();
            // A tenth of a second on a machine that does nothing else.
            let took = asked.monotonic();
            assert!(took < Duration::from_secs(1), "health took {took:?}");
            assert_eq!(replica.get("/healthz").await.0, 200);
            if paused.monotonic() > BOUND + MARGIN {
                assert_eq!(replica.get("/readyz").await.0, 503);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(ask(&replica, hangs), health);
    // The control: it did hang all the time.
    assert_eq!(replica.get("/readyz").await.0, 503);
    let piled_up = replica.descriptors();
    assert!(piled_up < descriptors + 60, "{descriptors} -> {piled_up}");

    scene.cluster.resume();
    let resumed = SystemClock::new();
    until("it is ready again", async || {
        replica.get("/readyz").await.0 == 200
    })
    .await;
    assert!(replica.check(view()).await.unwrap());
    until("writes are taken again", async || {
        let write = vec![put_contact("after")];
        replica.apply(ACCOUNT, write).await.is_ok()
    })
    .await;
    let took = resumed.monotonic();
    assert!(took < Duration::from_secs(5) + MARGIN, "{took:?}");
    replica.assert_alive();
}
