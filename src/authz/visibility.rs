//! What becomes visible and what stops being visible: how the list of one action differs between two
//! states of an account, or between two moments.

use roaring::RoaringBitmap;

use super::access_set::AccessSet;
use super::decision::{Target, UnknownName};
use super::difference::{
    self, AccessFound, Alignment, Findings, Halted, Lock, Scope, Standpoint, ToolFound, Work,
};
use super::graph::{AccountGraph, CompiledUser};
use super::model::{Id, Timestamp};

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

/// The next moment after this one at which some list of the question changes by itself, writes aside:
/// not later than that, and perhaps sooner.
///
/// # Errors
/// Where the work is more than it may be.
pub fn next_turn(
    graph: &AccountGraph,
    question: &Question,
    at: Timestamp,
    work: &mut Work<'_>,
) -> Result<Option<Timestamp>, Halted> {
    let (resource_type, action) = (question.resource_type.as_str(), question.action.as_str());
    let Ok((type_ix, action)) = graph.catalog().resolve(resource_type, action) else {
        return Ok(None);
    };
    let mut next: Option<Timestamp> = None;
    let mut lower = |moment: Option<Timestamp>| {
        let ahead = moment.filter(|moment| *moment > at);
        next = next.into_iter().chain(ahead).min();
    };
    for user in users_of(graph, question) {
        work.spend(1)?;
        let set = AccessSet::resolved(graph, Some(user), type_ix, action, at);
        lower(set.and_then(|set| set.next_boundary()));
        for (_, grant) in user.object_grants_of(type_ix) {
            lower(grant.not_before);
            lower(grant.expires_at);
        }
        lower(user.next_leave(at));
    }
    if graph.directory.has_timed_teams {
        // Whoever leaves a team takes from it what they own.
        for user in graph.users() {
            work.spend(1)?;
            let user = graph.compiled_user(user.id.as_str());
            lower(user.and_then(|user| user.next_leave(at)));
        }
    }
    if let Some(index) = graph.index(type_ix) {
        work.spend(index.postings.timed.len())?;
        for row in &*index.postings.timed {
            let assignments = index.row(row).facts().assignments;
            assignments.iter().for_each(|fact| lower(fact.expires_at));
        }
    }
    Ok(next)
}

/// States for each user whether some resources are visible: for callers who hold the lists of an
/// earlier state that differs in nothing but these.
///
/// # Errors
/// Where the work is more than it may be.
pub fn restate(
    graph: &AccountGraph,
    question: &Question,
    at: Timestamp,
    ids: &[Id],
    work: &mut Work<'_>,
    tell: &mut dyn FnMut(&Id, &Id, bool) -> Result<(), Halted>,
) -> Result<(), Halted> {
    let (resource_type, action) = (question.resource_type.as_str(), question.action.as_str());
    let Ok((type_ix, action)) = graph.catalog().resolve(resource_type, action) else {
        return Ok(());
    };
    let index = graph.index(type_ix);
    for user in users_of(graph, question) {
        let Some(set) = AccessSet::resolved(graph, Some(user), type_ix, action, at) else {
            continue;
        };
        for id in ids {
            work.spend(1)?;
            let is_stored = index.is_some_and(|index| index.find(id.as_str()).is_some());
            let is_visible = is_stored && set.decide(Target::Resource(id.as_str())).is_allow();
            tell(&user.user.id, id, is_visible)?;
        }
    }
    Ok(())
}

fn users_of<'g>(
    graph: &'g AccountGraph,
    question: &Question,
) -> impl Iterator<Item = &'g CompiledUser> {
    let one = question.user.as_ref();
    let one = one.and_then(|user| graph.compiled_user(user.as_str()));
    let all = question.user.is_none().then(|| graph.users());
    let all = all.into_iter().flatten();
    one.into_iter()
        .chain(all.filter_map(|user| graph.compiled_user(user.id.as_str())))
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
