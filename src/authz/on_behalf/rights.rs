//! Users and permission sets: who may change them, and what the ceiling makes of it.

use std::collections::{BTreeMap, BTreeSet};

use super::places::unreached;
use super::{CeilingReport, Judge, Judged, Problem, differing, object};
use crate::authz::access_request::same_human;
use crate::authz::access_set::AccessSet;
use crate::authz::assignment::Authority;
use crate::authz::ceiling::{Ceiling, PermissionSets, TooMany};
use crate::authz::change::{ActorRefusal, ChangeProblem, GRANTS_MAX};
use crate::authz::decision::{ReasonCode, Target};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{
    EntityKey, Grant, Id, Membership, MembershipOf, ObjectGrant, PermissionSet, Principal,
    Provenance, ResourceKey, Timestamp, User, UserKind, UserStatus,
};

/// Whether a user holds an action. What everybody may do is nobody's right to hold.
pub(super) fn may(
    graph: &AccountGraph,
    user: &User,
    resource_type: &str,
    action: &str,
    target: Target<'_>,
    now: Timestamp,
) -> bool {
    AccessSet::new(graph, user.id.as_str(), resource_type, action, now).is_ok_and(|set| {
        let decision = set.decide(target);
        decision.is_allow() && decision.reason != ReasonCode::Always
    })
}

