//! Bulk import: rows of resources with their assignments, written in batches.
//!
//! Each batch is planned and written as any other list of changes ([`crate::directory`]), so every
//! rule holds; nothing of it is written where one of its rows is refused. How rows fall into
//! batches depends on the rows alone, and each batch is written under an idempotency key of its
//! own, so that an import that broke off is taken up by sending the same rows again: what was
//! written is told apart by its digest and not written twice. Between two batches the account's
//! other writers have their turn, and a batch that writers elsewhere keep from being written is
//! cut in halves until it fits between theirs.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::authz::change::{Change, ChangeError};
use crate::authz::difference::Halted;
use crate::authz::graph::AccountGraph;
use crate::authz::model::{EntityKey, Id, Principal, Timestamp};
use crate::authz::on_behalf::CeilingReport;
use crate::directory::{
    Applied, Directory, DirectoryError, Foreseen, Idempotency, Intent, IntentWrite, Supposed,
};
use crate::graph_cache::{Consistency, ReadError};
use crate::revision::RevisionToken;
use crate::store::Head;
use crate::store::audit::Author;

mod batch;
mod judge;
mod rights;
mod row;

pub use batch::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, Batch};
pub use row::{Assigned, Mode, Row, RowContent, Unreadable, Withheld};

use batch::{Batcher, Part};
use rights::Rights;

/// Longest import key: the key of each batch has it as its beginning.
pub const IMPORT_KEY_BYTES_MAX: usize = 200;

/// Rows that may be refused before an import stops, where the caller says nothing else.
pub const ERRORS_MAX_DEFAULT: u64 = 1_000;

/// Times that a part of a batch is planned before it is cut in halves: with less to write there is
/// less time for others to come in between.
const TRIES_BEFORE_CUT: u32 = 3;

/// Rows that are not worth a cut: what a write costs whatever is in it takes longer.
const PART_ROWS_MIN: usize = 16;

/// Times that so few rows are planned before the import gives up.
const TRIES_MAX: u32 = 200;

/// Rest after each part. Writers of this process queue for their turn; those of others only find
/// one while nobody writes, and this is longer than a small write needs from its look at the
/// account to its commit.
const REST: Duration = Duration::from_millis(15);

/// Parts written in a row without a conflict before the next ones may be twice as large.
const CALM_PARTS: u32 = 8;

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(
        "the rows {first} to {last} are not those that were written under the import key `{key}` in the last 24 hours: import a changed file under another key"
    )]
    KeyReused { key: String, first: u64, last: u64 },
    #[error("`{0}` is no active user of the account")]
    Actor(Id),
    #[error("there is no {what} `{id}` in the account")]
    UnknownTarget {
        index: usize,
        what: &'static str,
        id: Id,
    },
    #[error("the user may not assign to `{target}`, which is not within the user's teams (P1)")]
    TargetBeyond { index: usize, target: Principal },
    #[error("an import key has at most {IMPORT_KEY_BYTES_MAX} bytes, this one has {bytes}")]
    KeyTooLong { bytes: usize },
}

/// What is imported, and how.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    pub account: Id,
    /// By which a broken import is taken up; at most [`IMPORT_KEY_BYTES_MAX`].
    pub key: Id,
    /// Assignments get the provenance `import:JOB`.
    pub job: Id,
    pub mode: Mode,
    /// To whom every record of the job is assigned, each once and in their order (P8).
    pub targets: Vec<Principal>,
    /// The user whose rights it is judged by; `None`: an operator's.
    pub actor: Option<Id>,
    /// At most [`BATCH_ROWS_MAX`]; 0 means that.
    pub batch_rows: usize,
    /// 0: [`ERRORS_MAX_DEFAULT`].
    pub errors_max: u64,
    /// Judges every row, writes nothing.
    pub dry_run: bool,
    /// Who imports, for the audit.
    pub author: Author,
}

/// Rows so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub read: u64,
    /// Written, and changed something; of a dry run: would.
    pub written: u64,
    pub unchanged: u64,
    /// Written by an earlier import under the same key.
    pub skipped: u64,
    pub refused: u64,
    /// Good, but in a batch with a refused row.
    pub held_back: u64,
    /// Targets that were not applied to a record, since the user may not assign it to them.
    pub withheld: u64,
}

