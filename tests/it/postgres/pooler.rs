//! A real PgBouncer in front of a cluster, with few sessions for many clients, run as a user that is
//! not root, gone when the test process is.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};

use super::cluster::{self, Cluster, PATIENCE};

/// Sessions of the server that all clients of a database share.
pub const SESSIONS: usize = 4;

pub struct Pooler {
    directory: PathBuf,
    port: u16,
    /// Ends the pooler when its standard input closes: at the latest with this process, however that
    /// ends.
    watchdog: Child,
}

impl Pooler {
    /// Lends sessions for a transaction each.
    pub fn of_transactions(cluster: &Cluster, settings: &[(&str, &str)]) -> Self {
        let mut all = vec![("pool_mode", "transaction")];
        let sessions = SESSIONS.to_string();
        all.push(("default_pool_size", &sessions));
        all.extend(settings);
        Self::start(cluster, &all)
    }

    /// Lends a session for as long as its client stays.
    pub fn of_sessions(cluster: &Cluster) -> Self {
        let settings = [("pool_mode", "session"), ("default_pool_size", "60")];
        Self::start(cluster, &settings)
    }

    fn start(cluster: &Cluster, settings: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("ambit-test-pooler-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let port = cluster::free_port();
        let in_it = |name: &str| directory.join(name).display().to_string();
        let mut lines = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             logfile = {}\nmax_client_conn = 500\n",
            cluster.port(),
            in_it("users"),
            in_it("log"),
        );
        for (setting, value) in settings {
            lines.push_str(&format!("{setting} = {value}\n"));
        }
        fs::write(directory.join("ini"), lines).unwrap();
        fs::write(directory.join("users"), "\"postgres\" \"\"\n").unwrap();
        let watchdog = watch(&directory);
        let pooler = Self {
            directory,
            port,
            watchdog,
        };
        pooler.wait();
        pooler
    }

    fn wait(&self) {
        let begun = SystemClock::new();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let said = || fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(begun.monotonic() < PATIENCE, "no pooler: {}", said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The URL of a database behind it.
    pub fn url(&self, database: &str) -> String {
        cluster::url(self.port, database)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A shell that runs the pooler until its input ends.
fn watch(directory: &std::path::Path) -> Child {
    const SCRIPT: &str = r#"
        "$1" -q "$2/ini" </dev/null &
        read -r nothing
        kill -KILL $!
    "#;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", SCRIPT, "watchdog"])
        .arg(program())
        .arg(directory)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    if let Some((user, group)) = *cluster::server_user() {
        chown(directory, Some(user), Some(group)).unwrap();
        shell.uid(user).gid(group);
    }
    shell.spawn().unwrap()
}

/// Where Debian keeps it, or the PATH has it.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(PathBuf::from("/usr/sbin"))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.exists())
        .unwrap_or_else(|| panic!("no PgBouncer found: `tests/setup` installs Debian's package"))
}
