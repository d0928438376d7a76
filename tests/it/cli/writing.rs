//! Writing and reading whole accounts, on a server and beside one; and the doctor.

use std::fs;

use serde_json::Value;

use super::account::ACME;
use super::program::{Home, Server, ambit, run, run_with_input};
use crate::database;

#[test]
fn apply_prints_what_it_did_and_applying_again_changes_nothing() {
    let home = Home::new();
    let server = Server::start(&home);
    let document = "account: a\ncatalog: brevo\nplan: free\nusers: [{id: u}]\n";
    let first = server.run_with_input(["apply", "-"], document).ends(0);
    assert!(
        first.stdout.starts_with("a: 2 entities changed, revision "),
        "{first:?}"
    );
    let again = server.run_with_input(["apply", "-"], document).ends(0);
    assert!(
        again.stdout.starts_with("a: nothing to change, revision "),
        "{again:?}"
    );
    let revision = |ran: &str| ran.rsplit(' ').next().unwrap().trim().to_owned();
    assert_eq!(revision(&first.stdout), revision(&again.stdout));
}

#[test]
fn nothing_is_written_where_one_of_the_files_is_not_valid() {
    let home = Home::new();
    let server = Server::start(&home);
    let good = home.path().join("good.yaml");
    let bad = home.path().join("bad.yaml");
    fs::write(&good, "account: good\ncatalog: brevo\nplan: free\n").unwrap();
    for (text, place) in [
        (
            "account: bad\ncatalog: brevo\nplan: free\ncolour: red\n",
            "bad.yaml: line 4",
        ),
        (
            "account: bad\ncatalog: brevo\nplan: nosuch\n",
            "bad.yaml: line 3",
        ),
        // Only the server can tell this one.
        (
            "account: bad\ncatalog: brevo\nplan: free\nusers:\n  - {id: u, main_team: x}\n",
            "bad.yaml: line 5",
        ),
    ] {
        fs::write(&bad, text).unwrap();
        let mut apply = server.command(["apply"]);
        let ran = run(apply.arg(&good).arg(&bad));
        assert_ne!(ran.status, 0);
        ran.complains(place);
        let check = server.run(["check", "good", "u", "contact.view"]);
        check.ends(4).complains("ACCOUNT_NOT_FOUND");
    }
    let mut apply = server.command(["apply"]);
    run(apply.arg(&good).arg(home.path().join("absent.yaml")))
        .ends(2)
        .complains("absent.yaml");
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let change = "account: acme\nusers: [{id: new}, {id: no1, main_team: de}]\n";
    let dry = server
        .run_with_input(["apply", "-", "--dry-run"], change)
        .ends(0);
    assert_eq!(
        dry.lines(),
        [
            "acme: 2 entities would change",
            "  create user new",
            "  update user no1: main_team",
            "access:",
            "  nobody gains or loses access"
        ]
    );
    assert!(dry.stderr.contains("nothing was written"), "{dry:?}");
    let check = server.run(["check", "acme", "new", "contact.view"]).ends(1);
    assert!(check.stdout.contains("USER_UNKNOWN"), "{check:?}");
}

#[test]
fn prune_removes_what_the_document_does_not_name() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let smaller = ACME.replace("  - {id: no1}\n", "");
    let without = server.run_with_input(["apply", "-"], &smaller).ends(0);
    assert!(without.stderr.is_empty());
    let kept = server.run(["check", "acme", "no1", "contact.view"]).ends(1);
    assert!(
        kept.stdout.contains("NO_PERMISSION"),
        "without --prune nothing goes: {kept:?}"
    );
    let pruned = ["apply", "-", "--prune", "--output", "json"];
    let answer = server.run_with_input(pruned, &smaller).ends(0).json();
    let deleted: Vec<&Value> = answer["accounts"][0]["summary"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["verb"] == "delete")
        .collect();
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0]["id"], "no1");
    let gone = server.run(["check", "acme", "no1", "contact.view"]).ends(1);
    assert!(gone.stdout.contains("USER_UNKNOWN"), "{gone:?}");
}

#[test]
fn an_export_applied_into_an_empty_store_gives_an_equal_account() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let exported = server.run(["export", "acme"]).ends(0).stdout;
    let as_json = server
        .run(["export", "acme", "--output", "json"])
        .ends(0)
        .stdout;
    assert_eq!(as_json.lines().count(), 1);

    let other = Home::migrated();
    run_with_input(ambit(["apply", "-"]).args(other.database()), &exported).ends(0);
    let again = run(ambit(["export", "acme"]).args(other.database())).ends(0);
    assert_eq!(again.stdout, exported);

    // The JSON form is a document as well.
    let third = Home::migrated();
    run_with_input(ambit(["apply", "-"]).args(third.database()), &as_json).ends(0);
    let again = run(ambit(["export", "acme"]).args(third.database())).ends(0);
    assert_eq!(again.stdout, exported);
}

