//! What the server measures of itself: the metrics that `docs/observability.md` lists and no others,
//! in a form that Prometheus takes, and nothing in them that is a customer's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ambit::grpc::wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::grpc::names;
use crate::grpc::server::{TestServer, check};

/// What `/metrics` says.
pub async fn scrape(server: &TestServer) -> String {
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    body.to_owned()
}

/// Series as they are written, with their values.
fn series(text: &str) -> BTreeMap<&str, f64> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name, value.parse().unwrap())
        })
        .collect()
}

/// Names with their kinds, from one sort of comment.
fn told<'a>(text: &'a str, mark: &str) -> BTreeMap<&'a str, &'a str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(mark)?.split_once(' '))
        .collect()
}

/// Names with their kinds, from the table of the documentation.
fn documented() -> BTreeMap<String, String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observability.md");
    let text = std::fs::read_to_string(page).unwrap();
    text.lines()
        .filter(|line| line.starts_with("| `ambit_") || line.starts_with("| `process_"))
        .map(|row| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            let name = cells.next().unwrap().trim_matches('`');
            (name.to_owned(), cells.next().unwrap().to_owned())
        })
        .collect()
}

/// What is counted in things, or says which of several holds.
const COUNTS: &[&str] = &[
    "ambit_build_info",
    "ambit_calls_arriving",
    "ambit_calls_in_flight",
    "ambit_connections",
    "ambit_feed_mode",
    "ambit_graph_accounts",
    "ambit_graph_resources",
    "ambit_graph_users",
    "ambit_outbox_depth",
    "ambit_ready",
    "ambit_segment_accounts_behind",
    "ambit_streams_open",
    "process_max_fds",
    "process_open_fds",
    "process_threads",
];

#[tokio::test]
async fn what_is_measured_is_what_is_documented_and_named_by_the_rules() {
    let server = TestServer::start().await;
    let contacts = names("c", 3);
    server.make_account("acme", &contacts).await;
    let request = check("acme", &contacts[0]);
    server.decisions().check(request).await.unwrap();
    let text = scrape(&server).await;
    let kinds = told(&text, "# TYPE ");
    let documented = documented();
    assert!(documented.len() > 5, "the table was not found");
    // The series of an outcome that did not come about yet is not there; those of the process are
    // what its operating system tells.
    let measured: BTreeMap<String, String> = kinds
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()))
        .collect();
    assert_eq!(measured, documented);
    let helped = told(&text, "# HELP ");
    for (name, kind) in &kinds {
        assert!(helped.contains_key(name), "{name} is not described");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
        let has_unit = ["_seconds", "_bytes", "_ratio", "_total", "_bytes_max"]
            .iter()
            .any(|unit| name.ends_with(unit));
        assert!(has_unit || COUNTS.contains(name), "{name} names no unit");
    }
    let labels: BTreeSet<&str> = series(&text)
        .keys()
        .filter_map(|name| Some(name.split_once('{')?.1.trim_end_matches('}')))
        .flat_map(|labels| labels.split(','))
        .filter_map(|label| label.split_once('='))
        .map(|(label, _)| label)
        .collect();
    let known = [
        "channel", "code", "decision", "how", "le", "method", "mode", "name", "of", "outcome",
        "reason", "signal", "version",
    ];
    assert_eq!(labels, known.into());
    for theirs in ["acme", "sa", &contacts[0]] {
        let quoted = format!("\"{theirs}\"");
        assert!(!text.contains(&quoted), "{quoted} in {text}");
    }
}

/// Each server in a process measures itself, and what it tells is what happened.
#[tokio::test]
async fn each_server_counts_its_own() {
    let server = TestServer::start().await;
    let other = TestServer::start().await;
    let contacts = names("c", 3);
    for account in ["acme", "other"] {
        server.make_account(account, &contacts).await;
        let request = check(account, &contacts[0]);
        server.decisions().check(request).await.unwrap();
    }
    let (text, nothing) = (scrape(&server).await, scrape(&other).await);
    let (busy, idle) = (series(&text), series(&nothing));
    assert!(busy["ambit_graph_loads_total"] >= 2.0);
    assert_eq!(busy["ambit_graph_accounts"], 2.0);
    assert!(busy["ambit_graph_bytes"] > 0.0);
    for name in ["ambit_graph_loads_total", "ambit_graph_accounts"] {
        assert_eq!(idle[name], 0.0, "{name}");
    }
    for series in [&busy, &idle] {
        let lag = series["ambit_feed_lag_seconds"];
        assert!((0.0..=2.0).contains(&lag), "{lag}");
        assert!(series["ambit_feed_passes_total"] >= 1.0);
        let modes = ["notify", "poll"]
            .map(|mode| series[format!("ambit_feed_mode{{mode=\"{mode}\"}}").as_str()]);
        assert_eq!(modes.iter().sum::<f64>(), 1.0, "one mode at a time");
    }
}

