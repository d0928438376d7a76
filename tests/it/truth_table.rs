//! The truth table of the rule book (`domain.md` 3.7) and the cases beside it, as account documents
//! in `tests/cases/`. A failure names the case, and with it the row or the rule.

use std::path::{Path, PathBuf};

use ambit::authz::document::{Cases, Document, parse_file};
use ambit::authz::model::Timestamp;

/// The clock of the cases that name no time of their own.
fn now() -> Timestamp {
    Timestamp::parse("2026-11-22T00:00:00Z").expect("a time")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn documents(file: &str) -> Vec<Document> {
    let text = std::fs::read_to_string(folder().join(file)).expect("a file of cases");
    let mut load = |path: &str| {
        std::fs::read_to_string(folder().join(path)).map_err(|error| error.to_string())
    };
    parse_file(&text, &mut load).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Runs all cases of a file and tells every one that fails; the names of all.
fn run(file: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut failures = Vec::new();
    for document in documents(file) {
        let cases = Cases::new(&document).unwrap_or_else(|error| panic!("{file}: {error}"));
        for result in cases.run_all(now()) {
            if !result.passed {
                failures.push(format!(
                    "{file} {}: {}\n  expected {}\n  actual   {}\n  {}",
                    result.place,
                    result.name,
                    result.expected,
                    result.actual,
                    result.explanation.unwrap_or_default()
                ));
            }
            names.push(result.name);
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases failed\n{}",
        failures.len(),
        names.len(),
        failures.join("\n")
    );
    names
}

#[test]
fn every_row_of_the_truth_table_holds() {
    let names = run("truth-table.yaml");
    for row in 1..=60 {
        let prefix = format!("row_{row:02} ");
        assert!(
            names.iter().any(|name| name.starts_with(&prefix)),
            "no case proves {prefix}"
        );
    }
}

#[test]
fn steps_1_to_4_hold_in_their_corners() {
    run("more-steps.yaml");
}

#[test]
fn grants_and_implications_hold_in_their_corners() {
    run("more-grants.yaml");
}

#[test]
fn walls_and_levels_hold_in_their_corners() {
    run("more-objects.yaml");
}

#[test]
fn always_derived_and_bundled_actions_hold() {
    run("more-brevo.yaml");
}

#[test]
fn access_groups_hold() {
    run("more-ipresso.yaml");
}

#[test]
fn lists_and_their_inverses_hold() {
    run("more-lists.yaml");
}

#[test]
fn memberships_for_a_time_hold() {
    run("more-memberships.yaml");
}

#[test]
fn levels_of_derived_and_always_allowed_actions_hold() {
    run("more-tiny.yaml");
}

/// A case that nothing runs proves nothing.
#[test]
fn every_file_of_cases_is_run() {
    let source = include_str!("truth_table.rs");
    for entry in std::fs::read_dir(folder()).expect("the folder of cases") {
        let name = entry.expect("a file").file_name();
        let name = name.to_str().expect("a name");
        assert!(
            name.ends_with("-catalog.yaml") || source.contains(&format!("\"{name}\"")),
            "no test runs {name}"
        );
    }
}
