//! Loads: one for all who ask, bounded, forgotten when they fail, and equal to what is followed.

use std::sync::Arc;
use std::time::Duration;

use ambit::authz::change::Change;
use ambit::authz::model::*;
use ambit::clock::SystemClock;
use ambit::graph_cache::{CacheLimits, Consistency, GraphCache, ReadError};
use ambit::store::audit::Author;

use super::held::{HeldStore, Hold};
use super::{PATIENCE, following, read, until};
use crate::database::Database;
use crate::directory::{
    LIMITS, Replica, contact, enterprise, entities, fresh_graph, grant, id, put_contact, put_team,
    put_user, view,
};

/// reliability.md case 23: however many ask first, one load is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_23_all_first_readers_of_an_account_share_one_load() {
    let database = Database::new();
    Replica::open(&database).await.make_account("acme").await;
    let (store, hold) = HeldStore::open(&database).await;
    let graphs = cache(store, LIMITS);
    hold.send_replace(Hold::Snapshots);
    let readers: Vec<_> = (0..1_000).map(|_| spawn_read(&graphs, "acme")).collect();
    // One reader goes away while all wait: the load goes on for the others.
    readers[0].abort();
    until("the load has begun", async || graphs.loads_begun() > 0).await;
    hold.send_replace(Hold::Nothing);
    let mut answered = 0;
    for reader in readers {
        match reader.await {
            Ok(read) => {
                read.unwrap();
                answered += 1;
            }
            Err(gone) => assert!(gone.is_cancelled()),
        }
    }
    assert!(answered >= 999);
    assert_eq!(graphs.loads_begun(), 1);
}

/// reliability.md section 1 (SpiceDB #3142): one hung database call must not pin every caller.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_load_that_hangs_fails_its_waiters_in_time_and_the_next_one_begins_anew() {
    let database = Database::new();
    Replica::open(&database).await.make_account("acme").await;
    let (store, hold) = HeldStore::open(&database).await;
    let limits = CacheLimits {
        load_timeout: Duration::from_millis(200),
        ..LIMITS
    };
    let graphs = cache(store, limits);
    hold.send_replace(Hold::Snapshots);
    let readers: Vec<_> = (0..100).map(|_| spawn_read(&graphs, "acme")).collect();
    for reader in readers {
        let failed = tokio::time::timeout(PATIENCE, reader).await.unwrap();
        assert!(
            matches!(failed.unwrap(), Err(ReadError::Timeout { timeout_ms: 200 })),
            "the store hangs"
        );
    }
    hold.send_replace(Hold::Nothing);
    spawn_read(&graphs, "acme").await.unwrap().unwrap();

    // A catch-up that hangs is bounded likewise, and the cached picture stays what it was.
    hold.send_replace(Hold::Changes);
    let account = id("acme");
    let asked = graphs.read(&account, &Consistency::FullyConsistent);
    let failed = tokio::time::timeout(PATIENCE, asked).await.unwrap();
    assert!(
        matches!(failed, Err(ReadError::Timeout { .. })),
        "{failed:?}"
    );
    hold.send_replace(Hold::Nothing);
    graphs
        .read(&id("acme"), &Consistency::FullyConsistent)
        .await
        .unwrap();
}

/// A load that fails fails its own waiters; once the cause is mended, the account is there. Other
/// accounts never notice.
#[tokio::test]
async fn a_load_that_fails_is_not_remembered() {
    let database = Database::new();
    let writing = Replica::open(&database).await;
    writing.make_account("acme").await;
    writing.make_account("other").await;
    let plan = async |plan: &str| {
        let sql = format!("UPDATE account SET plan = '{plan}' WHERE account_id = 'acme'");
        assert_eq!(database.execute(sql).await, 1);
    };
    plan("no-such-plan").await;
    let replica = Replica::open(&database).await;
    for _ in 0..2 {
        let failed = read(&replica, "acme", Consistency::MinimizeLatency).await;
        assert!(matches!(failed, Err(ReadError::Graph(_))), "{failed:?}");
        read(&replica, "other", Consistency::MinimizeLatency)
            .await
            .unwrap();
    }
    // A replica that has it cached keeps to the bound: it can't follow, so it must not answer.
    let failed = read(&writing, "acme", Consistency::FullyConsistent).await;
    assert!(matches!(failed, Err(ReadError::Graph(_))), "{failed:?}");
    plan("enterprise").await;
    read(&replica, "acme", Consistency::MinimizeLatency)
        .await
        .unwrap();
    read(&writing, "acme", Consistency::FullyConsistent)
        .await
        .unwrap();
}

