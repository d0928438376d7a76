//! Starting the binary and looking at how it ended.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::database::{self, Database};

/// A directory to work in and an empty database to serve.
pub struct Home {
    directory: TempDir,
    database: Database,
}

impl Home {
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            database: Database::new(),
        }
    }

    /// With the tables in the database, which on Postgres only a server and `migrate` make.
    pub fn migrated() -> Self {
        let home = Self::new();
        if database::kind() == database::Kind::Postgres {
            run(ambit(["migrate"]).args(home.database())).ends(0);
        }
        home
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The arguments of a command that lead to the database.
    pub fn database(&self) -> [&str; 2] {
        self.database.arguments()
    }
}

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Ended with the status, or the test fails and shows everything.
    #[track_caller]
    pub fn ends(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// One line on standard error that begins as every error does, and nothing on standard output.
    #[track_caller]
    pub fn complains(&self, of: &str) {
        assert_eq!(self.stdout, "", "{self:#?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:#?}");
        assert!(self.stderr.starts_with("error: "), "{self:#?}");
        assert!(self.stderr.contains(of), "`{of}` is not in {self:#?}");
    }
}

/// A command of the binary, in a directory and an environment where nothing was prepared.
pub fn ambit<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AMBIT_") {
            command.env_remove(name);
        }
    }
    command
}

pub fn run(command: &mut Command) -> Ran {
    finished(command.output().unwrap())
}

pub fn run_with_input(command: &mut Command, input: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // Beside the reading of the output, so that neither waits for the other's full pipe. A command
    // that ends early closes its end.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let ran = finished(child.wait_with_output().unwrap());
    writer.join().unwrap();
    ran
}

pub(super) fn finished(output: std::process::Output) -> Ran {
    Ran {
        status: output.status.code().expect("ended by a signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A server of the binary on free ports, ended when it is dropped.
pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What it said once it could be asked.
    pub started: Value,
    pub url: String,
}

impl Server {
    pub fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    pub fn start_with(home: &Home, more: &[&str]) -> Self {
        Self::start_saying(home, "warn", Stdio::inherit(), more)
    }

    /// With all that it logs from `info` on in a file.
    pub fn start_logging(home: &Home, log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        Self::start_saying(home, "info", log.into(), &[])
    }

    fn start_saying(home: &Home, filter: &str, log: Stdio, more: &[&str]) -> Self {
        let mut command = ambit(["serve", "--output", "json"]);
        command
            .args(["--grpc-address", "127.0.0.1:0"])
            .args(["--http-address", "127.0.0.1:0"])
            .args(["--log-filter", filter])
            .stderr(log)
            .args(home.database())
            .args(more)
            .current_dir(home.path())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let started: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the server said `{line}`: {error}"));
        let url = started["server"].as_str().unwrap().to_owned();
        Self {
            child,
            stdout,
            started,
            url,
        }
    }

    /// Runs a client command against this server.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        run(&mut self.command(arguments))
    }

    pub fn run_with_input<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        input: &str,
    ) -> Ran {
        run_with_input(&mut self.command(arguments), input)
    }

    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = ambit(arguments);
        command.env("AMBIT_SERVER", &self.url);
        command
    }

    /// Applies a document and answers the new revision.
    #[track_caller]
    pub fn apply(&self, document: &str) -> String {
        let ran = self
            .run_with_input(["apply", "-", "--output", "json"], document)
            .ends(0);
        let revision = &ran.json()["accounts"][0]["revision"];
        revision.as_str().unwrap().to_owned()
    }

    /// SIGTERM, and the end in good order.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "the server ended with {status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either one fails only where the server has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
