//! A server process whose output is kept whole: what it says on stdout, what it logs, what it
//! measures.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use ambit::grpc::wire::decision_service_client::DecisionServiceClient;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::callers::tokens::get;
use crate::cli::program::ambit;
use crate::database::Database;
use crate::faults::replica::until;

pub struct Served {
    child: Child,
    output: TempDir,
    pub channel: Channel,
    pub http: SocketAddr,
}

/// What is left of one that ended in good order.
pub struct Ended {
    pub stdout: String,
    pub stderr: String,
}

impl Served {
    /// Ready to answer. Secrets go by the environment, as they should.
    pub async fn start(
        database: &Database,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let output = tempfile::tempdir().unwrap();
        let into = |name: &str| Stdio::from(File::create(output.path().join(name)).unwrap());
        let child = ambit(["serve", "--output", "json"])
            .args(["--grpc-address", "127.0.0.1:0"])
            .args(["--http-address", "127.0.0.1:0"])
            .args(database.arguments())
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(into("stdout"))
            .stderr(into("stderr"))
            .spawn()
            .unwrap();
        let path = output.path().join("stdout");
        // The first document says where it listens.
        let started = || {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut documents = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
            documents.next().and_then(Result::ok)
        };
        until("the server has started", async || started().is_some()).await;
        let started = started().unwrap();
        let address = |key: &str| started[key].as_str().unwrap().to_owned();
        let server = Channel::from_shared(address("server")).unwrap();
        let served = Self {
            child,
            output,
            channel: server.connect().await.unwrap(),
            http: address("http")
                .trim_start_matches("http://")
                .parse()
                .unwrap(),
        };
        until("the server is ready", async || {
            served.get("/readyz").await.starts_with("HTTP/1.1 200")
        })
        .await;
        served
    }

    pub fn decisions(&self) -> DecisionServiceClient<Channel> {
        DecisionServiceClient::new(self.channel.clone())
    }

    /// The answer of a path of the HTTP port, its head included.
    pub async fn get(&self, path: &str) -> String {
        get(self.http, path).await
    }

    /// A series of `/metrics`; 0 for one that is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").await;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    pub fn stdout(&self) -> String {
        std::fs::read_to_string(self.output.path().join("stdout")).unwrap()
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.output.path().join("stderr")).unwrap()
    }

    /// Ends it as an orchestrator would.
    pub async fn end(mut self) -> Ended {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let served = tokio::task::spawn_blocking(move || {
            let status = self.child.wait().unwrap();
            assert!(status.success(), "{status}: {}", self.stderr());
            self
        });
        let served = served.await.unwrap();
        Ended {
            stdout: served.stdout(),
            stderr: served.stderr(),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended is no longer there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
