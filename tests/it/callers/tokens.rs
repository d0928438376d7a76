//! Tokens while servers run: made, revoked, expired, and a database that does not answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ambit::callers::{BearerToken, Role};
use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::status::Reason;
use ambit::grpc::wire as messages;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::wire::{methods, with};
use super::{MINE, Scene, make, now};
use crate::cli::{Home, ambit, run};
use crate::database::Database;
use crate::grpc::server::{TestServer, check};
use crate::postgres::cluster;
use crate::postgres::proxy::{Flow, Proxy, Which};

/// The default staleness bound.
const BOUND: Duration = Duration::from_secs(2);

/// What a page of the HTTP port says.
pub async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Asks what needs no account, so that only the token decides.
async fn ask(channel: &Channel, token: &str) -> Result<(), Status> {
    methods(channel, Some(token)).await.map(|_| ())
}

/// Asks until an answer comes that is wanted; how long that took.
async fn until(
    channel: &Channel,
    token: &str,
    wanted: impl Fn(&Result<(), Status>) -> bool,
) -> Duration {
    let begun = SystemClock::new();
    loop {
        let answer = ask(channel, token).await;
        if wanted(&answer) {
            return begun.monotonic();
        }
        assert!(begun.monotonic() < 10 * BOUND, "still {answer:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_refused(answer: &Result<(), Status>) -> bool {
    matches!(answer, Err(status) if status.code() == Code::Unauthenticated)
}

/// Case 40: within the bound on all replicas. The control is the token that stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_40_a_token_is_good_and_revoked_within_the_bound_on_all_replicas() {
    let database = Database::Postgres(cluster::Database::empty());
    let required = [("authentication", "required")];
    let start =
        async || TestServer::start_with(&database, Arc::new(SystemClock::new()), &required).await;
    let replicas = [start().await, start().await];
    let store = database.open_tokens().await;
    let (token, stays) = (make(&[Role::Check], &[]), make(&[Role::Check], &[]));
    store.put_token(&token.kept).await.unwrap();
    store.put_token(&stays.kept).await.unwrap();
    for replica in &replicas {
        let took = until(&replica.channel, &token.text, Result::is_ok).await;
        assert!(took <= BOUND, "{took:?}");
        until(&replica.channel, &stays.text, Result::is_ok).await;
    }
    let committed = SystemClock::new();
    assert!(store.revoke_token(&token.kept.id, now()).await.unwrap());
    for replica in &replicas {
        until(&replica.channel, &token.text, is_refused).await;
        let took = committed.monotonic();
        assert!(took <= BOUND, "revoked for {took:?}");
        assert!(ask(&replica.channel, &stays.text).await.is_ok());
    }
    // For good, and one that was never there is told.
    assert!(store.revoke_token(&token.kept.id, now()).await.unwrap());
    assert!(
        !store
            .revoke_token(&make(&[], &[]).kept.id, now())
            .await
            .unwrap()
    );
}

/// A watch goes on for as long as its caller is known, and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_when_its_token_is_revoked() {
    let (token, stays) = (make(&[Role::Check], &[MINE]), make(&[Role::Check], &[MINE]));
    let scene = Scene::with(&[&token, &stays]).await;
    let watch = messages::WatchChangesRequest {
        account_id: MINE.to_owned(),
        ..messages::WatchChangesRequest::default()
    };
    let mut directory = scene.server.directory();
    let begun = directory.watch_changes(with(watch.clone(), Some(&token.text)));
    let mut ends = begun.await.unwrap().into_inner();
    let begun = directory.watch_changes(with(watch, Some(&stays.text)));
    let mut goes_on = begun.await.unwrap().into_inner();
    assert!(ends.message().await.unwrap().is_some());
    assert!(goes_on.message().await.unwrap().is_some());
    scene
        .tokens
        .revoke_token(&token.kept.id, now())
        .await
        .unwrap();
    let ended = tokio::time::timeout(BOUND, ends.message()).await;
    let status = ended.expect("within the bound").unwrap_err();
    assert_eq!(Reason::of(&status), Some(Reason::Unauthenticated));
    let still = tokio::time::timeout(Duration::from_millis(200), goes_on.message()).await;
    assert!(still.is_err(), "the other watch has ended: {still:?}");
}

