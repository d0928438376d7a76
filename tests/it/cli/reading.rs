//! Questions: what they answer, in which form, and with which status.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::json;

use super::account::{ACME, large};
use super::program::{Home, Server, ambit, run};

#[test]
fn check_ends_with_0_for_allow_and_1_for_deny() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);

    let allow = server
        .run(["check", "acme", "eu1", "contact.view", "c1"])
        .ends(0);
    assert_eq!(allow.stdout, "allow  PARENT_TEAM  level team\n");
    assert_eq!(allow.stderr, "");
    let deny = server
        .run(["check", "acme", "de1", "contact.view", "c 2"])
        .ends(1);
    assert_eq!(
        deny.stdout,
        "deny  NOT_IN_TEAM  requestable object  show blocked_page\n\
         request it: ambit request file acme de1 contact.view 'c 2' --reason 'WHY'\n"
    );

    let arguments = ["check", "acme", "no1", "contact.view", "--output", "json"];
    let mut answer = server.run(arguments).ends(1).json();
    assert!(answer["revision"].as_str().unwrap().len() > 40);
    answer.as_object_mut().unwrap().remove("revision");
    assert_eq!(
        answer,
        json!({
            "decision": "deny", "reason": "NO_PERMISSION", "level": "none",
            "include_unassigned": false, "requestable": "tool", "presentation": "blocked_page",
        })
    );
    let arguments = ["check", "acme", "ex1", "contact.export", "--output", "json"];
    let answer = server.run(arguments).ends(0).json();
    assert_eq!(answer["valid_until"], "2027-01-01T00:00:00Z");
    assert_eq!(answer["level"], "team");
}

#[test]
fn at_moves_the_clock_of_expiries() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let at = |time: &str| {
        let arguments = ["check", "acme", "ex1", "contact.export", "--at", time];
        server.run(arguments).stdout
    };
    assert!(at("2026-12-31T23:59:59.999999Z").starts_with("allow"));
    assert!(at("2027-01-01T00:00:00Z").starts_with("deny  GRANT_EXPIRED"));
}

#[test]
fn every_failure_has_its_status_and_one_line_that_says_what_to_do() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let check = |question: &str| server.run(["check", "acme", "de1", question]);

    check("contact").ends(2).complains("TYPE.ACTION");
    server.run(["check", "acme"]).ends(2).complains("<USER>");
    server.run(["chekc"]).ends(2).complains("check");
    let late = ["check", "acme", "de1", "contact.view", "--at", "tomorrow"];
    server.run(late).ends(2).complains("RFC 3339");
    let both = [
        "list",
        "acme",
        "u",
        "contact.view",
        "--fully-consistent",
        "--at-least-as-fresh",
        "x",
    ];
    server.run(both).ends(2).complains("--fully-consistent");

    let unreachable = [
        "check",
        "acme",
        "de1",
        "contact.view",
        "--server",
        "127.0.0.1:1",
    ];
    run(&mut ambit(unreachable))
        .ends(3)
        .complains("`ambit serve`");
    let of_no_scheme = [
        "check",
        "acme",
        "de1",
        "contact.view",
        "--server",
        "ftp://h:1",
    ];
    run(&mut ambit(of_no_scheme))
        .ends(2)
        .complains("http://HOST:PORT");

    check("contact.fly").ends(4).complains("UNKNOWN_ACTION");
    check("spaceship.view")
        .ends(4)
        .complains("UNKNOWN_RESOURCE_TYPE");
    let unknown = ["check", "nowhere", "de1", "contact.view"];
    server.run(unknown).ends(4).complains("ACCOUNT_NOT_FOUND");
    let forged = [
        "check",
        "acme",
        "de1",
        "contact.view",
        "--at-least-as-fresh",
        "zzz",
    ];
    server.run(forged).ends(4).complains("REVISION_MALFORMED");
}