impl Judge<'_> {
    pub(super) fn user(
        &self,
        user: &mut User,
        sets: &PermissionSets<'_>,
        report: &mut CeilingReport,
    ) -> Result<(), Problem> {
        let stored = self.graph.user(user.id.as_str());
        let before = stored.map(|stored| self.gone.user(stored));
        let before = before.as_ref();
        if before == Some(user) {
            return Ok(());
        }
        let Some(ceiling) = &self.ceiling else {
            stamp_user(before, user, &self.actor.id);
            return Ok(());
        };
        match before {
            None => self.new_user(user)?,
            Some(before) => self.changed_user(before, user)?,
        }
        // What is left of them holds nothing: the planner sees to it.
        if user.status == UserStatus::Removed {
            return Ok(());
        }
        self.teams(before, user)?;
        self.by_hand(before, user)?;
        stamp_teams(before, user, &self.actor.id);
        self.objects(before, user)?;
        // D11: a client's own people may always reduce what partner users have.
        let reduces = user.is_partner_user() && !self.actor.is_partner_user();
        let reducing;
        let ceiling = match reduces.then(|| Ceiling::of(self.graph, &self.actor.id, self.now)) {
            Some(Some(other)) => {
                reducing = other.taking_all();
                &reducing
            }
            Some(None) | None => ceiling,
        };
        let settled = ceiling
            .settle_user(before, user, sets)
            .map_err(|TooMany| too_many("grants", TooMany))?;
        if settled.is.grants.len() > GRANTS_MAX {
            let what = "grants of one holder";
            let limit = GRANTS_MAX;
            return Err(Problem::Change(
                "grants",
                ChangeProblem::TooMany { what, limit },
            ));
        }
        let key = EntityKey::User(user.id.clone());
        report.take(&key, settled.kept, settled.withheld);
        *user = settled.is;
        let new = User::new(user.id.clone());
        user.set_given(before.unwrap_or(&new), Some(&self.actor.id));
        Ok(())
    }

    fn new_user(&self, user: &User) -> Judged {
        self.manages_users("user", &["invite", "edit"])?;
        // One who is made by a partner user would pass for the client's own (D1, D11).
        if self.actor.is_partner_user() {
            return object("user", ActorRefusal::MayNot(OF_THE_CLIENT));
        }
        if user.person.is_some() {
            return object("user.person", ActorRefusal::Reserved);
        }
        self.is_plain(&User::new(user.id.clone()), user)
    }

    fn changed_user(&self, before: &User, user: &User) -> Judged {
        self.manages_users("user", &["edit"])?;
        if same_human(self.actor, before) || same_human(self.actor, user) {
            return object("user", ActorRefusal::OwnRights);
        }
        if self.is_reduced_partner(before, user) {
            return Ok(());
        }
        self.is_fit("user", before)?;
        self.is_plain(before, user)?;
        if before.person != user.person {
            return object("user.person", ActorRefusal::Reserved);
        }
        // Who comes back, or nearer to it, or whose mail goes elsewhere, is worth as much as what they
        // hold.
        let returns = nearness(user.status) > nearness(before.status);
        let field = match (returns, before.email != user.email) {
            (true, _) => "user.status",
            (false, true) => "user.email",
            (false, false) => return Ok(()),
        };
        if self.actor.is_partner_user() && !before.is_partner_user() {
            return object(field, ActorRefusal::MayNot(OF_THE_CLIENT));
        }
        let beyond = self
            .ceiling
            .as_ref()
            .and_then(|ceiling| lacked(&self.holder(ceiling), before));
        match beyond {
            Some(what) => object(field, ActorRefusal::Beyond { what }),
            None => Ok(()),
        }
    }

    /// What no rule lets anybody but owner and super admin change.
    fn is_plain(&self, before: &User, user: &User) -> Judged {
        let reserved = [
            ("user.super_admin", before.super_admin != user.super_admin),
            (
                "user.account_owner",
                before.account_owner != user.account_owner,
            ),
            (
                "user.partner_admin",
                before.partner_admin != user.partner_admin,
            ),
            ("user.kind", before.kind != user.kind),
            ("user.partner", before.partner != user.partner),
            // Seats go with a user who is removed.
            (
                "user.seats",
                before.seats != user.seats && user.status != UserStatus::Removed,
            ),
        ];
        match reserved.into_iter().find(|(_, differs)| *differs) {
            Some((field, _)) => object(field, ActorRefusal::Reserved),
            None => Ok(()),
        }
    }

    /// D11: a client's own people may always take from partner users, their admins included.
    fn is_reduced_partner(&self, before: &User, user: &User) -> bool {
        let stands = matches!(
            before.kind,
            UserKind::PartnerEmployee | UserKind::Contractor
        ) && !self.actor.is_partner_user()
            && !before.super_admin
            && !before.account_owner;
        let mut rest = user.clone();
        if user.status != UserStatus::Active {
            rest.status = before.status;
        }
        let less = user.grants.is_subset(&before.grants)
            && user.object_grants.is_subset(&before.object_grants)
            && user.permission_sets.is_subset(&before.permission_sets)
            && user.memberships.is_subset(&before.memberships);
        rest.grants.clone_from(&before.grants);
        rest.object_grants.clone_from(&before.object_grants);
        rest.permission_sets.clone_from(&before.permission_sets);
        rest.set_givers.clone_from(&before.set_givers);
        rest.memberships.clone_from(&before.memberships);
        // What a tombstone says of who it was is no less reserved.
        let is_same = user.kind == before.kind
            && user.person == before.person
            && user.partner == before.partner;
        stands && less && (rest == *before || (user.status == UserStatus::Removed && is_same))
    }

    fn holder<'a>(&'a self, ceiling: &'a Ceiling<'a>) -> Holder<'a> {
        Holder {
            graph: self.graph,
            actor: self.actor,
            authority: &self.authority,
            ceiling,
            now: self.now,
        }
    }

    /// A team gives what it reaches, so it is given and taken like an assignment.
    fn teams(&self, before: Option<&User>, user: &User) -> Judged {
        let new = User::new(user.id.clone());
        let before = before.unwrap_or(&new);
        let teams = |user: &User| -> BTreeSet<Id> { user.all_teams().cloned().collect() };
        let (old_teams, new_teams) = (teams(before), teams(user));
        let plain = differing(&old_teams, &new_teams).map(|team| ("user.teams", team.clone()));
        let timed = before
            .memberships
            .symmetric_difference(&user.memberships)
            .filter_map(|membership| match &membership.of {
                MembershipOf::Team(team) => Some(("membership", team.clone())),
                MembershipOf::PermissionSet(_) => None,
            });
        for (field, team) in plain.chain(timed) {
            if !self.authority.reaches(&Principal::Team(team.clone())) {
                return object(field, unreached(&team));
            }
        }
        let joined = new_teams.difference(&old_teams).map(|team| (team, None));
        let joined_for_a_time =
            user.memberships
                .difference(&before.memberships)
                .filter_map(|membership| match &membership.of {
                    MembershipOf::Team(team) => Some((team, membership.expires_at)),
                    MembershipOf::PermissionSet(_) => None,
                });
        let mut joins = false;
        for (team, until) in joined.chain(joined_for_a_time) {
            joins = true;
            self.outlasts(team, until)?;
        }
        match joins && !self.authority.is_unlimited() {
            true => self.brings_nothing_unseen(&before.id),
            false => Ok(()),
        }
    }

    /// D3: a team is given for no longer than the actor's own reach of it.
    fn outlasts(&self, team: &Id, until: Option<Timestamp>) -> Judged {
        let last = until.map_or(Timestamp::MAX, |until| until.earlier_by(1));
        let then = Authority::of(self.graph, Some(&self.actor.id), last);
        match then.reaches(&Principal::Team(team.clone())) {
            true => Ok(()),
            false => object(
                "user.teams",
                ActorRefusal::NoAuthority(format!(
                    "the user's own reach of team `{team}` ends before the membership does"
                )),
            ),
        }
    }

    /// C8: a team sees what its members own, so joining it opens the user's records to those in it.
    fn brings_nothing_unseen(&self, user: &Id) -> Judged {
        let keys = self.graph.resources_of_user(user.as_str());
        let is_owner = |key: &&ResourceKey| {
            let resource = self.graph.resource(key);
            resource.is_some_and(|resource| resource.owners.contains(user))
        };
        let owned: Vec<&ResourceKey> = keys.iter().filter(is_owner).collect();
        match unseen(self.graph, self.actor, &owned, self.now) {
            None => Ok(()),
            Some(what) => object(
                "user.teams",
                ActorRefusal::NoAuthority(format!(
                    "with `{user}` come records to the team that the actor may not view: {what}; this needs `partition.assign`"
                )),
            ),
        }
    }

    /// What is new was made by hand, and says so.
    fn by_hand(&self, before: Option<&User>, user: &User) -> Judged {
        let new = User::new(user.id.clone());
        let before = before.unwrap_or(&new);
        let is_manual = |provenance: &Provenance| *provenance == Provenance::Manual;
        let grants = user.grants.difference(&before.grants);
        if grants.clone().any(|grant| !is_manual(&grant.provenance)) {
            return object("grants", BY_HAND);
        }
        let objects = user.object_grants.difference(&before.object_grants);
        if objects.clone().any(|grant| !is_manual(&grant.provenance)) {
            return object("object_grant", BY_HAND);
        }
        let memberships = user.memberships.difference(&before.memberships);
        if memberships.clone().any(|one| !is_manual(&one.provenance)) {
            return object("membership", BY_HAND);
        }
        Ok(())
    }

    /// An object grant passes the wall of its resource, so it is given by those only who may assign
    /// the resource to the user (R4).
    fn objects(&self, before: Option<&User>, user: &User) -> Judged {
        let none = BTreeSet::new();
        let old = before.map_or(&none, |before| &before.object_grants);
        let to = Principal::User(user.id.clone());
        for grant in user.object_grants.difference(old) {
            let Some(resource) = self.graph.resource(&grant.resource) else {
                return object("object_grant", NEW_RESOURCE);
            };
            if let Err(refusal) = self.authority.judge(&resource, &to) {
                return object(
                    "object_grant",
                    ActorRefusal::NoAuthority(refusal.to_string()),
                );
            }
        }
        Ok(())
    }

    pub(super) fn deleted_user(&self, id: &Id) -> Judged {
        let Some(user) = self.graph.user(id.as_str()) else {
            return Ok(());
        };
        match user.status {
            UserStatus::Invited => self.manages_users("delete_user", &["cancel", "edit"])?,
            UserStatus::Active | UserStatus::Deactivated | UserStatus::Removed => {
                self.manages_users("delete_user", &["edit"])?;
            }
        }
        if same_human(self.actor, user) {
            return object("delete_user", ActorRefusal::OwnRights);
        }
        // D11.
        let partner = user.is_partner_user() && !self.actor.is_partner_user();
        if partner && !user.super_admin && !user.account_owner {
            return Ok(());
        }
        self.is_fit("delete_user", user)
    }

    pub(super) fn permission_set(
        &self,
        set: &mut PermissionSet,
        report: &mut CeilingReport,
    ) -> Result<(), Problem> {
        let before = self.graph.permission_set(set.id.as_str());
        let none = BTreeSet::new();
        let old = before.map_or(&none, |before| &before.grants);
        let Some(ceiling) = &self.ceiling else {
            set.grants = stamped_grants(old, &set.grants, &self.actor.id);
            return Ok(());
        };
        self.edits("permission_set", "permission_set")?;
        self.is_held_by_the_fit("permission_set", &set.id)?;
        let new = set.grants.difference(old);
        if new
            .clone()
            .any(|grant| grant.provenance != Provenance::Manual)
        {
            object("grants", BY_HAND)?;
        }
        let settled = ceiling
            .settle_set(before, set)
            .map_err(|TooMany| too_many("grants", TooMany))?;
        let key = EntityKey::PermissionSet(set.id.clone());
        report.take(&key, settled.kept, settled.withheld);
        *set = settled.is;
        Ok(())
    }

    pub(super) fn deleted_permission_set(&self, id: &Id) -> Judged {
        const FIELD: &str = "delete_permission_set";
        self.edits(FIELD, "permission_set")?;
        self.is_held_by_the_fit(FIELD, id)?;
        let set = self.graph.permission_set(id.as_str());
        let grants = set.into_iter().flat_map(|set| &set.grants);
        let lacked = self
            .ceiling
            .as_ref()
            .and_then(|ceiling| ceiling.lacks(grants));
        match lacked {
            Some(grant) => object(
                FIELD,
                ActorRefusal::Beyond {
                    what: format!("`{}` at {}, which is in the set", grant.key, grant.level),
                },
            ),
            None => Ok(()),
        }
    }

    /// Whoever holds a set is changed with it (D4).
    fn is_held_by_the_fit(&self, field: &'static str, set: &Id) -> Judged {
        let holds = |user: &&User| {
            let of =
                |one: &Membership| matches!(&one.of, MembershipOf::PermissionSet(id) if id == set);
            user.permission_sets.contains(set) || user.memberships.iter().any(of)
        };
        self.graph
            .users()
            .filter(holds)
            .try_for_each(|holder| self.is_fit(field, holder))
    }
}

