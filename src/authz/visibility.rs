//! What becomes visible and what stops being visible: how the list of one action differs between two
//! states of an account, or between two moments.

use roaring::RoaringBitmap;

use super::decision::UnknownName;
use super::difference::{
    self, AccessFound, Alignment, Findings, Halted, Lock, Scope, Standpoint, ToolFound, Work,
};
use super::model::Id;

/// What one user gains and loses.
pub struct Change<'a> {
    pub user: &'a Id,
    gained: &'a RoaringBitmap,
    lost: &'a RoaringBitmap,
    alignment: &'a Alignment<'a>,
}

impl Change<'_> {
    pub fn gained_total(&self) -> u64 {
        self.gained.len()
    }

    pub fn lost_total(&self) -> u64 {
        self.lost.len()
    }

    /// Ids of what is visible now and was not, in no order.
    pub fn gained(&self) -> impl Iterator<Item = &str> {
        self.gained.iter().map(|row| self.alignment.id(row))
    }

    /// Ids of what was visible and is not, in no order; they may be gone altogether.
    pub fn lost(&self) -> impl Iterator<Item = &str> {
        self.lost.iter().map(|row| self.alignment.id(row))
    }
}

/// Whose list of what is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `None`: everybody's.
    pub user: Option<Id>,
    pub resource_type: Id,
    pub action: Id,
}

impl Question {
    /// Whether there is such a list: an unknown user has an empty one.
    pub fn resolve(&self, standpoint: Standpoint<'_>) -> Result<(), UnknownName> {
        let Some(graph) = standpoint.graph else {
            return Ok(());
        };
        let (resource_type, action) = (self.resource_type.as_str(), self.action.as_str());
        graph.catalog().resolve(resource_type, action).map(drop)
    }
}

/// Tells each user's change, in no order; those without any are left out.
///
/// The later state is the earlier one after changes, or was loaded anew; both lists are those that
/// `ListAccessible` gives, empty where the catalog does not have the question.
///
/// # Errors
/// Where the work is more than it may be, and what `tell` answers.
pub fn compare(
    before: Standpoint<'_>,
    after: Standpoint<'_>,
    question: &Question,
    work: &mut Work<'_>,
    tell: &mut dyn FnMut(&Change<'_>) -> Result<(), Halted>,
) -> Result<(), Halted> {
    let scope = Scope {
        user: question.user.as_ref(),
        question: Some((&question.resource_type, &question.action)),
    };
    difference::compare(before, after, scope, work, &mut Told(tell))
}

struct Told<'t>(&'t mut dyn FnMut(&Change<'_>) -> Result<(), Halted>);

impl Findings for Told<'_> {
    fn access(&mut self, found: &AccessFound<'_>) -> Result<(), Halted> {
        (self.0)(&Change {
            user: found.user,
            gained: found.gained,
            lost: found.lost,
            alignment: found.alignment,
        })
    }

    fn tool(&mut self, _found: &ToolFound<'_>) -> Result<(), Halted> {
        Ok(())
    }

    fn locked(&mut self, _user: &Id, _type: &Id, _lock: Lock) -> Result<(), Halted> {
        Ok(())
    }

    fn orphaned(&mut self, _type: &Id, _rows: RoaringBitmap) -> Result<(), Halted> {
        Ok(())
    }
}
