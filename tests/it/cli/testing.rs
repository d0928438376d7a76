//! `ambit test`: documents and their cases, without a server.

use std::fs;

use tempfile::tempdir;

use super::account::ACME;
use super::program::{ambit, run, run_with_input};

#[test]
fn cases_that_hold_end_with_0() {
    let ran = run_with_input(&mut ambit(["test", "-"]), ACME).ends(0);
    assert_eq!(ran.lines().len(), 4, "a line a case and the sum: {ran:?}");
    assert!(
        ran.stdout.contains("ok   acme: S2.8 down the tree"),
        "{ran:?}"
    );
    assert!(ran.stdout.ends_with("3 passed, 0 failed\n"), "{ran:?}");
}

#[test]
fn a_wrong_expectation_ends_with_1_and_is_explained() {
    let wrong = ACME
        .replace("reason: PARENT_TEAM", "reason: TEAM")
        .replace("expect: [c1, c3]", "expect: [c1, c4]");
    let ran = run_with_input(&mut ambit(["test", "-"]), &wrong).ends(1);
    assert!(ran.stdout.ends_with("1 passed, 2 failed\n"), "{ran:?}");
    assert!(
        ran.stdout.contains("FAIL acme: S2.8 down the tree (-:18)"),
        "{ran:?}"
    );
    assert!(
        ran.stdout
            .contains("expected decision: allow, reason: TEAM"),
        "{ran:?}"
    );
    assert!(
        ran.stdout
            .contains("actual   decision: allow, reason: PARENT_TEAM"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("missing: [c4]"), "{ran:?}");
    assert!(ran.stdout.contains("unexpected: [c3]"), "{ran:?}");
    // Why c3 is on the list: by the wall's team.
    assert!(
        ran.stdout.contains("team:de"),
        "the failure is explained: {ran:?}"
    );
}

#[test]
fn a_file_that_is_not_valid_ends_with_2_and_the_others_still_run() {
    let directory = tempdir().unwrap();
    let good = directory.path().join("good.yaml");
    let bad = directory.path().join("bad.yaml");
    fs::write(&good, ACME).unwrap();
    for (text, place) in [
        (
            ACME.replace("main_team: eu,", "main_team: nowhere,"),
            "line 9",
        ),
        (ACME.replace("contact.view c1", "contact.fly c1"), "line 18"),
        ("account: [".to_owned(), "line 1"),
    ] {
        fs::write(&bad, text).unwrap();
        let ran = run(ambit(["test"]).arg(&bad).arg(&good)).ends(2);
        assert!(
            ran.stdout.contains("3 passed, 0 failed, 1 files not valid"),
            "{ran:?}"
        );
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert!(
            ran.stderr.contains("bad.yaml: ") && ran.stderr.contains(place),
            "{ran:?}"
        );
    }
}

#[test]
fn results_come_as_json_and_as_junit() {
    let wrong = ACME.replace("reason: PARENT_TEAM", "reason: TEAM");
    let ran = run_with_input(&mut ambit(["test", "-", "--output", "json"]), &wrong).ends(1);
    let report = ran.json();
    assert_eq!(
        (&report["passed"], &report["failed"]),
        (&2.into(), &1.into())
    );
    let case = &report["files"][0]["cases"][0];
    assert_eq!(case["name"], "S2.8 down the tree");
    assert_eq!(case["line"], 18);
    assert_eq!(case["passed"], false);
    assert!(case["explanation"].is_string());

    let ran = run_with_input(&mut ambit(["test", "-", "--output", "junit"]), &wrong).ends(1);
    assert!(ran.stdout.starts_with("<?xml"), "{ran:?}");
    assert!(
        ran.stdout
            .contains("tests=\"3\" failures=\"1\" errors=\"0\""),
        "{ran:?}"
    );
    assert_eq!(ran.stdout.matches("<testcase").count(), 3);
}

#[test]
fn a_catalog_of_ones_own_lies_beside_the_document() {
    let directory = tempdir().unwrap();
    fs::write(
        directory.path().join("own.yaml"),
        "catalog: own\nversion: 1\ndescription: One type.\nimplications: {}\ntool_level_actions: []\nread_only_actions: [view]\nno_view: lock\nplans: {all: {}}\ntypes: [{names: [thing], actions: [view]}]\n",
    )
    .unwrap();
    let document = directory.path().join("account.yaml");
    fs::write(
        &document,
        "account: a\ncatalog: own.yaml\nplan: all\nusers: [{id: u, grants: {thing.view: owned}}]\ncases: [{name: n, user: u, check: thing.view, expect: {reason: TOOL}}]\n",
    )
    .unwrap();
    run(ambit(["test"]).arg(&document).current_dir("/")).ends(0);
    fs::remove_file(directory.path().join("own.yaml")).unwrap();
    let ran = run(ambit(["test"]).arg(&document)).ends(2);
    assert!(ran.stderr.contains("own.yaml"), "{ran:?}");
}
