//! A rule that changes, run over the records that are there.

use std::time::Duration;

use ambit::authz::model::Timestamp;
use ambit::clock::ManualClock;
use ambit::store::segment_jobs::{JobCause, JobState};

use super::*;

async fn three(database: &Database) -> Working {
    let working = Working::acme(database).await;
    working
        .apply(vec![
            record("a", r#"{"tags": ["gold"], "country": "DE"}"#),
            record("b", r#"{"tags": ["gold"]}"#),
            record("c", r#"{"tags": []}"#),
        ])
        .await;
    working
}

const GOLD: &str = "'gold' in resource.tags";

#[tokio::test]
async fn p6_a_new_rule_is_brought_to_the_records_that_are_there() {
    let database = Database::new();
    let working = three(&database).await;
    working
        .apply(vec![rule("gold", GOLD, &["group:marketing"])])
        .await;
    assert!(
        working.rows("a").await.is_empty(),
        "in the background, not at once"
    );
    working.settle().await;
    for gold in ["a", "b"] {
        assert_eq!(working.rows(gold).await, ["group:marketing segment:gold"]);
    }
    assert!(working.rows("c").await.is_empty());
    working.assert_is_as_evaluated_afresh().await;
    let job = working.job("gold").await;
    assert_eq!(job.state, JobState::Done);
    assert_eq!((job.records, job.total), (3, 3));
    assert_eq!(
        (job.settled.matched, job.settled.added, job.settled.removed),
        (2, 2, 0)
    );
    assert!(job.ended_at.is_some() && job.problem.is_none());
}

#[tokio::test]
async fn p7_a_rule_that_changes_moves_only_what_differs_and_only_its_own_rows() {
    let database = Database::new();
    let working = three(&database).await;
    working
        .apply(vec![
            rule("gold", GOLD, &["group:marketing"]),
            rule("other", GOLD, &["group:pr"]),
            by_hand("b", "group:marketing"),
            by_hand("c", "group:sales"),
        ])
        .await;
    working.settle().await;
    let gold = rule("gold", "resource.country == 'DE'", &["group:marketing"]);
    working.apply(vec![gold]).await;
    let before = working.revision().await;
    working.settle().await;
    // b alone differs, so one transaction is enough.
    assert_eq!(working.revision().await, before + 1);
    assert_eq!(
        working.rows("a").await,
        ["group:marketing segment:gold", "group:pr segment:other"]
    );
    assert_eq!(
        working.rows("b").await,
        ["group:marketing manual", "group:pr segment:other"]
    );
    let job = working.job("gold").await;
    assert_eq!(
        (job.cause, job.settled.added, job.settled.removed),
        (JobCause::RuleChanged, 0, 1)
    );

    working.apply(vec![switched("gold", false)]).await;
    working.settle().await;
    assert_eq!(working.rows("a").await, ["group:pr segment:other"]);
    working.apply(vec![switched("gold", true)]).await;
    working.settle().await;
    assert_eq!(working.rows("a").await.len(), 2);
    working
        .apply(vec![
            Change::DeleteSegment(id("gold")),
            Change::DeleteSegment(id("other")),
        ])
        .await;
    working.settle().await;
    assert!(working.rows("a").await.is_empty());
    assert_eq!(working.rows("b").await, ["group:marketing manual"]);
    let (graph, _) = fresh_graph(&working.replica.store, "acme").await;
    assert!(
        graph.resource(&contact("a")).unwrap().partitioned,
        "sticky, 3.5"
    );
}

#[tokio::test]
async fn p7_a_rule_of_another_type_lets_the_records_of_the_first_go() {
    let database = Database::new();
    let working = three(&database).await;
    working
        .apply(vec![rule("all", "true", &["group:pr"])])
        .await;
    working.settle().await;
    assert_eq!(working.rows("c").await, ["group:pr segment:all"]);
    working
        .apply(vec![Change::PutSegment(SegmentPatch {
            id: id("all"),
            resource_type: Some(id("email_campaign")),
            when: None,
            assign_to: None,
            enabled: None,
            may_partition: None,
        })])
        .await;
    working.settle().await;
    assert!(working.rows("c").await.is_empty());
}

/// A rule with more rows than go at once is deleted in the background, in several transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_the_rows_of_a_large_rule_go_in_the_background() {
    let database = Database::new();
    let working = Working::acme(&database).await;
    let mut list = vec![rule("all", "true", &["group:pr"])];
    list.extend((0..1_200).map(|at| record(&format!("c{at:04}"), "{}")));
    working.apply(list).await;
    working.settle().await;
    assert_eq!(working.rows("c0000").await.len(), 1);
    working.apply(vec![Change::DeleteSegment(id("all"))]).await;
    assert_eq!(working.rows("c0000").await.len(), 1, "not yet");
    let before = working.revision().await;
    working.settle().await;
    assert!(working.rows("c0000").await.is_empty() && working.rows("c1199").await.is_empty());
    assert!(working.revision().await >= before + 3, "in parts");
    assert_eq!(working.job("all").await.settled.removed, 1_200);
}

#[tokio::test]
async fn a_job_is_taken_up_where_it_was_by_another_server() {
    let database = Database::new();
    let working = three(&database).await;
    working
        .apply(vec![rule("all", "true", &["group:pr"])])
        .await;
    working.settle().await;
    // As one leaves it that died after the first record.
    let mut job = working.job("all").await;
    job.state = JobState::Running;
    job.position = Some(id("a"));
    job.records = 1;
    job.ended_at = None;
    let jobs = &working.jobs;
    assert!(jobs.put_segment_jobs(&id("acme"), &[job]).await.unwrap());
    drop(working);
    let clock = ManualClock::at(SystemClock::new().now());
    // The lease of the one that died has to end first.
    clock.advance(Duration::from_secs(60));
    let other = Working::with(&database, Arc::new(clock)).await;
    other.settle().await;
    let job = other.job("all").await;
    assert_eq!((job.state, job.records), (JobState::Done, 3));
}

#[tokio::test]
async fn one_server_at_a_time_has_an_account_in_hand() {
    let database = Database::new();
    let working = three(&database).await;
    let jobs = &working.jobs;
    let now = SystemClock::new().now();
    let later = Timestamp::from_unix_micros(now.unix_micros() + 60_000_000).unwrap();
    assert!(
        jobs.claim_reconciling(&id("acme"), [7; 16], now, later)
            .await
            .unwrap()
    );
    working
        .apply(vec![rule("all", "true", &["group:pr"])])
        .await;
    working.reconciler.round().await.unwrap();
    assert!(working.rows("a").await.is_empty(), "it is in other hands");
    // The other lets go of it.
    assert!(
        jobs.claim_reconciling(&id("acme"), [7; 16], now, now)
            .await
            .unwrap()
    );
    working.settle().await;
    assert_eq!(working.rows("a").await, ["group:pr segment:all"]);
}

#[tokio::test]
async fn an_expression_that_sql_wrote_and_that_is_none_matches_nothing_and_says_so() {
    let database = Database::new();
    let working = three(&database).await;
    working.apply(vec![rule("gold", GOLD, &["group:pr"])]).await;
    working.settle().await;
    assert_eq!(working.rows("a").await.len(), 1);
    database
        .execute(
            "UPDATE segment SET criteria = 'resource.tags ==' WHERE segment_id = 'gold'".to_owned(),
        )
        .await;
    working.settle().await;
    assert!(working.rows("a").await.is_empty());
    let job = working.job("gold").await;
    assert_eq!(job.state, JobState::Failed);
    assert!(job.problem.unwrap().starts_with("line 1, column 17"));
}

#[tokio::test]
async fn a_trial_says_what_would_come_and_go_and_writes_nothing() {
    let database = Database::new();
    let working = three(&database).await;
    working.apply(vec![rule("gold", GOLD, &["group:pr"])]).await;
    let before = working.revision().await;
    let gold = id("gold");
    let trial = working
        .segments
        .trial(&id("acme"), &gold, None)
        .await
        .unwrap();
    assert_eq!(
        (trial.records, trial.settled.matched, trial.settled.added),
        (3, 2, 2)
    );
    assert_eq!(trial.gaining, [contact("a"), contact("b")]);
    working.settle().await;
    let instead = Segment {
        id: gold.clone(),
        resource_type: id("contact"),
        when: "resource.country == 'DE'".to_owned(),
        assign_to: ["group:pr".parse().unwrap()].into(),
        enabled: true,
        may_partition: true,
    };
    let trial = working
        .segments
        .trial(&id("acme"), &gold, Some(instead))
        .await
        .unwrap();
    assert_eq!((trial.settled.added, trial.settled.removed), (0, 1));
    assert_eq!((trial.gaining, trial.losing), (vec![], vec![contact("b")]));
    assert_eq!(
        working.revision().await,
        before + 1,
        "only the settling wrote"
    );
}

#[tokio::test]
async fn a_rule_may_be_run_again_by_hand() {
    let database = Database::new();
    let working = three(&database).await;
    working.apply(vec![rule("gold", GOLD, &["group:pr"])]).await;
    working.settle().await;
    let job = working
        .segments
        .recalculate(&id("acme"), &id("gold"))
        .await
        .unwrap();
    assert_eq!((job.state, job.cause), (JobState::Pending, JobCause::Asked));
    working.settle().await;
    let done = working.job("gold").await;
    assert_eq!((done.revision, done.state), (job.revision, JobState::Done));
    assert_eq!((done.settled.matched, done.settled.added), (2, 0));
    assert!(
        working
            .segments
            .recalculate(&id("acme"), &id("none"))
            .await
            .is_err()
    );
}