/// Past the bound an old word of the database is no longer taken, however good it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_a_database_that_does_not_answer_are_refused_past_the_bound() {
    static CLUSTER: std::sync::OnceLock<cluster::Cluster> = std::sync::OnceLock::new();
    let cluster = CLUSTER.get_or_init(cluster::Cluster::start);
    let url = cluster.make_database("callers");
    let proxy = Proxy::to(cluster.port()).await;
    let behind = cluster::url(proxy.port(), "callers");
    let flags = [
        ("database_url", behind.as_str()),
        ("authentication", "required"),
    ];
    let server = TestServer::start_with_settings(Arc::new(SystemClock::new()), &flags).await;
    let token = make(&[Role::Check], &[]);
    let direct = crate::database::open_postgres_tokens(&url).await;
    direct.put_token(&token.kept).await.unwrap();
    until(&server.channel, &token.text, Result::is_ok).await;
    // The control: it stays good while the database answers, for longer than the bound.
    let begun = SystemClock::new();
    while begun.monotonic() < BOUND + Duration::from_millis(500) {
        assert!(ask(&server.channel, &token.text).await.is_ok());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    proxy.set(Which::All, Flow::Blackhole);
    proxy.refuse(true);
    let is_unsure = |answer: &Result<(), Status>| matches!(answer, Err(status) if Reason::of(status) == Some(Reason::Stale));
    let took = until(&server.channel, &token.text, is_unsure).await;
    assert!(took <= BOUND + Duration::from_millis(200), "{took:?}");
    proxy.refuse(false);
    proxy.set(Which::All, Flow::Pass);
    until(&server.channel, &token.text, Result::is_ok).await;
}

/// The command makes what the server takes, prints it once, and keeps no more than its hash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_makes_lists_and_revokes_beside_a_running_server() {
    let home = Home::migrated();
    let create = || {
        let mut command = ambit(["token", "create", "crm", "--role", "check"]);
        command
            .args([
                "--account",
                "northwind",
                "--expires-in",
                "1h",
                "--output",
                "json",
            ])
            .args(home.database());
        command
    };
    let made = run(&mut create()).ends(0);
    assert_eq!(made.stderr, "");
    let made = made.json();
    let token = made["token"].as_str().unwrap();
    assert!(BearerToken::parse(token).is_some());
    let human = run(ambit([
        "token",
        "create",
        "ops",
        "--role",
        "admin",
        "--all-accounts",
    ])
    .args(home.database()))
    .ends(0);
    assert!(
        BearerToken::parse(human.stdout.trim()).is_some(),
        "{human:?}"
    );
    assert!(!human.stderr.contains(human.stdout.trim()), "{human:?}");

    let listed = run(ambit(["token", "list", "--output", "json"]).args(home.database())).ends(0);
    let secret = token.rsplit_once('_').unwrap().1;
    assert!(!listed.stdout.contains(secret), "{listed:?}");
    assert_eq!(listed.json()["tokens"].as_array().unwrap().len(), 2);

    let id = made["token_id"].as_str().unwrap();
    run(ambit(["token", "revoke", id]).args(home.database())).ends(0);
    let listed = run(ambit(["token", "list", "--output", "json"]).args(home.database())).ends(0);
    let tokens = listed.json();
    let revoked = tokens["tokens"].as_array().unwrap().iter();
    let states: Vec<_> = revoked
        .filter(|shown| shown["token_id"] == id)
        .map(|shown| shown["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["revoked"]);
    let unknown = run(ambit(["token", "revoke", "0123456789abcdef"]).args(home.database()));
    unknown.ends(4).complains("there is no token");
    // A whole token where an id belongs is not repeated.
    let pasted = run(ambit(["token", "revoke", token]).args(home.database())).ends(2);
    assert!(!pasted.stderr.contains(secret), "{pasted:?}");
    for wrong in [
        &["token", "create", "x", "--role", "check"][..],
        &["token", "create", "x", "--account", "a"],
        &["token", "create", "x", "--role", "root", "--all-accounts"],
        &[
            "token",
            "create",
            "x",
            "--role",
            "check",
            "--account",
            "a",
            "--all-accounts",
        ],
    ] {
        run(ambit(wrong).args(home.database())).ends(2);
    }
}

/// A file of hashes, mounted as a secret, is read again when it changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_tokens_is_followed_and_a_broken_one_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    let file = path.to_str().unwrap();
    let create = |name: &str| {
        run(
            ambit(["token", "create", name, "--role", "check", "--all-accounts"])
                .args(["--append-to", file]),
        )
        .ends(0)
        .stdout
        .trim()
        .to_owned()
    };
    let first = create("first");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&first), "the token itself is in the file");
    // Naming the file is enough to ask who calls.
    let scene = Scene::with_settings(&[], &[("tokens_file", file)]).await;
    let channel = &scene.server.channel;
    assert!(ask(channel, &first).await.is_ok());
    let answered = scene.server.decisions();
    let answered = answered
        .clone()
        .check(with(check(MINE, "c"), Some(&first)))
        .await;
    assert!(answered.is_ok(), "{answered:?}");
    let second = create("second");
    assert!(until(channel, &second, Result::is_ok).await <= BOUND);
    std::fs::write(&path, &text).unwrap();
    assert!(until(channel, &second, is_refused).await <= BOUND);
    assert!(ask(channel, &first).await.is_ok());
    std::fs::write(&path, "[[tokens]]\nid = 7\n").unwrap();
    let is_unsure = |answer: &Result<(), Status>| matches!(answer, Err(status) if Reason::of(status) == Some(Reason::Stale));
    until(channel, &first, is_unsure).await;
    std::fs::write(&path, &text).unwrap();
    until(channel, &first, Result::is_ok).await;
}