/// Whose rights are asked for, and all that tells what they hold.
struct Holder<'a> {
    graph: &'a AccountGraph,
    actor: &'a User,
    authority: &'a Authority<'a>,
    ceiling: &'a Ceiling<'a>,
    now: Timestamp,
}

/// What somebody would have again if they came back, and `actor` does not hold; `None` also where the
/// actor is above the ceiling.
pub(in crate::authz) fn beyond(
    graph: &AccountGraph,
    actor: &Id,
    user: &User,
    now: Timestamp,
) -> Option<String> {
    let authority = Authority::of(graph, Some(actor), now);
    let ceiling = Ceiling::of(graph, actor, now)?;
    let holder = Holder {
        graph,
        actor: graph.user(actor.as_str())?,
        authority: &authority,
        ceiling: &ceiling,
        now,
    };
    lacked(&holder, user)
}

/// The first right of a user that the actor does not hold.
fn lacked(holder: &Holder<'_>, user: &User) -> Option<String> {
    let Holder {
        graph,
        actor,
        authority,
        ceiling,
        now,
    } = holder;
    let roles = [
        ("super admin", user.super_admin),
        ("account owner", user.account_owner),
    ];
    if let Some((role, _)) = roles.into_iter().find(|(_, holds)| *holds) {
        return Some(format!("the role {role}"));
    }
    let of_sets = user
        .permission_sets_at(*now)
        .filter_map(|set| graph.permission_set(set.as_str()))
        .flat_map(|set| &set.grants);
    if let Some(grant) = ceiling.lacks(user.grants.iter().chain(of_sets)) {
        return Some(format!("`{}` at {}", grant.key, grant.level));
    }
    let object = user.object_grants.iter().find(|grant| {
        let held = ceiling.held_on(&grant.resource, &grant.action);
        held.gives().is_empty()
    });
    if let Some(grant) = object {
        return Some(format!("`{}` on `{}`", grant.action, grant.resource));
    }
    if authority.is_unlimited() {
        return None;
    }
    let team = user
        .teams_at(*now)
        .find(|team| !authority.reaches(&Principal::Team((*team).clone())));
    if let Some(team) = team {
        return Some(format!("team `{team}`"));
    }
    let principal = Principal::User(user.id.clone());
    let group = graph
        .access_groups()
        .find(|group| group.members.contains_key(&principal));
    if let Some(group) = group {
        return Some(format!("access group `{}`", group.id));
    }
    let keys = graph.resources_of_user(user.id.as_str());
    unseen(graph, actor, &keys.iter().collect::<Vec<_>>(), *now)
}

