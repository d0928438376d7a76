//! `ambit import`: files as people have them, and what is said of them.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::cli::{Home, Ran, Server, ambit, run};

const ACCOUNT: &str = r"
account: acme
catalog: hubspot
plan: enterprise
teams: [{id: de}, {id: 'a;b'}]
access_groups: [{id: vip}]
users: [{id: sa, super_admin: true}, {id: lena}, {id: 'back\slash'}]
resources: [{type: contact, id: c1, owners: [lena], owning_team: de, attributes: {a: 1}}]
";

/// Two files that say the same.
const TABLE: &str = r#"type,id,owners,owning_team,partitioned,assigned_to,assigned_until,attributes
contact,c1,,,,,,
contact,c2,lena;back\\slash,de,,team:a\;b;group:vip,2030-01-01T00:00:00Z,"{""tags"": [""x""]}"
,c3,lena,,true,,,"{
  ""note"": ""two lines""
}"
company,c 4,,,false,,,
"#;
const LINES: &str = r#"
{"type": "contact", "id": "c1", "owners": [], "owning_team": null, "attributes": {}}

{"type": "contact", "id": "c2", "owners": ["lena", "back\\slash"], "owning_team": "de", "assigned_to": [{"to": "team:a;b", "expires_at": "2030-01-01T00:00:00Z"}, {"to": "group:vip", "expires_at": "2030-01-01T00:00:00Z"}], "attributes": {"tags": ["x"]}}
{"id": "c3", "owners": ["lena"], "owning_team": null, "partitioned": true, "attributes": {"note": "two lines"}}
{"type": "company", "id": "c 4", "owners": null, "partitioned": false}
"#;

fn started() -> (Home, Server) {
    let home = Home::new();
    let server = Server::start(&home);
    server.apply(ACCOUNT);
    (home, server)
}

fn export(server: &Server) -> String {
    server.run(["export", "acme"]).ends(0).stdout
}

fn write(home: &Home, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = home.path().join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn import(server: &Server, file: &str, more: &[&str]) -> Ran {
    run(server.command(["import", "acme", file]).args(more))
}

#[test]
fn tables_and_json_lines_say_the_same_to_a_server_and_to_its_store() {
    let mut exports = Vec::new();
    for (name, text) in [
        ("rows.csv", TABLE.to_owned()),
        ("rows.ndjson", LINES.to_owned()),
        (
            "marked.csv",
            format!("\u{feff}{}", TABLE.replace('\n', "\r\n")),
        ),
        (
            "marked.jsonl",
            format!("\u{feff}{}", LINES.replace('\n', "\r\n")),
        ),
    ] {
        for direct in [false, true] {
            let (home, server) = started();
            let file = write(&home, name, &text);
            let mut command = if direct {
                let mut command = ambit(["import", "acme"]);
                command.arg(&file).args(home.database());
                command
            } else {
                server.command(["import", "acme", &file])
            };
            command.args(["--type", "contact", "--job", "night"]);
            let ran = run(&mut command).ends(0);
            assert!(
                ran.stdout.starts_with("acme: 4 rows written, revision "),
                "{name}: {ran:?}"
            );
            assert_eq!(ran.stderr, "");
            exports.push(export(&server));
        }
    }
    assert!(exports[0].contains("import:night"), "{}", exports[0]);
    assert!(exports[0].contains("a;b"), "{}", exports[0]);
    for export in &exports {
        // `\r\n` is white space within an attribute's JSON, so all are equal.
        assert_eq!(export, &exports[0]);
    }
}

#[test]
fn the_same_command_takes_up_what_is_written() {
    let (home, server) = started();
    let file = write(&home, "rows.csv", TABLE);
    let options = ["--type", "contact", "--output", "json"];
    let first = import(&server, &file, &options).ends(0).json();
    assert_eq!(first["progress"]["written"], 4);
    assert_eq!(first["job"], "rows.csv");
    assert_eq!(first["complete"], true);
    let again = import(&server, &file, &options).ends(0).json();
    assert_eq!(again["progress"]["skipped"], 4);
    assert_eq!(again["revision"], first["revision"]);
    assert_eq!(again["import_key"], first["import_key"]);
    // Other options make another import of the same file.
    let other = import(
        &server,
        &file,
        &["--type", "contact", "--mode", "replace", "--output", "json"],
    );
    let other = other.ends(0).json();
    assert_eq!(other["progress"]["skipped"], 0);
    assert_ne!(other["import_key"], first["import_key"]);
}

#[test]
fn bad_lines_are_told_with_file_line_and_field() {
    let (home, server) = started();
    let before = export(&server);
    let text = b"id,owners,partitioned,assigned_to,attributes\n\
        ok,lena,,,\n\
        b1,nobody,,,\n\
        b2,lena;;lena,,,\n\
        b3,,perhaps,,\n\
        b4,,,team:de;who,\n\
        b5,,,,{\n\
        b6,,,\n\
        b\xff7,,,,\n\
        b8,len\\a,,,\n";
    let file = write(&home, "bad.csv", text);
    let report = home.path().join("refused.csv");
    let more = ["--type", "contact", "--errors", report.to_str().unwrap()];
    let ran = import(&server, &file, &more).ends(4);
    let told: Vec<&str> = ran.stderr.lines().collect();
    let expected = [
        (3, "owners: there is no user `nobody`"),
        (4, "owners: an id must not be empty"),
        (5, "partitioned: `perhaps` is neither"),
        (6, "assigned_to[1]: "),
        (7, "attributes: "),
        (8, "the row has 4 cells and the header 5"),
        (9, "id: byte 2 of the cell is not UTF-8"),
        (10, "owners: a backslash"),
    ];
    assert_eq!(told.len(), expected.len(), "{ran:#?}");
    for (told, (line, problem)) in told.iter().zip(expected) {
        let begins = format!("{file}:{line}: {problem}");
        assert!(told.starts_with(&begins), "{told} is not {begins}");
    }
    assert!(
        ran.stdout
            .starts_with("acme: 0 rows written, 8 refused, 1 held back with them"),
        "{ran:?}"
    );
    let report = fs::read_to_string(report).unwrap();
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines.len(), 9);
    assert_eq!(lines[0], "line,field,reason,message");
    assert!(
        lines[1].starts_with("3,owners,UNKNOWN_REFERENCE,"),
        "{report}"
    );
    assert_eq!(export(&server), before);

    let json = import(&server, &file, &["--type", "contact", "--output", "json"]);
    let json: Value = json.ends(4).json();
    assert_eq!(json["errors"][0]["line"], 3);
    assert_eq!(json["errors"][0]["reason"], "UNKNOWN_REFERENCE");
    assert_eq!(json["errors"].as_array().unwrap().len(), 8);
}

