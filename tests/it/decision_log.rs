//! The decision log: what each rpc writes down, who asked and in which trace, what is masked, that
//! nobody waits for it, and that no secret is in it nor in anything else that a server tells.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ambit::callers::Role;
use ambit::clock::SystemClock;
use ambit::grpc::wire;
use serde_json::Value;
use tokio_stream::StreamExt as _;
use tonic::Request;

use crate::callers::{MINE, Scene, make, wire::with};
use crate::database::Database;
use crate::faults::replica::until;
use crate::grpc::names;
use crate::grpc::server::{TestServer, check, list};
use crate::metrics::scrape;
use crate::served::Served;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// With everything written down.
fn whole(path: &Path) -> Vec<(&str, &str)> {
    vec![
        ("decision_log", path.to_str().unwrap()),
        ("decision_log_allow_ratio", "1"),
        ("decision_log_deny_ratio", "1"),
    ]
}

fn records(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line.get("method").is_some())
        .collect()
}

fn traced<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let header = format!("00-{TRACE}-00f067aa0ba902b7-00").parse().unwrap();
    request.metadata_mut().insert("traceparent", header);
    request
}

/// Of a user that the account does not have, who is denied everything.
fn denied(contact: &str) -> wire::CheckRequest {
    wire::CheckRequest {
        user_id: "nobody".to_owned(),
        ..check("acme", contact)
    }
}

