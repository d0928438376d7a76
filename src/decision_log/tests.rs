use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::authz::decision::{Decision, Presentation, ReasonCode, Requestable};
use crate::authz::model::{Level, Timestamp};
use crate::clock::ManualClock;
use crate::config::{DecisionLogDestination, MaskKey, MaskedField, Ratio};
use crate::metrics::Metrics;
use crate::randomness::SeededRandomness;

fn settings(path: &Path) -> DecisionLogSettings {
    DecisionLogSettings {
        destination: Some(DecisionLogDestination::File(path.to_owned())),
        allow_ratio: Ratio::parse("1").unwrap(),
        deny_ratio: Ratio::parse("1").unwrap(),
        masked: BTreeSet::new(),
        mask_key: None,
        queue_records_max: 1_000,
    }
}

fn clock() -> Arc<ManualClock> {
    let now = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
    Arc::new(ManualClock::at(now))
}

fn open(settings: &DecisionLogSettings, clock: Arc<ManualClock>) -> (DecisionLog, Metrics) {
    let metrics = Metrics::new().unwrap();
    let randomness = SeededRandomness::new(7);
    let log = DecisionLog::open(settings, clock, &randomness, metrics.decision_log()).unwrap();
    (log, metrics)
}

const DENY: Decision = Decision {
    effect: Effect::Deny,
    reason: ReasonCode::NotInPartition,
    level: Level::None,
    include_unassigned: false,
    requestable: Requestable::Object,
    presentation: Presentation::BlockedPage,
    valid_until: None,
};

fn record(user: &str) -> Record<'_> {
    Record {
        method: "Check",
        caller: Some("token:crm"),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        account: "acme",
        subject: Subject {
            user: Some(user),
            action: Some("view"),
            resource_type: "contact",
            resource_id: "c\u{1b}1\n",
            at: Timestamp::parse("2026-11-22T09:00:00Z").unwrap(),
        },
        revision: "r1",
        what: What::Decided(Decided {
            decision: &DENY,
            item: None,
            has_facts: false,
        }),
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_record_is_one_line_that_says_who_asked_what_and_what_came_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("decisions.jsonl");
    let clock = clock();
    let (log, metrics) = open(&settings(&path), Arc::clone(&clock));
    let draw = log.draw();
    clock.advance(Duration::from_micros(250));
    log.write(draw, Effect::Deny, || record("anna"));
    log.close().await;
    assert_eq!(
        lines(&path),
        [concat!(
            r#"{"time":"2026-11-22T10:00:00.00025Z","method":"Check","#,
            r#""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","caller":"token:crm","#,
            r#""account_id":"acme","user_id":"anna","action":"view","resource_type":"contact","#,
            r#""resource_id":"c\u001b1\n","at":"2026-11-22T09:00:00Z","decision":"deny","#,
            r#""reason":"NOT_IN_PARTITION","level":"none","requestable":"object","#,
            r#""revision":"r1","duration_us":250}"#
        )]
    );
    assert!(
        metrics
            .text()
            .contains("ambit_decision_log_written_total 1")
    );
}

