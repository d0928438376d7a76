//! Nothing stale is ever answered beyond what was promised: tokens, the bound, single-flight loads,
//! failures of the store. The faults are real ones (a closed database, rows spoilt by plain SQL, a
//! store that hangs), and beside each stands the control that shows that it bites.

mod bound;
mod held;
mod histories;
mod loads;
mod notified;
mod skew;
mod tokens;
mod trimmed;

use std::sync::Arc;
use std::time::Duration;

use ambit::clock::SystemClock;
use ambit::feed::{Feed, FeedStatus};
use ambit::graph_cache::{CacheLimits, Consistency, GraphCache, ReadError};
use ambit::store::{Head, Store};
use tokio_util::sync::CancellationToken;

use self::held::HeldStore;
use crate::database::Database;
use crate::directory::{Replica, id};

const POLL: Duration = Duration::from_millis(10);
/// Longer than anything here takes, so that a hang fails rather than holds up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A feed that follows a replica's store until it is dropped.
struct Following(CancellationToken);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A replica with its feed, both on the same clock.
async fn following(database: &Database, limits: CacheLimits) -> (Replica, Following) {
    let clock = Arc::new(SystemClock::new());
    let replica = Replica::with(database, clock.clone(), limits).await;
    let ending = CancellationToken::new();
    let feed = Feed::new(
        Arc::clone(&replica.store),
        replica.graphs.clone(),
        clock,
        POLL,
        metrics::Histogram::noop(),
    );
    tokio::spawn(feed.run(ending.clone()));
    (replica, Following(ending))
}

/// A cache of a held store with its feed.
fn followed(
    store: HeldStore,
    limits: CacheLimits,
    poll_interval: Duration,
) -> (GraphCache, Following, Arc<FeedStatus>) {
    let clock = Arc::new(SystemClock::new());
    let store: Arc<dyn Store> = Arc::new(store);
    let graphs = GraphCache::new(Arc::clone(&store), clock.clone(), limits);
    let unmeasured = metrics::Histogram::noop();
    let feed = Feed::new(store, graphs.clone(), clock, poll_interval, unmeasured);
    let status = feed.status();
    let ending = CancellationToken::new();
    tokio::spawn(feed.run(ending.clone()));
    (graphs, Following(ending), status)
}

async fn read(
    replica: &Replica,
    account: &str,
    consistency: Consistency,
) -> Result<Head, ReadError> {
    let read = replica.graphs.read(&id(account), &consistency).await?;
    Ok(read.head)
}

/// Waits for a condition that must come true, and fails where it doesn't.
async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}: not within {PATIENCE:?}");
}
