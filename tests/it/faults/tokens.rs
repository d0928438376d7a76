//! Read your write across replicas: the token of a write through one is never answered staler by the
//! other, whatever happens to its notifications.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ambit::grpc::wire;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::by_soak;
use super::scene::{ACCOUNT, Scene};
use crate::grpc::server::{at_least, check, grant, put_user};
use crate::postgres::proxy::{Flow, Which};

/// How the second replica's notifications are broken, one way after the other.
#[derive(Debug, Clone, Copy)]
enum Breach {
    Whole,
    Cut,
    Blackholed,
    Reset,
}

const BREACHES: [Breach; 4] = [
    Breach::Whole,
    Breach::Cut,
    Breach::Blackholed,
    Breach::Reset,
];

const WRITERS: usize = 4;

/// reliability.md case 12 and the must-show of the Postgres store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_12_a_check_with_the_token_of_another_replicas_write_is_never_stale() {
    let tries: u64 = by_soak(400, 10_000);
    let scene = Arc::new(Scene::new().await);
    let users = (0..WRITERS).map(|n| put_user(&format!("w{n}"), None));
    scene.writer.apply(ACCOUNT, users.collect()).await.unwrap();
    let breaking = CancellationToken::new();
    let broken = tokio::spawn(keep_breaking(Arc::clone(&scene), breaking.clone()));
    let done = Arc::new(AtomicU64::new(0));
    let stale_without = Arc::new(AtomicU64::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (scene, done) = (Arc::clone(&scene), Arc::clone(&done));
        let stale_without = Arc::clone(&stale_without);
        writers.spawn(async move {
            let user = format!("w{writer}");
            let question = |consistency| wire::CheckRequest {
                user_id: user.clone(),
                consistency,
                ..check(ACCOUNT, "c")
            };
            let mut allowed = false;
            while done.fetch_add(1, Ordering::SeqCst) < tries {
                allowed = !allowed;
                let level = match allowed {
                    true => wire::Level::Everything,
                    false => wire::Level::None,
                };
                let write = vec![grant(&user, "contact", "view", level)];
                let token = scene.writer.apply(ACCOUNT, write).await.unwrap();
                // Both at once: the control must not gain from what the other one fetched.
                let without = scene.reader.check(question(None));
                let with = scene.reader.check(question(at_least(&token)));
                let (without, with) = tokio::join!(without, with);
                match with {
                    Ok(answer) => assert_eq!(answer, allowed, "{user} with {token}"),
                    Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
                }
                if without.is_ok_and(|answer| answer != allowed) {
                    stale_without.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
    }
    writers.join_all().await;
    breaking.cancel();
    let breaches = broken.await.unwrap();
    // The controls: it was broken in each way, and without the token some answers were older.
    let stale = stale_without.load(Ordering::SeqCst);
    println!("{tries} tries, {breaches} breaches, without the token {stale} were older");
    assert!(breaches >= BREACHES.len(), "{breaches}");
    assert!(
        stale > 0,
        "nothing was ever behind: the control tells nothing"
    );
}

/// Answers how often something was broken.
async fn keep_breaking(scene: Arc<Scene>, ending: CancellationToken) -> usize {
    let mut breaches = 0;
    for breach in BREACHES.iter().cycle() {
        scene.proxy.set(Which::Listening, Flow::Pass);
        match breach {
            Breach::Whole => {}
            Breach::Cut => {
                scene.proxy.close(Which::Listening);
            }
            Breach::Blackholed => scene.proxy.set(Which::Listening, Flow::Blackhole),
            Breach::Reset => {
                scene.proxy.reset(Which::Listening);
            }
        }
        breaches += 1;
        let lasting = by_soak(Duration::from_millis(300), Duration::from_secs(5));
        let pause = tokio::time::sleep(lasting);
        if ending.run_until_cancelled(pause).await.is_none() && breaches >= BREACHES.len() {
            break;
        }
    }
    breaches
}
