//! The database goes away under load, for longer than reads may be stale, and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Code;

use super::by_soak;
use super::replica::until;
use super::scene::{ACCOUNT, BOUND, Scene, view};
use crate::grpc::server::{check, put_contact};

const CALLERS: usize = 8;

/// Callers that ask without end, and judge each answer by when they asked.
struct Load {
    clock: Arc<SystemClock>,
    /// When the database went, while it is away.
    gone: watch::Sender<Option<Duration>>,
    answered_while_gone: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Load {
    fn on(scene: &Scene) -> Self {
        let mut load = Self {
            clock: Arc::new(SystemClock::new()),
            gone: watch::Sender::new(None),
            answered_while_gone: Arc::default(),
            refused: Arc::default(),
            ending: Arc::default(),
            callers: JoinSet::new(),
        };
        for _ in 0..CALLERS {
            let mut client = scene.reader.decisions();
            let (clock, gone) = (Arc::clone(&load.clock), load.gone.subscribe());
            let answered = Arc::clone(&load.answered_while_gone);
            let (refused, ending) = (Arc::clone(&load.refused), Arc::clone(&load.ending));
            load.callers.spawn(async move {
                while !ending.load(Ordering::SeqCst) {
                    // In this order: what was asked late can only look as if it was asked early.
                    let gone_at = *gone.borrow();
                    let asked_at = clock.monotonic();
                    let away = gone_at.map(|gone_at| asked_at.saturating_sub(gone_at));
                    match client.check(view()).await {
                        Ok(answer) => {
                            let answer = answer.into_inner().decision();
                            assert_eq!(answer, ambit::grpc::wire::Decision::Allow);
                            if let Some(away) = away {
                                assert!(away <= BOUND, "answered {away:?} after the end");
                                answered.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                        Err(status) => {
                            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                            refused.fetch_add(1, Ordering::SeqCst);
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    }
                    // What nobody was ever given is never allowed, whatever is broken.
                    let foreign = check(ACCOUNT, "not-there");
                    if let Ok(answer) = client.check(foreign).await {
                        let answer = answer.into_inner().decision();
                        assert_ne!(answer, ambit::grpc::wire::Decision::Unspecified);
                    }
                }
            });
        }
        load
    }

    fn gone(&self) {
        self.gone.send_replace(Some(self.clock.monotonic()));
    }

    fn back(&self) {
        self.gone.send_replace(None);
    }

    async fn end(mut self) {
        self.ending.store(true, Ordering::SeqCst);
        while let Some(caller) = self.callers.join_next().await {
            caller.unwrap();
        }
    }
}

/// reliability.md case 2, and the same with a server that is stopped in good order: reads go on
/// from memory within the bound and end past it, writes fail in time, all resumes by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_2_without_the_database_reads_end_at_the_bound_and_all_resumes_by_itself() {
    let scene = Scene::alone().await;
    let down = by_soak(BOUND * 2, Duration::from_secs(10));
    for in_good_order in [false, true] {
        scene.reader.until_listening().await;
        let load = Load::on(&scene);
        until("answers come", async || {
            scene.reader.check(view()).await.is_ok()
        })
        .await;
        if in_good_order {
            scene.cluster.stop();
        } else {
            scene.cluster.kill();
        }
        load.gone();
        let refused_before = load.refused.load(Ordering::SeqCst);
        let begun = SystemClock::new();
        let written = scene.writer.apply(ACCOUNT, vec![put_contact("x")]).await;
        let took = begun.monotonic();
        assert_eq!(written.unwrap_err().code(), Code::Unavailable);
        assert!(took < Duration::from_secs(15), "{took:?}");
        while begun.monotonic() < down {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The controls: answers came from memory, and then they did end.
        assert!(load.answered_while_gone.load(Ordering::SeqCst) > 0);
        assert!(load.refused.load(Ordering::SeqCst) > refused_before);
        assert_eq!(scene.reader.get("/readyz").await.0, 503);
        assert_eq!(scene.reader.get("/healthz").await.0, 200);

        load.back();
        scene.cluster.run_server();
        let back = SystemClock::new();
        until("reads are answered again", async || {
            scene.reader.check(view()).await.is_ok()
        })
        .await;
        let took = back.monotonic();
        assert!(took < Duration::from_secs(5), "{took:?}");
        until("writes are taken again", async || {
            let name = if in_good_order { "w1" } else { "w0" };
            let write = vec![put_contact(name)];
            scene.writer.apply(ACCOUNT, write).await.is_ok()
        })
        .await;
        let took = back.monotonic();
        assert!(took < Duration::from_secs(5), "{took:?}");
        load.end().await;
    }
}
