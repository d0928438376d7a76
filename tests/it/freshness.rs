//! Nothing stale is ever answered beyond what was promised: tokens, the bound, single-flight loads,
//! failures of the store. The faults are real ones (a closed database, rows spoilt by plain SQL, a
//! store that hangs), and beside each stands the control that shows that it bites.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ambit::authz::change::Change;
use ambit::authz::model::*;
use ambit::clock::{Clock, ManualClock, SystemClock};
use ambit::feed::Feed;
use ambit::graph_cache::{CacheLimits, Consistency, GraphCache, ReadError};
use ambit::revision::{RevisionError, RevisionToken};
use ambit::store::*;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::directory::{
    LIMITS, Replica, contact, enterprise, entities, fresh_graph, grant, id, put_contact, put_team,
    put_user, view,
};

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

/// reliability.md section 2 row 4, case 12: a check with the token of a write sees the write, on a
/// replica that nothing else brings up to date. The control without a token is stale.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_4_case_12_a_check_with_the_token_of_a_write_is_never_stale() {
    const WRITERS: usize = 8;
    const READERS_A_WRITER: usize = 2;
    const WRITES: usize = 25;

    let database = Database::new();
    let writing = Arc::new(Replica::open(&database).await);
    let reading = Arc::new(Replica::open(&database).await);
    writing.make_account("acme").await;
    let users = (0..WRITERS).map(|n| put_user(&format!("w{n}"))).collect();
    let start = writing.apply("acme", users).await.unwrap().head.unwrap();
    let cold = read(&reading, "acme", Consistency::MinimizeLatency).await;
    assert_eq!(cold.unwrap(), start);

    let checks = Arc::new(AtomicU64::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (writing, reading) = (Arc::clone(&writing), Arc::clone(&reading));
        let checks = Arc::clone(&checks);
        writers.spawn(async move {
            let user = format!("w{writer}");
            for n in 0..WRITES {
                let allowed = n % 2 == 0;
                let level = allowed.then_some(Level::Everything);
                let applied = writing.apply("acme", vec![grant(&user, level)]).await;
                let token = writing.token("acme", applied.unwrap().head.unwrap());
                let readers: Vec<_> = (0..READERS_A_WRITER)
                    .map(|_| {
                        let (reading, user) = (Arc::clone(&reading), user.clone());
                        tokio::spawn(async move {
                            let consistency = Consistency::AtLeastAsFresh(token);
                            let read = reading.graphs.read(&id("acme"), &consistency).await;
                            view(&read.unwrap().graph, &user, "c1").is_allow()
                        })
                    })
                    .collect();
                for reader in readers {
                    assert_eq!(reader.await.unwrap(), allowed, "{user}, write {n}");
                    checks.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
    }
    writers.join_all().await;
    assert_eq!(checks.load(Ordering::SeqCst), 8 * 2 * 25);

    // The control: without a token nothing tells this replica, which has no feed, of a write.
    let before = read(&reading, "acme", Consistency::FullyConsistent).await;
    writing
        .apply("acme", vec![grant("w0", None), put_user("late")])
        .await
        .unwrap();
    let stale = read(&reading, "acme", Consistency::MinimizeLatency).await;
    assert_eq!(stale.unwrap(), before.unwrap());
}

/// Without a token, a write of another process is seen by polling, well within the bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_of_another_process_is_seen_within_the_staleness_bound() {
    let database = Database::new();
    let (reading, _feed) = following(&database, LIMITS).await;
    let writing = Replica::open(&database).await;
    writing.make_account("acme").await;
    writing.make_account("idle").await;
    let mut slowest = Duration::ZERO;
    read(&reading, "idle", Consistency::MinimizeLatency)
        .await
        .unwrap();
    read(&reading, "acme", Consistency::MinimizeLatency)
        .await
        .unwrap();
    for n in 0..20 {
        let write = vec![put_user(&format!("a{n}"))];
        let head = writing.apply("acme", write).await.unwrap().head.unwrap();
        let committed = SystemClock::new();
        until("the write is seen", async || {
            // A read that fails would be within the promise, but nothing is wrong here.
            let seen = read(&reading, "acme", Consistency::MinimizeLatency).await;
            seen.unwrap() == head
        })
        .await;
        slowest = slowest.max(committed.monotonic());
    }
    assert!(slowest <= LIMITS.staleness_bound, "{slowest:?}");
    // Seen by the feed alone, change by change: nothing was loaded a second time.
    assert_eq!(reading.graphs.loads_begun(), 2);
}

/// A probe that says nothing costs latency and not truth: heads are compared once a second anyway.
/// And while no probe is to be had at all, nobody is told that the picture is fresh.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_probe_that_is_silent_or_refused_is_no_reason_to_be_stale() {
    let database = Database::new();
    let writing = Replica::open(&database).await;
    writing.make_account("acme").await;
    let (store, hold) = HeldStore::open(&database).await;
    hold.send_replace(Hold::Probes);
    let clock = Arc::new(SystemClock::new());
    let shared: Arc<dyn Store> = Arc::new(store);
    let graphs = GraphCache::new(Arc::clone(&shared), clock.clone(), LIMITS);
    let ending = CancellationToken::new();
    let _feed = Following(ending.clone());
    let unmeasured = metrics::Histogram::noop();
    let feed = Feed::new(shared, graphs.clone(), clock, POLL, unmeasured);
    tokio::spawn(feed.run(ending));
    let account = id("acme");
    let seen = async || {
        let consistency = Consistency::MinimizeLatency;
        graphs
            .read(&account, &consistency)
            .await
            .map(|read| read.head)
    };
    // Within the bound the load itself vouches for what it read; after it nobody does.
    until("nobody vouches", async || {
        matches!(seen().await, Err(ReadError::Stale { .. }))
    })
    .await;
    assert!(!graphs.is_fresh());

    hold.send_replace(Hold::News);
    until("the feed comes back", async || graphs.is_fresh()).await;
    for user in ["a", "b"] {
        let head = writing
            .apply("acme", vec![put_user(user)])
            .await
            .unwrap()
            .head;
        let committed = SystemClock::new();
        until("the write is seen", async || seen().await.ok() == head).await;
        assert!(committed.monotonic() <= LIMITS.staleness_bound);
    }
}

/// Deleting an account, and making it again under the same id, reaches the other process too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deleted_account_is_gone_and_one_made_again_has_another_history() {
    let database = Database::new();
    let (reading, _feed) = following(&database, LIMITS).await;
    let writing = Replica::open(&database).await;
    let first = writing.make_account("acme").await;
    let old_token = writing.token("acme", first);
    read(&reading, "acme", Consistency::AtLeastAsFresh(old_token))
        .await
        .unwrap();

    writing
        .directory
        .delete_account(&id("acme"), None)
        .await
        .unwrap();
    until("the account is gone", async || {
        let gone = read(&reading, "acme", Consistency::MinimizeLatency).await;
        matches!(gone, Err(ReadError::UnknownAccount(_)))
    })
    .await;

    let second = writing.make_account("acme").await;
    assert_eq!(first.revision, second.revision, "the numbers are the same");
    for replica in [&reading, &writing] {
        let refused = read(replica, "acme", Consistency::AtLeastAsFresh(old_token)).await;
        assert!(
            matches!(
                refused,
                Err(ReadError::Revision(RevisionError::OtherHistory))
            ),
            "{refused:?}"
        );
        let token = writing.token("acme", second);
        let fresh = read(replica, "acme", Consistency::AtLeastAsFresh(token)).await;
        assert_eq!(fresh.unwrap(), second);
    }
}

