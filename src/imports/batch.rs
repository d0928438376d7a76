//! Rows in batches, and batches in halves. Where a batch begins and ends depends on the rows alone,
//! so that the same rows fall into the same batches when they are sent again.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::rights::Rights;
use super::row::{self, PlacedChange, PlannedRows, Withheld};
use super::{ImportRequest, LineProblem, Mode, Row, RowProblem};
use crate::authz::change::ChangeError;
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, ResourceKey, Timestamp};

/// Most rows of a batch: a replica that follows takes so many changes in steps.
pub const BATCH_ROWS_MAX: usize = 10_000;

/// About the most bytes of a batch; a row that alone has more is a batch of its own.
pub const BATCH_BYTES_MAX: usize = 8 * 1_024 * 1_024;

/// Most changes of a batch, assignments counted.
const BATCH_CHANGES_MAX: usize = 100_000;

/// Rows that are written in one transaction.
#[derive(Debug)]
pub struct Batch {
    rows: Arc<Vec<Row>>,
    /// Counted from 0.
    number: u64,
}

/// Collects rows until a batch is full.
pub(super) struct Batcher {
    rows_max: usize,
    rows: Vec<Row>,
    bytes: usize,
    changes: usize,
    number: u64,
}

impl Batcher {
    pub(super) fn new(rows_max: usize) -> Self {
        Self {
            rows_max: rows_max.clamp(1, BATCH_ROWS_MAX),
            rows: Vec::new(),
            bytes: 0,
            changes: 0,
            number: 0,
        }
    }

    /// The batch that is full before this row.
    pub(super) fn add(&mut self, row: Row) -> Option<Batch> {
        let changes = match &row.content {
            Ok(content) => content.change_count(),
            Err(_) => 1,
        };
        let is_full = self.rows.len() >= self.rows_max
            || self.bytes.saturating_add(row.bytes) > BATCH_BYTES_MAX
            || self.changes.saturating_add(changes) > BATCH_CHANGES_MAX;
        let full = if is_full { self.rest() } else { None };
        self.bytes += row.bytes;
        self.changes += changes;
        self.rows.push(row);
        full
    }

    /// The rows so far; `None` if there are none.
    pub(super) fn rest(&mut self) -> Option<Batch> {
        if self.rows.is_empty() {
            return None;
        }
        let number = self.number;
        self.number += 1;
        self.bytes = 0;
        self.changes = 0;
        let rows = Arc::new(std::mem::take(&mut self.rows));
        Some(Batch { rows, number })
    }
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn whole(&self) -> Part {
        Part {
            rows: Arc::clone(&self.rows),
            range: 0..self.rows.len(),
            number: self.number,
            path: String::new(),
        }
    }

    /// What is wrong with rows whatever the account says.
    pub(super) fn own_problems(&self, mode: Mode) -> Vec<LineProblem> {
        let mut seen: HashMap<&ResourceKey, u64> = HashMap::new();
        let mut problems = Vec::new();
        for row in self.rows.iter() {
            let (field, problem) = match &row.content {
                Err(unreadable) => (
                    unreadable.field.clone(),
                    RowProblem::Unreadable(unreadable.clone()),
                ),
                Ok(content) if mode == Mode::Replace => {
                    match seen.insert(&content.resource.key, row.line) {
                        Some(before) => ("id".to_owned(), RowProblem::Repeated(before)),
                        None => continue,
                    }
                }
                Ok(_) => continue,
            };
            problems.push(LineProblem {
                line: row.line,
                field,
                problem,
            });
        }
        problems
    }
}

/// A run of the rows of a batch: all, or what halving has left.
#[derive(Debug, Clone)]
pub(super) struct Part {
    rows: Arc<Vec<Row>>,
    range: Range<usize>,
    number: u64,
    /// Which half of which half: `.0.1` is the second half of the first half.
    path: String,
}

impl Part {
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    fn rows(&self) -> &[Row] {
        self.rows.get(self.range.clone()).unwrap_or_default()
    }