/// Whole accounts are evicted when the cache is full, and an evicted account comes back current.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_cache_keeps_to_its_bytes_and_an_evicted_account_comes_back_current() {
    const ACCOUNTS: usize = 200;
    let database = Database::new();
    let writing = Replica::open(&database).await;
    let limits = CacheLimits {
        bytes_max: 1 << 16,
        ..LIMITS
    };
    let (reading, _feed) = following(&database, limits).await;
    for n in 0..ACCOUNTS {
        let created = writing.directory.create_account(
            id(&format!("a{n}")),
            enterprise(),
            None,
            Author::anyone("CreateAccount"),
        );
        created.await.unwrap();
    }
    for round in 0..2 {
        for n in 0..ACCOUNTS {
            let account = format!("a{n}");
            let write = vec![put_user(&format!("u{round}"))];
            let head = writing.apply(&account, write).await.unwrap().head.unwrap();
            let token = reading.token(&account, head);
            let seen = read(&reading, &account, Consistency::AtLeastAsFresh(token)).await;
            assert_eq!(seen.unwrap(), head);
        }
    }
    until("the cache is within its bytes", async || {
        reading.graphs.bytes().await <= limits.bytes_max
    })
    .await;
    assert!(
        reading.graphs.cached().len() < ACCOUNTS,
        "something was evicted"
    );
    assert!(!reading.graphs.cached().is_empty());
}

/// Architecture: what the feed applies step by step equals what a fresh load gives, entity by
/// entity and decision by decision.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_account_followed_change_by_change_equals_a_fresh_load() {
    const SEED: u64 = 0x5eed_2026;
    println!("seed {SEED:#x}");
    let database = Database::new();
    let writing = Replica::open(&database).await;
    let following = Replica::open(&database).await;
    writing.make_account("acme").await;
    read(&following, "acme", Consistency::MinimizeLatency)
        .await
        .unwrap();
    let mut dice = Dice(SEED);
    for step in 0..150 {
        let changes = (0..1 + dice.below(3))
            .map(|_| random_change(&mut dice))
            .collect();
        // Some lists contradict the account as it is by now; those change nothing.
        let _ = writing.apply("acme", changes).await;
        if step % 3 != 0 {
            continue;
        }
        let consistency = Consistency::FullyConsistent;
        let followed = following
            .graphs
            .read(&id("acme"), &consistency)
            .await
            .unwrap();
        let (fresh, head) = fresh_graph(&following.store, "acme").await;
        assert_eq!(followed.head, head, "step {step}");
        assert_eq!(entities(&followed.graph), entities(&fresh), "step {step}");
        for user in 0..6 {
            for resource in 0..12 {
                let (user, resource) = (format!("u{user}"), format!("c{resource}"));
                assert_eq!(
                    view(&followed.graph, &user, &resource),
                    view(&fresh, &user, &resource),
                    "step {step}: {user} {resource}"
                );
            }
        }
    }
    assert_eq!(
        following.graphs.loads_begun(),
        1,
        "all the rest was applied"
    );
}

fn random_change(dice: &mut Dice) -> Change {
    let user = format!("u{}", dice.below(6));
    let team = format!("t{}", dice.below(4));
    let resource = format!("c{}", dice.below(12));
    let levels = [
        None,
        Some(Level::Owned),
        Some(Level::Team),
        Some(Level::Everything),
    ];
    let assignment = |dice: &mut Dice| match dice.below(2) {
        0 => Principal::User(id(&user)),
        _ => Principal::Team(id(&team)),
    };
    match dice.below(10) {
        0 => put_user(&user),
        1 => Change::DeleteUser(id(&user)),
        2 => put_team(&team, None),
        3 => put_team(&team, Some("de")),
        4 => Change::DeleteTeam(id(&team)),
        5 => grant(&user, levels[dice.below(4)]),
        6 => put_contact(&resource, &[&user]),
        7 => put_contact(&resource, &[]),
        8 => Change::PutAssignment {
            principal: assignment(dice),
            resource: contact(&resource),
            provenance: Provenance::Manual,
            expires_at: None,
        },
        _ => Change::DeleteResource(contact(&resource)),
    }
}

/// xorshift: enough to vary a test, the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }
}

pub fn cache(store: HeldStore, limits: CacheLimits) -> GraphCache {
    GraphCache::new(Arc::new(store), Arc::new(SystemClock::new()), limits)
}

pub fn spawn_read(
    graphs: &GraphCache,
    account: &str,
) -> tokio::task::JoinHandle<Result<(), ReadError>> {
    let (graphs, account) = (graphs.clone(), id(account));
    tokio::spawn(async move {
        let consistency = Consistency::MinimizeLatency;
        graphs.read(&account, &consistency).await.map(|_| ())
    })
}
