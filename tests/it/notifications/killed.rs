//! The real server, killed between a commit and what it was to tell: nothing is lost.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::receiver::Received;
use super::*;
use crate::crash::Server;

const REQUESTS: [&str; 5] = ["view", "create", "edit", "delete", "publish"];

fn events(received: &[Received]) -> Vec<(String, u64)> {
    received.iter().map(Received::event).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kill_9_between_commit_and_delivery_loses_no_event() {
    let world = World::new().await;
    let receiver = Receiver::away();
    let url = receiver.url();
    let arguments = [
        "--webhook-url",
        &url,
        "--webhook-secret",
        SECRET,
        "--webhook-allowed-networks",
        "127.0.0.0/8",
        "--console-url",
        CONSOLE,
    ];
    let mut expected = BTreeSet::new();
    // Killed at once after a commit, and after it was noticed and tried.
    for (number, action) in REQUESTS.iter().enumerate() {
        let mut server = Server::start(&world.database, &arguments);
        let request = world.file(&format!("r-{number}"), action).await;
        world.deny(&request, "no").await;
        expected.extend([0, 1].map(|ordinal| (format!("r-{number}"), ordinal)));
        if number % 2 == 1 {
            world.until_failed(1).await;
        }
        server.signal(Signal::KILL);
        let (status, _) = server.ended().await;
        assert_eq!(status.code(), None, "it was killed");
    }
    // The fault bites: nobody was told of anything.
    assert_eq!(world.deliveries(DeliveryState::Delivered).await, []);
    assert!(world.outbox.undelivered().await.unwrap().is_some());

    receiver.open();
    let _server = Server::start(&world.database, &arguments);
    let begun = SystemClock::new();
    // A lease of the killed one may have to end first.
    let longest = Duration::from_secs(180);
    while BTreeSet::from_iter(events(&receiver.taken())) != expected {
        assert!(
            begun.monotonic() < longest,
            "{:?}",
            events(&receiver.taken())
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for taken in receiver.taken() {
        assert!(taken.is_signed_with(SECRET));
    }
    for number in 0..REQUESTS.len() {
        let name = format!("r-{number}");
        let taken = events(&receiver.taken());
        let first = |ordinal| {
            taken
                .iter()
                .position(|event| *event == (name.clone(), ordinal))
        };
        assert!(first(0) < first(1), "{name} is told in order");
    }
    world
        .until(DeliveryState::Delivered, 2 * REQUESTS.len())
        .await;
    assert_eq!(world.outbox.undelivered().await.unwrap(), None);
}