/// Why a row was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineProblem {
    pub line: u64,
    /// As account documents name it, e.g. `owners` or `assigned_to[2]`; empty: the whole row.
    pub field: String,
    pub problem: RowProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowProblem {
    #[error(transparent)]
    Change(#[from] crate::authz::change::ChangeProblem),
    #[error(
        "the resource is in line {0} too; with the mode `replace` a resource has one row, which says all of it"
    )]
    Repeated(u64),
    #[error("{}", .0.message)]
    Unreadable(Unreadable),
}

/// One running import. Dropped before its end it has written whole batches.
pub struct Import {
    directory: Directory,
    request: Arc<ImportRequest>,
    batcher: Batcher,
    progress: Progress,
    head: Head,
    /// Most rows that are tried in one transaction, learned from conflicts.
    part_rows: usize,
    calm: u32,
    /// Targets that were not applied, and were not told yet.
    withheld: Vec<Withheld>,
    /// Of a dry run: the account as the batches so far would make it.
    supposed: Option<Supposed>,
}

impl Import {
    /// The account must be there.
    pub async fn begin(directory: Directory, request: ImportRequest) -> Result<Self, ImportError> {
        let bytes = request.key.as_str().len();
        if bytes > IMPORT_KEY_BYTES_MAX {
            return Err(ImportError::KeyTooLong { bytes });
        }
        let consistency = Consistency::FullyConsistent;
        let read = directory
            .graphs()
            .read(&request.account, &consistency)
            .await;
        let read = read.map_err(DirectoryError::from)?;
        check(&read.graph, &request, directory.now())?;
        let head = read.head;
        let supposed = match request.dry_run {
            true => Some(directory.supposing(&request.account).await?),
            false => None,
        };
        let batch_rows = match request.batch_rows {
            0 => BATCH_ROWS_MAX,
            rows => rows.min(BATCH_ROWS_MAX),
        };
        Ok(Self {
            directory,
            request: Arc::new(request),
            batcher: Batcher::new(batch_rows),
            progress: Progress::default(),
            head,
            part_rows: batch_rows,
            calm: 0,
            withheld: Vec::new(),
            supposed,
        })
    }

    /// What the batches of a dry run so far would do to access; `None`: it is none.
    pub async fn foresee(&mut self) -> Result<Option<Result<Foreseen, Halted>>, ImportError> {
        match &mut self.supposed {
            Some(supposed) => Ok(Some(self.directory.preview(supposed).await?)),
            None => Ok(None),
        }
    }

    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Where the account stood after what was written last.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The token of the revision at which everything written so far is seen.
    pub fn token(&self) -> RevisionToken {
        let graphs = self.directory.graphs();
        graphs.token(&self.request.account, self.head)
    }

    /// The targets that were not applied since this was asked last. Of batches that an earlier import
    /// wrote they are those that are not there now.
    pub fn take_withheld(&mut self) -> Vec<Withheld> {
        std::mem::take(&mut self.withheld)
    }

    /// Whether so many rows were refused that the rest is not looked at.
    pub fn has_too_many_errors(&self) -> bool {
        let errors_max = match self.request.errors_max {
            0 => ERRORS_MAX_DEFAULT,
            errors_max => errors_max,
        };
        self.progress.refused >= errors_max
    }

    /// Adds a row; a batch that is full before it is to be written.
    pub fn add(&mut self, row: Row) -> Option<Batch> {
        self.progress.read += 1;
        self.batcher.add(row)
    }

    /// What is left once all rows are added.
    pub fn rest(&mut self) -> Option<Batch> {
        self.batcher.rest()
    }

