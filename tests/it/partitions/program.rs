//! `ambit assign`, `unassign`, `unpartition` and `undo`.

use serde_json::json;

use crate::cli::{Home, Server};

const ACCOUNT: &str = r"
account: acme
catalog: hubspot
plan: enterprise
teams: [{id: de}, {id: fr}]
users:
  - {id: sa, super_admin: true}
  - {id: lena, main_team: de, grants: {contact.view: team}}
resources:
  - {type: contact, id: c1, attributes: {country: DE, score: 40}}
  - {type: contact, id: c2, attributes: {country: FR}}
  - {type: contact, id: c3}
";

#[test]
fn commands_assign_take_back_open_and_undo() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACCOUNT);
    let list = || {
        server
            .run(["list", "acme", "lena", "contact.view"])
            .ends(0)
            .stdout
    };
    assert_eq!(list(), "");
    // By what is stored of them; then by ids in the line and on standard input.
    let of_de = [
        "assign",
        "acme",
        "contact",
        "--where",
        "country=DE",
        "--to",
        "team:de",
    ];
    // P2: a dry run tells who gains and who loses, and writes nothing.
    let dry = server.run(of_de.iter().chain(&["--dry-run"])).ends(0);
    assert_eq!(
        dry.lines()[1..],
        [
            "access:",
            "  contact.view: 1 user gains 1",
            "  + lena contact.view 1: c1",
            "  lena reaches a first contact"
        ]
    );
    assert_eq!(list(), "", "a dry run writes nothing");
    server.run(of_de.iter().chain(&["--key", "k"])).ends(0);
    assert_eq!(list(), "c1\n");
    let named = [
        "assign", "acme", "contact", "c2", "-", "--to", "team:de", "--output", "json",
    ];
    let ran = server.run_with_input(named, "c3\nunknown\n").ends(1);
    let told = ran.json();
    assert_eq!((&told["changed"], &told["refused"]), (&json!(2), &json!(1)));
    assert_eq!(told["refusals"][0]["reason"], "RESOURCE_NOT_FOUND");
    assert_eq!(list(), "c1\nc2\nc3\n");

    server
        .run(["unassign", "acme", "contact", "c3", "--from", "team:de"])
        .ends(0);
    assert_eq!(list(), "c1\nc2\n");
    let open = ["unpartition", "acme", "contact", "--assigned-to", "team:de"];
    let dry = server.run(open.iter().chain(&["--dry-run", "--output", "json"]));
    let preview = &dry.ends(0).json()["preview"];
    assert_eq!(preview["differences"][0]["user_id"], "lena");
    assert_eq!(preview["differences"][0]["lost"], 2);
    assert_eq!(preview["locked_out_total"], 1);
    let refused = server.run(open.iter().chain(&["--as", "lena"])).ends(1);
    assert!(
        refused.stdout.contains("NO_ASSIGN_AUTHORITY"),
        "{}",
        refused.stdout
    );
    assert!(!refused.stdout.contains("access:"), "it is no dry run");
    let opened = server.run(open.iter().chain(&["--as", "sa", "--output", "json"]));
    let batch = opened.ends(0).json()["batch_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(list(), "");
    server.run(["undo", "acme", &batch]).ends(0);
    assert_eq!(list(), "c1\nc2\n");
    server.run(["undo", "acme", "k"]).ends(0);
    assert_eq!(list(), "c2\n");
    // Wrong use is told before anything is asked.
    for wrong in [
        &["assign", "acme", "contact", "--to", "team:de"][..],
        &[
            "assign", "acme", "contact", "c1", "--owner", "lena", "--to", "team:de",
        ],
        &["assign", "acme", "contact", "c1", "--to", "de"],
        &["undo", "acme"],
    ] {
        server.run(wrong).ends(2);
    }
    server.stop();
}

#[test]
fn p2_a_dry_run_of_an_import_tells_who_gains_on_a_server_and_on_a_store() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACCOUNT);
    let file = home.path().join("fair.csv");
    std::fs::write(&file, "id\nc1\nc9\n").unwrap();
    let file = file.to_str().unwrap().to_owned();
    let asked = [
        "import",
        "acme",
        &file,
        "--type",
        "contact",
        "--to",
        "team:de",
        "--dry-run",
    ];
    let told = server.run(asked).ends(0);
    // The super admin gains the record that is made, by every action.
    let of_view = |told: &crate::cli::Ran| -> Vec<String> {
        let lines = told.lines().into_iter();
        let of_view = |line: &&str| line.contains("contact.view") || line.contains("reaches");
        lines.filter(of_view).map(str::to_owned).collect()
    };
    let access = [
        "  contact.view: 2 users gain 3",
        "  + lena contact.view 2: c1, c9",
        "  + sa contact.view 1: c9",
        "  lena reaches a first contact",
    ];
    assert_eq!(of_view(&told), access);
    let mut on_store = crate::cli::ambit(asked);
    let told = crate::cli::run(on_store.args(home.database())).ends(0);
    assert_eq!(of_view(&told), access);
    let list = server.run(["list", "acme", "lena", "contact.view"]).ends(0);
    assert_eq!(list.stdout, "", "a dry run writes nothing");
    // The control: really done, the list is what was told, and no preview comes with it.
    let done = server.run(&asked[..asked.len() - 1]).ends(0);
    assert!(!done.stdout.contains("access:"), "{}", done.stdout);
    let list = server.run(["list", "acme", "lena", "contact.view"]).ends(0);
    assert_eq!(list.lines(), ["c1", "c9"]);
    server.stop();
}
