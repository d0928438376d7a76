//! More calls than a server takes (cases 21 and 22). The way to the database is slow, so that a few
//! fully consistent checks at a time are all that the server can do, and the load fits beside it on
//! a small machine. How fast is a promise of a machine that does nothing else, so only the soak
//! holds times; who is refused and who is not is held always.

use std::sync::Arc;
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use ambit::grpc::wire::decision_service_client::DecisionServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::replica::Replica;
use super::scene::Scene;
use super::{by_soak, soaks};
use crate::grpc::server::{
    built_in, change, check, fully_consistent, grant, put_contact, put_user,
};
use crate::postgres::cluster;
use crate::postgres::proxy::{Flow, Proxy, Which};
use crate::transport::processes::Process;

/// One way to the database.
const DELAY: Duration = Duration::from_millis(20);

/// Accounts that the load is spread over: each has a catch-up of its own.
const ACCOUNTS: usize = 20;

/// Calls at a time that the server is told to take.
const CALLS: usize = 8;

/// A share that is no bound.
const BOUNDLESS: &str = "1000000000";

/// A refusal takes no longer, whatever the load.
const REFUSED_WITHIN: Duration = Duration::from_millis(50);

fn question(account: &str) -> wire::CheckRequest {
    wire::CheckRequest {
        consistency: fully_consistent(),
        ..check(account, "c")
    }
}

fn account(number: usize) -> String {
    format!("a{}", number % ACCOUNTS)
}

async fn make_accounts(scene: &Scene) {
    for number in 0..ACCOUNTS {
        let changes = vec![
            change(wire::change::Change::PutAccount(wire::AccountPatch {
                catalog: Some(built_in("hubspot")),
                plan: Some("enterprise".to_owned()),
                ..wire::AccountPatch::default()
            })),
            put_user("sa", Some(true)),
            put_user("u", None),
            grant("u", "contact", "view", wire::Level::Everything),
            put_contact("c"),
        ];
        scene.writer.apply(&account(number), changes).await.unwrap();
    }
}

/// A server behind a slow way to the database, with all accounts in its memory.
async fn behind_a_slow_way(scene: &Scene, more: &[&str]) -> (Proxy, Arc<Replica>) {
    let proxy = Proxy::to(scene.cluster.port()).await;
    let url = cluster::url(proxy.port(), &scene.database);
    // A machine that does other things too is late with everything, and that is not the matter here.
    let flags = [&["--staleness-bound-ms", "20000"], more].concat();
    let replica = Arc::new(Replica::start_with(&url, &flags).await);
    for number in 0..ACCOUNTS {
        assert!(replica.check(question(&account(number))).await.unwrap());
    }
    proxy.set(Which::All, Flow::Delay(DELAY));
    (proxy, replica)
}

/// How calls ended, and how long each took.
#[derive(Default)]
struct Ended {
    admitted: Vec<Duration>,
    refused: Vec<(Reason, Duration)>,
    took: Duration,
}

impl Ended {
    fn note(&mut self, answer: &Result<bool, tonic::Status>, took: Duration) {
        match answer {
            Ok(is_allowed) => {
                assert!(is_allowed, "the user may view it");
                self.admitted.push(took);
            }
            Err(status) => {
                let reason = Reason::of(status).unwrap_or_else(|| panic!("{status:?}"));
                self.refused.push((reason, took));
            }
        }
    }

    fn per_second(&self) -> f64 {
        f64::from(u32::try_from(self.admitted.len()).unwrap()) / self.took.as_secs_f64()
    }
}

fn percentile(durations: impl IntoIterator<Item = Duration>, percent: usize) -> Duration {
    let mut sorted: Vec<Duration> = durations.into_iter().collect();
    sorted.sort();
    sorted[(sorted.len() - 1) * percent / 100]
}

/// So many callers, each of whom asks again when it has its answer.
async fn closed_loop(
    replica: &Arc<Replica>,
    callers: usize,
    time: Duration,
    of: impl Fn(usize) -> String + Send + Sync + Copy + 'static,
) -> Ended {
    let clock = Arc::new(SystemClock::new());
    let mut calling = JoinSet::new();
    for caller in 0..callers {
        let (replica, clock) = (Arc::clone(replica), Arc::clone(&clock));
        calling.spawn(async move {
            let mut answers = Vec::new();
            let mut number = caller;
            while clock.monotonic() < time {
                let asked = clock.monotonic();
                let answer = replica.check(question(&of(number))).await;
                answers.push((answer, clock.monotonic() - asked));
                number += callers;
            }
            answers
        });
    }
    let mut ended = Ended::default();
    while let Some(answers) = calling.join_next().await {
        for (answer, took) in answers.unwrap() {
            ended.note(&answer, took);
        }
    }
    ended.took = clock.monotonic();
    ended
}

