//! An import on one replica, while the other one answers checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::{Bench, CliError, Duration, Following, Questions, load, millis, output};
use crate::authz::change::ResourcePatch;
use crate::authz::model::{Entity, EntityChange, Id};
use crate::cli::bench::data_set::DataSet;
use crate::cli::bench::load::percentile;
use crate::grpc::wire;
use crate::imports::{Assigned, Batch, Import, ImportRequest, Mode, Row, RowContent};
use crate::store::audit::Author;

/// Between two checks: a caller at leisure, whose every answer is timed.
const PACE: Duration = Duration::from_millis(5);

/// Checks before the import, to compare with.
const BEFORE: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
pub struct ImportFigures {
    pub seconds: f64,
    pub rows_per_second: f64,
    /// Resources, owners and assignments.
    pub database_rows: u64,
    /// What the process grew by, which holds both replicas.
    pub resident_bytes: Option<u64>,
    pub checks_before: CheckFigures,
    pub checks: CheckFigures,
    /// From a batch's acknowledgement until the other replica answers from it.
    pub behind_p50_ms: f64,
    pub behind_p99_ms: f64,
    pub behind_worst_ms: f64,
}

#[derive(Debug, Serialize)]
pub struct CheckFigures {
    pub count: usize,
    pub failed: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub worst_ms: f64,
}

impl Bench<'_> {
    pub(super) async fn import(&self) -> Result<ImportFigures, CliError> {
        let done = Arc::new(AtomicBool::new(false));
        let before = self.checking(Arc::clone(&done));
        let (checks_before, ()) = tokio::join!(before, async {
            tokio::time::sleep(BEFORE).await;
            done.store(true, Ordering::SeqCst);
        });
        let following = Following::begin(self).await?;
        let resident = load::resident_bytes();
        let done = Arc::new(AtomicBool::new(false));
        let begun = load::now();
        let checking = self.checking(Arc::clone(&done));
        let (checks, imported) = tokio::join!(checking, async {
            let imported = self.import_all().await;
            done.store(true, Ordering::SeqCst);
            imported.map(|(acknowledged, rows)| (acknowledged, rows, load::now()))
        });
        let (acknowledged, database_rows, ended) = imported?;
        let seconds = (ended - begun).as_secs_f64();
        let behind = following.lags(self, &acknowledged).await?;
        let grown = resident
            .zip(load::resident_bytes())
            .map(|(before, after)| after.saturating_sub(before));
        Ok(ImportFigures {
            seconds,
            rows_per_second: f64::from(self.data_set.contacts) / seconds,
            database_rows,
            resident_bytes: grown,
            checks_before: checks_before?,
            checks: checks?,
            behind_p50_ms: millis(percentile(&behind, 0.5)),
            behind_p99_ms: millis(percentile(&behind, 0.99)),
            behind_worst_ms: millis(percentile(&behind, 1.0)),
        })
    }

    async fn checking(&self, done: Arc<AtomicBool>) -> Result<CheckFigures, CliError> {
        let mut client = self.follower.subject.client().await?;
        let requests = Questions::of_generated(&self.data_set).checks();
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut latencies = Vec::new();
        let mut failed = 0;
        for request in requests.iter().cycle() {
            if done.load(Ordering::SeqCst) {
                break;
            }
            pace.tick().await;
            let asked = load::now();
            let answer = client.check(wire::CheckRequest::clone(request)).await;
            latencies.push(load::now() - asked);
            failed += u64::from(answer.is_err());
        }
        latencies.sort_unstable();
        Ok(CheckFigures {
            count: latencies.len(),
            failed,
            p50_ms: millis(percentile(&latencies, 0.5)),
            p99_ms: millis(percentile(&latencies, 0.99)),
            worst_ms: millis(percentile(&latencies, 1.0)),
        })
    }

    /// Each batch's revision and when it was acknowledged, and the rows that it all makes.
    async fn import_all(&self) -> Result<(Vec<(u64, std::time::Instant)>, u64), CliError> {
        let id = |text| Id::parse(text).map_err(CliError::usage);
        let request = ImportRequest {
            account: self.account.clone(),
            key: id("bench")?,
            job: id("bench")?,
            mode: Mode::Merge,
            targets: Vec::new(),
            actor: None,
            batch_rows: 0,
            errors_max: 1,
            dry_run: false,
            author: Author::named("ambit:bench", "ImportResources"),
        };
        let begun = Import::begin(self.writer.directory.clone(), request).await;
        let mut import = begun.map_err(CliError::refused)?;
        let bar = output::progress("importing", Some(u64::from(self.data_set.contacts)));
        let mut acknowledged = Vec::new();
        let mut rows = 0;
        for index in 0..self.data_set.contacts {
            let content = content(&self.data_set, index)?;
            rows += database_rows(&content);
            let row = Row::new(u64::from(index) + 1, Ok(content));
            if let Some(batch) = import.add(row) {
                write(&mut import, batch, &mut acknowledged).await?;
                bar.set_position(u64::from(index));
            }
        }
        if let Some(batch) = import.rest() {
            write(&mut import, batch, &mut acknowledged).await?;
        }
        bar.finish_and_clear();
        Ok((acknowledged, rows))
    }
}

fn database_rows(content: &RowContent) -> u64 {
    let owners = content
        .resource
        .owners
        .as_ref()
        .map_or(0, std::collections::BTreeSet::len);
    u64::try_from(1 + owners + content.assigned_to.len()).unwrap_or(u64::MAX)
}

async fn write(
    import: &mut Import,
    batch: Batch,
    acknowledged: &mut Vec<(u64, std::time::Instant)>,
) -> Result<(), CliError> {
    let problems = import.write(batch).await.map_err(CliError::refused)?;
    if let Some(problem) = problems.first() {
        return Err(CliError::refused(format!(
            "row {}: {}",
            problem.line, problem.problem
        )));
    }
    acknowledged.push((import.head().revision, load::now()));
    Ok(())
}

/// A contact of the data set as a row of an import.
fn content(data_set: &DataSet, index: u32) -> Result<RowContent, CliError> {
    match data_set.make_contact(index).map_err(CliError::usage)? {
        EntityChange::Put(Entity::Resource(resource, _)) => Ok(RowContent {
            assigned_to: resource
                .assignments
                .iter()
                .map(|assignment| Assigned {
                    principal: assignment.principal.clone(),
                    expires_at: assignment.expires_at,
                })
                .collect(),
            resource: ResourcePatch {
                key: resource.key,
                owners: Some(resource.owners),
                owning_team: None,
                partitioned: None,
                attributes: None,
                creator: None,
            },
        }),
        EntityChange::Put(_) | EntityChange::Delete(_) => Err(CliError::usage(
            "the data set has something else for a contact",
        )),
    }
}