#[tokio::test]
async fn every_rpc_that_decides_writes_down_what_it_was_asked_and_what_came_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("decisions.jsonl");
    let database = Database::new();
    let clock = Arc::new(SystemClock::new());
    let server = TestServer::start_with(&database, clock, &whole(&path)).await;
    let contacts = names("c", 3);
    server.make_account("acme", &contacts).await;
    let mut client = server.decisions();
    let answer = client.check(traced(check("acme", &contacts[0]))).await;
    let revision = answer.unwrap().into_inner().revision;
    client.check(denied(&contacts[0])).await.unwrap();
    let item = |user: &str, resource_type: &str| wire::BatchCheckItem {
        user_id: user.to_owned(),
        action: "view".to_owned(),
        resource_type: resource_type.to_owned(),
        resource_id: contacts[1].clone(),
        ..wire::BatchCheckItem::default()
    };
    let batch = wire::BatchCheckRequest {
        account_id: "acme".to_owned(),
        // The one in the middle fails, and nothing was decided.
        items: vec![
            item("u", "contact"),
            item("u", "no-type"),
            item("nobody", "contact"),
        ],
        ..wire::BatchCheckRequest::default()
    };
    client.batch_check(batch).await.unwrap();
    let mut lists = client
        .list_accessible(list("acme"))
        .await
        .unwrap()
        .into_inner();
    while lists.message().await.unwrap().is_some() {}
    let filter = wire::FilterAccessibleRequest {
        account_id: "acme".to_owned(),
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_ids: vec![contacts[2].clone(), "absent".to_owned()],
        ..wire::FilterAccessibleRequest::default()
    };
    client.filter_accessible(filter).await.unwrap();
    let message = wire::FilterAccessibleStreamRequest {
        account_id: "acme".to_owned(),
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_ids: contacts.clone(),
        ..wire::FilterAccessibleStreamRequest::default()
    };
    let filtered = client
        .filter_accessible_stream(tokio_stream::once(message))
        .await;
    assert_eq!(
        filtered
            .unwrap()
            .into_inner()
            .collect::<Vec<_>>()
            .await
            .len(),
        1
    );
    let who = wire::ListUsersWithAccessRequest {
        account_id: "acme".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_id: contacts[0].clone(),
        ..wire::ListUsersWithAccessRequest::default()
    };
    let mut users = client
        .list_users_with_access(who)
        .await
        .unwrap()
        .into_inner();
    while users.message().await.unwrap().is_some() {}
    let actions = wire::ListActionsRequest {
        account_id: "acme".to_owned(),
        user_id: "u".to_owned(),
        resource_type: "contact".to_owned(),
        resource_id: contacts[0].clone(),
        ..wire::ListActionsRequest::default()
    };
    let actions = client
        .list_actions(actions)
        .await
        .unwrap()
        .into_inner()
        .actions;
    let question = wire::ExplainRequest {
        account_id: "acme".to_owned(),
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_id: contacts[0].clone(),
        ..wire::ExplainRequest::default()
    };
    client.explain(question).await.unwrap();
    // A question that can't be answered is no decision.
    client
        .check(check("nowhere", &contacts[0]))
        .await
        .unwrap_err();
    drop(client);
    server.stop().await;

    let records = records(&std::fs::read_to_string(&path).unwrap());
    let mut by_method: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for record in &records {
        by_method
            .entry(record["method"].as_str().unwrap())
            .or_default()
            .push(record);
        assert_eq!(record["account_id"], "acme");
        assert_eq!(record["revision"], revision.as_str(), "{record}");
        assert!(
            record["duration_us"].is_u64() && record["time"].is_string(),
            "{record}"
        );
        assert!(
            record.get("caller").is_none(),
            "nobody is asked who they are: {record}"
        );
    }
    let [allowed, denied] = by_method["Check"].as_slice() else {
        panic!("{records:#?}");
    };
    assert_eq!(allowed["trace_id"], TRACE);
    assert_eq!(allowed["decision"], "allow");
    assert_eq!(allowed["level"], "everything");
    assert_eq!(allowed["user_id"], "u");
    assert_eq!(allowed["action"], "view");
    assert_eq!(allowed["resource_type"], "contact");
    assert_eq!(allowed["resource_id"], contacts[0].as_str());
    assert!(denied.get("trace_id").is_none(), "{denied}");
    assert_eq!(denied["decision"], "deny");
    assert_eq!(denied["reason"], "USER_UNKNOWN");
    let items: Vec<(u64, &str)> = by_method["BatchCheck"]
        .iter()
        .map(|item| {
            (
                item["item"].as_u64().unwrap(),
                item["decision"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(items, [(0, "allow"), (2, "deny")]);
    let outcome = |method: &str| {
        let [record] = by_method[method].as_slice() else {
            panic!("{method}: {records:#?}");
        };
        (
            record["asked"].as_u64(),
            record["accessible"].as_u64().unwrap(),
        )
    };
    assert_eq!(outcome("ListAccessible"), (None, 3));
    assert_eq!(outcome("FilterAccessible"), (Some(2), 1));
    assert_eq!(outcome("FilterAccessibleStream"), (Some(3), 3));
    assert_eq!(outcome("ListUsersWithAccess"), (None, 2));
    assert_eq!(
        outcome("ListActions").1,
        u64::try_from(actions.len()).unwrap()
    );
    assert_eq!(by_method["Explain"][0]["decision"], "allow");
    assert_eq!(by_method.len(), 8, "{records:#?}");
}

/// By default a log that is on holds a share; with nothing said it is off.
#[tokio::test]
async fn nothing_is_written_where_nothing_is_drawn() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("decisions.jsonl");
    let database = Database::new();
    let mut settings = whole(&path);
    settings[1].1 = "0";
    let clock = Arc::new(SystemClock::new());
    let server = TestServer::start_with(&database, clock, &settings).await;
    let contacts = names("c", 1);
    server.make_account("acme", &contacts).await;
    for _ in 0..50 {
        server
            .decisions()
            .check(check("acme", &contacts[0]))
            .await
            .unwrap();
    }
    server
        .decisions()
        .check(denied(&contacts[0]))
        .await
        .unwrap();
    server.stop().await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 1, "the denial alone: {text}");
    assert!(text.contains("USER_UNKNOWN"), "{text}");
}

/// The pipe has no reader, so that its writer hangs in opening it; no answer does.
#[tokio::test]
async fn answers_go_on_while_the_reader_of_the_log_is_stuck_and_the_loss_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let mut settings = whole(&path);
    settings.push(("decision_log_queue_records_max", "8"));
    let database = Database::new();
    let clock = Arc::new(SystemClock::new());
    let server = TestServer::start_with(&database, clock, &settings).await;
    let contacts = names("c", 1);
    server.make_account("acme", &contacts).await;
    for _ in 0..100 {
        server
            .decisions()
            .check(check("acme", &contacts[0]))
            .await
            .unwrap();
    }
    let text = scrape(&server).await;
    let dropped = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("ambit_decision_log_dropped_total{reason=\"queue_full\"} ")
        })
        .unwrap();
    let dropped: u32 = dropped.parse().unwrap();
    // All but what the queue holds, and what the thread has taken to write.
    assert!((50..=92).contains(&dropped), "{dropped}");
    // The control: with a reader the rest arrives, and the server ends in good order.
    let reading = std::thread::spawn(move || std::fs::read_to_string(path).unwrap());
    server.stop().await;
    let read = records(&reading.join().unwrap()).len();
    assert_eq!(read, 100 - usize::try_from(dropped).unwrap());
}

