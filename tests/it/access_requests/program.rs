//! `ambit request` as people and scripts use it.

use serde_json::{Value, json};

use super::scene::ACME;
use crate::cli::{Home, Server};

fn id_of(filed: &Value) -> String {
    filed["access_request"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn from_a_denied_check_to_an_allowed_one_and_back_with_commands_alone() {
    let home = Home::migrated();
    let server = Server::start(&home);
    server.apply(ACME);
    let denied = server
        .run(["check", "acme", "u", "contact.view", "c1"])
        .ends(1);
    let [_, hint] = denied.lines()[..] else {
        panic!("no hint: {denied:?}");
    };
    assert_eq!(
        hint,
        "request it: ambit request file acme u contact.view c1 --reason 'WHY'"
    );
    let tool = server
        .run(["check", "acme", "u", "contact.export", "c1"])
        .ends(1);
    assert!(
        tool.stdout
            .ends_with("request it: ambit request file acme u contact.export --reason 'WHY'\n"),
        "{tool:?}"
    );
    // Nothing is printed where nothing can be requested, and programs are told by the fields alone.
    let unknown = server
        .run(["check", "acme", "ghost", "contact.view", "c1"])
        .ends(1);
    assert_eq!(unknown.lines().len(), 1, "{unknown:?}");

    let file = [
        "request",
        "file",
        "acme",
        "u",
        "contact.view",
        "c1",
        "--reason",
        "I take over",
        "--for",
        "7d",
        "--origin-url",
        "https://crm.example.com/c1",
        "--output",
        "json",
    ];
    let filed = server.run(file).ends(0).json();
    let id = id_of(&filed);
    assert_eq!(filed["existing"], false);
    assert_eq!(filed["access_request"]["wanted_seconds"], 604_800);
    assert_eq!(filed["access_request"]["state"], "pending");
    assert_eq!(filed["access_request"]["denied_as"], "NOT_IN_PARTITION");
    assert_eq!(server.run(file).ends(0).json()["existing"], true);
    let again = server
        .run(["check", "acme", "u", "contact.view", "c1"])
        .ends(1);
    let pending = format!("requested already: ambit request show acme {id}\n");
    assert!(again.stdout.ends_with(&pending), "{again:?}");

    let listed = server
        .run([
            "request",
            "list",
            "acme",
            "--state",
            "pending",
            "--approver",
            "sa",
        ])
        .ends(0);
    assert_eq!(
        listed.stdout,
        format!("{id}  pending  u contact.view c1  NOT_IN_PARTITION  \"I take over\"\n")
    );
    let suggested = server
        .run(["request", "suggest", "acme", &id, "--by", "sa"])
        .ends(0);
    assert!(
        suggested
            .stdout
            .starts_with("object_grant  opens just that\n"),
        "{suggested:?}"
    );
    let approve = format!("ambit request approve acme {id} --by sa --resolution object_grant");
    assert!(suggested.stdout.contains(&approve), "{suggested:?}");

    // Without a resolution the smallest is given.
    let approved = server
        .run([
            "request",
            "approve",
            "acme",
            &id,
            "--by",
            "sa",
            "--note",
            "for now",
            "--expires-in",
            "1h",
            "--output",
            "json",
        ])
        .ends(0)
        .json();
    assert_eq!(approved["check"]["decision"], "allow");
    let closing = &approved["access_request"]["closing"];
    assert_eq!(closing["by_user_id"], "sa");
    assert_eq!(
        closing["approval"]["resolution"],
        json!({"object_grant": {}})
    );
    assert!(closing["approval"]["expires_at"].is_string());
    let revision = approved["revision"].as_str().unwrap();
    let check = [
        "check",
        "acme",
        "u",
        "contact.view",
        "c1",
        "--at-least-as-fresh",
        revision,
    ];
    server.run(check).ends(0);
    let shown = server.run(["request", "show", "acme", &id]).ends(0);
    assert!(
        shown.stdout.contains("approved by sa: object_grant until "),
        "{shown:?}"
    );
    assert!(shown.stdout.contains("\"for now\""), "{shown:?}");
    server
        .run(["request", "revoke", "acme", &id, "--by", "sa"])
        .ends(0);
    server
        .run([
            "check",
            "acme",
            "u",
            "contact.view",
            "c1",
            "--fully-consistent",
        ])
        .ends(1);
    let events = server
        .run(["request", "show", "acme", &id, "--output", "json"])
        .ends(0);
    let kinds: Vec<Value> = events.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].clone())
        .collect();
    assert_eq!(kinds, ["filed", "approved", "revoked"]);
}

