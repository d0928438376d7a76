//! A Postgres of the tests' own: a cluster on a free port in a directory of its own, run as a user
//! that is not root, gone when the test process is.
//!
//! [`shared`] is one cluster for all tests that only need a database; a test that stops or breaks
//! the server starts a [`Cluster`] of its own. `AMBIT_TEST_DATABASE_URL` points the shared one at a
//! server that runs already; its user must be allowed to create databases.

use std::ffi::OsStr;
use std::fs;
use std::future::Future;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection};

const URL_VARIABLE: &str = "AMBIT_TEST_DATABASE_URL";

/// Longer than anything here takes, so that a hang fails rather than holds up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Settings of every cluster. Nothing here survives the machine, so nothing is flushed for it; what
/// is killed with SIGKILL keeps what it wrote all the same.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_connections", "300"),
    ("shared_buffers", "64MB"),
    ("log_min_messages", "warning"),
    ("max_prepared_transactions", "10"),
];

/// A running server, or one that a test has stopped.
pub struct Cluster {
    directory: PathBuf,
    port: u16,
    /// Ends the server and removes the directory when its standard input closes: at the latest
    /// with this process, however that ends.
    watchdog: Child,
}

impl Cluster {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With settings beside the usual ones, or instead of them.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let cluster = Self::empty();
        run(program("initdb")
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync", "-D"])
            .arg(cluster.data()));
        cluster.configure(settings);
        cluster.run_server();
        cluster
    }

    /// A streaming standby of another cluster, which follows it until [`Cluster::promote`].
    pub fn standby_of(primary: &Self) -> Self {
        let cluster = Self::empty();
        run(program("pg_basebackup")
            .args(["-h", "127.0.0.1", "-U", "postgres", "-p"])
            .arg(primary.port.to_string())
            .args(["--checkpoint=fast", "--no-sync", "-X", "stream", "-R", "-D"])
            .arg(cluster.data()));
        cluster.configure(&[]);
        cluster.run_server();
        cluster
    }

    fn empty() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("ambit-test-postgres-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        if let Some((user, group)) = *server_user() {
            chown(&directory, Some(user), Some(group)).unwrap();
        }
        let watchdog = watch(&directory);
        Self {
            directory,
            port: free_port(),
            watchdog,
        }
    }

    fn configure(&self, settings: &[(&str, &str)]) {
        let mut lines = String::new();
        for (name, value) in SETTINGS.iter().chain(settings) {
            lines.push_str(&format!("{name} = '{value}'\n"));
        }
        lines.push_str(&format!("port = {}\n", self.port));
        let path = self.data().join("postgresql.auto.conf");
        let before = fs::read_to_string(&path).unwrap_or_default();
        // The last line of a name holds, so these win over what a base backup brought along.
        fs::write(&path, before + &lines).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts the server again after [`Cluster::stop`] or [`Cluster::kill`].
    pub fn run_server(&self) {
        let log = self.directory.join("log");
        let started = program("pg_ctl")
            .args(["-s", "-w", "-t", "60", "-l"])
            .arg(&log)
            .arg("-D")
            .arg(self.data())
            .arg("start")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let said = || fs::read_to_string(&log).unwrap_or_default();
        assert!(started.success(), "the server did not start: {}", said());
    }

    /// Lets nobody but the superuser in without a password from here on.
    pub fn require_password(&self) {
        let rules =
            "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(self.data().join("pg_hba.conf"), rules).unwrap();
        run(program("pg_ctl")
            .args(["-s", "-D"])
            .arg(self.data())
            .arg("reload"));
    }

    /// Stops the server in good order, cutting the connections.
    pub fn stop(&self) {
        run(program("pg_ctl")
            .args(["-s", "-w", "-m", "fast", "-D"])
            .arg(self.data())
            .arg("stop"));
    }

    /// SIGKILL to every process of the server.
    pub fn kill(&self) {
        let processes = self.processes();
        for process in &processes {
            // One that ended by itself meanwhile is as dead.
            let _ = kill_process(*process, Signal::KILL);
        }
        let begun = SystemClock::new();
        while processes.iter().any(|process| is_alive(*process)) {
            assert!(begun.monotonic() < PATIENCE, "a killed server goes on");
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// SIGSTOP to every process of the server: connections stay open and nothing answers.
    pub fn pause(&self) {
        for process in self.processes() {
            let _ = kill_process(process, Signal::STOP);
        }
    }

    pub fn resume(&self) {
        for process in self.processes() {
            let _ = kill_process(process, Signal::CONT);
        }
    }

    /// Makes a primary of a standby; it is one when this returns.
    pub fn promote(&self) {
        run(program("pg_ctl")
            .args(["-s", "-w", "-D"])
            .arg(self.data())
            .arg("promote"));
    }

    /// The postmaster and its children.
    fn processes(&self) -> Vec<Pid> {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let postmaster: i32 = file.lines().next().unwrap().trim().parse().unwrap();
        let mut processes = vec![postmaster];
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(process) = entry.file_name().to_string_lossy().parse::<i32>() else {
                continue;
            };
            if parent_of(process) == Some(postmaster) {
                processes.push(process);
            }
        }
        processes
            .into_iter()
            .map(|process| Pid::from_raw(process).unwrap())
            .collect()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database of the cluster.
    pub fn url(&self, database: &str) -> String {
        url(self.port, database)
    }

    /// A new database without anything in it.
    pub fn make_database(&self, name: &str) -> String {
        let made = format!("CREATE DATABASE {name}");
        block_on(execute(self.url("postgres"), made));
        self.url(name)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// The URL of a database behind a port of this machine, e.g. that of a proxy.
pub fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// A database of the shared server, dropped with this value.
pub struct Database {
    url: String,
    name: String,
}

impl Database {
    /// Empty: nothing was migrated.
    pub fn empty() -> Self {
        Self::of("template1")
    }

    fn of(template: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("ambit_test_{}_{number}", std::process::id());
        let made = format!("CREATE DATABASE {name} TEMPLATE {template}");
        block_on(execute(shared().to_owned(), made));
        Self {
            url: with_database(shared(), &name),
            name,
        }
    }

    /// Another with the same in it; nobody may be connected to this one.
    pub fn copy(&self) -> Self {
        Self::of(&self.name)
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let gone = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        block_on(execute(shared().to_owned(), gone));
    }
}

/// The URL of the shared server's database `postgres`.
fn shared() -> &'static str {
    static SHARED: OnceLock<String> = OnceLock::new();
    // Never dropped, since statics aren't: its watchdog sees the end of the process.
    static CLUSTER: Mutex<Option<Cluster>> = Mutex::new(None);
    SHARED.get_or_init(|| match std::env::var(URL_VARIABLE) {
        Ok(url) => url,
        Err(_) => {
            let cluster = Cluster::start();
            let url = cluster.url("postgres");
            *CLUSTER.lock().unwrap() = Some(cluster);
            url
        }
    })
}

/// A connection for plain SQL.
pub async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    options
        .disable_statement_logging()
        .connect()
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Runs statements of plain SQL on a connection of their own.
pub async fn execute(url: String, sql: String) {
    let mut connection = connect(&url).await;
    sqlx::raw_sql(AssertSqlSafe(sql.clone()))
        .execute(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// For code that is not async, or can't await: a drop.
pub fn block_on<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
        };
        scope
            .spawn(move || runtime().block_on(work))
            .join()
            .unwrap()
    })
}

fn with_database(server: &str, name: &str) -> String {
    let (before, parameters) = server.split_once('?').unwrap_or((server, ""));
    let (host, _database) = before.rsplit_once('/').unwrap();
    let mark = if parameters.is_empty() { "" } else { "?" };
    format!("{host}/{name}{mark}{parameters}")
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A program of Postgres, run as a user that may run a server.
pub fn program(name: &str) -> Command {
    let path = programs().join(name);
    let mut command = if server_user().is_some() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(path);
        command
    } else {
        Command::new(path)
    };
    // A directory that the user may read, and none of the caller's settings.
    command.current_dir("/").stdin(Stdio::null());
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("PG") {
            command.env_remove(variable);
        }
    }
    command
}