/// So many calls a second, whatever becomes of those before.
async fn open_loop(replica: &Arc<Replica>, per_second: f64, time: Duration) -> Ended {
    let mut channels: Vec<DecisionServiceClient<Channel>> = Vec::new();
    for _ in 0..4 {
        let endpoint = Channel::from_shared(replica.server.clone()).unwrap();
        channels.push(DecisionServiceClient::new(
            endpoint.connect().await.unwrap(),
        ));
    }
    let clock = Arc::new(SystemClock::new());
    let mut asked = JoinSet::new();
    let mut ended = Ended::default();
    let mut number = 0_usize;
    while clock.monotonic() < time {
        let due = f64::from(u32::try_from(number).unwrap()) / per_second;
        let due = Duration::from_secs_f64(due);
        if let Some(early) = due.checked_sub(clock.monotonic()) {
            tokio::time::sleep(early).await;
        }
        let (mut client, clock) = (channels[number % 4].clone(), Arc::clone(&clock));
        asked.spawn(async move {
            let begun = clock.monotonic();
            let answer = client.check(question(&account(number))).await;
            let answer = answer.map(|answer| answer.get_ref().decision() == wire::Decision::Allow);
            (answer, clock.monotonic() - begun)
        });
        number += 1;
        while let Some(answer) = asked.try_join_next() {
            let (answer, took) = answer.unwrap();
            ended.note(&answer, took);
        }
    }
    ended.took = clock.monotonic();
    while let Some(answer) = asked.join_next().await {
        let (answer, took) = answer.unwrap();
        ended.note(&answer, took);
    }
    ended
}

/// Asks the health service again and again; the longest that an answer took.
async fn health(replica: &Arc<Replica>) -> Duration {
    let mut health = HealthClient::new(replica.channel.clone());
    let clock = SystemClock::new();
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let asked = clock.monotonic();
        let answer = health.check(HealthCheckRequest::default()).await.unwrap();
        assert_eq!(answer.get_ref().status(), ServingStatus::Serving);
        longest = longest.max(clock.monotonic() - asked);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    longest
}

/// reliability.md case 21: at ten times of what it can do a server does as much as before, and tells
/// the others so at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_21_ten_times_too_many_calls_cost_those_that_are_taken_nothing() {
    let time = by_soak(Duration::from_secs(2), Duration::from_secs(60));
    let percent = 99;
    let scene = Scene::new().await;
    make_accounts(&scene).await;
    let calls = CALLS.to_string();
    // All accounts together: shares are the matter of case 22.
    let flags = ["--calls-max", &calls, "--account-share-percent", BOUNDLESS];
    let (_proxy, bounded) = behind_a_slow_way(&scene, &flags).await;
    let peak = closed_loop(&bounded, CALLS, time.min(Duration::from_secs(10)), account).await;
    assert!(peak.refused.is_empty(), "{:?}", peak.refused);
    let rate = peak.per_second() * 10.0;
    let (over, health) = tokio::join!(open_loop(&bounded, rate, time), health(&bounded));
    let goodput = over.per_second() / peak.per_second();
    let alone = percentile(peak.admitted.iter().copied(), percent);
    let admitted = percentile(over.admitted.iter().copied(), percent);
    let refused = percentile(over.refused.iter().map(|(_, took)| *took), percent);
    println!(
        "peak {:.0}/s, p{percent} {alone:?}; at ten times goodput {goodput:.2}, admitted {admitted:?}, {} refused {refused:?}, health {health:?}",
        peak.per_second(),
        over.refused.len()
    );
    assert!(over.refused.len() > over.admitted.len(), "no overload");
    for (reason, _) in &over.refused {
        assert_eq!(*reason, Reason::Overloaded);
    }
    assert!(over.admitted.len() > CALLS, "nothing is done any more");
    if soaks() {
        assert!(goodput >= 0.8, "{goodput:.2} of the peak");
        assert!(refused < REFUSED_WITHIN, "a refusal took {refused:?}");
        assert!(admitted <= alone * 2, "{admitted:?} and alone {alone:?}");
        assert!(health < Duration::from_secs(1), "{health:?}");
    }

    // The control: without the bound all of them are taken, and wait for each other.
    let (_proxy, boundless) = behind_a_slow_way(&scene, &[]).await;
    let over = open_loop(&boundless, rate, time.min(Duration::from_secs(10))).await;
    let admitted = percentile(over.admitted.iter().copied(), percent);
    println!(
        "without the bound {admitted:?}, {} refused",
        over.refused.len()
    );
    let overloaded = |(reason, _): &(Reason, Duration)| *reason == Reason::Overloaded;
    assert!(!over.refused.iter().any(overloaded));
    if soaks() {
        assert!(admitted > alone * 2, "{admitted:?} and alone {alone:?}");
    }
}

