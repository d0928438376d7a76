//! Who may assign a resource to whom (P1).
//!
//! Super admins and account owners are above it. `partition.assign` allows any target. An owner of
//! the resource who may `assign` its type reaches the own teams, their descendants and the users in
//! them; a member of a team that it is assigned to reaches what is below that team only (S2.18).
//! Both only add: what takes somebody's access, or opens a wall, needs `partition.assign`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::AssignRefusal;
use crate::authz::access_set::{AccessSet, barred};
use crate::authz::decision::Target;
use crate::authz::graph::{AccountGraph, CompiledUser};
use crate::authz::model::{Id, Principal, Resource, Timestamp};

const PARTITION_TYPE: &str = "partition";
const ASSIGN_ACTION: &str = "assign";

/// What somebody may assign, at one snapshot and moment; asked of many resources.
pub struct Authority<'g> {
    graph: &'g AccountGraph,
    now: Timestamp,
    standing: Standing<'g>,
    /// By resource type: whether the user holds `assign` on it.
    holds_assign: RefCell<BTreeMap<Id, bool>>,
}

enum Standing<'g> {
    /// Nobody of the account: an operator, whom its rules don't judge.
    Operator,
    /// Account owner, super admin, or holder of `partition.assign`.
    Any(&'g CompiledUser),
    Limited(&'g CompiledUser),
    /// No active user of the account.
    Nobody,
}

impl<'g> Authority<'g> {
    /// `None` is an operator.
    pub fn of(graph: &'g AccountGraph, actor: Option<&Id>, now: Timestamp) -> Self {
        Self {
            graph,
            now,
            standing: standing(graph, actor, now),
            holds_assign: RefCell::default(),
        }
    }

    /// Whether it is somebody whose rights can be judged at all.
    pub fn is_somebody(&self) -> bool {
        !matches!(self.standing, Standing::Nobody)
    }

    /// Whether every target of every resource is allowed, taking away included.
    pub fn is_unlimited(&self) -> bool {
        matches!(self.standing, Standing::Operator | Standing::Any(_))
    }

    /// Whether the resource may be assigned to the principal.
    pub fn may_assign(&self, resource: &Resource, to: &Principal) -> bool {
        self.judge(resource, to).is_ok()
    }

    /// Why the resource may not be assigned to the principal.
    pub fn judge(&self, resource: &Resource, to: &Principal) -> Result<(), AssignRefusal> {
        let refusal = || AssignRefusal::NoAuthority(to.clone());
        let user = match self.standing {
            Standing::Operator | Standing::Any(_) => return Ok(()),
            Standing::Nobody => return Err(refusal()),
            Standing::Limited(user) => user,
        };
        if !self.holds_assign(&resource.key.resource_type) {
            return Err(refusal());
        }
        let targets = self.teams_of(to);
        if resource.owners.contains(&user.user.id) {
            return match self.reaches_any(user, &targets) {
                true => Ok(()),
                false => Err(refusal()),
            };
        }
        // The first assignment closes the resource for everyone else.
        if !resource.partitioned {
            return Err(AssignRefusal::FirstAssignment);
        }
        let below = assigned_teams(self.graph, resource, user, self.now).any(|assigned| {
            targets
                .iter()
                .any(|team| is_below(self.graph, *team, assigned))
        });
        match below {
            true => Ok(()),
            false => Err(refusal()),
        }
    }

    /// Whether a resource of the type that the user makes, and so stands to like an owner, may be
    /// assigned to the principal: the limit of whoever sets up an import or a form (P1).
    pub fn judge_new(&self, resource_type: &Id, to: &Principal) -> Result<(), AssignRefusal> {
        match self.standing {
            Standing::Operator | Standing::Any(_) => Ok(()),
            Standing::Limited(user)
                if self.holds_assign(resource_type)
                    && self.reaches_any(user, &self.teams_of(to)) =>
            {
                Ok(())
            }
            Standing::Limited(_) | Standing::Nobody => Err(AssignRefusal::NoAuthority(to.clone())),
        }
    }

    /// Whether the principal is within the user's teams and what is below them, whatever the type.
    pub fn reaches(&self, to: &Principal) -> bool {
        match self.standing {
            Standing::Operator | Standing::Any(_) => true,
            Standing::Limited(user) => self.reaches_any(user, &self.teams_of(to)),
            Standing::Nobody => false,
        }
    }

    /// Whether anything of the type may be assigned at all, so that who may not learns nothing of
    /// what there is.
    pub fn may_assign_some(&self, resource_type: &Id) -> bool {
        match self.standing {
            Standing::Operator | Standing::Any(_) => true,
            Standing::Limited(_) => self.holds_assign(resource_type),
            Standing::Nobody => false,
        }
    }

    /// Whether the user may do an action on a type, or on one resource of it; an action that the
    /// type doesn't have is nobody's.
    pub fn may(&self, resource_type: &Id, action: &str, target: Target<'_>) -> bool {
        match self.standing {
            Standing::Operator => true,
            Standing::Nobody => false,
            Standing::Any(user) | Standing::Limited(user) => may(
                self.graph,
                user,
                (resource_type.as_str(), action),
                target,
                self.now,
            ),
        }
    }

    fn holds_assign(&self, resource_type: &Id) -> bool {
        let Standing::Limited(user) = self.standing else {
            return false;
        };
        *self
            .holds_assign
            .borrow_mut()
            .entry(resource_type.clone())
            .or_insert_with(|| {
                let question = (resource_type.as_str(), ASSIGN_ACTION);
                may(self.graph, user, question, Target::Tool, self.now)
            })
    }

    /// The team itself, or the teams that a user is in.
    fn teams_of(&self, to: &Principal) -> Vec<u32> {
        let graph = self.graph;
        match to {
            Principal::Team(team) => graph.names.teams.find(team.as_str()).into_iter().collect(),
            Principal::User(user) => graph
                .compiled_user(user.as_str())
                .map_or_else(Vec::new, |user| user.teams(self.now).collect()),
            Principal::Group(_) => Vec::new(),
        }
    }

    fn reaches_any(&self, user: &CompiledUser, teams: &[u32]) -> bool {
        let tree = &self.graph.directory.tree;
        teams.iter().any(|team| user.reaches(tree, *team, self.now))
    }
}

fn standing<'g>(graph: &'g AccountGraph, actor: Option<&Id>, now: Timestamp) -> Standing<'g> {
    let Some(actor) = actor else {
        return Standing::Operator;
    };
    let active = graph
        .compiled_user(actor.as_str())
        .filter(|user| barred(user).is_none());
    let Some(user) = active else {
        return Standing::Nobody;
    };
    let question = (PARTITION_TYPE, ASSIGN_ACTION);
    if user.user.account_owner
        || user.user.super_admin
        || may(graph, user, question, Target::Tool, now)
    {
        return Standing::Any(user);
    }
    Standing::Limited(user)
}