/// Where Debian keeps the programs of its newest server, or where `pg_config` says.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let version = entry.file_name().to_string_lossy().parse().ok()?;
                let programs = entry.path().join("bin");
                programs
                    .join("initdb")
                    .exists()
                    .then_some((version, programs))
            })
            .collect();
        versions.sort();
        if let Some((_, programs)) = versions.pop() {
            return programs;
        }
        let said = Command::new("pg_config")
            .arg("--bindir")
            .output()
            .unwrap_or_else(|error| {
                panic!("no Postgres found (`tests/setup` installs it): pg_config: {error}")
            });
        PathBuf::from(String::from_utf8(said.stdout).unwrap().trim())
    })
}

/// User and group that the server runs as; `None`: as this process, which is not root.
pub fn server_user() -> &'static Option<(u32, u32)> {
    static USER: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    USER.get_or_init(|| {
        let id = |flag: &str, user: &str| -> u32 {
            let said = Command::new("id").args([flag, user]).output().unwrap();
            assert!(said.status.success(), "there is no user `{user}`");
            String::from_utf8(said.stdout)
                .unwrap()
                .trim()
                .parse()
                .unwrap()
        };
        let is_root = rustix::process::getuid().is_root();
        is_root.then(|| (id("-u", "postgres"), id("-g", "postgres")))
    })
}

