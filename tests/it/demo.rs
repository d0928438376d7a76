//! The demo: what a newcomer sees first.

use std::process::Command;

use ambit::authz::document::{Cases, parse_file};
use ambit::authz::model::Timestamp;
use ambit::demo::DOCUMENTS;
use serde_json::Value;

use crate::cli::{Home, Server};

fn start(home: &Home) -> Server {
    Server::start_with(home, &["--demo"])
}

fn created(server: &Server) -> Vec<(String, bool)> {
    let accounts = server.started["demo"]["accounts"].as_array().unwrap();
    accounts
        .iter()
        .map(|account| {
            let id = account["account_id"].as_str().unwrap().to_owned();
            (id, account["created"].as_bool().unwrap())
        })
        .collect()
}

/// Runs a printed line as a newcomer does: pasted into a shell, in another directory.
fn paste(line: &str) -> (Option<i32>, String, String) {
    let ran = Command::new("sh")
        .args(["-c", line])
        .current_dir("/")
        .env_remove("AMBIT_SERVER")
        .output()
        .unwrap();
    (
        ran.status.code(),
        String::from_utf8(ran.stdout).unwrap(),
        String::from_utf8(ran.stderr).unwrap(),
    )
}

fn commands(server: &Server) -> Vec<String> {
    let commands = server.started["demo"]["commands"].as_array().unwrap();
    let line = |command: &Value| command["command"].as_str().unwrap().to_owned();
    commands.iter().map(line).collect()
}

#[test]
fn each_printed_command_works_when_pasted_and_again_after_a_restart() {
    let home = Home::new();
    let server = start(&home);
    let names = ["northwind", "bonbon", "lumen", "pixel-agency"].map(str::to_owned);
    assert_eq!(created(&server), names.clone().map(|name| (name, true)));
    assert_eq!(commands(&server).len(), 6);
    for command in commands(&server) {
        let (status, stdout, stderr) = paste(&command);
        assert_eq!(status, Some(0), "{command}: {stdout}{stderr}");
        assert!(
            !stdout.is_empty() && stderr.is_empty(),
            "{command}: {stdout}{stderr}"
        );
    }

    // What was written stays, and the demo never overwrites.
    server.apply("account: lumen\nusers: [{id: olga, permission_sets: [contact-work]}]\n");
    server
        .run(["check", "lumen", "olga", "contact.view", "bogdan"])
        .ends(0);
    server.stop();
    let server = start(&home);
    assert_eq!(created(&server), names.map(|name| (name, false)));
    server
        .run(["check", "lumen", "olga", "contact.view", "bogdan"])
        .ends(0);
    for command in commands(&server) {
        let (status, stdout, stderr) = paste(&command);
        assert_eq!(status, Some(0), "{command}: {stdout}{stderr}");
    }
    server.stop();
}

#[test]
fn every_case_of_the_demo_passes_and_each_account_covers_its_seeds() {
    let now = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
    let rules = [
        ("northwind.yaml", &["S1.", "S2.", "S4."] as &[&str], 15),
        ("bonbon.yaml", &["S3."], 15),
        ("lumen.yaml", &["S5."], 15),
        // What its people may do stands in the accounts of its clients.
        ("pixel-agency.yaml", &["S4."], 5),
    ];
    for (file, text) in DOCUMENTS {
        let documents = parse_file(text, &mut |catalog| Err(catalog.to_owned())).unwrap();
        let [document] = documents.as_slice() else {
            panic!("{file} has {} documents", documents.len());
        };
        let results = Cases::new(document).unwrap().run_all(now);
        let (_, seeds, least) = rules.iter().find(|(name, ..)| *name == file).unwrap();
        assert!(results.len() >= *least, "{file}: {} cases", results.len());
        for result in &results {
            assert!(result.passed, "{file}: {result:#?}");
        }
        for seed in *seeds {
            let named = results.iter().filter(|result| result.name.contains(seed));
            assert!(
                named.count() >= 5,
                "{file} hardly names the rules of {seed}"
            );
        }
    }
}

/// The documents are stored as they are tested: a server answers what the cases expect.
#[test]
fn an_exported_demo_account_passes_its_own_cases() {
    let home = Home::new();
    let server = start(&home);
    for (file, text) in DOCUMENTS {
        let (_, cases) = text.split_once("\ncases:\n").unwrap();
        let account = file.trim_end_matches(".yaml");
        let exported = server.run(["export", account]).ends(0).stdout;
        let document = format!("{exported}cases:\n{cases}");
        let ran = crate::cli::run_with_input(&mut crate::cli::ambit(["test", "-"]), &document);
        ran.ends(0);
    }
}

/// The function of the documentation's front end, as it is written there, given what the program
/// answers.
fn drawn(answer: &Value) -> String {
    let page = include_str!("../../docs/access-requests.md");
    let (_, after) = page.split_once("```js\n").unwrap();
    let (function, _) = after.split_once("```").unwrap();
    let script = format!("{function}\nprocess.stdout.write(control({answer}, 'Spring', '/ask'));");
    let ran = Command::new("node").args(["-e", &script]).output().unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8(ran.stdout).unwrap()
}

/// `docs/access-requests.md`, For the front end: S1.2 a tooltip with the link, S1.3 and S1.7 a
/// blocked page with the button, S3.2 a lock, S1.9 no way to ask below Enterprise.
#[test]
fn the_documented_front_end_draws_each_presentation() {
    let home = Home::new();
    let server = start(&home);
    let answer = |question: &[&str], status| {
        let mut line = vec!["check"];
        line.extend_from_slice(question);
        line.extend(["--output", "json"]);
        serde_json::from_str::<Value>(&server.run(line).ends(status).stdout).unwrap()
    };
    let walled = ["northwind", "pierre", "email.view", "spring-dach"];
    let blocked = drawn(&answer(&walled, 1));
    assert!(
        blocked.starts_with("<main>") && blocked.contains("Request access"),
        "{blocked}"
    );
    let tooltip = drawn(&answer(&["northwind", "david", "email.publish"], 1));
    assert!(
        tooltip.contains("role=\"tooltip\"")
            && tooltip.contains("disabled")
            && tooltip.contains("Request access"),
        "{tooltip}"
    );
    let lock = drawn(&answer(&["bonbon", "zoe", "contact.view"], 1));
    assert!(
        lock.contains("🔒") && lock.contains("Request access"),
        "{lock}"
    );
    let allowed = drawn(&answer(
        &["northwind", "david", "email.view", "spring-dach"],
        0,
    ));
    assert_eq!(allowed, "<button>Spring</button>");

    // Filed once, the page says so instead of offering it again.
    let mut file = vec!["request", "file"];
    file.extend(walled);
    file.extend(["--reason", "I translate it"]);
    server.run(file).ends(0);
    let pending = drawn(&answer(&walled, 1));
    assert!(
        pending.contains("You have asked") && !pending.contains("Request access"),
        "{pending}"
    );

    server.apply("account: northwind\nplan: professional\n");
    let walled = ["northwind", "pierre", "email.view", "relaunch"];
    let lower = drawn(&answer(&walled, 1));
    assert!(
        lower.starts_with("<main>") && !lower.contains("Request access"),
        "{lower}"
    );
    server.stop();
}