#[test]
fn a_revision_that_apply_printed_is_seen_by_the_next_question() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let change = "account: acme\nusers: [{id: no1, grants: {contact.view: everything}}]\n";
    let revision = server.apply(change);
    let fresh = [
        "check",
        "acme",
        "no1",
        "contact.view",
        "c1",
        "--at-least-as-fresh",
        &revision,
    ];
    server.run(fresh).ends(0);
    let consistent = [
        "check",
        "acme",
        "no1",
        "contact.view",
        "c1",
        "--fully-consistent",
    ];
    server.run(consistent).ends(0);
    let other = server.apply("account: other\ncatalog: brevo\nplan: free\n");
    let foreign = [
        "check",
        "acme",
        "no1",
        "contact.view",
        "--at-least-as-fresh",
        &other,
    ];
    server
        .run(foreign)
        .ends(4)
        .complains("REVISION_OF_ANOTHER_ACCOUNT");
}

#[test]
fn list_who_and_explain_agree_with_check() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);

    let list = server.run(["list", "acme", "de1", "contact.view"]).ends(0);
    assert_eq!(list.lines(), ["c1", "c3"]);
    let list = server
        .run(["list", "acme", "de1", "contact.view", "--output", "json"])
        .ends(0);
    assert_eq!(list.json()["total"], 2);
    assert_eq!(list.json()["ids"], json!(["c1", "c3"]));
    let owned = ["list", "acme", "sa", "contact.view", "--owner", "eu1"];
    assert_eq!(server.run(owned).ends(0).lines(), ["c 2"]);
    let none = ["list", "acme", "nobody", "contact.view", "--output", "json"];
    assert_eq!(server.run(none).ends(0).json()["ids"], json!([]));

    let who = server.run(["who", "acme", "contact.view", "c3"]).ends(0);
    assert_eq!(
        who.lines(),
        [
            "de1  TEAM",
            "eu1  PARENT_TEAM",
            "ex1  TEAM  until 2027-01-01T00:00:00Z",
            "sa   SUPER_ADMIN"
        ]
    );
    let who = server
        .run(["who", "acme", "contact.view", "c3", "--output", "json"])
        .ends(0);
    assert_eq!(who.json()["users"][1]["user_id"], "eu1");
    assert_eq!(who.json()["users"][1]["reason"], "PARENT_TEAM");

    let explain = ["explain", "acme", "de1", "contact.view", "c 2"];
    let words = server.run(explain).ends(0).stdout;
    assert!(words.starts_with("deny  NOT_IN_TEAM"), "{words}");
    let explain = [
        "explain",
        "acme",
        "eu1",
        "contact.view",
        "c1",
        "--output",
        "json",
    ];
    let answer = server.run(explain).ends(0).json();
    assert_eq!(answer["decision"], "allow");
    assert!(
        !answer["explanation"]["summary"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    assert!(answer["explanation"]["path"][0]["kind"].is_string());
}

#[test]
fn filter_keeps_the_allowed_ids_in_their_order() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let filter = ["filter", "acme", "de1", "contact.view"];
    let ids = "c3\nc 2\n\nc1\r\nnone\nc3";
    let ran = server.run_with_input(filter, ids).ends(0);
    assert_eq!(
        ran.lines(),
        ["c3", "c1", "c3"],
        "an id that comes twice is answered twice"
    );
    let json = ["filter", "acme", "de1", "contact.view", "--output", "json"];
    let ran = server.run_with_input(json, ids).ends(0);
    assert_eq!(ran.json()["ids"], json!(["c3", "c1", "c3"]));
    let nothing = server.run_with_input(json, "").ends(0);
    assert_eq!(nothing.json()["ids"], json!([]));

    let bad = server.run_with_input(filter, "c1\nc\t2\n").ends(2);
    assert!(bad.stderr.contains("line 2"), "{bad:?}");
    let long = format!("c1\n{}\n", "x".repeat(257));
    let bad = server.run_with_input(filter, &long).ends(2);
    assert!(bad.stderr.contains("256 bytes"), "{bad:?}");
    let unknown = ["filter", "nowhere", "de1", "contact.view"];
    server
        .run_with_input(unknown, "c1\n")
        .ends(4)
        .complains("ACCOUNT_NOT_FOUND");
}

