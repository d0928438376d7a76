//! What differs in access between two states of an account: who gains or loses which action on
//! which resources, whatever changed, and whether time alone did it.
//!
//! Not every question is asked twice. What can't have changed is found first: a user whose grants,
//! reach and masks are the same on both sides can differ only on resources that were touched, or
//! whose owners changed teams. Where much may have changed, bitmaps are compared, and what users
//! reach by their teams and groups is worked out once for all who have the same. The bitmaps are those
//! of lists (`access_set/listing.rs`), so a difference can't disagree with two lists.
//!
//! Sides are aligned by ordinals where one graph came of the other by changes, by ids where it was
//! loaded anew.

use std::ops::ControlFlow;

use roaring::RoaringBitmap;

use super::decision::Decision;
use super::graph::AccountGraph;
use super::model::{Id, Timestamp};

mod alignment;
mod names;
mod of_type;
mod people;
mod reached;

pub(in crate::authz) use alignment::Alignment;

use names::TypePair;
use of_type::TypeComparison;
use people::People;

/// Work between two pauses, in checks: some ten milliseconds.
const PAUSE_CHECKS: u64 = 50_000;

/// An account at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Standpoint<'g> {
    /// `None`: there is no such account, and nobody has any access to it.
    pub graph: Option<&'g AccountGraph>,
    pub at: Timestamp,
}

/// What is compared; the default is all there is, but for resources by actions that ignore them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'s> {
    pub user: Option<&'s Id>,
    /// The type, and an action of it by any of its names.
    pub question: Option<(&'s Id, &'s Id)>,
}

/// Why a comparison did not come to its end. Never a difference that only looks whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halted {
    #[error(
        "to compare all that these changes may touch takes more than {limit} checks: preview fewer changes at a time"
    )]
    TooMuchWork { limit: u64 },
    #[error("there are more than {limit} {what}: preview fewer changes at a time")]
    TooManyFindings { what: &'static str, limit: usize },
    /// Whoever asked has gone.
    #[error("the comparison was stopped")]
    Stopped,
}

/// The bound of a comparison, and its breath: what holds a core for long lets others go first.
pub struct Work<'p> {
    done: u64,
    limit: u64,
    since_pause: u64,
    pause: &'p mut dyn FnMut() -> ControlFlow<()>,
}

impl<'p> Work<'p> {
    /// At most `limit` checks, or what costs as much. `pause` is called between parts of the work, and
    /// may end it.
    pub fn new(limit: u64, pause: &'p mut dyn FnMut() -> ControlFlow<()>) -> Self {
        Self {
            done: 0,
            limit,
            since_pause: 0,
            pause,
        }
    }

    pub(crate) fn spend(&mut self, checks: u64) -> Result<(), Halted> {
        self.done = self.done.saturating_add(checks);
        if self.done > self.limit {
            return Err(Halted::TooMuchWork { limit: self.limit });
        }
        self.since_pause = self.since_pause.saturating_add(checks);
        if self.since_pause >= PAUSE_CHECKS {
            self.since_pause = 0;
            if (self.pause)().is_break() {
                return Err(Halted::Stopped);
            }
        }
        Ok(())
    }
}

/// What one user gains and loses by one action.
pub(in crate::authz) struct AccessFound<'a> {
    pub user: &'a Id,
    pub resource_type: &'a Id,
    /// The action by all its names.
    pub actions: &'a [&'a Id],
    /// In the ordinals of the alignment; not both are empty.
    pub gained: &'a RoaringBitmap,
    pub lost: &'a RoaringBitmap,
    pub alignment: &'a Alignment<'a>,
}

/// A tool that opens or closes, or whose level changes.
pub(in crate::authz) struct ToolFound<'a> {
    pub user: &'a Id,
    pub resource_type: &'a Id,
    pub actions: &'a [&'a Id],
    /// `None`: the catalog had no such action, or there was no such account.
    pub before: Option<&'a Decision>,
    pub after: Option<&'a Decision>,
}

/// Whether a user reaches anything of a type, where that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::authz) enum Lock {
    /// Reached nothing by any action, reaches something.
    In,
    /// Reached something, reaches nothing by any action.
    Out,
}

/// Who is told what is found, in no order.
pub(in crate::authz) trait Findings {
    fn access(&mut self, found: &AccessFound<'_>) -> Result<(), Halted>;
    fn tool(&mut self, found: &ToolFound<'_>) -> Result<(), Halted>;
    fn locked(&mut self, user: &Id, resource_type: &Id, lock: Lock) -> Result<(), Halted>;
    /// Resources of a type, by ordinals of the later state, that have become orphaned.
    fn orphaned(&mut self, resource_type: &Id, rows: RoaringBitmap) -> Result<(), Halted>;
}

/// Compares two states; the later one is the earlier one after changes, or was loaded anew.
pub(in crate::authz) fn compare(
    before: Standpoint<'_>,
    after: Standpoint<'_>,
    scope: Scope<'_>,
    work: &mut Work<'_>,
    findings: &mut dyn Findings,
) -> Result<(), Halted> {
    let mut people = People::of(before, after, scope.user, work)?;
    for pair in TypePair::all(before.graph, after.graph, scope.question) {
        let mut comparison = TypeComparison::new(&mut people, pair, scope);
        comparison.run(work, findings)?;
    }
    Ok(())
}
