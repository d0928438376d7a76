//! The start of a server whose database is away, refuses it, or is of another version.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::replica::{Replica, until};
use super::scene::{ACCOUNT, BOUND, Scene, view};
use crate::grpc::server::put_contact;
use crate::postgres::cluster::{Cluster, execute};

/// A server that has not said anything yet, killed when it is dropped.
struct Starting {
    child: Child,
    grpc: SocketAddr,
    http: SocketAddr,
}

fn command(url: &str, grpc: SocketAddr, http: SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
    command
        .args(["serve", "--output", "json", "--log-filter", "warn"])
        .args(["--grpc-address", &grpc.to_string()])
        .args(["--http-address", &http.to_string()])
        // As a secret is given to it.
        .env("AMBIT_DATABASE_URL", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Starting {
    fn new(url: &str) -> Self {
        let (grpc, http) = (free_address(), free_address());
        Self {
            child: command(url, grpc, http).spawn().unwrap(),
            grpc,
            http,
        }
    }

    async fn status(&self, path: &str) -> Option<u16> {
        let mut stream = TcpStream::connect(self.http).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that must end by itself.
async fn ended(url: &str, more: &[&str]) -> Output {
    let mut command = command(url, free_address(), free_address());
    command.args(more);
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
    tokio::time::timeout(super::replica::PATIENCE, ended)
        .await
        .expect("the server ends")
        .unwrap()
}

/// reliability.md case 20: a database that is down is waited for, by a process that lives and is not
/// ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_20_a_database_that_is_down_is_waited_for() {
    let cluster = Cluster::start();
    let url = cluster.make_database("late");
    cluster.stop();
    let mut starting = Starting::new(&url);
    until("it lives", async || {
        starting.status("/healthz").await == Some(200)
    })
    .await;
    for _ in 0..20 {
        assert_eq!(starting.status("/healthz").await, Some(200));
        assert_eq!(starting.status("/readyz").await, Some(503));
        assert_eq!(starting.status("/metrics").await, Some(503));
        let asked = TcpStream::connect(starting.grpc).await;
        assert!(asked.is_err(), "nobody is left waiting for an answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(starting.child.try_wait().unwrap(), None);
    // The control: nothing but the database was missing.
    cluster.run_server();
    until("it is ready", async || {
        starting.status("/readyz").await == Some(200)
    })
    .await;
    TcpStream::connect(starting.grpc).await.unwrap();
}

/// reliability.md case 20: who is refused ends at once, with one clear line and no secret in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_20_who_is_refused_ends_with_one_line_and_no_secret() {
    let cluster = Cluster::start();
    let url = cluster.make_database("kept");
    let owner =
        "CREATE ROLE guarded LOGIN PASSWORD 'horse'; GRANT CREATE ON DATABASE kept TO guarded";
    execute(url, owner.to_owned()).await;
    cluster.require_password();
    let of = |password: &str, database: &str| {
        let port = cluster.port();
        format!("postgres://guarded:{password}@127.0.0.1:{port}/{database}")
    };
    let cases = [
        (of("s3cr3t", "kept"), &[][..], "wrong user or password"),
        (of("horse", "absent"), &[], "no database of that name"),
        (of("horse", "kept?sslmode=require"), &[], "no TLS"),
        (of("horse", "kept"), &["--no-migrate"], "ambit migrate"),
    ];
    for (url, more, expected) in cases {
        let output = ended(&url, more).await;
        assert_eq!(output.status.code(), Some(2), "{url}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(expected), "{url}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        for secret in ["s3cr3t", "horse", "guarded"] {
            assert!(!said.contains(secret), "{said}");
        }
        assert!(output.stdout.is_empty(), "it never served");
    }
    // The control: with all of it right it serves.
    let replica = Replica::start(&of("horse", "kept")).await;
    drop(replica);
}

/// reliability.md case 19, with a migration that only this test has: what runs goes on while a later
/// version brings the database up, and ends, in errors, where that says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_19_a_later_version_migrates_under_running_servers() {
    let scene = Scene::alone().await;
    let mut sql = scene.sql().await;
    let url = scene.cluster.url(&scene.database);
    for statement in [
        "ALTER TABLE ambit.app_user ADD COLUMN nickname text",
        "CREATE TABLE ambit.of_tomorrow (account_id text PRIMARY KEY)",
        "ALTER TABLE ambit.resource ADD COLUMN colour text NOT NULL DEFAULT 'blue'",
        "UPDATE ambit.store_identity SET schema_version = 9999",
    ] {
        sql.run(statement).await;
        assert!(scene.reader.check(view()).await.unwrap(), "{statement}");
        for allowed in [false, true] {
            scene.toggle(&mut sql, allowed).await;
        }
        let write = vec![put_contact(&statement.len().to_string())];
        scene.writer.apply(ACCOUNT, write).await.unwrap();
    }
    // A server of this version may still start.
    let another = Replica::start(&url).await;
    assert!(another.check(view()).await.unwrap());
    drop(another);

    sql.run("UPDATE ambit.store_identity SET compatible_from = 9999")
        .await;
    let refused = ended(&url, &[]).await;
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("9999"), "{said}");
    // Those that run answer nothing that they read by rules of yesterday.
    for replica in [&scene.reader, &scene.writer] {
        until("reads end", async || replica.check(view()).await.is_err()).await;
        assert_eq!(replica.get("/readyz").await.0, 503);
    }
    // The control: it is that number and nothing else.
    sql.run("UPDATE ambit.store_identity SET compatible_from = 1")
        .await;
    until("reads go on", async || {
        scene.reader.check(view()).await.is_ok()
    })
    .await;
    tokio::time::sleep(BOUND).await;
    assert!(scene.reader.check(view()).await.unwrap());
    sql.close().await;
}
