//! A look before the leap: what a list of changes would do to access, found on snapshots that nobody
//! else sees.
//!
//! Counts are exact, and a bound that is reached is an error. Resources are named by samples; all of
//! them come from [`super::visibility::compare`], for one user and action.
//!
//! Actions that ignore the resource (`create`) are told as tools alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::decision::Decision;
use super::difference::{
    self, AccessFound, Alignment, Findings, Halted, Lock, Scope, Standpoint, ToolFound, Work,
};
use super::graph::AccountGraph;
use super::model::{Id, Timestamp};

/// Most resources that a difference names of those gained, and of those lost.
pub const SAMPLE_MAX: usize = 5;
/// Most differences of each kind that a preview holds.
pub const FINDINGS_MAX: usize = 250_000;
/// The work that a preview may do, in checks: about a minute.
pub const WORK_MAX: u64 = 300_000_000;

/// What changes do to access at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    pub at: Timestamp,
    /// By type and action: all that gain or lose anything, summed up.
    pub totals: Vec<ActionTotals>,
    /// By user, type and action.
    pub differences: Vec<AccessDifference>,
    /// By user, type and action.
    pub tools: Vec<ToolDifference>,
    /// By type.
    pub orphaned: Vec<OrphanedOfType>,
    /// By user and type: who reached nothing of the type, and now reaches something.
    pub locked_in: Vec<UserAndType>,
    /// By user and type: who reached something of the type, and now reaches nothing.
    pub locked_out: Vec<UserAndType>,
}

/// How many users gain and lose an action, and on how many resources, each counted for each user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionTotals {
    pub resource_type: Id,
    pub action: Id,
    pub users_gaining: u64,
    pub users_losing: u64,
    pub gained: u64,
    pub lost: u64,
}

/// On how many resources one user gains and loses an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessDifference {
    pub user: Id,
    pub resource_type: Id,
    pub action: Id,
    pub gained: u64,
    pub lost: u64,
    /// Some of the gained ones, ordered bytewise; all of them where they are no more than
    /// [`SAMPLE_MAX`].
    pub gained_sample: Arc<[Id]>,
    pub lost_sample: Arc<[Id]>,
}

/// A tool that opens or closes for a user, or whose level changes.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolDifference {
    pub user: Id,
    pub resource_type: Id,
    pub action: Id,
    /// `None`: the catalog has no such action, or there is no such account.
    pub before: Option<Decision>,
    pub after: Option<Decision>,
}

/// Resources of a type that become orphaned (3.5): partitioned, and no live assignment is left.
#[derive(Debug, Clone, PartialEq)]
pub struct OrphanedOfType {
    pub resource_type: Id,
    pub count: u64,
    /// Those of them that have an owner: the owners are the only ones left, super admins aside.
    pub with_owner: u64,
    rows: RoaringBitmap,
}

/// One resource that becomes orphaned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan<'g> {
    pub resource_type: &'g Id,
    pub id: &'g str,
    pub owners: Vec<&'g Id>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserAndType {
    pub user: Id,
    pub resource_type: Id,
}

/// Compares an account with what it becomes, at one moment. `None`: the changes create it.
///
/// # Errors
/// Where more is touched than can be compared or told.
pub fn preview(
    before: Option<&AccountGraph>,
    after: &AccountGraph,
    at: Timestamp,
    work: &mut Work<'_>,
) -> Result<Preview, Halted> {
    let mut collected = Collected {
        after,
        preview: Preview {
            at,
            totals: Vec::new(),
            differences: Vec::new(),
            tools: Vec::new(),
            orphaned: Vec::new(),
            locked_in: Vec::new(),
            locked_out: Vec::new(),
        },
        totals: BTreeMap::new(),
    };
    let before = Standpoint { graph: before, at };
    let later = Standpoint {
        graph: Some(after),
        at,
    };
    difference::compare(before, later, Scope::default(), work, &mut collected)?;
    Ok(collected.finish())
}

impl Preview {
    /// Resources that become orphaned, by type; `after` is what was previewed.
    pub fn orphans<'a>(
        &'a self,
        after: &'a AccountGraph,
    ) -> impl Iterator<Item = Orphan<'a>> + Send {
        self.orphaned.iter().flat_map(move |of_type| {
            let type_ix = after.catalog().type_ix(of_type.resource_type.as_str());
            let index = type_ix.and_then(|type_ix| after.index(type_ix));
            let rows = index.map(|index| of_type.rows.iter().map(|row| index.row(row)));
            rows.into_iter().flatten().map(move |row| {
                let owners = row.facts().owners;
                Orphan {
                    resource_type: &of_type.resource_type,
                    id: row.id(),
                    owners: owners
                        .iter()
                        .filter_map(|owner| after.names.users.name(*owner))
                        .collect(),
                }
            })
        })
    }

    /// Whether access is as before.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty() && self.tools.is_empty() && self.orphaned.is_empty()
    }

    pub fn orphaned_total(&self) -> u64 {
        self.orphaned.iter().map(|of_type| of_type.count).sum()
    }

    pub fn orphaned_with_owner_total(&self) -> u64 {
        self.orphaned.iter().map(|of_type| of_type.with_owner).sum()
    }
}