/// Tokens good and bad, the key of the pseudonyms, and what clients send beside: all of them used,
/// and in nothing that the server says, logs or measures. What is masked is not there either.
#[tokio::test]
async fn no_secret_and_nothing_masked_is_in_what_a_server_tells() {
    const KEY: &str = "key-of-the-pseudonyms-0123456789";
    let good = make(&[Role::Admin], &[]);
    let scene = Scene::with(&[&good]).await;
    let database = scene.stop().await;
    let arguments = [
        "--authentication",
        "required",
        "--decision-log",
        "stdout",
        "--decision-log-allow-ratio",
        "1",
        "--decision-log-deny-ratio",
        "1",
        "--decision-log-mask",
        "user_id,resource_id",
        "--log-format",
        "json",
        "--log-filter",
        "debug,ambit=trace",
    ];
    let environment = [("AMBIT_DECISION_LOG_MASK_KEY", KEY)];
    let served = Served::start(&database, &arguments, &environment).await;
    let forged = make(&[Role::Admin], &[]).text;
    let asked = wire::CheckRequest {
        user_id: "masked-user-4711".to_owned(),
        resource_facts: Some(wire::ResourceFacts {
            owners: vec!["masked-owner-4711".to_owned()],
            ..wire::ResourceFacts::default()
        }),
        ..check(MINE, "masked-contact-4711")
    };
    let mut client = served.decisions();
    client
        .check(with(asked.clone(), Some(&good.text)))
        .await
        .unwrap();
    client
        .check(with(asked.clone(), Some(&forged)))
        .await
        .unwrap_err();
    // A token where an id belongs is not repeated either.
    let misplaced = wire::CheckRequest {
        account_id: good.text.clone(),
        ..asked
    };
    client
        .check(with(misplaced, Some(&good.text)))
        .await
        .unwrap_err();
    until("the record is written", async || {
        served.metric("ambit_decision_log_written_total").await > 0.0
    })
    .await;
    let metrics = served.get("/metrics").await;
    drop(client);
    let ended = served.end().await;
    let records = records(&ended.stdout);
    let [record] = records.as_slice() else {
        panic!("{records:#?}");
    };
    assert_eq!(record["caller"], "token:test");
    assert_eq!(record["account_id"], MINE);
    assert_eq!(record["resource_facts"], true);
    for field in ["user_id", "resource_id"] {
        assert!(record[field].as_str().unwrap().starts_with('~'), "{record}");
    }
    assert!(!ended.stderr.is_empty(), "there is a log to look into");
    let secrets = [
        good.text.as_str(),
        forged.as_str(),
        KEY,
        "masked-user-4711",
        "masked-contact-4711",
        "masked-owner-4711",
    ];
    for (place, text) in [
        ("stdout", &ended.stdout),
        ("the log", &ended.stderr),
        ("the metrics", &metrics),
    ] {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in {place}");
        }
    }
}