/// reliability.md case 2 in small: the database goes away under a running server. Reads go on up to
/// the bound and not a moment longer; a fully consistent read and a token ahead of the cache never
/// get anything older than they ask for.
#[tokio::test]
async fn case_2_after_a_store_failure_reads_end_exactly_at_the_staleness_bound() {
    let database = Database::new();
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let replica = Replica::with(&database, clock.clone(), LIMITS).await;
    let head = replica.make_account("acme").await;
    let reached = replica.token("acme", head);
    let ahead = replica.token(
        "acme",
        Head {
            revision: head.revision + 1,
            nonce: head.nonce,
        },
    );
    read(&replica, "acme", Consistency::FullyConsistent)
        .await
        .unwrap();
    replica.store.close().await;

    clock.advance(LIMITS.staleness_bound);
    let at_the_bound = read(&replica, "acme", Consistency::MinimizeLatency).await;
    assert_eq!(at_the_bound.unwrap(), head);
    let at_the_bound = read(&replica, "acme", Consistency::AtLeastAsFresh(reached)).await;
    assert_eq!(at_the_bound.unwrap(), head);
    for consistency in [
        Consistency::FullyConsistent,
        Consistency::AtLeastAsFresh(ahead),
    ] {
        let refused = read(&replica, "acme", consistency).await;
        assert!(matches!(refused, Err(ReadError::Store(_))), "{refused:?}");
    }

    clock.advance(Duration::from_millis(1));
    let past = read(&replica, "acme", Consistency::MinimizeLatency).await;
    assert!(
        matches!(
            past,
            Err(ReadError::Stale {
                age_ms: 2_001,
                bound_ms: 2_000
            })
        ),
        "{past:?}"
    );
    // A token sets a lower bound on the revision; it does not lift the bound on the age.
    let past = read(&replica, "acme", Consistency::AtLeastAsFresh(reached)).await;
    assert!(matches!(past, Err(ReadError::Store(_))), "{past:?}");
}

