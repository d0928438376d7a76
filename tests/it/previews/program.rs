//! `ambit preview` and the dry run of `ambit apply`, as people and scripts meet them.

use crate::cli::{Home, Server, ambit, run_with_input};

const MOVED: &str = "account: acme\nteams: [{id: de, parent: us}]\n";

fn server(home: &Home) -> Server {
    let server = Server::start(home);
    server.apply(super::ACCOUNT);
    server
}

#[test]
fn s2_8_moving_a_team_is_looked_at_before_it_is_done() {
    let home = Home::new();
    let server = server(&home);
    let told = server
        .run_with_input(["preview", "acme", "-"], MOVED)
        .ends(0);
    assert_eq!(
        told.lines(),
        [
            "acme: 2 changes, not made",
            "  contact.view: 1 user gains 2, 1 user loses 2",
            "  email.view: 1 user gains 1, 1 user loses 1",
            "  - eu1 contact.view 2: c1, c2",
            "  - eu1 email.view 1: e1",
            "  + us1 contact.view 2: c1, c2",
            "  + us1 email.view 1: e1",
            "  eu1 is locked out of contact",
            "  eu1 is locked out of email",
        ]
    );
    let of = ["preview", "acme", "-", "--of", "us1", "contact.view"];
    let listed = server.run_with_input(of, MOVED).ends(0);
    assert_eq!(listed.lines(), ["+ c1", "+ c2"]);
    // Nothing was done: us1 still sees what it saw.
    let list = server.run(["list", "acme", "us1", "contact.view"]).ends(0);
    assert_eq!(list.lines(), ["c3"]);
    server.apply(MOVED);
    let list = server.run(["list", "acme", "us1", "contact.view"]).ends(0);
    let mut seen = list.lines();
    seen.sort_unstable();
    assert_eq!(seen, ["c1", "c2", "c3"]);
}

#[test]
fn p2_a_dry_run_tells_who_gains_and_loses_on_a_server_and_on_a_store() {
    let home = Home::new();
    let server = server(&home);
    let on_server = server
        .run_with_input(["apply", "-", "--dry-run", "--output", "json"], MOVED)
        .ends(0)
        .json();
    let account = &on_server["accounts"][0];
    assert_eq!(account["preview"]["differences_total"], 4);
    assert_eq!(account["preview"]["differences"][0]["user_id"], "eu1");
    assert_eq!(account["preview"]["locked_out_total"], 2);
    let mut apply = ambit(["apply", "-", "--dry-run", "--output", "json"]);
    let on_store = run_with_input(apply.args(home.database()), MOVED)
        .ends(0)
        .json();
    assert_eq!(on_store["accounts"][0]["summary"], account["summary"]);
    let mut other = on_store["accounts"][0]["preview"].clone();
    // Each was compared at its own now.
    other["at"] = account["preview"]["at"].clone();
    assert_eq!(other, account["preview"]);
    // The control: what is written has no preview.
    let written = server
        .run_with_input(["apply", "-", "--output", "json"], MOVED)
        .ends(0)
        .json();
    assert!(written["accounts"][0].get("preview").is_none());
}

#[test]
fn wrong_use_of_preview_is_told_in_a_line() {
    let home = Home::new();
    let server = server(&home);
    server
        .run_with_input(["preview", "other", "-"], MOVED)
        .ends(2)
        .complains("`acme`");
    server
        .run_with_input(
            ["preview", "acme", "-"],
            "account: acme\nteams: [{id: de, parent: ghosts}]\n",
        )
        .ends(4)
        .complains("ghosts");
    let of = ["preview", "acme", "-", "--of", "us1", "contact.wave"];
    server.run_with_input(of, MOVED).ends(4).complains("wave");
}