/// Every call is counted once, under its method and the code with which it ended: unary and
/// streamed, refused, and of a method that no service has, whose name is the caller's and in no
/// label.
#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let server = TestServer::start().await;
    let contacts = names("c", 3);
    server.make_account("acme", &contacts).await;
    for _ in 0..5 {
        let request = check("acme", &contacts[0]);
        server.decisions().check(request).await.unwrap();
    }
    let nowhere = check("nowhere", &contacts[0]);
    server.decisions().check(nowhere).await.unwrap_err();
    let list = wire::ListAccessibleRequest {
        account_id: "acme".to_owned(),
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        ..wire::ListAccessibleRequest::default()
    };
    let mut chunks = server
        .decisions()
        .list_accessible(list)
        .await
        .unwrap()
        .into_inner();
    while chunks.message().await.unwrap().is_some() {}
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = "/acme.Secret/Check".parse().unwrap();
    client
        .unary(tonic::Request::new(()), path, codec)
        .await
        .unwrap_err();
    // A call is counted when its answer has left, which the client may see a moment earlier.
    let expected = [
        ("ambit.v1.DecisionService/Check", "OK", 5.0),
        ("ambit.v1.DecisionService/Check", "NOT_FOUND", 1.0),
        ("ambit.v1.DecisionService/ListAccessible", "OK", 1.0),
        ("other", "UNIMPLEMENTED", 1.0),
    ];
    let mut text = String::new();
    for _ in 0..100 {
        text = scrape(&server).await;
        if expected
            .iter()
            .all(|(method, code, count)| series(&text).get(&*calls(method, code)) == Some(count))
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let series = series(&text);
    for (method, code, count) in expected {
        assert_eq!(series.get(&*calls(method, code)), Some(&count), "{method}");
    }
    assert!(!text.contains("acme"), "{text}");
}

fn calls(method: &str, code: &str) -> String {
    format!("ambit_grpc_request_duration_seconds_count{{method=\"{method}\",code=\"{code}\"}}")
}

/// Each decision is counted under its answer and reason, those of batches and filters one by one.
#[tokio::test]
async fn decisions_are_counted_by_answer_and_reason() {
    let server = TestServer::start().await;
    let contacts = names("c", 10);
    server.make_account("acme", &contacts).await;
    let ask = |user: &str| wire::BatchCheckItem {
        user_id: user.to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_id: contacts[0].clone(),
        ..wire::BatchCheckItem::default()
    };
    let batch = wire::BatchCheckRequest {
        account_id: "acme".to_owned(),
        items: vec![ask("sa"), ask("u"), ask("u"), ask("nobody")],
        ..wire::BatchCheckRequest::default()
    };
    server.decisions().batch_check(batch).await.unwrap();
    let filter = wire::FilterAccessibleRequest {
        account_id: "acme".to_owned(),
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_ids: contacts
            .iter()
            .cloned()
            .chain(["gone".to_owned()])
            .collect(),
        ..wire::FilterAccessibleRequest::default()
    };
    server.decisions().filter_accessible(filter).await.unwrap();
    let text = scrape(&server).await;
    let series = series(&text);
    for (method, decision, reason, count) in [
        ("BatchCheck", "allow", "SUPER_ADMIN", 1.0),
        ("BatchCheck", "allow", "EVERYTHING", 2.0),
        ("BatchCheck", "deny", "USER_UNKNOWN", 1.0),
        ("FilterAccessible", "allow", "EVERYTHING", 10.0),
        ("FilterAccessible", "deny", "RESOURCE_NOT_FOUND", 1.0),
    ] {
        let name = format!(
            "ambit_decisions_total{{method=\"{method}\",decision=\"{decision}\",reason=\"{reason}\"}}"
        );
        assert_eq!(series.get(&*name), Some(&count), "{name} in {text}");
    }
}

/// `promtool` of Prometheus itself reads the metrics and finds nothing to say; text that breaks its
/// rules it does find fault with.
#[tokio::test]
async fn promtool_finds_nothing_to_say() {
    let server = TestServer::start().await;
    let contacts = names("c", 3);
    server.make_account("acme", &contacts).await;
    server
        .decisions()
        .check(check("acme", &contacts[0]))
        .await
        .unwrap();
    let text = scrape(&server).await;
    let (is_clean, said) = promtool(&text);
    assert!(is_clean, "{said}\n{text}");
    let (is_clean, _) = promtool("# TYPE tries counter\ntries 1\n");
    assert!(!is_clean, "promtool finds fault with nothing");
}

fn promtool(text: &str) -> (bool, String) {
    // Where tests/setup puts it; else one that is installed.
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap_or("/tmp".into())).join(".cache"),
        Into::into,
    );
    let kept = cache.join("ambit-tools/prometheus/promtool");
    let program = if kept.is_file() {
        kept
    } else {
        "promtool".into()
    };
    let mut running = Command::new(program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: run tests/setup");
    let mut input = running.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let ended = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned()
        + &String::from_utf8_lossy(&ended.stdout);
    (ended.status.success(), said)
}