#[test]
fn filter_answers_while_ids_still_come() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let mut child = server
        .command(["filter", "acme", "de1", "contact.view"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for id in ["c1", "c3"] {
        std::io::Write::write_all(&mut stdin, format!("{id}\n").as_bytes()).unwrap();
        line.clear();
        // The next id is given only after the answer to this one was read.
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), id);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn batch_check_takes_words_and_objects_and_answers_in_order() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let lines = concat!(
        "de1 contact.view c1\n",
        "\n",
        "de1 contact.view c 2\n",
        "ex1 contact.export\n",
        r#"{"user_id":"ex1","resource_type":"contact","action":"export","at":"2028-01-01T00:00:00Z"}"#,
        "\n",
        r#"{"user_id":"de1","resource_type":"contact","action":"view","resource_id":"new","resource_facts":{"assigned_to":["team:de"]}}"#,
        "\n",
    );
    let ran = server
        .run_with_input(["batch-check", "acme", "-"], lines)
        .ends(0);
    assert_eq!(
        ran.lines(),
        [
            "allow\tOWNER\tde1 contact.view c1",
            "deny\tNOT_IN_TEAM\tde1 contact.view c 2",
            "allow\tTOOL\tex1 contact.export",
            "deny\tGRANT_EXPIRED\tex1 contact.export",
            "allow\tTEAM\tde1 contact.view new",
        ]
    );
    let json = ["batch-check", "acme", "-", "--output", "json"];
    let answer = server.run_with_input(json, lines).ends(0).json();
    assert_eq!(answer["results"][1]["reason"], "NOT_IN_TEAM");
    assert!(answer["revision"].is_string());

    let half = server
        .run_with_input(json, "de1 contact.view c1\nde1 contact.fly\n")
        .ends(4);
    let results = &half.json()["results"];
    assert_eq!(
        results[0]["decision"], "allow",
        "a bad item spoils no other"
    );
    assert_eq!(results[1]["error"]["reason"], "UNKNOWN_ACTION");
    let bad = server
        .run_with_input(json, "de1 contact.view c1\nde1\n")
        .ends(2);
    bad.complains("line 2");
}

#[test]
fn a_batch_beyond_the_limit_of_a_request_is_asked_in_several() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let lines: String = (0..25_001)
        .map(|index| match index % 2 {
            0 => "de1 contact.view c1\n",
            _ => "de1 contact.view c 2\n",
        })
        .collect();
    let json = ["batch-check", "acme", "-", "--output", "json"];
    let answer = server.run_with_input(json, &lines).ends(0).json();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 25_001);
    for (index, result) in results.iter().enumerate() {
        let expected = if index % 2 == 0 { "allow" } else { "deny" };
        assert_eq!(result["decision"], expected, "item {index}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(&large(20_000));
    for format in ["human", "json"] {
        let mut child = server
            .command(["list", "large", "sa", "contact.view", "--output", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 10];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        let ended = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{stderr}");
        assert_eq!(stderr, "");
    }
    let all = server.run(["list", "large", "sa", "contact.view"]).ends(0);
    assert_eq!(all.lines().len(), 20_000);
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let ended = server
        .command(["check", "acme", "eu1", "contact.view", "c1"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(
        ended.status.code(),
        Some(2),
        "an allow that nobody could read is none"
    );
}

#[test]
fn nothing_is_coloured_for_a_program() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACME);
    for (name, value) in [("NO_COLOR", "1"), ("CLICOLOR", "1")] {
        let mut check = server.command(["check", "acme", "eu1", "contact.view", "c1"]);
        let ran = run(check.env(name, value));
        assert!(!ran.stdout.contains('\u{1b}'), "{ran:?}");
        let mut wrong = server.command(["check", "acme", "eu1", "contact.fly"]);
        let ran = run(wrong.env(name, value));
        assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
    }
}

#[test]
fn completions_and_help_are_there_for_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&mut ambit(["completions", shell])).ends(0).stdout;
        assert!(script.contains("batch-check"), "{shell}");
    }
    for command in [
        "serve",
        "apply",
        "export",
        "test",
        "check",
        "batch-check",
        "list",
        "filter",
        "who",
        "explain",
        "doctor",
        "ready",
        "bench",
        "completions",
    ] {
        let help = run(&mut ambit([command, "--help"])).ends(0).stdout;
        assert!(
            help.contains("Example") && help.contains("Usage"),
            "{command}: {help}"
        );
    }
    run(&mut ambit(["--version"])).ends(0);
}
