//! Two replicas on one PostgreSQL: what an import costs, how fast an account is loaded, how soon a
//! commit is seen on the other replica, and what checks are worth while changes come in. Each beside
//! the mechanism underneath, in the same run: `psql \copy`, a bare NOTIFY, the ceiling.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinHandle;

use crate::app::{App, AppError, DirectStore};
use crate::authz::model::Id;
use crate::cli::error::CliError;
use crate::cli::output::{self, Colour, Output};
use crate::clock::SystemClock;
use crate::config::{Config, Database, DatabaseUrl};
use crate::directory::Directory;
use crate::shutdown::Shutdown;
use crate::store::audit::Author;

use super::data_set::{ACCOUNT, DataSet};
use super::load;
use super::report::Measurement;
use super::subject::Subject;
use super::{Arguments, Questions, Run};

mod cold;
mod import;
mod under_writes;
mod visible;

use cold::ColdLoad;
use import::ImportFigures;
use under_writes::UnderWrites;
use visible::Visible;

/// One run of `ambit bench --database-url`.
#[derive(Debug, Serialize)]
pub struct ReplicasReport {
    contacts: u32,
    users: u32,
    seed: u64,
    import: ImportFigures,
    cold_load: ColdLoad,
    commit_to_visible: Visible,
    checks_under_writes: UnderWrites,
}

/// A server of this process.
struct Replica {
    directory: Directory,
    subject: Subject,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), AppError>>,
}

impl Replica {
    async fn start(url: &str) -> Result<Self, CliError> {
        let shutdown = Shutdown::new();
        let app = App::start(
            &config(url)?,
            Arc::new(SystemClock::new()),
            shutdown.clone(),
        )
        .await
        .map_err(CliError::refused)?;
        let subject = Subject::at(app.grpc_address(), ACCOUNT);
        Ok(Self {
            directory: app.directory().clone(),
            subject,
            shutdown,
            running: tokio::spawn(app.run()),
        })
    }

    async fn stop(self) -> Result<(), CliError> {
        self.shutdown.force();
        self.running
            .await
            .map_err(|error| CliError::refused(format!("the server died: {error}")))?
            .map_err(CliError::refused)
    }
}

