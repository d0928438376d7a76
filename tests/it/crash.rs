//! The end of the process, wanted or not. Each test starts the real binary on a database of its own, talks gRPC to it, and ends it by a signal: SIGKILL in the middle of concurrent writes
//! must lose nothing that was acknowledged and leave nothing half written; SIGTERM must let running
//! calls finish and still end within the grace, whatever a client holds open.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ambit::authz::model::EntityKey;
use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::wire;
use ambit::grpc::wire::catalog_ref::Catalog;
use ambit::grpc::wire::change::Change;
use ambit::grpc::wire::decision_service_client::DecisionServiceClient;
use ambit::grpc::wire::directory_service_client::DirectoryServiceClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Mutex;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::database::Database;
use crate::directory::{Replica, contact, fresh_graph, id};
use crate::store_contract::audit::{assert_one_each, records};

/// Longer than anything here takes, so that a hang fails rather than holds up.
const PATIENCE: Duration = Duration::from_secs(60);
const ACCOUNT: &str = "acme";

/// A running `ambit serve`, killed when it is dropped.
pub struct Server {
    child: Child,
    grpc: String,
    http: SocketAddr,
    /// Kept open, so that the server never writes to a closed pipe.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    pub fn start(database: &Database, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ambit"))
            .args(["serve", "--output", "json", "--log-filter", "warn"])
            .args(["--grpc-address", "127.0.0.1:0"])
            .args(["--http-address", "127.0.0.1:0"])
            .args(database.arguments())
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        // The first document on stdout says where it listens; the stream then stays open.
        let started: serde_json::Value = serde_json::Deserializer::from_reader(&mut stdout)
            .into_iter()
            .next()
            .unwrap()
            .unwrap();
        let address = |key: &str| started[key].as_str().unwrap().to_owned();
        Self {
            child,
            grpc: address("server"),
            http: address("http")
                .trim_start_matches("http://")
                .parse()
                .unwrap(),
            _stdout: stdout,
        }
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(self.grpc.clone()).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the process; fails where it does not end.
    pub async fn ended(&mut self) -> (ExitStatus, Duration) {
        let begun = SystemClock::new();
        while begun.monotonic() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, begun.monotonic());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("the server did not end within {PATIENCE:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn changes(changes: Vec<Change>) -> Vec<wire::Change> {
    let whole = |change| wire::Change {
        change: Some(change),
    };
    changes.into_iter().map(whole).collect()
}

fn request(list: Vec<Change>) -> wire::ApplyChangesRequest {
    wire::ApplyChangesRequest {
        account_id: ACCOUNT.to_owned(),
        changes: changes(list),
        ..wire::ApplyChangesRequest::default()
    }
}

fn put_account() -> Change {
    Change::PutAccount(wire::AccountPatch {
        catalog: Some(wire::CatalogRef {
            catalog: Some(Catalog::BuiltIn("hubspot".to_owned())),
        }),
        plan: Some("enterprise".to_owned()),
        ..wire::AccountPatch::default()
    })
}

fn put_user(user: &str, super_admin: bool) -> Change {
    Change::PutUser(wire::UserPatch {
        id: user.to_owned(),
        super_admin: Some(super_admin),
        ..wire::UserPatch::default()
    })
}

/// One write: a user, and two contacts that the user owns. Whole or not at all.
fn write(name: &str) -> Vec<Change> {
    let owned = |suffix: &str| {
        Change::PutResource(wire::ResourcePatch {
            resource_type: "contact".to_owned(),
            id: format!("{name}-{suffix}"),
            owners: Some(wire::IdList {
                ids: vec![name.to_owned()],
            }),
            ..wire::ResourcePatch::default()
        })
    };
    vec![put_user(name, false), owned("a"), owned("b")]
}

async fn apply(channel: &Channel, list: Vec<Change>) -> Result<String, tonic::Status> {
    let mut client = DirectoryServiceClient::new(channel.clone());
    let answer = client
        .apply_changes(tokio_stream::once(request(list)))
        .await?;
    Ok(answer.into_inner().revision)
}

fn check(user: &str, at_least: Option<&str>) -> wire::CheckRequest {
    use wire::consistency::Requirement;
    wire::CheckRequest {
        account_id: ACCOUNT.to_owned(),
        user_id: user.to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_id: String::new(),
        consistency: at_least.map(|token| wire::Consistency {
            requirement: Some(Requirement::AtLeastAsFresh(token.to_owned())),
        }),
        ..wire::CheckRequest::default()
    }
}

async fn http_status(address: SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap_or_default();
    status.to_owned()
}

async fn until_ready(server: &Server) {
    let begun = SystemClock::new();
    while http_status(server.http, "/readyz").await != "200" {
        assert!(begun.monotonic() < PATIENCE, "never ready");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// reliability.md case 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_1_kill_9_in_the_middle_of_writes_loses_nothing_acknowledged_and_leaves_nothing_half()
{
    const WRITERS: usize = 8;
    const ACKNOWLEDGED_BEFORE_THE_KILL: u64 = 60;
    const ROUNDS: usize = 3;

    let database = Database::new();
    let mut server = Server::start(&database, &[]);
    apply(&server.channel().await, vec![put_account()])
        .await
        .unwrap();
    let acknowledged: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let mut unanswered = 0;

    for round in 0..ROUNDS {
        let count = Arc::new(AtomicU64::new(0));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let (channel, count) = (server.channel().await, Arc::clone(&count));
            let acknowledged = Arc::clone(&acknowledged);
            writers.spawn(async move {
                for n in 0.. {
                    let name = format!("r{round}-w{writer}-n{n}");
                    // The first error is the kill: what this one write came to is not known.
                    let Ok(token) = apply(&channel, write(&name)).await else {
                        return;
                    };
                    acknowledged.lock().await.insert(name, token);
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let begun = SystemClock::new();
        while count.load(Ordering::SeqCst) < ACKNOWLEDGED_BEFORE_THE_KILL {
            assert!(begun.monotonic() < PATIENCE, "the writers stand still");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.signal(Signal::KILL);
        let (status, _) = server.ended().await;
        assert_eq!(status.code(), None, "it was killed");
        writers.join_all().await;
        unanswered += WRITERS;

        server = Server::start(&database, &[]);
        until_ready(&server).await;
        // Every token that was given is still good, and so is every write behind it.
        let mut client = DecisionServiceClient::new(server.channel().await);
        for (name, token) in acknowledged.lock().await.iter() {
            let answer = client.check(check(name, Some(token))).await;
            let reason = answer.unwrap().into_inner().reason;
            assert_eq!(reason, "NO_PERMISSION", "{name} is known, and has no grant");
        }
    }

    let acknowledged = acknowledged.lock().await;
    let store = Replica::open(&database).await.store;
    let (graph, head) = fresh_graph(&store, ACCOUNT).await;
    for name in acknowledged.keys() {
        assert!(graph.user(name).is_some(), "{name} was acknowledged");
    }
    let mut whole = 0;
    for user in graph.users() {
        for suffix in ["a", "b"] {
            let resource = graph.resource(&contact(&format!("{}-{suffix}", user.id)));
            assert!(resource.is_some(), "{} is half there", user.id);
        }
        whole += 1;
    }
    assert_eq!(graph.resource_count("contact"), 2 * whole);
    // One revision for the account, one for each write that is there, none in between.
    assert_eq!(head.revision, 1 + whole);
    for revision in 1..=head.revision {
        let nonce = store.nonce_at(&id(ACCOUNT), revision).await.unwrap();
        assert!(nonce.is_some(), "revision {revision} is in the log");
    }
    // Each has its record in the audit (case 40), and no record is of a write that is not there.
    let recorded = records(&*store).await;
    assert_one_each(&recorded, head.revision);
    let mut named: Vec<String> = Vec::new();
    for record in &recorded {
        assert_eq!(record.method.as_deref(), Some("ApplyChanges"));
        for entity in &record.entities {
            if let EntityKey::User(user) = &entity.key {
                named.push(user.to_string());
            }
        }
    }
    named.sort();
    let mut users: Vec<String> = graph.users().map(|user| user.id.to_string()).collect();
    users.sort();
    assert_eq!(named, users);
    let known = u64::try_from(acknowledged.len()).unwrap();
    assert!((known..=known + u64::try_from(unanswered).unwrap()).contains(&whole));
}

/// reliability.md case 18: what runs is answered, what stays open is ended, and the rest of the
/// world (an idle connection, a watch, a health watch) does not delay the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_18_sigterm_under_load_fails_no_running_call_and_exits_0_within_the_grace() {
    let database = Database::new();
    let grace = Duration::from_secs(10);
    let mut server = Server::start(&database, &["--shutdown-grace-ms", "10000"]);
    let channel = server.channel().await;
    apply(&channel, vec![put_account(), put_user("sa", true)])
        .await
        .unwrap();
    until_ready(&server).await;

    let mut watching = DirectoryServiceClient::new(server.channel().await);
    let mut watch = watching
        .watch_changes(wire::WatchChangesRequest {
            account_id: ACCOUNT.to_owned(),
            after_revision: String::new(),
        })
        .await
        .unwrap()
        .into_inner();
    let mut health = HealthClient::new(server.channel().await);
    let mut health_watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let first = health_watch.next().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let _idle = tokio::net::TcpStream::connect(server.grpc.trim_start_matches("http://"))
        .await
        .unwrap();

    let ending = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = DecisionServiceClient::new(server.channel().await);
        let (ending, answered) = (Arc::clone(&ending), Arc::clone(&answered));
        callers.spawn(async move {
            loop {
                let begun_before_the_signal = !ending.load(Ordering::SeqCst);
                match client.check(check("sa", None)).await {
                    Ok(answer) => {
                        assert_eq!(answer.into_inner().reason, "SUPER_ADMIN");
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(status) => {
                        assert!(!begun_before_the_signal, "a running call failed: {status}");
                        return;
                    }
                }
            }
        });
    }
    let begun = SystemClock::new();
    while answered.load(Ordering::SeqCst) < 500 {
        assert!(begun.monotonic() < PATIENCE, "no answers");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ending.store(true, Ordering::SeqCst);
    // What was begun before is given the time to have reached the server.
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.signal(Signal::TERM);

    let (status, took) = server.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(took < grace / 2, "nothing held it up, yet it took {took:?}");
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    // The health watch has said why before it ended; the watch of changes ended with a status.
    let last = health_watch.next().await.unwrap().unwrap();
    assert_eq!(last.status(), ServingStatus::NotServing);
    assert!(health_watch.next().await.is_none_or(|end| end.is_err()));
    while let Some(Ok(_)) = watch.next().await {}
}

/// A call that a client never finishes: its request stream stays open.
async fn hold_a_call_open(server: &Server) -> (tokio::task::JoinHandle<()>, impl Sized + use<>) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(request(vec![put_account()])).await.unwrap();
    let mut client = DirectoryServiceClient::new(server.channel().await);
    let call = tokio::spawn(async move {
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        // Cut off with the server, or answered with a status: it is never an answer.
        assert!(client.apply_changes(stream).await.is_err());
    });
    // Taken by the transport, so the call has begun.
    while sender.capacity() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    (call, sender)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_18_a_call_that_never_ends_is_cut_off_at_the_grace_and_the_exit_is_still_0() {
    let database = Database::new();
    let mut server = Server::start(&database, &["--shutdown-grace-ms", "5000"]);
    until_ready(&server).await;
    let held = hold_a_call_open(&server).await;
    server.signal(Signal::TERM);
    // While it drains, it says so to whoever asks whether to send more.
    let begun = SystemClock::new();
    while http_status(server.http, "/readyz").await != "503" {
        assert!(begun.monotonic() < Duration::from_secs(1), "still ready");
    }
    assert_eq!(http_status(server.http, "/healthz").await, "200");
    let (status, _) = server.ended().await;
    let took = begun.monotonic();
    assert_eq!(status.code(), Some(0));
    // The control: the call did hold it up, for its share of the grace.
    assert!(took > Duration::from_millis(2_000), "{took:?}");
    assert!(took < Duration::from_millis(5_000), "{took:?}");
    held.0.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_18_a_second_sigterm_exits_at_once() {
    let database = Database::new();
    let mut server = Server::start(&database, &["--shutdown-grace-ms", "60000"]);
    until_ready(&server).await;
    let _held = hold_a_call_open(&server).await;
    server.signal(Signal::TERM);
    let begun = SystemClock::new();
    while http_status(server.http, "/readyz").await != "503" {
        assert!(begun.monotonic() < PATIENCE, "still ready");
    }
    server.signal(Signal::TERM);
    let (status, took) = server.ended().await;
    assert_eq!(status.code(), Some(128 + 15));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// Liveness never depends on the database; readiness does.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_has_just_started_is_alive_and_becomes_ready() {
    let database = Database::new();
    let server = Server::start(&database, &[]);
    assert_eq!(http_status(server.http, "/healthz").await, "200");
    until_ready(&server).await;
    assert_eq!(http_status(server.http, "/nothing").await, "404");
    let mut health = HealthClient::new(server.channel().await);
    for service in ["", "ambit.v1.DecisionService", "ambit.v1.DirectoryService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    let unknown = HealthCheckRequest {
        service: "nothing".to_owned(),
    };
    let unknown = health.check(unknown).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
}