/// A shell that waits for the end of its input, then ends the server, paused or not, and removes
/// the directory. In a process group of its own, so that a signal from the terminal spares it.
fn watch(directory: &Path) -> Child {
    const SCRIPT: &str = r#"
        read -r nothing
        pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
        if [ -n "$pid" ]; then
            kill -CONT "$pid" 2>/dev/null
            for status in /proc/[0-9]*/status; do
                if grep -q "^PPid:[[:space:]]*$pid\$" "$status" 2>/dev/null; then
                    child=${status#/proc/}
                    kill -CONT "${child%/status}" 2>/dev/null
                fi
            done
            kill -QUIT "$pid" 2>/dev/null
            tries=0
            while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 300 ]; do
                tries=$((tries + 1))
                sleep 0.02
            done
        fi
        rm -rf "$1"
    "#;
    Command::new("sh")
        .args(["-c", SCRIPT, "watchdog"])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

fn parent_of(process: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// Whether a process goes on; one that is dead and not yet waited for does not.
fn is_alive(process: Pid) -> bool {
    let path = format!("/proc/{}/stat", process.as_raw_nonzero());
    fs::read_to_string(path).is_ok_and(|stat| {
        let state = stat.rsplit_once(')').map_or("", |(_, rest)| rest.trim());
        !state.starts_with('Z')
    })
}

#[track_caller]
fn run(command: &mut Command) {
    let program: &OsStr = command.get_program();
    let name = program.to_string_lossy().into_owned();
    // A server that goes on would hold a pipe open.
    let log = tempfile::tempfile().unwrap();
    let status = command
        .stdout(log.try_clone().unwrap())
        .stderr(log.try_clone().unwrap())
        .status()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    if !status.success() {
        use std::io::{Read as _, Seek as _};
        let mut log = log;
        let mut said = String::new();
        log.rewind().unwrap();
        log.read_to_string(&mut said).unwrap();
        panic!("{command:?} ended with {status}: {said}");
    }
}

/// The harness itself: what it breaks is broken, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_killed_paused_promoted_and_comes_back() {
    let primary = Cluster::start();
    let url = primary.make_database("somewhere");
    assert_eq!(self::url(primary.port(), "somewhere"), url);
    execute(url.clone(), "CREATE TABLE t (x int)".to_owned()).await;
    let count = async |url: &str| -> i64 {
        let mut connection = connect(url).await;
        sqlx::query_scalar("SELECT count(*) FROM t")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    };
    primary.kill();
    let refused: PgConnectOptions = url.parse().unwrap();
    assert!(refused.connect().await.is_err(), "killed");
    primary.run_server();
    assert_eq!(count(&url).await, 0);

    let standby = Cluster::standby_of(&primary);
    primary.pause();
    let silent = tokio::time::timeout(Duration::from_millis(300), connect(&url)).await;
    assert!(silent.is_err(), "paused");
    primary.resume();
    execute(url.clone(), "INSERT INTO t VALUES (1)".to_owned()).await;
    let follower = standby.url("somewhere");
    let followed = tokio::time::timeout(PATIENCE, async {
        while count(&follower).await < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    followed.await.unwrap();
    standby.promote();
    execute(follower.clone(), "INSERT INTO t VALUES (2)".to_owned()).await;
    assert_eq!((count(&url).await, count(&follower).await), (1, 2));
    primary.stop();
    let directory = primary.directory.clone();
    drop(primary);
    assert!(!directory.exists());

    let database = Database::empty();
    execute(database.url().to_owned(), "CREATE TABLE u ()".to_owned()).await;
}
