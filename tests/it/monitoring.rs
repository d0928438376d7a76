//! The dashboard and the alert rules of the chart name only what is measured and explained. That the
//! rules fire when they should is tried by `tests/chart`.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::grpc::names;
use crate::grpc::server::{TestServer, check};
use crate::metrics::scrape;

const ALERTS: &str = "helm/ambit/files/alerts.yaml";
const DASHBOARD: &str = "helm/ambit/files/dashboard.json";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a name of a query begins with if it is a metric of ours.
const PREFIXES: [&str; 2] = ["ambit_", "process_"];

/// The metrics that a query names, without the words inside of quotes.
fn metrics_of(query: &str) -> BTreeSet<String> {
    let unquoted: String = query.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    unquoted
        .split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix)))
        .map(str::to_owned)
        .collect()
}

/// All values of the given keys, however deep.
fn values_of<'a>(document: &'a Value, keys: &[&str], found: &mut Vec<&'a str>) {
    match document {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(text) if keys.contains(&key.as_str()) => found.push(text),
                    _ => values_of(value, keys, found),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                values_of(item, keys, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn alerts() -> Value {
    serde_saphyr::from_str(&read(ALERTS)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).unwrap()
}

/// The metrics of the queries of a file.
fn watched(document: &Value, keys: &[&str]) -> BTreeSet<String> {
    let mut queries = Vec::new();
    values_of(document, keys, &mut queries);
    queries.iter().flat_map(|query| metrics_of(query)).collect()
}

/// The names that a query may have of what `/metrics` says: those of the kinds, and of a histogram
/// its parts.
fn askable(metrics: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in metrics.lines() {
        let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        match kind {
            "histogram" => {
                names.extend(["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")));
            }
            _ => {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

#[tokio::test]
async fn what_is_watched_is_measured() {
    let server = TestServer::start().await;
    let contacts = names("c", 2);
    server.make_account("acme", &contacts).await;
    let request = check("acme", &contacts[0]);
    server.decisions().check(request).await.unwrap();
    let askable = askable(&scrape(&server).await);
    let by_alerts = watched(&alerts(), &["expr"]);
    let on_dashboard = watched(&dashboard(), &["expr", "query"]);
    for (file, watched) in [(ALERTS, &by_alerts), (DASHBOARD, &on_dashboard)] {
        assert!(watched.len() > 10, "{file}: its queries were not found");
        let missing: Vec<&String> = watched.difference(&askable).collect();
        assert!(
            missing.is_empty(),
            "{file} asks for what is not measured: {missing:?}"
        );
    }
    // What somebody is woken for can be looked at.
    let unseen: Vec<&String> = by_alerts.difference(&on_dashboard).collect();
    assert!(unseen.is_empty(), "not on the dashboard: {unseen:?}");
}

#[test]
fn names_in_queries_are_found() {
    let query = "sum by (le) (rate(ambit_x_bucket{method=\"ambit.v1.Y/ambit_z\"}[5m])) / on (job) process_a > ambit_b";
    let expected = ["ambit_b", "ambit_x_bucket", "process_a"];
    assert_eq!(metrics_of(query), expected.map(str::to_owned).into());
}

/// Each alert is tried by a unit test of the rules, and the one who is woken finds what to do.
#[test]
fn alerts_are_tried_and_explained() {
    let alerts = alerts();
    let mut names = Vec::new();
    values_of(&alerts, &["alert"], &mut names);
    assert!(names.len() > 10, "the rules were not found");
    let cases = read("tests/alerts.yaml");
    let manual = read("docs/operations.md");
    for name in names {
        let tried = cases.contains(&format!("alertname=\"{name}\""));
        assert!(tried, "{name} is in no case of tests/alerts.yaml");
        let explained = manual
            .lines()
            .any(|line| line.trim_start_matches('#').trim() == name);
        assert!(explained, "{name} has no section in docs/operations.md");
    }
}