#[test]
fn bad_json_lines_are_told_one_by_one_and_end_in_the_status_of_bad_input() {
    let (home, server) = started();
    let mut text = b"{\"id\":\"ok\"}\n{\"id\":\"x\",\"colour\":1}\n{\n[]\n{\"id\":7}\n".to_vec();
    text.extend(
        b"{\"id\":\"a\",\"assigned_to\":[{\"to\":\"team:de\",\"provenance\":\"manual\"}]}\n",
    );
    text.extend(b"{\"id\":\"\xff\"}\n{\"id\":\"y\",\"attributes\":[1]}\n{\"id\":\"");
    text.extend(std::iter::repeat_n(b'z', 2_000_000));
    text.extend(b"\"}\n{\"id\":\"last\"}");
    let file = write(&home, "bad.ndjson", text);
    let ran = import(&server, &file, &["--type", "contact"]).ends(2);
    let lines: Vec<String> = ran
        .stderr
        .lines()
        .map(|line| {
            line.strip_prefix(&file)
                .unwrap()
                .split(':')
                .nth(1)
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(lines, ["2", "3", "4", "5", "6", "7", "8", "9"], "{ran:?}");
    assert!(ran.stderr.contains("unknown field `colour`"), "{ran:?}");
    assert!(
        ran.stderr
            .contains(":9: the row has more than 1048576 bytes")
    );
    assert!(ran.stdout.contains("8 refused, 2 held back"), "{ran:?}");
}

#[test]
fn what_is_wrong_with_the_whole_file_is_one_error_and_nothing_is_sent() {
    let (home, server) = started();
    let before = export(&server);
    for (name, text, more, problem) in [
        (
            "a.csv",
            "id,colour\nx,red\n",
            &["--type", "contact"][..],
            "there is no column `colour`",
        ),
        (
            "b.csv",
            "type,owners\ncontact,lena\n",
            &[],
            "the column `id` is missing",
        ),
        ("c.csv", "id\nx\n", &[], "the column `type` is missing"),
        (
            "d.csv",
            "id,type,id\nx,contact,y\n",
            &[],
            "the column `id` is there twice",
        ),
        ("e.csv", "", &[], "the file is empty"),
        (
            "f.csv",
            "id,type,assigned_until\n",
            &[],
            "needs the column `assigned_to`",
        ),
        ("g.txt", "id\n", &[], "--format csv or --format ndjson"),
        (
            "h.csv",
            "id;type\nx;contact\n",
            &["--delimiter", "\""],
            "--delimiter",
        ),
        ("i.csv", "id\nx\n", &["--type", ""], "--type"),
        (
            "j.csv",
            "id\nx\n",
            &["--batch-rows", "10001"],
            "--batch-rows",
        ),
    ] {
        let file = write(&home, name, text);
        import(&server, &file, more).ends(2).complains(problem);
    }
    let absent = home.path().join("absent.csv");
    import(&server, absent.to_str().unwrap(), &[])
        .ends(2)
        .complains("absent.csv");
    let file = write(&home, "ok.csv", "id;type\nx;contact\n");
    run(&mut server.command(["import", "nobody", &file, "--delimiter", ";"]))
        .ends(4)
        .complains("ACCOUNT_NOT_FOUND");
    run(&mut ambit([
        "import",
        "acme",
        &file,
        "--delimiter",
        ";",
        "--server",
        "127.0.0.1:1",
    ]))
    .ends(3)
    .complains("cannot reach the server");
    assert_eq!(export(&server), before);
    import(&server, &file, &["--delimiter", ";"]).ends(0);
}

fn contacts(count: usize) -> String {
    let mut text = String::from("id,owners,assigned_to\n");
    for number in 0..count {
        text.push_str(&format!("n{number:05},lena,team:de\n"));
    }
    text
}

/// What the rows come to on a server that nothing befalls.
fn undisturbed(count: usize) -> String {
    let (home, server) = started();
    let file = write(&home, "rows.csv", contacts(count));
    import(&server, &file, &["--type", "contact", "--job", "j"]).ends(0);
    export(&server)
}

/// The number of contacts that the account has.
fn stored(server: &Server) -> usize {
    let listed = server.run(["list", "acme", "sa", "contact.view"]).ends(0);
    listed.lines().len()
}

/// An import in batches of 70 whose first rows are given and whose input stays open; ends once
/// some of its batches are written.
fn half_way(server: &Server, count: usize) -> std::process::Child {
    let mut child = server
        .command([
            "import", "acme", "-", "--format", "csv", "--type", "contact",
        ])
        .args(["--job", "j", "--key", "k", "--batch-rows", "70"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.as_mut().unwrap();
    // The reader hands rows on in pieces, of which the last one waits for more.
    stdin.write_all(contacts(count).as_bytes()).unwrap();
    stdin.flush().unwrap();
    while stored(server) < 1 + 70 {
        std::thread::yield_now();
    }
    child
}

fn take_up(server: &Server, home: &Home, count: usize) -> Value {
    let file = write(home, "rows.csv", contacts(count));
    let more = ["--type", "contact", "--job", "j", "--key", "k"];
    let more = [&more[..], &["--batch-rows", "70", "--output", "json"]].concat();
    import(server, &file, &more).ends(0).json()
}

#[test]
fn a_killed_client_leaves_whole_batches_and_the_import_is_taken_up() {
    const ROWS: usize = 3_000;
    let (home, server) = started();
    let mut client = half_way(&server, ROWS - 100);
    client.kill().unwrap();
    client.wait().unwrap();
    let answer = take_up(&server, &home, ROWS);
    let (skipped, written) = (
        answer["progress"]["skipped"].as_u64().unwrap(),
        answer["progress"]["written"].as_u64().unwrap(),
    );
    assert!(skipped >= 70 && skipped.is_multiple_of(70), "{answer}");
    assert_eq!(skipped + written, ROWS as u64);
    assert_eq!(export(&server), undisturbed(ROWS));
}

#[test]
fn a_server_killed_midway_has_lost_and_doubled_nothing() {
    const ROWS: usize = 3_000;
    let (home, server) = started();
    let client = half_way(&server, ROWS - 100);
    // SIGKILL.
    drop(server);
    let ran = client.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.contains("run the same command again"), "{said}");

    let server = Server::start(&home);
    let left = stored(&server) - 1;
    assert!(left >= 70 && left.is_multiple_of(70), "{left}");
    let answer = take_up(&server, &home, ROWS);
    assert_eq!(answer["progress"]["skipped"], left);
    assert_eq!(answer["progress"]["written"], ROWS - left);
    assert_eq!(export(&server), undisturbed(ROWS));
}
