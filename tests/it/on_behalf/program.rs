//! `ambit apply --as`, `ambit preview --as` and `ambit audit --beyond-ceiling` on the real program.

use serde_json::json;

use super::ACCOUNT;
use crate::cli::{Home, Server};

const GIVE: &str = "account: acme\nusers: [{id: e, permission_sets: [reporters]}]\n";
const TAKE: &str = "account: acme\nusers: [{id: r, permission_sets: [viewers]}]\n";

const WITHHELD: &str =
    "withheld: user e: report.view at everything, of the permission set reporters";
const KEPT: &str = "kept: user r: report.view at everything, of the permission set reporters";

fn start() -> (Home, Server) {
    let home = Home::migrated();
    let server = Server::start(&home);
    server.apply(ACCOUNT);
    (home, server)
}

/// S4.16, S4.17: what is withheld and kept is printed, by a dry run as by the write.
#[test]
fn s4_16_s4_17_apply_on_behalf_of_a_user_tells_what_the_ceiling_made_of_it() {
    let (_home, server) = start();
    let apply = |document: &str, more: &[&str]| {
        let arguments = ["apply", "-"].iter().chain(more);
        server.run_with_input(arguments, document)
    };
    let dry = apply(GIVE, &["--as", "m", "--dry-run"]).ends(0);
    assert_eq!(dry.lines()[0], WITHHELD);
    server.run(["check", "acme", "e", "contact.view"]).ends(1);
    let given = apply(GIVE, &["--as", "m"]).ends(0);
    assert_eq!(given.lines()[0], WITHHELD);
    assert!(given.lines()[1].starts_with("acme: 1 entity changed, revision "));
    server.run(["check", "acme", "e", "contact.view"]).ends(0);
    server.run(["check", "acme", "e", "report.view"]).ends(1);
    let kept = apply(TAKE, &["--as", "m"]).ends(0);
    assert_eq!(kept.lines()[0], KEPT);
    server.run(["check", "acme", "r", "report.view"]).ends(0);
    let told = apply(GIVE, &["--as", "m", "--output", "json"])
        .ends(0)
        .json();
    let withheld = &told["accounts"][0]["withheld"][0];
    assert_eq!(withheld["right"], "report.view at everything");
    assert_eq!(told["accounts"][0].get("kept"), None);
    // What is refused names the place in the document, and nothing is written.
    let own = "account: acme\nusers: [{id: m, grants: {report.view: everything}}]\n";
    let refused = apply(own, &["--as", "m"]).ends(4);
    refused.complains("standard input: line 2");
    server.run(["check", "acme", "m", "report.view"]).ends(1);
    let nobody = apply(GIVE, &["--as", "nobody"]).ends(4);
    nobody.complains("nobody");
    // The control: an operator, and a super admin, are under no ceiling.
    let whole = apply(GIVE, &["--as", "sa"]).ends(0);
    assert!(!whole.stdout.contains("withheld"), "{whole:?}");
    server.run(["check", "acme", "e", "report.view"]).ends(0);
    server.stop();
}

#[test]
fn s4_16_a_preview_on_behalf_of_a_user_tells_what_would_be_withheld() {
    let (_home, server) = start();
    let preview = |document: &str, more: &[&str]| {
        let arguments = ["preview", "acme", "-"].iter().chain(more);
        server.run_with_input(arguments, document)
    };
    let told = preview(GIVE, &["--as", "m"]).ends(0);
    assert!(told.lines().contains(&WITHHELD), "{told:?}");
    assert!(told.stdout.contains("contact.view"), "{told:?}");
    let gained = told
        .lines()
        .into_iter()
        .filter(|line| !line.starts_with("withheld"));
    assert!(
        !gained.collect::<String>().contains("report.view"),
        "{told:?}"
    );
    let whole = preview(GIVE, &[]).ends(0);
    assert!(whole.stdout.contains("report.view"), "{whole:?}");
    assert!(!whole.stdout.contains("withheld"), "{whole:?}");
    let told = preview(TAKE, &["--as", "m", "--output", "json"])
        .ends(0)
        .json();
    assert_eq!(told["kept"][0]["right"], "report.view at everything");
    assert_eq!(told["kept"][0]["permission_set"], "reporters");
    let own = "account: acme\nusers: [{id: m, grants: {report.view: everything}}]\n";
    preview(own, &["--as", "m"]).ends(4).complains("OWN_RIGHTS");
    server.run(["check", "acme", "e", "contact.view"]).ends(1);
    server.stop();
}

/// D5: what its giver could not give any more stays, and is listed.
#[test]
fn d5_audit_lists_grants_beyond_their_grantors_ceiling() {
    let (_home, server) = start();
    let give = "account: acme\nusers: [{id: e, grants: {contact.edit: team}}]\n";
    let arguments = ["apply", "-", "--as", "m"];
    server.run_with_input(arguments, give).ends(0);
    let audit = ["audit", "acme", "--beyond-ceiling"];
    let none = server.run(audit).ends(0);
    assert_eq!(none.stdout, "", "the giver holds it");
    let as_json = ["audit", "acme", "--beyond-ceiling", "--output", "json"];
    let none = server.run(as_json).ends(0).json();
    assert_eq!(none, json!({"grants": []}));
    server.apply("account: acme\nusers: [{id: m, grants: {contact.edit: owned}}]\n");
    let line = "user e: contact.edit at team; given by m, who holds owned";
    assert_eq!(server.run(audit).ends(0).lines(), [line]);
    let told = server.run(as_json).ends(0).json();
    let expected = json!({
        "kind": "user",
        "id": "e",
        "right": "contact.edit at team",
        "granted_by": "m",
        "held_level": "owned",
        "held_include_unassigned": false,
    });
    assert_eq!(told["grants"], json!([expected]));
    let bounded = ["audit", "acme", "--beyond-ceiling", "--limit", "0"];
    assert_eq!(server.run(bounded).ends(0).stdout, "");
    let mixed = ["audit", "acme", "--beyond-ceiling", "--kind", "user"];
    server.run(mixed).ends(2).complains("--beyond-ceiling");
    let unknown = ["audit", "nobody", "--beyond-ceiling"];
    server.run(unknown).ends(4).complains("ACCOUNT_NOT_FOUND");
    server.stop();
}