fn may(
    graph: &AccountGraph,
    user: &CompiledUser,
    (resource_type, action): (&str, &str),
    target: Target<'_>,
    now: Timestamp,
) -> bool {
    AccessSet::new(graph, user.user.id.as_str(), resource_type, action, now)
        .is_ok_and(|set| set.decide(target).is_allow())
}

/// The teams with a live assignment that the user is a member of.
fn assigned_teams<'r>(
    graph: &'r AccountGraph,
    resource: &'r Resource,
    user: &'r CompiledUser,
    now: Timestamp,
) -> impl Iterator<Item = u32> + 'r {
    resource.assignments.iter().filter_map(move |assignment| {
        let live = assignment
            .expires_at
            .is_none_or(|expires_at| now < expires_at);
        match &assignment.principal {
            Principal::Team(team) if live => graph
                .names
                .teams
                .find(team.as_str())
                .filter(|team| user.is_member(*team, now)),
            Principal::Team(_) | Principal::User(_) | Principal::Group(_) => None,
        }
    })
}

/// Whether a team is a descendant of another one, where the plan has nested teams.
fn is_below(graph: &AccountGraph, team: u32, above: u32) -> bool {
    let tree = &graph.directory.tree;
    let spans = tree.span(team).zip(tree.span(above));
    graph.plan().nested_teams
        && spans.is_some_and(|((position, _), (start, end))| start < position && position < end)
}