/// reliability.md case 22: an account that asks as fast as it can has its share, and others are
/// answered as if they were alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_22_others_are_answered_as_fast_beside_an_account_that_hammers() {
    let time = by_soak(Duration::from_secs(1), Duration::from_secs(30));
    let percent = 99;
    let scene = Scene::new().await;
    make_accounts(&scene).await;
    let calls = ["--calls-max", "16"];
    let (_proxy, shared) = behind_a_slow_way(&scene, &calls).await;
    let quiet = |_: usize| account(1);
    let loud = |_: usize| account(0);
    let alone = closed_loop(&shared, 2, time, quiet).await;
    let (beside, hammering) = tokio::join!(
        closed_loop(&shared, 2, time, quiet),
        closed_loop(&shared, 32, time, loud)
    );
    let [alone, together] =
        [&alone, &beside].map(|ended| percentile(ended.admitted.iter().copied(), percent));
    println!(
        "p{percent} alone {alone:?}, beside the loud one {together:?}; that one had {} answers and {} refusals",
        hammering.admitted.len(),
        hammering.refused.len()
    );
    assert!(beside.refused.is_empty(), "{:?}", beside.refused);
    if soaks() {
        assert!(together <= alone * 2, "{together:?} and alone {alone:?}");
    }
    assert!(hammering.refused.len() > hammering.admitted.len());

    // The control: where nobody has a share, there is no place left for others.
    let boundless = ["--account-share-percent", BOUNDLESS];
    let (_proxy, unshared) =
        behind_a_slow_way(&scene, &[&calls[..], &boundless[..]].concat()).await;
    let (beside, _) = tokio::join!(
        closed_loop(&unshared, 2, time, quiet),
        closed_loop(&unshared, 32, time, loud)
    );
    assert!(!beside.refused.is_empty(), "the load does not bite");
}

/// How long checks of an account take, asked by two callers without a pause.
async fn checks(process: &Process, time: Duration) -> Vec<Duration> {
    let clock = Arc::new(SystemClock::new());
    let mut calling = JoinSet::new();
    for _ in 0..2 {
        let mut client = DecisionServiceClient::new(process.channel().await);
        let clock = Arc::clone(&clock);
        calling.spawn(async move {
            let mut took = Vec::new();
            while clock.monotonic() < time {
                let asked = clock.monotonic();
                client.check(check("acme", "c")).await.unwrap();
                took.push(clock.monotonic() - asked);
            }
            took
        });
    }
    calling.join_all().await.concat()
}

/// Asks for large filters of another account, by sixteen callers; how many were answered.
async fn filters(process: &Process, time: Duration) -> usize {
    let clock = Arc::new(SystemClock::new());
    let request = wire::FilterAccessibleRequest {
        account_id: "loud".to_owned(),
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_ids: crate::grpc::names("contact-", 20_000),
        ..wire::FilterAccessibleRequest::default()
    };
    let mut calling = JoinSet::new();
    for _ in 0..16 {
        let mut client = DecisionServiceClient::new(process.channel().await);
        let (clock, request) = (Arc::clone(&clock), request.clone());
        calling.spawn(async move {
            let mut answered = 0;
            while clock.monotonic() < time {
                client.filter_accessible(request.clone()).await.unwrap();
                answered += 1;
            }
            answered
        });
    }
    calling.join_all().await.into_iter().sum()
}

/// reliability.md case 22, for what takes a core: large filters of one account wait for each other,
/// and leave the machine to others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_22_checks_do_not_wait_for_computations_of_another_account() {
    let time = by_soak(Duration::from_millis(500), Duration::from_secs(20));
    let measure = async |more: &[&str]| {
        let process = Process::start(None, more);
        for account in ["acme", "loud"] {
            process.make(account).await;
        }
        let alone = percentile(checks(&process, time).await, 99);
        let (beside, answered) = tokio::join!(checks(&process, time), filters(&process, time));
        let beside = percentile(beside, 99);
        println!("{more:?}: p99 alone {alone:?}, beside {answered} filters {beside:?}");
        assert!(answered > 0);
        beside
    };
    let in_turn = measure(&[]).await;
    let all_at_once = measure(&["--computations-max", "64"]).await;
    if soaks() {
        assert!(in_turn * 2 <= all_at_once, "{in_turn:?} {all_at_once:?}");
    }
}