/// Resources of a user that are looked at one by one.
const RESOURCES_MAX: usize = 100_000;

/// The first of some resources that somebody may not view. More than are looked at counts as one.
fn unseen(
    graph: &AccountGraph,
    actor: &User,
    keys: &[&ResourceKey],
    now: Timestamp,
) -> Option<String> {
    if keys.len() > RESOURCES_MAX {
        return Some(format!("more than {RESOURCES_MAX} resources"));
    }
    let mut sets: BTreeMap<&Id, Option<AccessSet<'_>>> = BTreeMap::new();
    let hidden = keys.iter().find(|key| {
        let set = sets.entry(&key.resource_type).or_insert_with(|| {
            let resource_type = key.resource_type.as_str();
            AccessSet::new(graph, actor.id.as_str(), resource_type, "view", now).ok()
        });
        let sees = |set: &AccessSet<'_>| set.decide(Target::Resource(key.id.as_str())).is_allow();
        !set.as_ref().is_some_and(sees)
    });
    hidden.map(|key| format!("`{key}`"))
}

/// How near to being active a user is, from the tombstone up.
fn nearness(status: UserStatus) -> u8 {
    match status {
        UserStatus::Removed => 0,
        UserStatus::Deactivated => 1,
        UserStatus::Invited => 2,
        UserStatus::Active => 3,
    }
}

