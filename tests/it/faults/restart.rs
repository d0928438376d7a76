//! The database goes away and comes back, and somebody was faster to connect again.

use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use tonic::Code;

use super::replica::until;
use super::scene::{BOUND, Scene, follow, view};
use crate::postgres::proxy::Which;

/// A revocation is committed in the first moments after a restart, before the replica has connected
/// again: a driver that reconnects by itself would never tell that it missed this.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_3_a_revocation_right_after_a_restart_and_before_the_reconnect_is_honoured() {
    let scene = Scene::alone().await;
    scene.reader.until_listening().await;
    for (round, down) in [Duration::ZERO, BOUND * 2].into_iter().enumerate() {
        scene.cluster.kill();
        let gone = SystemClock::new();
        until("the connections are gone", async || {
            scene.proxy.count(Which::All) == 0
        })
        .await;
        // The control: with the database away, reads end at the bound, and never in a decision.
        while gone.monotonic() < down {
            let asked_at = gone.monotonic();
            match scene.reader.check(view()).await {
                Ok(answer) => {
                    assert!(answer, "nobody took the right away");
                    assert!(asked_at <= BOUND, "answered {asked_at:?} after the end");
                }
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if down > BOUND {
            assert_eq!(scene.reader.get("/readyz").await.0, 503);
            assert_eq!(scene.reader.get("/healthz").await.0, 200);
        }
        scene.proxy.refuse(true);
        scene.cluster.run_server();
        let mut sql = scene.sql().await;
        sql.set(false).await;
        let committed = SystemClock::new();
        scene.proxy.refuse(false);
        let took = follow(&scene.reader, false, &committed).await;
        println!("round {round}: {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        scene.reader.until_listening().await;
        scene.toggle(&mut sql, true).await;
        sql.close().await;
    }
}