/// C12: walls that the present plan would not let be raised any more are exported and come back.
#[test]
fn a_downgraded_account_is_exported_in_two_documents_that_apply_takes() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(
        "account: acme\ncatalog: hubspot\nplan: enterprise\nteams: [{id: de}]\nresources: [{type: email, id: e1, assigned_to: [team:de]}]\n",
    );
    server.apply("account: acme\nplan: starter\n");
    let exported = server.run(["export", "acme"]).ends(0).stdout;
    assert_eq!(exported.matches("account: acme").count(), 2, "{exported}");
    let other = Home::migrated();
    for prune in [&[] as &[&str], &["--prune"]] {
        let mut apply = ambit(["apply", "-"]);
        run_with_input(apply.args(other.database()).args(prune), &exported).ends(0);
        let again = run(ambit(["export", "acme"]).args(other.database())).ends(0);
        assert_eq!(again.stdout, exported);
    }
}

#[test]
fn a_store_is_written_beside_the_server_that_runs_on_it() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    server.run(["check", "acme", "no1", "contact.view"]).ends(1);
    let change = "account: acme\nusers: [{id: no1, grants: {contact.view: everything}}]\n";
    let mut apply = ambit(["apply", "-", "--output", "json"]);
    let ran = run_with_input(apply.args(home.database()), change).ends(0);
    let answer = ran.json();
    let revision = answer["accounts"][0]["revision"].as_str().unwrap();
    let fresh = [
        "check",
        "acme",
        "no1",
        "contact.view",
        "--at-least-as-fresh",
        revision,
    ];
    server.run(fresh).ends(0);
}

#[test]
fn places_that_are_none_are_refused() {
    let home = Home::new();
    let absent = home.path().join("absent");
    let mut export = ambit(["export", "acme", "--data-dir"]);
    run(export.arg(&absent)).ends(2).complains("absent");
    assert!(!absent.exists(), "an export makes no store");
    let two = [
        "export",
        "acme",
        "--data-dir",
        ".",
        "--database-url",
        "postgres://x/y",
    ];
    run(&mut ambit(two))
        .ends(2)
        .complains("cannot be used with");
    let mut serve = ambit(["serve", "--database-url", "mysql://u:s3cr@localhost/ambit"]);
    run(serve.current_dir(home.path()))
        .ends(2)
        .complains("must be a URL");
}

#[test]
fn the_doctor_finds_nothing_with_a_server_that_runs() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let mut doctor = server.command(["doctor", "--output", "json"]);
    let ran = run(doctor.args(home.database()).current_dir(home.path())).ends(0);
    let answer = ran.json();
    assert_eq!(answer["problems"], 0);
    let place = match database::kind() {
        database::Kind::Sqlite => "data directory",
        database::Kind::Postgres => "database server",
    };
    for check in [
        "configuration",
        place,
        "database",
        "open files",
        "server",
        "clock",
        "caller",
    ] {
        let found = answer["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|finding| finding["check"] == check);
        assert!(found, "{check}: {answer}");
    }
}

#[test]
fn the_doctor_says_what_to_do_about_each_problem() {
    let home = Home::new();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(
        data.join("ambit.db"),
        "this is no database, not at all, and long enough to tell",
    )
    .unwrap();
    let mut doctor = ambit([
        "doctor",
        "--output",
        "json",
        "--server",
        "127.0.0.1:1",
        "--data-dir",
    ]);
    let ran = run(doctor.arg(&data).current_dir(home.path())).ends(1);
    let answer = ran.json();
    let findings = answer["findings"].as_array().unwrap();
    for check in ["database", "server"] {
        let finding = findings
            .iter()
            .find(|finding| finding["check"] == check)
            .unwrap();
        assert_eq!(finding["verdict"], "problem", "{finding}");
        assert!(finding["remedy"].is_string(), "{finding}");
    }
    let mut doctor = ambit([
        "doctor",
        "--server",
        "127.0.0.1:1",
        "--cache-bytes-max",
        "some",
    ]);
    let ran = run(doctor.current_dir(home.path())).ends(1);
    assert!(ran.stdout.contains("--cache-bytes-max"), "{ran:?}");
}
