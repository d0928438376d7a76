//! The running server and the commands: `ambit segment`, and the demo of one contact base that is
//! shared out by hand, by a segment, by an import and by a form (S5).

use serde_json::Value;

use crate::cli::{Home, Server};
use crate::faults::replica::until;

/// Waits until every job of an account has ended, and answers what `segment list` says then.
async fn settled(server: &Server, account: &str) -> Value {
    let list = || {
        let ran = server.run(["segment", "list", account, "--output", "json"]);
        serde_json::from_str::<Value>(&ran.ends(0).stdout).unwrap()
    };
    let is_settled = |listed: &Value| {
        let segments = listed["segments"].as_array().unwrap();
        segments
            .iter()
            .all(|segment| matches!(segment["job"]["state"].as_str(), Some("done" | "failed")))
    };
    until("the segments are brought to the records", async || {
        is_settled(&list())
    })
    .await;
    list()
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

fn contacts(server: &Server, user: &str, action: &str) -> String {
    let question = format!("contact.{action}");
    let ran = server.run(["list", "lumen", user, question.as_str()]);
    ran.ends(0)
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// S5.5, S5.6, S5.10: marketing, sales and PR with different and overlapping contacts; a contact whose
/// tag is taken away leaves only the segment's group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_10_a_contact_whose_tag_is_removed_leaves_only_the_group_of_the_segment() {
    let home = Home::new();
    let server = Server::start_with(&home, &["--demo"]);
    settled(&server, "lumen").await;
    // The document says what its rules say: nothing moved.
    assert_eq!(
        contacts(&server, "marek", "communicate"),
        "bogdan dawid emil"
    );
    assert_eq!(contacts(&server, "piotr", "communicate"), "celina filip");

    // A press release goes to readers with a high score, too.
    server.apply(
        "account: lumen\nsegments:\n  - {id: insiders, type: contact, when: 'resource.score >= 60', assign_to: [group:press]}\n",
    );
    settled(&server, "lumen").await;
    assert_eq!(
        contacts(&server, "piotr", "communicate"),
        "celina emil filip"
    );

    // Emil loses the tag. He is a customer by hand and a subscriber by the form still, and an insider.
    server.apply("account: lumen\nresources:\n  - {type: contact, id: emil, attributes: {category: customer, score: 60}}\n");
    assert_eq!(
        contacts(&server, "marek", "communicate"),
        "bogdan dawid emil"
    );
    assert_eq!(
        contacts(&server, "piotr", "communicate"),
        "celina emil filip"
    );
    // Bogdan loses it too, and had nothing else: closed, not open (3.5).
    server.apply("account: lumen\nresources:\n  - {type: contact, id: bogdan, attributes: {category: lead, score: 25}}\n");
    assert_eq!(contacts(&server, "marek", "communicate"), "dawid emil");
    server
        .run(["check", "lumen", "ewa", "contact.edit", "bogdan"])
        .ends(1);
    // And Gosia, whom nobody has, comes in by a tag.
    server.apply("account: lumen\nresources:\n  - {type: contact, id: gosia, attributes: {tags: [newsletter], score: 21}}\n");
    assert_eq!(
        contacts(&server, "marek", "communicate"),
        "dawid emil gosia"
    );
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_are_listed_shown_tried_and_run_on_the_command_line() {
    let home = Home::new();
    let server = Server::start_with(&home, &["--demo"]);
    let listed = settled(&server, "lumen").await;
    let segments = listed["segments"].as_array().unwrap();
    assert_eq!(segments.len(), 2);
    assert_eq!(segments[1]["id"], "readers");
    assert_eq!(segments[1]["job"]["matched"], 2);
    assert_eq!(segments[1]["job"]["added"], 0);
    let shown = server
        .run(["segment", "show", "lumen", "readers"])
        .ends(0)
        .stdout;
    assert!(
        shown.starts_with("readers  contact -> group:newsletter\n  when \"newsletter\" in"),
        "{shown}"
    );
    assert!(
        shown.contains("rule_changed  done  8 of 8 records  matched 2"),
        "{shown}"
    );
    server.run(["segment", "show", "lumen", "none"]).ends(4);

    let tried = [
        "segment",
        "test",
        "resource.score > 20",
        "--account",
        "lumen",
        "--type",
        "contact",
        "--to",
        "group:press",
    ];
    let tried = server.run(tried).ends(0).stdout;
    assert_eq!(
        lines(&tried),
        [
            "8 records  matched 2  added 2  removed 0",
            "+ contact/bogdan",
            "+ contact/emil",
            "access:",
            "  contact.communicate: 2 users gain 4",
            "  contact.edit: 1 user gains 2",
            "  + piotr contact.communicate 2: bogdan, emil",
            "  + piotr contact.edit 2: bogdan, emil",
            "  + zofia contact.communicate 2: bogdan, emil",
        ]
    );
    let dry = server.run(["segment", "recalculate", "lumen", "readers", "--dry-run"]);
    assert_eq!(
        lines(&dry.ends(0).stdout),
        [
            "8 records  matched 2  added 0  removed 0",
            "access:",
            "  nobody gains or loses access"
        ]
    );
    let ran = server
        .run(["segment", "recalculate", "lumen", "readers", "--wait"])
        .ends(0)
        .stdout;
    assert!(
        ran.starts_with("done  8 of 8 records  matched 2  added 0  removed 0"),
        "{ran}"
    );
    server
        .run(["segment", "recalculate", "lumen", "none"])
        .ends(4);
    let wrong = server
        .run([
            "segment",
            "test",
            "score > 20",
            "--account",
            "lumen",
            "--type",
            "contact",
        ])
        .ends(2);
    assert!(
        wrong.stderr.contains("there is no `score`"),
        "{}",
        wrong.stderr
    );
    let unknown = server
        .run([
            "segment",
            "test",
            "true",
            "--account",
            "lumen",
            "--type",
            "spaceship",
        ])
        .ends(4);
    assert!(
        unknown.stderr.contains("UNKNOWN_RESOURCE_TYPE"),
        "{}",
        unknown.stderr
    );
    server.stop();
}

#[test]
fn an_expression_is_tried_on_a_record_without_a_server() {
    let test = |expression: &str, record: &str| {
        let mut ambit = crate::cli::ambit(["segment", "test", expression, "--record", record]);
        crate::cli::run_with_input(&mut ambit, "")
    };
    let gold = "'gold' in resource.tags";
    assert_eq!(
        test(gold, r#"{"tags": ["gold"]}"#).ends(0).stdout,
        "match\n"
    );
    assert_eq!(test(gold, r#"{"tags": []}"#).ends(1).stdout, "no match\n");
    assert_eq!(
        test(gold, "{}").ends(1).stdout,
        "no match  No such key: tags\n"
    );
    let wrong = test("resource.", "{}").ends(2).stderr;
    assert!(wrong.contains("the expression: line 1, column"), "{wrong}");
    assert!(
        test(gold, "[]")
            .ends(2)
            .stderr
            .contains("--record is no JSON object")
    );
}

/// A rule that can't be run is refused where it is written, by its field.
#[test]
fn p5_a_rule_that_is_no_expression_is_refused_by_its_field() {
    let home = Home::new();
    let server = Server::start_with(&home, &["--demo"]);
    let rule = "account: lumen\nsegments:\n  - {id: bad, type: contact, when: 'resource.tags.map(x, x)', assign_to: [group:press]}\n";
    let refused = server.run_with_input(["apply", "-"], rule).ends(4);
    assert!(
        refused.stderr.contains("macros other than has"),
        "{}",
        refused.stderr
    );
    server.stop();
}