/// The same with the feed: it keeps a quiet account fresh for as long as the store answers, and no
/// longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_feed_keeps_a_quiet_account_fresh_until_the_store_is_gone() {
    let limits = CacheLimits {
        staleness_bound: Duration::from_millis(300),
        ..LIMITS
    };
    let database = Database::new();
    let (replica, _feed) = following(&database, limits).await;
    replica.make_account("acme").await;
    let loads = replica.graphs.loads_begun();
    let quiet = SystemClock::new();
    while quiet.monotonic() < limits.staleness_bound * 4 {
        until("the account is fresh", async || {
            read(&replica, "acme", Consistency::MinimizeLatency)
                .await
                .is_ok()
        })
        .await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(replica.graphs.is_fresh());
    assert_eq!(replica.graphs.loads_begun(), loads);

    replica.store.close().await;
    until("reads fail", async || {
        let read = read(&replica, "acme", Consistency::MinimizeLatency).await;
        matches!(read, Err(ReadError::Stale { .. }))
    })
    .await;
    until("readiness is off", async || !replica.graphs.is_fresh()).await;
}

/// reliability.md case 14 and 34 in small: what a token may not open.
#[tokio::test]
async fn tokens_of_other_accounts_databases_and_histories_are_refused_each_for_its_reason() {
    let database = Database::new();
    let replica = Replica::open(&database).await;
    let head = replica.make_account("acme").await;
    replica.make_account("other").await;
    let elsewhere_database = Database::new();
    let elsewhere = Replica::open(&elsewhere_database).await;
    let foreign = elsewhere.make_account("acme").await;

    let named = |revision: u64, nonce: Nonce| replica.token("acme", Head { revision, nonce });
    let cases: Vec<(&str, RevisionToken, RevisionError)> = vec![
        (
            "other account",
            replica.token("other", head),
            RevisionError::OtherAccount,
        ),
        (
            "other database",
            elsewhere.token("acme", foreign),
            RevisionError::OtherHistory,
        ),
        (
            "other nonce at the head",
            named(head.revision, [0; 8]),
            RevisionError::OtherHistory,
        ),
        (
            "other nonce before it",
            named(1, [0; 8]),
            RevisionError::OtherHistory,
        ),
        (
            "one ahead",
            named(head.revision + 1, head.nonce),
            RevisionError::BeyondHead,
        ),
        (
            "far ahead",
            named(u64::MAX, head.nonce),
            RevisionError::BeyondHead,
        ),
    ];
    for (what, token, expected) in cases {
        let asked = read(&replica, "acme", Consistency::AtLeastAsFresh(token));
        let refused = tokio::time::timeout(PATIENCE, asked).await.unwrap();
        match refused {
            Err(ReadError::Revision(error)) => assert_eq!(error, expected, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    // The control: a true one is taken, and so is every one on the way there.
    let mut nonces = Vec::new();
    for revision in 1..=head.revision {
        let nonce = replica.store.nonce_at(&id("acme"), revision).await.unwrap();
        nonces.push(nonce.unwrap());
        let token = named(revision, nonce.unwrap());
        let taken = read(&replica, "acme", Consistency::AtLeastAsFresh(token)).await;
        assert_eq!(taken.unwrap(), head, "revision {revision}");
    }
    assert_eq!(nonces.last(), Some(&head.nonce));
}

/// A copy of the file that goes on by itself has the same epoch and the same numbers: the nonce of
/// each revision tells the two histories apart, in both directions.
#[tokio::test]
async fn tokens_of_a_forked_copy_of_the_database_are_refused() {
    let database = Database::new();
    let original = Replica::open(&database).await;
    let common = original.make_account("acme").await;
    original.store.close().await;
    let copy_database = database.copy();
    let original = Replica::open(&database).await;
    let copy = Replica::open(&copy_database).await;
    let in_original = original.apply("acme", vec![put_user("a")]).await.unwrap();
    let in_copy = copy.apply("acme", vec![put_user("b")]).await.unwrap();
    let (in_original, in_copy) = (in_original.head.unwrap(), in_copy.head.unwrap());
    assert_eq!(in_original.revision, in_copy.revision);

    for (replica, own, foreign) in [
        (&original, in_original, in_copy),
        (&copy, in_copy, in_original),
    ] {
        let shared = replica.token("acme", common);
        let taken = read(replica, "acme", Consistency::AtLeastAsFresh(shared)).await;
        assert_eq!(taken.unwrap(), own);
        let foreign = replica.token("acme", foreign);
        let refused = read(replica, "acme", Consistency::AtLeastAsFresh(foreign)).await;
        assert!(
            matches!(
                refused,
                Err(ReadError::Revision(RevisionError::OtherHistory))
            ),
            "{refused:?}"
        );
    }
}

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
        let created = writing
            .directory
            .create_account(id(&format!("a{n}")), enterprise(), None);
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

fn cache(store: HeldStore, limits: CacheLimits) -> GraphCache {
    GraphCache::new(Arc::new(store), Arc::new(SystemClock::new()), limits)
}

fn spawn_read(
    graphs: &GraphCache,
    account: &str,
) -> tokio::task::JoinHandle<Result<(), ReadError>> {
    let (graphs, account) = (graphs.clone(), id(account));
    tokio::spawn(async move {
        let consistency = Consistency::MinimizeLatency;
        graphs.read(&account, &consistency).await.map(|_| ())
    })
}

/// What a held store does not answer until it is let go: a database that hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Nothing,
    Snapshots,
    Changes,
    /// Probes are refused.
    Probes,
    /// Probes are given, and say that nothing ever happens.
    News,
}

struct SilentProbe;

#[async_trait]
impl ChangeProbe for SilentProbe {
    async fn changed(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// The embedded store behind a valve. Everything that it answers is the store's own answer.
struct HeldStore {
    store: Arc<dyn Store>,
    hold: watch::Receiver<Hold>,
}

impl HeldStore {
    async fn open(database: &Database) -> (Self, watch::Sender<Hold>) {
        let (sender, hold) = watch::channel(Hold::Nothing);
        let store = database.open().await;
        (Self { store, hold }, sender)
    }

    async fn pass(&self, what: Hold) {
        let mut hold = self.hold.clone();
        hold.wait_for(|held| *held != what).await.unwrap();
    }
}

#[async_trait]
impl Store for HeldStore {
    fn identity(&self) -> Arc<StoreIdentity> {
        self.store.identity()
    }

    async fn refresh_identity(&self) -> Result<Arc<StoreIdentity>, StoreError> {
        self.store.refresh_identity().await
    }

    async fn head(&self, account: &Id) -> Result<Option<Head>, StoreError> {
        self.store.head(account).await
    }

    async fn heads(&self, accounts: &[Id]) -> Result<Vec<AccountSummary>, StoreError> {
        self.store.heads(accounts).await
    }

    async fn nonce_at(&self, account: &Id, revision: u64) -> Result<Option<Nonce>, StoreError> {
        self.store.nonce_at(account, revision).await
    }

    async fn accounts(
        &self,
        after: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<AccountSummary>, StoreError> {
        self.store.accounts(after, limit).await
    }

    async fn snapshot(
        &self,
        account: &Id,
        attributes: bool,
    ) -> Result<Option<Snapshot>, StoreError> {
        self.pass(Hold::Snapshots).await;
        self.store.snapshot(account, attributes).await
    }

    async fn changes_since(&self, account: &Id, have: Head) -> Result<Changes, StoreError> {
        self.pass(Hold::Changes).await;
        self.store.changes_since(account, have).await
    }

    async fn attributes(
        &self,
        account: &Id,
        resources: &[ResourceKey],
    ) -> Result<Vec<(ResourceKey, Attributes)>, StoreError> {
        self.store.attributes(account, resources).await
    }

    async fn apply(&self, write: Write<'_>) -> Result<Head, StoreError> {
        self.store.apply(write).await
    }

    async fn remembered(
        &self,
        account: &Id,
        idempotency: IdempotencyKey<'_>,
    ) -> Result<Option<RememberedWrite>, StoreError> {
        self.store.remembered(account, idempotency).await
    }

    async fn delete_account(
        &self,
        account: &Id,
        expected: Option<Head>,
    ) -> Result<bool, StoreError> {
        self.store.delete_account(account, expected).await
    }

    async fn change_probe(&self) -> Result<Box<dyn ChangeProbe>, StoreError> {
        match *self.hold.borrow() {
            Hold::Probes => return Err(StoreError::Unavailable("refused by the test".into())),
            Hold::News => return Ok(Box::new(SilentProbe)),
            Hold::Nothing | Hold::Snapshots | Hold::Changes => {}
        }
        self.store.change_probe().await
    }

    async fn notifications(&self) -> Result<Option<Box<dyn Notifications>>, StoreError> {
        self.store.notifications().await
    }

    async fn send_heartbeat(&self, heartbeat: Heartbeat) -> Result<(), StoreError> {
        self.store.send_heartbeat(heartbeat).await
    }

    async fn notification_queue_usage(&self) -> Result<Option<f64>, StoreError> {
        self.store.notification_queue_usage().await
    }

    async fn trim_history(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.store.trim_history(before, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
