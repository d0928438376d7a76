//! What the server measures of itself: the metrics that `docs/observability.md` lists and no others,
//! in a form that Prometheus takes, and nothing in them that is a customer's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::grpc::names;
use crate::grpc::server::{TestServer, check};

async fn scrape(server: &TestServer) -> String {
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
        .filter_map(|line| line.strip_prefix("| `ambit_"))
        .map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let name = cells.next().unwrap().trim_end_matches('`');
            (format!("ambit_{name}"), cells.next().unwrap().to_owned())
        })
        .collect()
}

/// Gauges whose unit is what they are named for.
const COUNTED_THINGS: &[&str] = &[
    "ambit_calls_in_flight",
    "ambit_connections",
    "ambit_feed_mode",
    "ambit_graph_accounts",
    "ambit_streams_open",
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
    let measured: BTreeMap<String, String> = kinds
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()))
        .collect();
    assert_eq!(measured, documented);
    let helped = told(&text, "# HELP ");
    for (name, kind) in &kinds {
        assert!(helped.contains_key(name), "{name} is not described");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
        let has_unit = ["_seconds", "_bytes", "_ratio", "_total"]
            .iter()
            .any(|unit| name.ends_with(unit));
        assert!(
            has_unit || COUNTED_THINGS.contains(name),
            "{name} names no unit"
        );
    }
    let labels: BTreeSet<&str> = series(&text)
        .keys()
        .filter_map(|name| name.split_once('{')?.1.split_once('='))
        .map(|(label, _)| label)
        .collect();
    assert_eq!(labels, ["channel", "how", "le", "mode", "of"].into());
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