/// Whoever puts somebody in a team for a time is named as the giver.
fn stamp_teams(before: Option<&User>, user: &mut User, actor: &Id) {
    let none = BTreeSet::new();
    let old = before.map_or(&none, |before| &before.memberships);
    user.memberships = user
        .memberships
        .iter()
        .map(|membership| match membership.of {
            MembershipOf::Team(_) if !old.contains(membership) => {
                let by = |giver: Option<&Id>| Membership {
                    granted_by: giver.cloned(),
                    ..membership.clone()
                };
                let same = old.iter().find(|old| **old == by(old.granted_by.as_ref()));
                same.cloned().unwrap_or_else(|| by(Some(actor)))
            }
            MembershipOf::Team(_) | MembershipOf::PermissionSet(_) => membership.clone(),
        })
        .collect();
}

const OF_THE_CLIENT: &str = "a partner user makes and brings back no users of the client's own: people of the agency come by AddStaff";

const BY_HAND: ActorRefusal = ActorRefusal::MayNot("what a user gives has the provenance `manual`");

const NEW_RESOURCE: ActorRefusal = ActorRefusal::MayNot(
    "a right on one resource is given once the resource is there: make it first",
);

fn too_many(field: &'static str, _: TooMany) -> Problem {
    Problem::Change(
        field,
        ChangeProblem::TooMany {
            what: "grants of one permission that change at once",
            limit: crate::authz::ceiling::RIGHTS_MAX,
        },
    )
}

/// Who is above the ceiling is named as the giver all the same.
fn stamp_user(before: Option<&User>, user: &mut User, actor: &Id) {
    let new = User::new(user.id.clone());
    let before = before.unwrap_or(&new);
    user.grants = stamped_grants(&before.grants, &user.grants, actor);
    user.set_given(before, Some(actor));
    user.object_grants = user
        .object_grants
        .iter()
        .map(|grant| {
            let by = |giver: Option<&Id>| ObjectGrant {
                granted_by: giver.cloned(),
                ..grant.clone()
            };
            let same = before
                .object_grants
                .iter()
                .find(|old| **old == by(old.granted_by.as_ref()));
            same.cloned().unwrap_or_else(|| by(Some(actor)))
        })
        .collect();
    user.memberships = user
        .memberships
        .iter()
        .map(|membership| {
            let by = |giver: Option<&Id>| Membership {
                granted_by: giver.cloned(),
                ..membership.clone()
            };
            let same = before
                .memberships
                .iter()
                .find(|old| **old == by(old.granted_by.as_ref()));
            same.cloned().unwrap_or_else(|| by(Some(actor)))
        })
        .collect();
}

fn stamped_grants(old: &BTreeSet<Grant>, new: &BTreeSet<Grant>, actor: &Id) -> BTreeSet<Grant> {
    let by = |grant: &Grant, giver: Option<&Id>| Grant {
        granted_by: giver.cloned(),
        ..grant.clone()
    };
    // `granted_by` is the last field by which grants are ordered.
    new.iter()
        .map(|grant| {
            let least = by(grant, None);
            let same = old
                .range(least..)
                .next()
                .filter(|old| **old == by(grant, old.granted_by.as_ref()));
            same.cloned().unwrap_or_else(|| by(grant, Some(actor)))
        })
        .collect()
}
