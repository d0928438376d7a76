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

/// S4.16, S4.17, D3 and D11, by cases that write on behalf of a user.
#[test]
fn s4_16_s4_17_the_grant_ceiling_holds_on_the_example_of_reports() {
    run("on-behalf.yaml");
}

/// The control: a case that expects the ceiling to do something else fails and tells what it did; one
/// whose write is refused, or that tells of no write, is no case that passes.
#[test]
fn s4_16_a_case_that_expects_something_else_of_the_ceiling_fails() {
    let text = std::fs::read_to_string(folder().join("on-behalf.yaml")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let text = text.replacen(from, to, 1);
        let documents = parse_file(&text, &mut |path| Err(path.to_owned()))?;
        let results = Cases::new(&documents[0])?.run_all(now());
        let failed = results.into_iter().filter(|result| !result.passed);
        Ok::<_, ambit::authz::document::DocumentError>(failed.collect::<Vec<_>>())
    };
    let withheld =
        "withheld: [\"user luca: report.view at everything, of the permission set analysts\"]";
    let failed = with(withheld, "withheld: []").unwrap();
    assert_eq!(failed.len(), 1);
    assert!(failed[0].expected.ends_with("; withheld []; kept []"));
    let told = "; withheld [user luca: report.view at everything, of the permission set analysts]; kept []";
    assert!(failed[0].actual.ends_with(told), "{failed:?}");
    let asked = "apply: {as: petra, users: [{id: luca, permission_sets: [analysts]}]}";
    let own = "apply: {as: petra, users: [{id: petra, permission_sets: [analysts]}]}";
    let failed = with(asked, own).unwrap();
    assert!(
        failed[0].actual.contains("`apply` is refused: line "),
        "{failed:?}"
    );
    let failed = with(asked, "apply: {as: nobody, users: [{id: luca}]}").unwrap();
    assert!(
        failed[0].actual.contains("`apply` is refused: "),
        "{failed:?}"
    );
    let error = with(asked, "given: {}").unwrap_err();
    assert!(error.problem.contains("there is none"), "{error}");
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