    /// [`Part::len`] as progress counts.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }

    /// `None` for a single row.
    pub(super) fn halves(&self) -> Option<(Self, Self)> {
        if self.len() < 2 {
            return None;
        }
        let middle = self.range.start + self.len() / 2;
        let half = |range, name: &str| Self {
            rows: Arc::clone(&self.rows),
            range,
            number: self.number,
            path: format!("{}.{name}", self.path),
        };
        Some((
            half(self.range.start..middle, "0"),
            half(middle..self.range.end, "1"),
        ))
    }

    /// The lines of the first and the last row.
    pub(super) fn lines(&self) -> (u64, u64) {
        let line = |row: Option<&Row>| row.map_or(0, |row| row.line);
        (line(self.rows().first()), line(self.rows().last()))
    }

    /// The idempotency key that it is written under.
    pub(super) fn key(&self, import: &Id) -> String {
        format!("import/{import}/{}{}", self.number, self.path)
    }

    pub(super) fn digest(&self, request: &ImportRequest) -> [u8; 32] {
        row::digest_of(self.rows().iter(), request)
    }

    /// How many of the rows are about one of these resources.
    pub(super) fn rows_about(&self, keys: &HashSet<&ResourceKey>) -> u64 {
        let about = |row: &&Row| {
            row.content
                .as_ref()
                .is_ok_and(|content| keys.contains(&content.resource.key))
        };
        u64::try_from(self.rows().iter().filter(about).count()).unwrap_or(u64::MAX)
    }

    /// What its readable rows come to on top of the account as it stands.
    pub(super) fn changes(
        &self,
        request: &ImportRequest,
        present: Option<&AccountGraph>,
        now: Timestamp,
    ) -> PlannedRows {
        let rights = present.map(|graph| Rights::of(graph, request.actor.as_ref(), now));
        let mut planned = PlannedRows::default();
        for (index, row) in self.rows().iter().enumerate() {
            if let Ok(content) = &row.content {
                content.plan(
                    (index, row.line),
                    request,
                    present.zip(rights.as_ref()),
                    &mut planned,
                );
            }
        }
        planned
    }

    /// The targets of the job that its records don't have.
    pub(super) fn missing(&self, request: &ImportRequest, graph: &AccountGraph) -> Vec<Withheld> {
        let mut missing = Vec::new();
        for row in self.rows() {
            if let Ok(content) = &row.content {
                missing.extend(content.missing(row.line, request, graph));
            }
        }
        missing
    }

    /// A row's problem, where it is known which change of the row is to blame.
    pub(super) fn problem_at(
        &self,
        placed: Option<&PlacedChange>,
        error: ChangeError,
    ) -> LineProblem {
        let row = placed.and_then(|placed| self.rows().get(placed.row));
        LineProblem {
            line: row.map_or(self.lines().0, |row| row.line),
            field: field_of(placed.and_then(|placed| placed.assignment), &error.field),
            problem: RowProblem::Change(error.problem),
        }
    }

    /// A problem of a plan that is gone: blamed on the first row.
    pub(super) fn problem_of(&self, error: &ChangeError) -> LineProblem {
        self.problem_at(None, error.clone())
    }
}

