//! A server process on a Postgres, and how it is asked.

use std::io::BufReader;
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::wire;
use ambit::grpc::wire::decision_service_client::DecisionServiceClient;
use ambit::grpc::wire::directory_service_client::DirectoryServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::transport::Channel;

/// Longer than anything here takes, so that a hang fails rather than holds up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `ambit serve`, killed when it is dropped.
pub struct Replica {
    child: Child,
    pub channel: Channel,
    /// Where it answers, for commands.
    pub server: String,
    http: SocketAddr,
    /// Kept open, so that the server never writes to a closed pipe.
    _stdout: BufReader<ChildStdout>,
}

impl Replica {
    /// On a database that may have to be migrated; answers when the server is ready.
    pub async fn start(url: &str) -> Self {
        Self::start_with(url, &[]).await
    }

    pub async fn start_with(url: &str, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ambit"))
            .args(["serve", "--output", "json", "--log-filter", "warn"])
            .args(["--grpc-address", "127.0.0.1:0"])
            .args(["--http-address", "127.0.0.1:0"])
            .args(["--database-url", url])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (started, stdout) = tokio::task::spawn_blocking(move || {
            // The first document on stdout says where it listens; the stream then stays open.
            let started: serde_json::Value = serde_json::Deserializer::from_reader(&mut stdout)
                .into_iter()
                .next()
                .expect("the server did not start")
                .unwrap();
            (started, stdout)
        })
        .await
        .unwrap();
        let address = |key: &str| started[key].as_str().unwrap().to_owned();
        let endpoint = Channel::from_shared(address("server")).unwrap();
        let replica = Self {
            child,
            channel: endpoint.connect().await.unwrap(),
            server: address("server"),
            http: address("http")
                .trim_start_matches("http://")
                .parse()
                .unwrap(),
            _stdout: stdout,
        };
        until("the server is ready", async || {
            replica.get("/readyz").await.0 == 200
        })
        .await;
        replica
    }

    pub fn decisions(&self) -> DecisionServiceClient<Channel> {
        DecisionServiceClient::new(self.channel.clone())
    }

    pub fn directory(&self) -> DirectoryServiceClient<Channel> {
        DirectoryServiceClient::new(self.channel.clone())
    }

    /// Whether a check is allowed, or why there is no answer.
    pub async fn check(&self, check: wire::CheckRequest) -> Result<bool, Status> {
        let answer = self.decisions().check(check).await?.into_inner();
        Ok(answer.decision() == wire::Decision::Allow)
    }

    /// One write; its revision token.
    pub async fn apply(&self, account: &str, changes: Vec<wire::Change>) -> Result<String, Status> {
        let request = wire::ApplyChangesRequest {
            account_id: account.to_owned(),
            changes,
            ..wire::ApplyChangesRequest::default()
        };
        let answer = self
            .directory()
            .apply_changes(tokio_stream::once(request))
            .await?;
        Ok(answer.into_inner().revision)
    }

    /// Status and body of a path of the HTTP port.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    /// A series of `/metrics`, named as it is written there.
    pub async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("no series {series} in:\n{text}"))
            .parse()
            .unwrap()
    }

    pub async fn listens(&self) -> bool {
        self.metric("ambit_feed_mode{mode=\"notify\"}").await > 0.0
    }

    pub async fn until_listening(&self) {
        until("notifications arrive", async || self.listens().await).await;
    }

    pub async fn until_polling(&self) {
        until("notifications are given up", async || !self.listens().await).await;
    }

    /// Processor time that the process has used.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name of the program may hold spaces; what follows it doesn't.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        // Linux counts in hundredths wherever it runs.
        Duration::from_millis(ticks * 10)
    }

    /// Files and connections that the process has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    /// Fails where the process has ended, e.g. in a panic.
    pub fn assert_alive(&mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "the server ended");
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a condition that must come true, and fails where it doesn't.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let begun = SystemClock::new();
    while !condition().await {
        assert!(
            begun.monotonic() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
