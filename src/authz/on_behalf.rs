//! What a user may change of an account in whose name a list of changes is made.
//!
//! A list is planned first and judged by what it comes to, entity by entity, so that there is no
//! second way to a right that one way refuses. Two things are handed on, each under a rule of its
//! own:
//!
//! - **What may be done** comes by grants, permission sets and object grants. They are under the
//!   grant ceiling ([`super::ceiling`]): what the actor lacks is withheld or kept, and told.
//! - **What it may be done to** comes by teams, assignments, access groups and segments. They are
//!   under the authority to assign ([`super::assignment::Authority`], P1): what it does not reach
//!   refuses the list.
//!
//! Whoever changes users needs the right to manage users; nobody changes their own rights, nor those
//! of account owner, super admins and partner admins (D4). Deleting a user needs that right alone: it
//! is the power to end a membership, not to choose rights (S3.27, S4.18). What follows from a
//! deletion (members of a team that is gone, grants on a resource that is gone) is judged with it.

use std::collections::BTreeSet;
use std::fmt;

use super::access_request::same_human;
use super::access_set::barred;
use super::assignment::Authority;
use super::ceiling::{Ceiling, Note, PermissionSets};
use super::change::{ActorRefusal, Change, ChangeError, ChangeProblem, ChangeSet};
use super::decision::Target;
use super::graph::AccountGraph;
use super::model::{Entity, EntityChange, EntityKey, Id, PermissionSet, Timestamp, User};

mod blame;
mod gone;
mod places;
mod resources;
mod rights;

pub(in crate::authz) use rights::beyond;

use gone::Gone;

/// What the ceiling made of a list of changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CeilingReport {
    /// What was to go and stays.
    pub kept: Vec<Noted>,
    /// What was wanted and was not given whole.
    pub withheld: Vec<Noted>,
}

/// A right of a user, or one in a permission set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    pub of: EntityKey,
    pub note: Note,
}

/// `user lena: email.edit at team, of the permission set editors, until ...`.
impl fmt::Display for Noted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Note {
            what,
            expires_at,
            permission_set,
        } = &self.note;
        match &self.of {
            EntityKey::PermissionSet(set) => write!(formatter, "permission set {set}: {what}")?,
            EntityKey::User(user) => {
                write!(formatter, "user {user}: {what}")?;
                if let Some(set) = permission_set {
                    write!(formatter, ", of the permission set {set}")?;
                }
            }
            // Nothing else has rights.
            EntityKey::Account
            | EntityKey::Team(_)
            | EntityKey::AccessGroup(_)
            | EntityKey::Resource(_)
            | EntityKey::Segment(_)
            | EntityKey::AccessRequest(_) => write!(formatter, "{what}")?,
        }
        match expires_at {
            Some(moment) => write!(formatter, ", until {moment}"),
            None => Ok(()),
        }
    }
}

impl CeilingReport {
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.withheld.is_empty()
    }

    fn take(&mut self, of: &EntityKey, kept: Vec<Note>, withheld: Vec<Note>) {
        let noted = |note| Noted {
            of: of.clone(),
            note,
        };
        self.kept.extend(kept.into_iter().map(noted));
        self.withheld.extend(withheld.into_iter().map(noted));
    }
}

/// Judges what a list of changes comes to, and takes out of it what the ceiling withholds.
///
/// # Errors
/// The first change that the user may not make.
pub fn judge(
    before: Option<&AccountGraph>,
    actor: &Id,
    changes: &[Change],
    set: &mut ChangeSet,
    now: Timestamp,
) -> Result<CeilingReport, ChangeError> {
    let nobody = || ChangeError {
        index: 0,
        field: ACTOR_FIELD.to_owned(),
        problem: ChangeProblem::Refused(ActorRefusal::Nobody(actor.clone())),
    };
    let graph = before.ok_or_else(nobody)?;
    let user = graph
        .compiled_user(actor.as_str())
        .filter(|user| barred(user).is_none())
        .ok_or_else(nobody)?;
    let judge = Judge {
        graph,
        actor: &user.user,
        authority: Authority::of(graph, Some(actor), now),
        ceiling: Ceiling::of(graph, actor, now),
        changes,
        gone: Gone::of(&set.changes),
        now,
    };
    judge.list(set)
}

