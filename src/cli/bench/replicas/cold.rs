//! The load of the account from the database, beside `psql \copy` of the same rows.

use std::process::{Command, Stdio};

use serde::Serialize;

use super::{Bench, CliError, load, output};
use crate::cli::bench::data_set::ACCOUNT;
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
        let bar = output::progress("loading", Some(u64::from(ROUNDS)));
        let mut rows = 0;
        let mut rounds = Vec::new();
        let mut graph_bytes = 0;
        let mut resident_bytes = None;
        for _ in 0..ROUNDS {
            let url = self.url.to_owned();
            let begun = load::now();
            let copied = off_worker(move || copy(&url)).await;
            rows = copied.map_err(CliError::refused)??;
            let psql = (load::now() - begun).as_secs_f64();

            let store = self.open_store().await?;
            let resident = load::resident_bytes();
            let begun = load::now();
            let consistency = Consistency::FullyConsistent;
            let read = store.directory.graphs().read(&self.account, &consistency);
            let read = read.await.map_err(CliError::refused)?;
            let loaded = (load::now() - begun).as_secs_f64();
            let grown = resident
                .zip(load::resident_bytes())
                .map(|(before, after)| after.saturating_sub(before));
            resident_bytes = resident_bytes.or(grown);
            graph_bytes = u64::try_from(read.graph.bytes()).unwrap_or(u64::MAX);
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
            graph_bytes_per_contact: graph_bytes as f64 / f64::from(self.data_set.contacts),
            resident_bytes,
        })
    }
}

/// All rows of the account through psql to nowhere; how many there are.
fn copy(url: &str) -> Result<u64, CliError> {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--dbname", url]);
    for (table, columns) in TABLES {
        let rows = format!("SELECT {columns} FROM ambit.{table} WHERE account_id = '{ACCOUNT}'");
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
