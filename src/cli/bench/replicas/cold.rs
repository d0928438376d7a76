//! The load of the account from the database, beside `psql \copy` of the same rows.

use std::process::{Command, Stdio};

use serde::Serialize;

use super::{Bench, CliError, Colour, Output, load, open_store, output};
use crate::authz::graph::AccountGraph;
use crate::authz::model::Id;
use crate::cli::bench::report::median;
use crate::graph_cache::{Consistency, off_worker};

/// Loads, each beside one run of psql.
const ROUNDS: u32 = 3;

/// The tables that nearly all rows of an account are in, each with the columns that a load reads.
const TABLES: [(&str, &str); 3] = [
    (
        "resource",
        "resource_type, resource_id, owning_team, partitioned",
    ),
    ("resource_owner", "resource_type, resource_id, user_id"),
    (
        "assignment",
        "resource_type, resource_id, principal_kind, principal_id, provenance, expires_at",
    ),
];

#[derive(Debug, Serialize)]
pub struct ColdLoad {
    pub rows: u64,
    pub load_seconds: f64,
    pub load_rows_per_second: f64,
    pub psql_seconds: f64,
    pub psql_rows_per_second: f64,
    /// Median of the rounds' ratios of rows a second, the load to psql.
    pub ratio: f64,
    pub graph_bytes: u64,
    pub graph_bytes_per_contact: f64,
    /// What the process grew by during the first load, the load's own garbage included.
    pub resident_bytes: Option<u64>,
}

impl Bench<'_> {
    pub(super) async fn cold_load(&self) -> Result<ColdLoad, CliError> {
        ColdLoad::measure(self.url, &self.account).await
    }
}

impl ColdLoad {
    /// Loads an account that is there.
    pub(super) async fn measure(url: &str, account: &Id) -> Result<Self, CliError> {
        let bar = output::progress("loading", Some(u64::from(ROUNDS)));
        let mut rows = 0;
        let mut rounds = Vec::new();
        let (mut graph_bytes, mut resources) = (0, 0);
        let mut resident_bytes = None;
        for _ in 0..ROUNDS {
            let (copied_from, copied) = (url.to_owned(), account.clone());
            let begun = load::now();
            let copied = off_worker(move || copy(&copied_from, &copied)).await;
            rows = copied.map_err(CliError::refused)??;
            let psql = (load::now() - begun).as_secs_f64();

            let store = open_store(url).await?;
            let resident = load::resident_bytes();
            let begun = load::now();
            let consistency = Consistency::FullyConsistent;
            let read = store.directory.graphs().read(account, &consistency);
            let read = read.await.map_err(CliError::refused)?;
            let loaded = (load::now() - begun).as_secs_f64();
            let grown = resident
                .zip(load::resident_bytes())
                .map(|(before, after)| after.saturating_sub(before));
            resident_bytes = resident_bytes.or(grown);
            graph_bytes = u64::try_from(read.graph.bytes()).unwrap_or(u64::MAX);
            resources = count(&read.graph);
            drop(read);
            store.close().await;
            rounds.push((loaded, psql));
            bar.inc(1);
        }
        bar.finish_and_clear();
        let load_seconds = median(rounds.iter().map(|(loaded, _)| *loaded));
        let psql_seconds = median(rounds.iter().map(|(_, psql)| *psql));
        Ok(ColdLoad {
            rows,
            load_seconds,
            load_rows_per_second: rows as f64 / load_seconds,
            psql_seconds,
            psql_rows_per_second: rows as f64 / psql_seconds,
            ratio: median(rounds.iter().map(|(loaded, psql)| psql / loaded)),
            graph_bytes,
            graph_bytes_per_contact: graph_bytes as f64 / resources.max(1) as f64,
            resident_bytes,
        })
    }

    pub fn print(&self, output: &mut Output) -> Result<(), CliError> {
        let title = output.painted(Colour::Bold, "cold load");
        output.line(&format!(
            "{title}: {:.2} s, {:.0} rows/s; psql \\copy {:.2} s; {:.2} of its rate (target 0.6); {:.0} bytes a contact, grown by {} MiB",
            self.load_seconds,
            self.load_rows_per_second,
            self.psql_seconds,
            self.ratio,
            self.graph_bytes_per_contact,
            self.resident_bytes.unwrap_or_default() >> 20
        ))
    }
}

fn count(graph: &AccountGraph) -> u64 {
    let types = graph.catalog().types.iter();
    types
        .map(|one| graph.resource_count(one.name.as_str()))
        .sum()
}

/// All rows of the account through psql to nowhere; how many there are.
fn copy(url: &str, account: &Id) -> Result<u64, CliError> {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--dbname", url]);
    let account = account.as_str().replace('\'', "''");
    for (table, columns) in TABLES {
        let rows = format!("SELECT {columns} FROM ambit.{table} WHERE account_id = '{account}'");
        psql.args(["--command", &format!("\\copy ({rows}) TO /dev/null")]);
    }
    let ran = psql
        .stdin(Stdio::null())
        .output()
        .map_err(|error| CliError::usage(format!("psql can't be run, install it: {error}")))?;
    if !ran.status.success() {
        return Err(CliError::refused(format!(
            "psql failed: {}",
            String::from_utf8_lossy(&ran.stderr).trim()
        )));
    }
    let said = String::from_utf8_lossy(&ran.stdout);
    let counts = said.lines().filter_map(|line| line.strip_prefix("COPY "));
    Ok(counts.filter_map(|count| count.parse::<u64>().ok()).sum())
}
