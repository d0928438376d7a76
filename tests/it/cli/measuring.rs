//! `ambit bench`: figures beside the ceiling, after the answers were found right.

use ambit::store::postgres::PostgresStore;
use serde_json::Value;

use super::account::ACME;
use super::program::{Home, Server, ambit, run};

fn assert_figures(report: &Value) {
    let measurements = report["measurements"].as_array().unwrap();
    for work in ["Check", "BatchCheck(100)", "ListAccessible all"] {
        let measurement = measurements
            .iter()
            .find(|measurement| measurement["work"] == work)
            .unwrap_or_else(|| panic!("{work} is not in {report}"));
        assert!(
            measurement["ratio"].as_f64().unwrap() > 0.0,
            "{measurement}"
        );
        for side in ["server", "ceiling"] {
            let figures = &measurement[side];
            assert!(
                figures["per_second"].as_f64().unwrap() > 0.0,
                "{measurement}"
            );
            let percentile = |name: &str| figures[name].as_f64().unwrap();
            assert!(
                percentile("p50_us") <= percentile("p99_us"),
                "{measurement}"
            );
            assert!(
                percentile("p99_us") <= percentile("p99_9_us"),
                "{measurement}"
            );
        }
    }
}

#[test]
fn a_generated_account_is_verified_and_measured() {
    let mut bench = ambit([
        "bench",
        "--contacts",
        "500",
        "--users",
        "20",
        "--rounds",
        "1",
    ]);
    bench.args(["--seconds", "0.02", "--streams", "1,2", "--output", "json"]);
    let report = run(&mut bench).ends(0).json();
    assert!(report["verified_answers"].as_u64().unwrap() > 5_000);
    assert_eq!(report["data_set"]["contacts"], 500);
    assert!(
        report["data_set"]["graph_bytes_per_contact"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    assert_figures(&report);
}

/// On Postgres alone: the embedded store has no notifications to compare with.
#[test]
fn two_replicas_on_postgres_are_measured() {
    let database = crate::postgres::cluster::Database::empty();
    let sizes = ["--contacts", "300", "--users", "20", "--rounds", "1"];
    let mut bench = ambit(["bench", "--database-url", database.url()]);
    bench
        .args(sizes)
        .args(["--seconds", "0.3", "--streams", "2"]);
    let report = run(bench.args(["--output", "json"])).ends(0).json();
    let import = &report["import"];
    assert_eq!(import["checks"]["failed"], 0, "{report}");
    assert!(import["checks"]["count"].as_u64().unwrap() > 0, "{report}");
    // What psql copies is what was imported: each contact, its owner and its groups.
    assert_eq!(report["cold_load"]["rows"], import["database_rows"]);
    for (part, figure) in [
        ("cold_load", "ratio"),
        ("commit_to_visible", "p99_ms"),
        ("commit_to_visible", "notify_p99_ms"),
        ("checks_under_writes", "commits_per_second"),
    ] {
        assert!(report[part][figure].as_f64().unwrap() > 0.0, "{report}");
    }
    // The account is gone, so the next run finds the database as this one did.
    let more = ["--seconds", "0.01", "--streams", "1"];
    let mut again = ambit(["bench", "--database-url", database.url()]);
    run(again.args(sizes).args(more)).ends(0);
}

/// An account that is there is loaded and stays; one that is not is an error, not an empty one.
#[tokio::test]
async fn the_load_of_an_account_on_postgres_is_measured_alone() {
    let database = crate::postgres::cluster::Database::empty();
    PostgresStore::migrate(database.url()).await.unwrap();
    let home = Home::new();
    let document = home.path().join("acme.yaml");
    std::fs::write(&document, ACME).unwrap();
    let mut apply = ambit(["apply", "--database-url", database.url()]);
    run(apply.arg(&document)).ends(0);
    for _ in 0..2 {
        let mut bench = ambit(["bench", "--database-url", database.url()]);
        bench.args(["--account", "acme", "--output", "json"]);
        let report = run(&mut bench).ends(0).json();
        assert!(report["rows"].as_u64().unwrap() > 0, "{report}");
        assert!(report["ratio"].as_f64().unwrap() > 0.0, "{report}");
    }
    let mut nobody = ambit(["bench", "--database-url", database.url()]);
    run(nobody.args(["--account", "nobody"])).ends(4);
    run(&mut ambit(["bench", "--account", "acme"])).ends(2);
}

#[test]
fn an_account_of_a_server_is_measured_too() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let mut bench = ambit(["bench", "--account", "acme", "--question", "contact.view"]);
    bench.args(["--server", &server.url, "--rounds", "1", "--streams", "1"]);
    bench.args(["--seconds", "0.02", "--output", "json"]);
    let report = run(&mut bench).ends(0).json();
    assert!(report["data_set"].is_null());
    assert_figures(&report);
}