#[tokio::test]
async fn masked_fields_are_pseudonyms_under_a_key_and_left_out_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("decisions.jsonl");
    let mut settings = settings(&path);
    settings.masked = BTreeSet::from([MaskedField::User, MaskedField::Account]);
    for key in [None, Some("0123456789abcdef"), Some("fedcba9876543210")] {
        settings.mask_key = key.and_then(MaskKey::parse);
        let (log, _metrics) = open(&settings, clock());
        for user in ["anna", "ben", "anna"] {
            log.write(log.draw(), Effect::Deny, || record(user));
        }
        log.close().await;
    }
    let users: Vec<Option<String>> = lines(&path)
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| Some(line.get("user_id")?.as_str()?.to_owned()))
        .collect();
    let [none, _, _, anna, ben, again, other, _, _] = users.as_slice() else {
        panic!("{users:?}");
    };
    assert_eq!(none, &None);
    assert_eq!(anna, again);
    assert_ne!(anna, ben);
    assert_ne!(anna, other, "another key makes other pseudonyms");
    assert!(anna.as_ref().unwrap().starts_with('~'), "{anna:?}");
    let text = std::fs::read_to_string(&path).unwrap();
    for clear in ["anna", "ben", "acme"] {
        assert!(!text.contains(clear), "{text}");
    }
    assert!(text.contains("token:crm"), "what is not masked is there");
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("decisions.jsonl");
    let moved = directory.path().join("decisions.1");
    let clock = clock();
    let (log, _metrics) = open(&settings(&path), Arc::clone(&clock));
    let write = |user| log.write(log.draw(), Effect::Deny, || record(user));
    write("before");
    while lines(&path).is_empty() {
        tokio::task::yield_now().await;
    }
    std::fs::rename(&path, &moved).unwrap();
    clock.advance(Duration::from_secs(2));
    write("after");
    log.close().await;
    assert!(lines(&moved)[0].contains("before"));
    assert!(lines(&path)[0].contains("after"));
    assert_eq!((lines(&moved).len(), lines(&path).len()), (1, 1));
}

#[tokio::test]
async fn a_share_of_each_outcome_is_taken_and_drawn_before_the_decision() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("decisions.jsonl");
    let mut settings = settings(&path);
    settings.allow_ratio = Ratio::parse("0.01").unwrap();
    settings.deny_ratio = Ratio::parse("0.1").unwrap();
    settings.queue_records_max = 100_000;
    let (log, _metrics) = open(&settings, clock());
    let mut drawn = 0;
    let mut taken = (0, 0);
    for _ in 0..100_000 {
        let draw = log.draw();
        drawn += u32::from(draw.is_some());
        log.write(draw, Effect::Allow, || {
            taken.0 += 1;
            record("anna")
        });
        log.write(draw, Effect::Deny, || {
            taken.1 += 1;
            record("anna")
        });
    }
    log.close().await;
    // Five standard deviations of a binomial of 100,000 around 1,000 and 10,000.
    assert!((843..=1_157).contains(&taken.0), "{taken:?}");
    assert!((9_526..=10_474).contains(&taken.1), "{taken:?}");
    assert_eq!(drawn, taken.1, "nothing is timed that would not be written");
    assert_eq!(
        lines(&path).len(),
        taken.0 + usize::try_from(taken.1).unwrap()
    );
}

#[tokio::test]
async fn a_destination_that_cannot_be_opened_is_an_error_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("absent/decisions.jsonl");
    let metrics = Metrics::new().unwrap();
    let randomness = SeededRandomness::new(7);
    let log = DecisionLog::open(
        &settings(&path),
        clock(),
        &randomness,
        metrics.decision_log(),
    );
    let error = log.err().unwrap().to_string();
    assert!(
        error.contains("absent/decisions.jsonl` can't be opened"),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_waits_for_a_reader_that_is_stuck_and_what_is_lost_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let mut settings = settings(&path);
    settings.queue_records_max = 10;
    let (log, metrics) = open(&settings, clock());
    // Nobody has the pipe open: the thread waits with at most one batch in hand.
    for _ in 0..1_000 {
        log.write(log.draw(), Effect::Deny, || record("anna"));
    }
    let dropped = count(
        &metrics,
        "ambit_decision_log_dropped_total{reason=\"queue_full\"}",
    );
    assert!(dropped > 0);
    let reading = std::thread::spawn(move || std::fs::read_to_string(path).unwrap());
    log.close().await;
    drop(log);
    let read = reading.join().unwrap();
    let written = count(&metrics, "ambit_decision_log_written_total");
    assert_eq!(u64::try_from(read.lines().count()).unwrap(), written);
    assert_eq!(written + dropped, 1_000);
}

fn count(metrics: &Metrics, series: &str) -> u64 {
    let text = metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0, |value| value.trim().parse().unwrap())
}