    /// Writes a batch, or nothing of it where rows are refused, which are answered in their order.
    pub async fn write(&mut self, batch: Batch) -> Result<Vec<LineProblem>, ImportError> {
        let mut problems = batch.own_problems(self.request.mode);
        if !problems.is_empty() {
            problems.extend(self.judge(&batch.whole()).await?);
            problems.sort_by_key(|problem| problem.line);
            problems.dedup_by_key(|problem| problem.line);
            return Ok(self.refuse(batch.len(), problems));
        }
        let mut parts = vec![batch.whole()];
        let mut is_judged = false;
        while let Some(part) = parts.pop() {
            if self.was_written(&part).await? {
                self.progress.skipped += part.count();
                self.withhold(self.missing(&part).await?);
                continue;
            }
            if let Some((first, second)) = part.halves()
                && (part.len() > self.part_rows || self.was_written(&first).await?)
            {
                // Before anything of a batch is written in parts, all of it is looked at.
                if !is_judged {
                    let problems = self.judge(&part).await?;
                    if !problems.is_empty() {
                        return Ok(self.refuse(part.len(), problems));
                    }
                    is_judged = true;
                }
                parts.extend([second, first]);
                continue;
            }
            match self.write_part(&part).await {
                Ok((applied, withheld)) => {
                    self.withhold(withheld);
                    self.count(&part, &applied);
                    if !applied.replayed && !self.request.dry_run {
                        tokio::time::sleep(REST).await;
                    }
                }
                Err(DirectoryError::Contended) if part.len() > PART_ROWS_MIN => {
                    self.part_rows = part.len().div_ceil(2);
                    self.calm = 0;
                    parts.push(part);
                }
                Err(DirectoryError::Change(error)) => {
                    let mut problems = self.judge(&part).await?;
                    if problems.is_empty() {
                        // What was wrong a moment ago is right now; what was told still holds for
                        // the plan that was made.
                        problems.push(part.problem_of(&error));
                    }
                    let left: usize = parts.iter().map(Part::len).sum();
                    return Ok(self.refuse(part.len() + left, problems));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Vec::new())
    }

    async fn write_part(
        &mut self,
        part: &Part,
    ) -> Result<(Applied, Vec<Withheld>), DirectoryError> {
        let intent = Arc::new(PartIntent {
            part: part.clone(),
            request: Arc::clone(&self.request),
            now: self.directory.now(),
            withheld: Mutex::default(),
        });
        let as_intent = Arc::clone(&intent) as Arc<dyn Intent>;
        let applied = match &mut self.supposed {
            Some(supposed) => Applied {
                head: supposed.head(),
                lines: self.directory.suppose_intent(supposed, as_intent).await?,
                ceiling: CeilingReport::default(),
                replayed: false,
            },
            None => {
                let write = IntentWrite {
                    account: self.request.account.clone(),
                    intent: as_intent,
                    idempotency: Some(self.idempotency(part)?),
                    dry_run: false,
                    // Rows are judged one by one, and told by their lines.
                    actor: None,
                    tries_max: if part.len() > PART_ROWS_MIN {
                        TRIES_BEFORE_CUT
                    } else {
                        TRIES_MAX
                    },
                    author: self.request.author.clone(),
                };
                self.directory.write_intent(write).await?
            }
        };
        let withheld = match applied.replayed {
            true => Vec::new(),
            false => intent
                .withheld
                .lock()
                .map(|told| told.clone())
                .unwrap_or_default(),
        };
        Ok((applied, withheld))
    }

    fn withhold(&mut self, withheld: Vec<Withheld>) {
        self.progress.withheld += u64::try_from(withheld.len()).unwrap_or(u64::MAX);
        self.withheld.extend(withheld);
    }

    /// Targets that the records of a part which was written before don't have.
    async fn missing(&self, part: &Part) -> Result<Vec<Withheld>, ImportError> {
        if self.request.targets.is_empty() {
            return Ok(Vec::new());
        }
        let account = &self.request.account;
        let graphs = self.directory.graphs();
        let read = graphs.read(account, &Consistency::FullyConsistent).await;
        let read = read.map_err(DirectoryError::from)?;
        let (part, request) = (part.clone(), Arc::clone(&self.request));
        let missing = graphs.compute(account, move || part.missing(&request, &read.graph));
        Ok(missing.await.map_err(DirectoryError::from)?)
    }

    async fn was_written(&self, part: &Part) -> Result<bool, ImportError> {
        if self.request.dry_run {
            return Ok(false);
        }
        let idempotency = self.idempotency(part)?;
        let written = self
            .directory
            .was_written(&self.request.account, &idempotency);
        match written.await {
            Ok(written) => Ok(written),
            Err(DirectoryError::IdempotencyKeyReused(_)) => {
                let (first, last) = part.lines();
                Err(ImportError::KeyReused {
                    key: self.request.key.to_string(),
                    first,
                    last,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn idempotency(&self, part: &Part) -> Result<Idempotency, DirectoryError> {
        let key = part.key(&self.request.key);
        Ok(Idempotency {
            // Its length is bounded at the beginning.
            key: Id::parse(&key).map_err(|_| DirectoryError::Read(ReadError::Internal))?,
            request_digest: part.digest(&self.request),
        })
    }

    /// Every row of a part that can't be written, by the account as it stands.
    async fn judge(&self, part: &Part) -> Result<Vec<LineProblem>, ImportError> {
        let account = &self.request.account;
        let consistency = Consistency::FullyConsistent;
        let graphs = self.directory.graphs();
        let read = graphs.read(account, &consistency).await;
        let read = read.map_err(DirectoryError::from)?;
        let part = part.clone();
        let request = Arc::clone(&self.request);
        let now = self.directory.now();
        let judge = move || judge::judge(&read.graph, &request, &part, now);
        let judged = graphs.compute(account, judge).await;
        Ok(judged.map_err(DirectoryError::from)?)
    }

    fn count(&mut self, part: &Part, applied: &Applied) {
        if let Some(head) = applied.head {
            self.head = head;
        }
        let rows = part.count();
        if applied.replayed {
            self.progress.skipped += rows;
            return;
        }
        let changed = applied.lines.iter().filter_map(|line| match &line.entity {
            EntityKey::Resource(key) => Some(key),
            EntityKey::Account
            | EntityKey::Team(_)
            | EntityKey::PermissionSet(_)
            | EntityKey::User(_)
            | EntityKey::AccessGroup(_)
            | EntityKey::Segment(_)
            | EntityKey::AccessRequest(_) => None,
        });
        let written = part.rows_about(&changed.collect());
        self.progress.written += written;
        self.progress.unchanged += rows.saturating_sub(written);
        if part.len() >= self.part_rows.div_ceil(2) {
            self.calm += 1;
            if self.calm >= CALM_PARTS {
                self.calm = 0;
                self.part_rows = (self.part_rows * 2).min(BATCH_ROWS_MAX);
            }
        }
    }

    fn refuse(&mut self, rows: usize, problems: Vec<LineProblem>) -> Vec<LineProblem> {
        let refused = problems.len();
        let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
        self.progress.refused += count(refused);
        self.progress.held_back += count(rows.saturating_sub(refused));
        problems
    }
}

/// A part of a batch as a write of the directory.
struct PartIntent {
    part: Part,
    request: Arc<ImportRequest>,
    now: Timestamp,
    /// Of the plan that was made last.
    withheld: Mutex<Vec<Withheld>>,
}

impl Intent for PartIntent {
    fn changes(&self, present: Option<&AccountGraph>) -> Result<Cow<'_, [Change]>, ChangeError> {
        let planned = self.part.changes(&self.request, present, self.now);
        if let Ok(mut withheld) = self.withheld.lock() {
            *withheld = planned.withheld;
        }
        match planned.overreach {
            Some(error) => Err(error),
            None => Ok(Cow::Owned(
                planned
                    .placed
                    .into_iter()
                    .map(|placed| placed.change)
                    .collect(),
            )),
        }
    }
}

/// What is wrong with a job whatever its rows are.
fn check(graph: &AccountGraph, request: &ImportRequest, now: Timestamp) -> Result<(), ImportError> {
    let rights = Rights::of(graph, request.actor.as_ref(), now);
    if let Some(actor) = &request.actor
        && !rights.is_somebody()
    {
        return Err(ImportError::Actor(actor.clone()));
    }
    for (index, target) in request.targets.iter().enumerate() {
        let (what, is_there) = match target {
            Principal::User(id) => ("user", graph.user(id.as_str()).is_some()),
            Principal::Team(id) => ("team", graph.team(id.as_str()).is_some()),
            Principal::Group(id) => ("access group", graph.access_group(id.as_str()).is_some()),
        };
        if !is_there {
            return Err(ImportError::UnknownTarget {
                index,
                what,
                id: target.id().clone(),
            });
        }
        if !rights.reaches(target) {
            return Err(ImportError::TargetBeyond {
                index,
                target: target.clone(),
            });
        }
    }
    Ok(())
}
