//! `ambit audit`: who changed an account, and what.

use serde_json::json;

use super::program::{Home, Server};

#[test]
fn audit_tells_who_changed_what_newest_first() {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply("account: a\ncatalog: brevo\nplan: free\nusers: [{id: u}]\n");
    server.apply("account: a\nteams: [{id: eu}]\n");

    let lines = server.run(["audit", "a"]).ends(0);
    let [last, first]: [&str; 2] = lines.lines().try_into().unwrap();
    assert!(
        last.ends_with("  2  changed  nobody known  ApplyChanges  team:eu"),
        "{last}"
    );
    assert!(
        first.ends_with("  1  created  nobody known  ApplyChanges  account, user:u"),
        "{first}"
    );
    let oldest = server
        .run(["audit", "a", "--oldest-first", "--limit", "1"])
        .ends(0);
    assert_eq!(oldest.lines(), [first]);
    let of_user = server.run(["audit", "a", "--entity", "user:u"]).ends(0);
    assert_eq!(of_user.lines(), [first]);
    let of_teams = server.run(["audit", "a", "--kind", "team"]).ends(0);
    assert_eq!(of_teams.lines(), [last]);
    let of_nobody = server.run(["audit", "a", "--caller", "token:x"]).ends(0);
    assert_eq!(of_nobody.stdout, "");

    let answer = server
        .run(["audit", "a", "--kind", "team", "--output", "json"])
        .ends(0)
        .json();
    let record = &answer["records"][0];
    assert_eq!(record["effect"], "changed");
    assert_eq!(record["revision_number"], 2);
    assert_eq!(record["counts"], json!({"team": 1}));
    let team = json!([{"kind": "team", "id": "eu", "deleted": false}]);
    assert_eq!(record["entities"], team);
    assert_eq!(answer["records"].as_array().map(Vec::len), Some(1));

    let wrong = server.run(["audit", "a", "--entity", "anna"]);
    wrong.ends(2).complains("resource:TYPE/ID");
    let unknown = server.run(["audit", "nobody"]);
    unknown.ends(4).complains("ACCOUNT_NOT_FOUND");
}
