//! The server as a process: told to end under load (case 18), and out of descriptors (case 26).

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use ambit::grpc::wire::decision_service_client::DecisionServiceClient;
use ambit::grpc::wire::directory_service_client::DirectoryServiceClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

use super::lives::{metric, was_not_sent};
use crate::database::Database;
use crate::faults::by_soak;
use crate::faults::replica::until;
use crate::grpc::server::{built_in, change, check, put_user};

/// A running `ambit serve`, killed when it is dropped.
pub struct Process {
    child: Child,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// Read no further: what the server says goes nowhere.
    _stdout: BufReader<ChildStdout>,
    _database: Database,
}

impl Process {
    /// With at most so many descriptors, or as many as there are.
    pub fn start(descriptors: Option<u32>, more: &[&str]) -> Self {
        let database = Database::new();
        let limit = descriptors.map_or(String::new(), |count| format!("ulimit -n {count}; "));
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("{limit}exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_ambit"))
            .args(["serve", "--output", "json", "--log-filter", "error"])
            .args(["--grpc-address", "127.0.0.1:0"])
            .args(["--http-address", "127.0.0.1:0"])
            .args(database.arguments())
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).expect(&line);
        let address = |key: &str| {
            let url = said[key].as_str().unwrap();
            url.trim_start_matches("http://").parse().unwrap()
        };
        Self {
            child,
            grpc: address("server"),
            http: address("http"),
            _stdout: stdout,
            _database: database,
        }
    }

    pub async fn channel(&self) -> Channel {
        let url = format!("http://{}", self.grpc);
        Channel::from_shared(url).unwrap().connect().await.unwrap()
    }

    /// Makes an account in which each check of `acme` is answered.
    pub async fn make_account(&self) {
        self.make("acme").await;
    }

    /// The same under another name.
    pub async fn make(&self, account: &str) {
        let changes = vec![
            change(wire::change::Change::PutAccount(wire::AccountPatch {
                catalog: Some(built_in("hubspot")),
                plan: Some("enterprise".to_owned()),
                ..wire::AccountPatch::default()
            })),
            put_user("sa", Some(true)),
            put_user("u", None),
        ];
        let message = wire::ApplyChangesRequest {
            account_id: account.to_owned(),
            changes,
            ..wire::ApplyChangesRequest::default()
        };
        DirectoryServiceClient::new(self.channel().await)
            .apply_changes(tokio_stream::iter([message]))
            .await
            .unwrap();
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The exit status, and how long it took.
    async fn ended(&mut self, patience: Duration) -> (Option<i32>, Duration) {
        let clock = SystemClock::new();
        let begun = clock.monotonic();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), clock.monotonic() - begun);
            }
            let waited = clock.monotonic() - begun;
            assert!(waited < patience, "the server goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ticks of a hundredth of a second that the process has computed.
    pub fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Bytes of memory that the process holds.
    pub fn memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() * 1_024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either one fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A write that is under way until its sender is dropped.
async fn begin_write(
    process: &Process,
) -> (
    mpsc::Sender<wire::ApplyChangesRequest>,
    tokio::task::JoinHandle<Result<(), tonic::Status>>,
) {
    let (sender, messages) = mpsc::channel(1);
    let first = wire::ApplyChangesRequest {
        account_id: "acme".to_owned(),
        ..wire::ApplyChangesRequest::default()
    };
    sender.send(first).await.unwrap();
    let mut directory = DirectoryServiceClient::new(process.channel().await);
    let writing = tokio::spawn(async move {
        let messages = ReceiverStream::new(messages);
        directory.apply_changes(messages).await.map(|_| ())
    });
    while metric(process.http, "ambit_calls_in_flight").await < 1.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (sender, writing)
}

/// Connects, begins to speak, and is never heard of again.
async fn dead_client(grpc: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(grpc).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_18_told_to_end_under_load_it_fails_no_call_and_ends_within_the_grace() {
    const GRACE: Duration = Duration::from_secs(3);
    let mut process = Process::start(None, &["--shutdown-grace-ms", "3000"]);
    process.make_account().await;
    let mut watch = DirectoryServiceClient::new(process.channel().await)
        .watch_changes(wire::WatchChangesRequest {
            account_id: "acme".to_owned(),
            ..wire::WatchChangesRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    let _dead = dead_client(process.grpc).await;
    let mut load = Vec::new();
    for _ in 0..4 {
        let mut decisions = DecisionServiceClient::new(process.channel().await);
        load.push(tokio::spawn(async move {
            let mut answered = 0_u32;
            loop {
                match decisions.check(check("acme", "c1")).await {
                    Ok(_) => answered += 1,
                    Err(status) => return (answered, status),
                }
            }
        }));
    }
    let (sender, writing) = begin_write(&process).await;
    process.terminate();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(process.is_running(), "it did not wait for the write");
    drop(sender);
    writing
        .await
        .unwrap()
        .expect("the write that was under way");
    let status = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ends as if it were whole"),
            Err(status) => break status,
        }
    };
    assert_eq!(
        Reason::of(&status),
        Some(Reason::ShuttingDown),
        "{status:?}"
    );
    for caller in load {
        let (answered, status) = caller.await.unwrap();
        assert!(answered > 0);
        // The one that ends it was never sent: the connection had ended in good order before, or
        // there was none to be had.
        let told = format!("{status:?}");
        assert!(
            was_not_sent(&status)
                || (status.code() == Code::Cancelled && told.contains("connection closed"))
                || (status.code() == Code::Unavailable && told.contains("Connect")),
            "the server failed a call: {told}"
        );
    }
    let (code, took) = process.ended(GRACE + Duration::from_secs(2)).await;
    assert_eq!(code, Some(0), "after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_at_once() {
    let mut process = Process::start(None, &["--shutdown-grace-ms", "60000"]);
    process.make_account().await;
    let (_sender, _writing) = begin_write(&process).await;
    process.terminate();
    // The control: with a call under way it waits.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(process.is_running());
    process.terminate();
    let (code, _) = process.ended(Duration::from_secs(5)).await;
    assert_eq!(code, Some(128 + 15));
}

/// Connections that are open and silent cost no time, and do not keep others out for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_26_thousands_of_silent_connections_cost_nothing() {
    // As many as there are descriptors for, of those who connect and those who are connected to.
    let count = by_soak(1_000, 9_000);
    let connections = count.to_string();
    let limits = ["--connections-max", &connections, "--handshake-timeout-ms"];
    let silent = async |process: &Process| {
        let mut silent = Vec::new();
        for _ in 0..count {
            silent.push(TcpStream::connect(process.grpc).await.unwrap());
        }
        silent
    };
    let ping = async |process: &Process, patience: Duration| {
        let stream = TcpStream::connect(process.grpc).await.unwrap();
        let ping = tokio::time::timeout(patience, super::floods::ping(stream));
        ping.await.is_ok_and(|answered| answered.is_ok())
    };
    let mut process = Process::start(None, &[&limits[..], &["5000"]].concat());
    let held = silent(&process).await;
    let all = f64::from(u32::try_from(count).unwrap());
    until("all are accepted", async || {
        metric(process.http, "ambit_connections_accepted_total").await >= all
    })
    .await;
    let before = process.ticks();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let busy = process.ticks() - before;
    assert!(busy <= 20, "{busy} hundredths of a second in one second");
    assert!(
        ping(&process, Duration::from_secs(30)).await,
        "they keep others out"
    );
    assert!(process.is_running());
    drop(held);
    drop(process);
    // The control: they do take all the places that there are, until their time is up.
    let patient = Process::start(None, &[&limits[..], &["600000"]].concat());
    let _held = silent(&patient).await;
    assert!(!ping(&patient, Duration::from_secs(1)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_26_without_descriptors_it_rests_and_goes_on_when_there_are_some() {
    let patient = ["--handshake-timeout-ms", "60000"];
    let mut process = Process::start(Some(80), &patient);
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(process.grpc).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = process.ticks();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let busy = process.ticks() - before;
    assert!(busy <= 20, "{busy} hundredths of a second in one second");
    assert!(process.is_running());
    drop(idle);
    let last = TcpStream::connect(process.grpc).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), super::floods::ping(last))
        .await
        .expect("it does not recover")
        .unwrap();
    // The control: descriptors did run out.
    let failed = metric(process.http, "ambit_accept_failures_total").await;
    assert!(failed >= 1.0, "{failed}");
}