/// The field of a request that names the actor.
pub const ACTOR_FIELD: &str = "actor_user_id";

struct Judge<'a> {
    graph: &'a AccountGraph,
    actor: &'a User,
    authority: Authority<'a>,
    /// `None`: above it.
    ceiling: Option<Ceiling<'a>>,
    changes: &'a [Change],
    gone: Gone,
    now: Timestamp,
}

/// What is wrong with an entity of the outcome: the field of the change that is to blame, and why.
struct Objection {
    field: &'static str,
    why: ActorRefusal,
}

type Judged = Result<(), Objection>;

fn object(field: &'static str, why: ActorRefusal) -> Judged {
    Err(Objection { field, why })
}

impl Judge<'_> {
    fn list(&self, set: &mut ChangeSet) -> Result<CeilingReport, ChangeError> {
        let mut report = CeilingReport::default();
        if self.is_above() {
            self.judge_above(set)?;
        } else {
            self.judge_channels()?;
        }
        // Sets first: what users get of a set is what becomes of it.
        let (sets, rest): (Vec<usize>, Vec<usize>) =
            (0..set.changes.len()).partition(|at| set.changes.get(*at).is_some_and(is_of_set));
        let none = PermissionSets::of(self.graph);
        self.entities(&sets, set, &none, &mut report)?;
        let becoming: Vec<(Id, Option<PermissionSet>)> =
            set.changes.iter().filter_map(set_after).collect();
        let mut after = PermissionSets::of(self.graph);
        for (set, becomes) in &becoming {
            after.becomes(set, becomes.as_ref());
        }
        self.entities(&rest, set, &after, &mut report)?;
        set.settle_lines(self.graph);
        Ok(report)
    }

    fn entities(
        &self,
        places: &[usize],
        set: &mut ChangeSet,
        after: &PermissionSets<'_>,
        report: &mut CeilingReport,
    ) -> Result<(), ChangeError> {
        for at in places {
            let Some(change) = set.changes.get_mut(*at) else {
                continue;
            };
            let key = key_of(change);
            self.entity(change, after, report)
                .map_err(|problem| self.blame(&key, problem))?;
        }
        Ok(())
    }

    fn entity(
        &self,
        change: &mut EntityChange,
        sets: &PermissionSets<'_>,
        report: &mut CeilingReport,
    ) -> Result<(), Problem> {
        match change {
            EntityChange::Put(Entity::User(user)) => self.user(user, sets, report)?,
            EntityChange::Put(Entity::PermissionSet(set)) => self.permission_set(set, report)?,
            _ if self.is_above() => {}
            EntityChange::Delete(EntityKey::User(id)) => self.deleted_user(id)?,
            EntityChange::Delete(EntityKey::PermissionSet(id)) => {
                self.deleted_permission_set(id)?
            }
            EntityChange::Put(Entity::Account(_)) | EntityChange::Delete(EntityKey::Account) => {
                object("account", ActorRefusal::Reserved)?;
            }
            EntityChange::Put(Entity::Team(team)) => self.team(team)?,
            EntityChange::Delete(EntityKey::Team(id)) => self.deleted_team(id)?,
            EntityChange::Put(Entity::AccessGroup(group)) => self.access_group(group)?,
            EntityChange::Delete(EntityKey::AccessGroup(_)) => {
                self.places("delete_access_group")?
            }
            EntityChange::Put(Entity::Segment(segment)) => self.segment(segment)?,
            EntityChange::Delete(EntityKey::Segment(_)) => self.places("delete_segment")?,
            EntityChange::Put(Entity::Resource(resource, attributes)) => {
                self.resource(resource, attributes.is_some())?;
            }
            EntityChange::Delete(EntityKey::Resource(key)) => self.deleted_resource(key)?,
            // No change of a list writes one.
            EntityChange::Put(Entity::AccessRequest(_))
            | EntityChange::Delete(EntityKey::AccessRequest(_)) => {}
        }
        Ok(())
    }

    fn is_above(&self) -> bool {
        self.ceiling.is_none()
    }

    /// Owner and super admin are above the ceiling; the account itself is the owner's to hand on.
    fn judge_above(&self, set: &ChangeSet) -> Result<(), ChangeError> {
        for change in &set.changes {
            let EntityChange::Put(Entity::User(user)) = change else {
                continue;
            };
            let stands_for = |user: &User| {
                let partner = user.partner.as_ref()?;
                Some((partner.account.clone(), partner.user.clone()))
            };
            let before = self.graph.user(user.id.as_str()).and_then(stands_for);
            let after = stands_for(user);
            if after.is_some() && after != before {
                let objection = Objection {
                    field: "user.partner",
                    why: ActorRefusal::MayNot(
                        "who stands for somebody of an agency is settled by an access link or by the agency (S4.5, S4.13)",
                    ),
                };
                return Err(self.blame(&EntityKey::User(user.id.clone()), objection.into()));
            }
        }
        if self.actor.account_owner {
            return Ok(());
        }
        for change in &set.changes {
            let (id, is_owner) = match change {
                EntityChange::Put(Entity::User(user)) => (&user.id, user.account_owner),
                EntityChange::Delete(EntityKey::User(id)) => (id, false),
                _ => continue,
            };
            let was_owner = self
                .graph
                .user(id.as_str())
                .is_some_and(|user| user.account_owner);
            if was_owner != is_owner {
                let objection = Objection {
                    field: "user.account_owner",
                    why: ActorRefusal::OwnerOnly,
                };
                return Err(self.blame(&EntityKey::User(id.clone()), objection.into()));
            }
        }
        Ok(())
    }

    /// Whether the actor holds an action of a type, or of several the first that the type has.
    fn needs(
        &self,
        field: &'static str,
        resource_type: &str,
        actions: &[&str],
        target: Target<'_>,
    ) -> Judged {
        let catalog = self.graph.catalog();
        let has = |action: &&&str| catalog.resolve(resource_type, action).is_ok();
        let Some(action) = actions.iter().find(has) else {
            // No rule of this catalog lets anybody but owner and super admin.
            return object(field, ActorRefusal::Reserved);
        };
        match rights::may(
            self.graph,
            self.actor,
            resource_type,
            action,
            target,
            self.now,
        ) {
            true => Ok(()),
            false => object(
                field,
                ActorRefusal::Lacks(format!("{resource_type}.{action}")),
            ),
        }
    }

    /// The right to manage users, by the catalog's own names.
    fn manages_users(&self, field: &'static str, actions: &[&str]) -> Judged {
        self.needs(field, "user_management", actions, Target::Tool)
    }

    /// The right to edit a kind of thing where the catalog has it as a type, else that to manage
    /// users.
    fn edits(&self, field: &'static str, resource_type: &str) -> Judged {
        match self.graph.catalog().resolve(resource_type, "edit") {
            Ok(_) => self.needs(field, resource_type, &["edit"], Target::Tool),
            Err(_) => self.manages_users(field, &["edit"]),
        }
    }

    /// D4: nobody under the ceiling changes themselves, or those who are above it.
    fn is_fit(&self, field: &'static str, target: &User) -> Judged {
        if same_human(self.actor, target) {
            return object(field, ActorRefusal::OwnRights);
        }
        if target.super_admin || target.account_owner || target.partner_admin {
            return object(field, ActorRefusal::Protected(target.id.clone()));
        }
        Ok(())
    }
}

/// Why an entity of the outcome is refused.
enum Problem {
    Objection(Objection),
    Change(&'static str, ChangeProblem),
}

impl From<Objection> for Problem {
    fn from(objection: Objection) -> Self {
        Self::Objection(objection)
    }
}

fn key_of(change: &EntityChange) -> EntityKey {
    match change {
        EntityChange::Put(entity) => entity.key(),
        EntityChange::Delete(key) => key.clone(),
    }
}

fn is_of_set(change: &EntityChange) -> bool {
    matches!(key_of(change), EntityKey::PermissionSet(_))
}

fn set_after(change: &EntityChange) -> Option<(Id, Option<PermissionSet>)> {
    match change {
        EntityChange::Put(Entity::PermissionSet(set)) => Some((set.id.clone(), Some(set.clone()))),
        EntityChange::Delete(EntityKey::PermissionSet(id)) => Some((id.clone(), None)),
        _ => None,
    }
}

/// Ids that are in one of two sets only.
fn differing<'a>(one: &'a BTreeSet<Id>, other: &'a BTreeSet<Id>) -> impl Iterator<Item = &'a Id> {
    one.symmetric_difference(other)
}