/// Findings as they come.
struct Collected<'g> {
    after: &'g AccountGraph,
    preview: Preview,
    totals: BTreeMap<(Id, Id), ActionTotals>,
}

impl Collected<'_> {
    fn finish(self) -> Preview {
        let mut preview = self.preview;
        preview.totals = self.totals.into_values().collect();
        preview.differences.sort_by(|one, other| {
            let key = |one: &AccessDifference| {
                (
                    one.user.clone(),
                    one.resource_type.clone(),
                    one.action.clone(),
                )
            };
            key(one).cmp(&key(other))
        });
        preview.tools.sort_by(|one, other| {
            let key = |one: &ToolDifference| {
                (
                    one.user.clone(),
                    one.resource_type.clone(),
                    one.action.clone(),
                )
            };
            key(one).cmp(&key(other))
        });
        preview.locked_in.sort_unstable();
        preview.locked_out.sort_unstable();
        preview
    }
}

impl Findings for Collected<'_> {
    fn access(&mut self, found: &AccessFound<'_>) -> Result<(), Halted> {
        let gained_sample = sample(found.gained, found.alignment);
        let lost_sample = sample(found.lost, found.alignment);
        for action in found.actions {
            within(
                self.preview.differences.len(),
                "users who gain or lose an action",
            )?;
            let difference = AccessDifference {
                user: found.user.clone(),
                resource_type: found.resource_type.clone(),
                action: (*action).clone(),
                gained: found.gained.len(),
                lost: found.lost.len(),
                gained_sample: Arc::clone(&gained_sample),
                lost_sample: Arc::clone(&lost_sample),
            };
            let key = (found.resource_type.clone(), (*action).clone());
            let totals = self.totals.entry(key).or_insert_with(|| ActionTotals {
                resource_type: found.resource_type.clone(),
                action: (*action).clone(),
                users_gaining: 0,
                users_losing: 0,
                gained: 0,
                lost: 0,
            });
            totals.users_gaining += u64::from(difference.gained > 0);
            totals.users_losing += u64::from(difference.lost > 0);
            totals.gained += difference.gained;
            totals.lost += difference.lost;
            self.preview.differences.push(difference);
        }
        Ok(())
    }

    fn tool(&mut self, found: &ToolFound<'_>) -> Result<(), Halted> {
        for action in found.actions {
            within(self.preview.tools.len(), "tools that change for users")?;
            self.preview.tools.push(ToolDifference {
                user: found.user.clone(),
                resource_type: found.resource_type.clone(),
                action: (*action).clone(),
                before: found.before.copied(),
                after: found.after.copied(),
            });
        }
        Ok(())
    }

    fn locked(&mut self, user: &Id, resource_type: &Id, lock: Lock) -> Result<(), Halted> {
        let locked = match lock {
            Lock::In => &mut self.preview.locked_in,
            Lock::Out => &mut self.preview.locked_out,
        };
        within(locked.len(), "users who are locked in or out of a type")?;
        locked.push(UserAndType {
            user: user.clone(),
            resource_type: resource_type.clone(),
        });
        Ok(())
    }

    fn orphaned(&mut self, resource_type: &Id, rows: RoaringBitmap) -> Result<(), Halted> {
        let type_ix = self.after.catalog().type_ix(resource_type.as_str());
        let index = type_ix.and_then(|type_ix| self.after.index(type_ix));
        let with_owner = index.map_or(0, |index| rows.intersection_len(&index.postings.has_owner));
        self.preview.orphaned.push(OrphanedOfType {
            resource_type: resource_type.clone(),
            count: rows.len(),
            with_owner,
            rows,
        });
        Ok(())
    }
}

fn within(count: usize, what: &'static str) -> Result<(), Halted> {
    if count >= FINDINGS_MAX {
        return Err(Halted::TooManyFindings {
            what,
            limit: FINDINGS_MAX,
        });
    }
    Ok(())
}

fn sample(rows: &RoaringBitmap, alignment: &Alignment<'_>) -> Arc<[Id]> {
    let some = rows.iter().take(SAMPLE_MAX);
    let mut ids: Vec<Id> = some
        .filter_map(|row| Id::parse(alignment.id(row)).ok())
        .collect();
    ids.sort_unstable();
    ids.into()
}