/// The field of a row, from the path that the core blames.
fn field_of(assignment: Option<usize>, field: &str) -> String {
    match assignment {
        Some(index) => format!("assigned_to[{index}]"),
        None => match field.split_once('.') {
            Some(("resource", name)) => name.to_owned(),
            Some(("assignment" | "delete_assignment", _)) => "assigned_to".to_owned(),
            Some(_) | None => String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::change::ResourcePatch;
    use crate::authz::model::Principal;
    use crate::imports::{Assigned, RowContent, Unreadable};

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn row(line: u64, assignments: usize) -> Row {
        Row::new(
            line,
            Ok(RowContent {
                resource: ResourcePatch {
                    key: ResourceKey {
                        resource_type: id("contact"),
                        id: id(&format!("c{line}")),
                    },
                    owners: None,
                    owning_team: None,
                    partitioned: None,
                    attributes: None,
                    creator: None,
                },
                assigned_to: (0..assignments)
                    .map(|number| Assigned {
                        principal: Principal::User(id(&format!("u{number}"))),
                        expires_at: None,
                    })
                    .collect(),
            }),
        )
    }

    fn sizes(batcher: &mut Batcher, rows: impl Iterator<Item = Row>) -> Vec<usize> {
        let mut batches: Vec<Batch> = rows.filter_map(|row| batcher.add(row)).collect();
        batches.extend(batcher.rest());
        let numbers: Vec<u64> = batches.iter().map(|batch| batch.number).collect();
        assert_eq!(numbers, (0..batches.len() as u64).collect::<Vec<_>>());
        batches.iter().map(Batch::len).collect()
    }

    #[test]
    fn a_batch_is_bounded_by_rows_changes_and_bytes() {
        let rows = || (1..=25).map(|line| row(line, 0));
        assert_eq!(sizes(&mut Batcher::new(10), rows()), [10, 10, 5]);
        assert_eq!(sizes(&mut Batcher::new(25), rows()), [25]);
        assert_eq!(sizes(&mut Batcher::new(usize::MAX), rows()), [25]);
        let assigned = (1..=5).map(|line| row(line, 40_000));
        assert_eq!(sizes(&mut Batcher::new(10), assigned), [2, 2, 1]);
        let large = (1..=5).map(|line| Row {
            bytes: BATCH_BYTES_MAX / 2,
            ..row(line, 0)
        });
        assert_eq!(sizes(&mut Batcher::new(10), large), [2, 2, 1]);
        assert_eq!(sizes(&mut Batcher::new(10), std::iter::empty()), [0; 0]);
    }

    #[test]
    fn halves_are_the_whole_and_have_keys_of_their_own() {
        let mut batcher = Batcher::new(10);
        for line in 1..=5 {
            assert!(batcher.add(row(line, 0)).is_none());
        }
        let whole = batcher.rest().unwrap().whole();
        let (first, second) = whole.halves().unwrap();
        assert_eq!((first.lines(), second.lines()), ((1, 2), (3, 5)));
        let (_, last) = second.halves().unwrap();
        assert_eq!(whole.key(&id("k")), "import/k/0");
        assert_eq!(last.key(&id("k")), "import/k/0.1.1");
        assert!(first.halves().unwrap().0.halves().is_none());
    }

    #[test]
    fn the_key_of_the_smallest_part_fits_an_id() {
        let import = id(&"k".repeat(crate::imports::IMPORT_KEY_BYTES_MAX));
        let mut part = Part {
            rows: Arc::new(
                (0..BATCH_ROWS_MAX as u64)
                    .map(|line| row(line, 0))
                    .collect(),
            ),
            range: 0..BATCH_ROWS_MAX,
            number: u64::MAX,
            path: String::new(),
        };
        while let Some((_, second)) = part.halves() {
            part = second;
        }
        assert!(
            Id::parse(&part.key(&import)).is_ok(),
            "{}",
            part.key(&import)
        );
    }

    #[test]
    fn a_resource_named_twice_is_refused_where_a_row_says_all_of_it() {
        let mut batcher = Batcher::new(10);
        batcher.add(row(1, 0));
        batcher.add(Row {
            line: 7,
            ..row(1, 0)
        });
        batcher.add(Row::new(
            8,
            Err(Unreadable {
                field: "owners".to_owned(),
                reason: "INVALID_FIELD".to_owned(),
                message: "no".to_owned(),
            }),
        ));
        let batch = batcher.rest().unwrap();
        let lines = |mode| -> Vec<u64> {
            let problems = batch.own_problems(mode);
            problems.iter().map(|problem| problem.line).collect()
        };
        assert_eq!(lines(Mode::Merge), [8]);
        assert_eq!(lines(Mode::Replace), [7, 8]);
    }
}
