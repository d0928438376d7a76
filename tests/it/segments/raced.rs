//! Whatever races, the end is a fresh evaluation.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::*;

const CONTACTS: usize = 40;

/// A sequence of numbers that differs by seed, the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn any_record(dice: &mut Dice) -> Change {
    let resource = format!("c{:02}", dice.roll(CONTACTS as u64));
    let tags: Vec<&str> = ["gold", "silver", "news"]
        .into_iter()
        .filter(|_| dice.roll(2) == 0)
        .collect();
    let score = dice.roll(4);
    record(
        &resource,
        &format!(r#"{{"tags": {tags:?}, "score": {score}}}"#),
    )
}

fn any_rule(dice: &mut Dice) -> Change {
    let segment = ["one", "two"][usize::try_from(dice.roll(2)).unwrap()];
    let whens = [
        "'gold' in resource.tags",
        "resource.score > 1",
        "resource.tags.exists(tag, tag.startsWith('s')) && resource.score < 3",
        "true",
        "resource.missing == 1",
    ];
    let when = whens[usize::try_from(dice.roll(5)).unwrap()];
    let to: &[&str] = [&["group:pr"] as &[&str], &["group:pr", "group:sales"]]
        [usize::try_from(dice.roll(2)).unwrap()];
    match dice.roll(6) {
        0 => switched(segment, false),
        1 => switched(segment, true),
        2 => Change::DeleteSegment(id(segment)),
        _ => rule(segment, when, to),
    }
}

fn any_by_hand(dice: &mut Dice) -> Change {
    let resource = format!("c{:02}", dice.roll(CONTACTS as u64));
    match dice.roll(2) {
        0 => by_hand(&resource, "group:pr"),
        _ => not_by_hand(&resource, "group:pr"),
    }
}

async fn with_contacts(database: &Database) -> Working {
    let working = Working::acme(database).await;
    let mut dice = Dice(20_261_130);
    let mut list: Vec<Change> = (0..CONTACTS)
        .map(|at| record(&format!("c{at:02}"), "{}"))
        .collect();
    list.extend((0..CONTACTS).map(|_| any_record(&mut dice)));
    list.push(rule("one", "'gold' in resource.tags", &["group:marketing"]));
    list.push(rule("two", "resource.score > 1", &["group:sales"]));
    working.apply(list).await;
    working
}

/// 64 writers of records, through the server and by plain SQL, by hand and by rule, race rules that
/// change all the time and two servers that bring them to the records.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p6_sixty_four_writers_racing_rule_changes_end_in_a_fresh_evaluation() {
    let database = Arc::new(Database::new());
    let first = Arc::new(with_contacts(&database).await);
    let second = Arc::new(Working::open(&database).await);
    let over = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for working in [&first, &second] {
        let (working, over) = (Arc::clone(working), Arc::clone(&over));
        workers.push(tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                working.reconciler.round().await.unwrap();
                tokio::task::yield_now().await;
            }
        }));
    }
    let mut writers = Vec::new();
    for writer in 0..64_u64 {
        let working = Arc::clone(if writer % 2 == 0 { &first } else { &second });
        let database = Arc::clone(&database);
        writers.push(tokio::spawn(async move {
            let mut dice = Dice(writer + 1);
            for _ in 0..6 {
                let change = match writer % 8 {
                    0 => any_rule(&mut dice),
                    1 => any_by_hand(&mut dice),
                    2 => {
                        let contact = dice.roll(CONTACTS as u64);
                        let score = dice.roll(4);
                        let sql = format!(
                            "UPDATE resource_attributes SET attributes = '{{\"tags\": [\"silver\"], \"score\": {score}}}'
                                WHERE account_id = 'acme' AND resource_id = 'c{contact:02}'"
                        );
                        database.execute(sql).await;
                        continue;
                    }
                    _ => any_record(&mut dice),
                };
                // A write that others keep from being made is none; a rule that is not there can't
                // be switched.
                let _made = working.replica.apply("acme", vec![change]).await;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    over.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap();
    }
    // Whoever has it in hand goes on; the other has nothing to do meanwhile.
    for _ in 0..100 {
        first.reconciler.round().await.unwrap();
        second.reconciler.round().await.unwrap();
        if first
            .jobs
            .accounts_to_reconcile(None, 1)
            .await
            .unwrap()
            .is_empty()
        {
            break;
        }
    }
    first.settle().await;
    first.assert_is_as_evaluated_afresh().await;
    let unfinished = JobFilter {
        unfinished: true,
        ..JobFilter::default()
    };
    let left = first.jobs.segment_jobs(&id("acme"), unfinished, 10).await;
    assert_eq!(left.unwrap(), []);
}

/// Random histories of one writer, looked at in the middle too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_any_history_ends_in_a_fresh_evaluation() {
    let mut dice = Dice(20_261_130);
    let seeds: Vec<u64> = (0..6).map(|_| dice.roll(u64::MAX) | 1).collect();
    for seed in seeds {
        let database = Database::new();
        let working = with_contacts(&database).await;
        let mut dice = Dice(seed);
        for step in 0..30 {
            let change = match dice.roll(3) {
                0 => any_rule(&mut dice),
                1 => any_by_hand(&mut dice),
                _ => any_record(&mut dice),
            };
            let _made = working.replica.apply("acme", vec![change]).await;
            if step % 10 == 9 {
                working.settle().await;
                println!("seed {seed}, step {step}");
                working.assert_is_as_evaluated_afresh().await;
            }
        }
    }
}

/// The loop of the server does the same by itself, and ends when it is told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loop_works_by_itself_and_ends_when_told_to() {
    let database = Database::new();
    let working = with_contacts(&database).await;
    let ending = CancellationToken::new();
    let other = Working::open(&database).await;
    let running = tokio::spawn(other.reconciler.run(ending.clone()));
    crate::faults::replica::until("nothing is left to do", async || {
        let waiting = working.jobs.accounts_to_reconcile(None, 1).await.unwrap();
        waiting.is_empty()
    })
    .await;
    working.assert_is_as_evaluated_afresh().await;
    ending.cancel();
    running.await.unwrap();
}