#[test]
fn a_refusal_is_one_line_with_its_reason_and_wrong_use_another_status() {
    let home = Home::migrated();
    let server = Server::start(&home);
    server.apply(ACME);
    let file = |user: &str, question: &str| {
        let filed = server
            .run([
                "request", "file", "acme", user, question, "--reason", "why", "--output", "json",
            ])
            .ends(0)
            .json();
        id_of(&filed)
    };
    let id = file("u", "contact.export");
    let refused = |arguments: &[&str], reason: &str| {
        server
            .run(arguments)
            .ends(4)
            .complains(&format!("[{reason}]"));
    };
    let approve = ["request", "approve", "acme", &id, "--by"];
    refused(&[&approve[..], &["u"]].concat(), "SELF_APPROVAL");
    let grant = [
        "--resolution",
        "direct_grant",
        "--permission",
        "contact.export",
        "--level",
        "everything",
    ];
    refused(
        &[&approve[..], &["junior"], &grant].concat(),
        "BEYOND_OWN_RIGHTS",
    );
    refused(
        &[
            "request", "deny", "acme", "nothing", "--by", "sa", "--reason", "no",
        ],
        "ACCESS_REQUEST_NOT_FOUND",
    );
    refused(
        &["request", "replay", "acme", &id, "0", "webhook:none"],
        "NOTIFICATION_NOT_FOUND",
    );
    refused(
        &["request", "cancel", "acme", &id, "--by", "w"],
        "NOT_THE_REQUESTER",
    );
    for wrong in [
        &[
            "request",
            "approve",
            "acme",
            &id,
            "--by",
            "sa",
            "--resolution",
            "direct_grant",
        ][..],
        &[
            "request",
            "approve",
            "acme",
            &id,
            "--by",
            "sa",
            "--resolution",
            "add_to_team",
        ],
        &[
            "request",
            "approve",
            "acme",
            &id,
            "--by",
            "sa",
            "--expires-in",
            "soon",
        ],
        &[
            "request", "approve", "acme", &id, "--by", "sa", "--team", "de",
        ],
        &["request", "deny", "acme", &id, "--by", "sa"],
        &["request", "file", "acme", "u", "contact", "--reason", "why"],
    ] {
        let ran = server.run(wrong).ends(2);
        assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    }
    let denied = server
        .run([
            "request", "deny", "acme", &id, "--by", "boss", "--reason", "ask sa",
        ])
        .ends(0);
    assert!(denied.stdout.contains("denied"), "{denied:?}");
    let cancelled = file("w", "contact.export");
    server
        .run([
            "request", "cancel", "acme", &cancelled, "--by", "w", "--note", "done",
        ])
        .ends(0);
    let ended = server
        .run([
            "request",
            "list",
            "acme",
            "--state",
            "denied",
            "--state",
            "cancelled",
            "--output",
            "json",
        ])
        .ends(0)
        .json();
    assert_eq!(ended["access_requests"].as_array().unwrap().len(), 2);
    assert!(ended["revision"].is_string());
    server.run(["request", "deliveries", "acme"]).ends(0);
}

#[test]
fn a_watch_prints_what_is_pending_and_what_becomes_of_it() {
    use std::io::BufRead as _;
    let home = Home::migrated();
    let server = Server::start(&home);
    server.apply(ACME);
    let file = [
        "request",
        "file",
        "acme",
        "u",
        "contact.export",
        "--reason",
        "why",
        "--output",
        "json",
    ];
    let id = id_of(&server.run(file).ends(0).json());
    let mut watch = server
        .command(["request", "watch", "acme", "--output", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let begun = next();
    assert_eq!(begun["pending"]["access_requests"][0]["id"], id.as_str());
    server
        .run(["request", "cancel", "acme", &id, "--by", "u"])
        .ends(0);
    let changed = loop {
        let told = next();
        if told["heartbeat"].is_null() {
            break told;
        }
    };
    let request = &changed["changed"]["access_requests"][0];
    assert_eq!(request["state"], "cancelled");
    assert_ne!(changed["revision"], begun["revision"]);
    watch.kill().unwrap();
    watch.wait().unwrap();
}