/// Defaults, but for the database, ports of its own and room for an account of any size.
fn config(url: &str) -> Result<Config, CliError> {
    let flags = BTreeMap::from(
        [
            ("database_url", url),
            ("grpc_address", "127.0.0.1:0"),
            ("http_address", "127.0.0.1:0"),
            ("cache_bytes_max", "1099511627776"),
            ("load_timeout_ms", "3600000"),
            ("request_timeout_ms", "3600000"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    // An `ambit.toml` that lies about is not meant for this.
    Config::load(&flags, [], Some(Path::new("/dev/null"))).map_err(CliError::usage)
}

/// Everything that the measurements share.
struct Bench<'a> {
    arguments: &'a Arguments,
    url: &'a str,
    data_set: DataSet,
    account: Id,
    writer: Replica,
    follower: Replica,
}

pub async fn measure(arguments: &Arguments, url: &str) -> Result<ReplicasReport, CliError> {
    let writer = Replica::start(url).await?;
    let follower = Replica::start(url).await?;
    let bench = Bench {
        arguments,
        url,
        data_set: DataSet {
            users: arguments.users,
            contacts: arguments.contacts,
            seed: arguments.seed,
        },
        account: Id::parse(ACCOUNT).map_err(CliError::usage)?,
        writer,
        follower,
    };
    bench.make_directory().await?;
    let measured = bench.measure().await;
    // Also where a measurement failed: the account is the bench's own.
    let removed = bench
        .writer
        .directory
        .delete_account(
            &bench.account,
            None,
            &Author::named("ambit:bench", "DeleteAccount"),
        )
        .await;
    let report = measured?;
    removed.map_err(CliError::refused)?;
    bench.writer.stop().await?;
    bench.follower.stop().await?;
    Ok(report)
}

async fn open_store(url: &str) -> Result<DirectStore, CliError> {
    let url = DatabaseUrl::new(url).ok_or_else(|| CliError::usage("--database-url is empty"))?;
    DirectStore::open(&Database::Url(url), Arc::new(SystemClock::new()))
        .await
        .map_err(CliError::refused)
}

/// `ambit bench --database-url --account`: how long an account that is there takes to load.
pub async fn load_account(url: &str, account: &Id) -> Result<ColdLoad, CliError> {
    ColdLoad::measure(url, account).await
}

impl Bench<'_> {
    async fn open_store(&self) -> Result<DirectStore, CliError> {
        open_store(self.url).await
    }

    /// The account with everything but its contacts; it must not be there yet.
    async fn make_directory(&self) -> Result<(), CliError> {
        let store = self.open_store().await?;
        let head = store.store().head(&self.account).await;
        if head.map_err(CliError::refused)?.is_some() {
            return Err(CliError::usage(format!(
                "the database has an account `{ACCOUNT}` already: name a database that is only for measuring"
            )));
        }
        let changes = self.data_set.directory().map_err(CliError::usage)?;
        super::subject::apply(store.store(), &self.account, None, &changes).await?;
        store.close().await;
        Ok(())
    }

    async fn measure(&self) -> Result<ReplicasReport, CliError> {
        let import = self.import().await?;
        let cold_load = self.cold_load().await?;
        let commit_to_visible = self.commit_to_visible().await?;
        let checks_under_writes = self.checks_under_writes().await?;
        Ok(ReplicasReport {
            contacts: self.data_set.contacts,
            users: self.data_set.users,
            seed: self.data_set.seed,
            import,
            cold_load,
            commit_to_visible,
            checks_under_writes,
        })
    }
}

/// When the follower reached each head, until it is told to end.
struct Following {
    end: tokio::sync::oneshot::Sender<()>,
    seen: JoinHandle<Vec<(u64, Instant)>>,
}

impl Following {
    async fn begin(bench: &Bench<'_>) -> Result<Self, CliError> {
        let graphs = bench.follower.directory.graphs();
        let live = graphs
            .live(&bench.account)
            .await
            .map_err(CliError::refused)?;
        let (end, mut ended) = tokio::sync::oneshot::channel();
        let seen = tokio::spawn(async move {
            let mut heads = live.subscribe();
            let mut seen = Vec::new();
            loop {
                tokio::select! {
                    _ = &mut ended => return seen,
                    changed = heads.changed() => {
                        if changed.is_err() {
                            return seen;
                        }
                        let revision = heads.borrow_and_update().revision;
                        seen.push((revision, load::now()));
                    }
                }
            }
        });
        Ok(Self { end, seen })
    }

    /// How long after its acknowledgement each commit was seen, ascending. Those that the follower
    /// has not seen a while after the last one are an error.
    async fn lags(
        self,
        bench: &Bench<'_>,
        acknowledged: &[(u64, Instant)],
    ) -> Result<Vec<Duration>, CliError> {
        let graphs = bench.follower.directory.graphs();
        let live = graphs
            .live(&bench.account)
            .await
            .map_err(CliError::refused)?;
        let last = acknowledged.last().map_or(0, |(revision, _)| *revision);
        let mut heads = live.subscribe();
        let reached = heads.wait_for(|head| head.revision >= last);
        let waited = tokio::time::timeout(Duration::from_secs(60), reached).await;
        waited
            .map_err(|_| CliError::refused("the other replica did not follow within 60 seconds"))?
            .map_err(CliError::refused)?;
        // The task that stamps may be a moment behind this one.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _ended = self.end.send(());
        let seen = self
            .seen
            .await
            .map_err(|error| CliError::refused(format!("the follower was lost: {error}")))?;
        Ok(lags(acknowledged, &seen))
    }
}

fn lags(acknowledged: &[(u64, Instant)], seen: &[(u64, Instant)]) -> Vec<Duration> {
    let mut lags: Vec<Duration> = acknowledged
        .iter()
        .filter_map(|(revision, at)| {
            let first = seen.iter().find(|(reached, _)| reached >= revision)?;
            Some(first.1.saturating_duration_since(*at))
        })
        .collect();
    lags.sort_unstable();
    lags
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

impl ReplicasReport {
    pub fn print(&self, output: &mut Output) -> Result<(), CliError> {
        let import = &self.import;
        let title = output.painted(Colour::Bold, "two replicas on PostgreSQL");
        output.line(&format!(
            "{title}: {} contacts, {} users, seed {}",
            self.contacts, self.users, self.seed
        ))?;
        output.line(&format!(
            "import: {:.1} s, {:.0} rows/s, {} rows of owners and partitions; grown by {} MiB",
            import.seconds,
            import.rows_per_second,
            import.database_rows,
            import.resident_bytes.unwrap_or_default() >> 20
        ))?;
        output.line(&format!(
            "  checks on the other replica meanwhile: p50 {:.2} ms, p99 {:.2} ms, worst {:.1} ms, {} failed (before: p50 {:.2} ms, p99 {:.2} ms)",
            import.checks.p50_ms,
            import.checks.p99_ms,
            import.checks.worst_ms,
            import.checks.failed,
            import.checks_before.p50_ms,
            import.checks_before.p99_ms
        ))?;
        output.line(&format!(
            "  behind: p50 {:.0} ms, p99 {:.0} ms, worst {:.0} ms",
            import.behind_p50_ms, import.behind_p99_ms, import.behind_worst_ms
        ))?;
        self.cold_load.print(output)?;
        let visible = &self.commit_to_visible;
        output.line(&format!(
            "commit to visible: p50 {:.2} ms, p99 {:.2} ms at {:.0} commits/s; NOTIFY round trip p50 {:.2} ms, p99 {:.2} ms; {:.2} of it at p99 (target 2)",
            visible.p50_ms,
            visible.p99_ms,
            visible.commits_per_second,
            visible.notify_p50_ms,
            visible.notify_p99_ms,
            visible.ratio_p99
        ))?;
        let checks = &self.checks_under_writes;
        output.line(&format!(
            "checks beside {:.1} commits/s of 100 changes: {:.0}/s, the ceiling {:.0}/s; {:.2} of it (target 0.9; at rest {:.2})",
            checks.commits_per_second,
            checks.beside_commits.server.per_second,
            checks.beside_commits.ceiling.per_second,
            checks.beside_commits.ratio,
            checks.at_rest.ratio
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_seen_with_the_first_head_that_is_not_before_it() {
        let begun = load::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let acknowledged = [(2, at(10)), (3, at(20)), (4, at(30))];
        let seen = [(2, at(9)), (4, at(50))];
        assert_eq!(
            lags(&acknowledged, &seen),
            [0, 20, 30].map(Duration::from_millis)
        );
    }
}
