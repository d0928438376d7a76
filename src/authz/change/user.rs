//! Users and permission sets, without their grants.

use std::collections::BTreeSet;

use super::super::model::{EntityKey, Id, PermissionSet, User, UserStatus, check_email};
use super::overlay::Link;
use super::planner::Planner;
use super::{ChangeError, UserPatch};

fn is_active_super_admin(user: &User) -> bool {
    user.super_admin && user.is_active()
}

impl Planner<'_> {
    pub(super) fn put_permission_set(&mut self, id: &Id) {
        self.overlay.permission_set(id).put(|| PermissionSet {
            id: id.clone(),
            grants: BTreeSet::new(),
        });
    }

    pub(super) fn delete_permission_set(&mut self, id: &Id) {
        self.overlay.permission_set(id).remove();
        self.forget(&EntityKey::PermissionSet(id.clone()), None);
    }

    pub(super) fn put_user(&mut self, patch: &UserPatch) -> Result<(), ChangeError> {
        self.check_user_patch(patch)?;
        let at = self.overlay.at;
        let slot = self.overlay.user(&patch.id);
        let was_super_admin = slot.get().is_some_and(is_active_super_admin);
        let user = slot.put(|| User::new(patch.id.clone()));
        apply_patch(user, patch);
        let removed = user.status == UserStatus::Removed;
        if removed {
            clear(user);
        }
        if was_super_admin && !is_active_super_admin(user) {
            let field = if user.status != UserStatus::Active {
                "user.status"
            } else if user.super_admin {
                "user.partner"
            } else {
                "user.super_admin"
            };
            self.super_admins_lost.push((at, field, patch.id.clone()));
        }
        if patch.account_owner == Some(true) {
            self.owners_made.push((at, patch.id.clone()));
        }
        if removed {
            // C11: deactivation keeps what a user has, removal clears it.
            self.forget(&EntityKey::User(patch.id.clone()), None);
            return Ok(());
        }
        self.claim_of_user(patch);
        if patch.teams.is_none() && patch.permission_sets.is_none() {
            return Ok(());
        }
        self.within_memberships(&patch.id, ["user.teams", "user.permission_sets"])
    }

    pub(super) fn delete_user(&mut self, id: &Id) {
        let at = self.overlay.at;
        let user = self.overlay.user(id).remove();
        if user.as_ref().is_some_and(is_active_super_admin) {
            self.super_admins_lost.push((at, "delete_user", id.clone()));
        }
        self.forget(&EntityKey::User(id.clone()), None);
    }

    /// A user who was removed holds nothing, so that nothing waits for somebody to bring them back.
    pub(super) fn is_no_tombstone(
        &mut self,
        id: &Id,
        field: &'static str,
    ) -> Result<(), ChangeError> {
        let is_removed = |user: &User| user.status == UserStatus::Removed;
        match self.overlay.user(id).get().is_some_and(is_removed) {
            true => Err(self.overlay.invalid(
                field,
                format!("`{id}` was removed and holds nothing: bring them back first"),
            )),
            false => Ok(()),
        }
    }

    fn check_user_patch(&self, patch: &UserPatch) -> Result<(), ChangeError> {
        for seat in patch.seats.iter().flatten() {
            if self.terms.catalog.seat_ix(seat.as_str()).is_none() {
                return Err(self
                    .overlay
                    .invalid("user.seats", format!("the catalog has no seat `{seat}`")));
            }
        }
        match patch
            .email
            .iter()
            .flatten()
            .next()
            .map(|email| check_email(email))
        {
            Some(Err(problem)) => Err(self.overlay.invalid("user.email", problem.to_string())),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn claim_of_user(&mut self, patch: &UserPatch) {
        let from = EntityKey::User(patch.id.clone());
        if let Some(Some(team)) = &patch.main_team {
            let team = EntityKey::Team(team.clone());
            self.overlay.claim(Link::MainTeam, &from, team);
        }
        for team in patch.teams.iter().flatten() {
            let team = EntityKey::Team(team.clone());
            self.overlay.claim(Link::AdditionalTeam, &from, team);
        }
        for set in patch.permission_sets.iter().flatten() {
            let set = EntityKey::PermissionSet(set.clone());
            self.overlay.claim(Link::PermissionSet, &from, set);
        }
    }
}

fn apply_patch(user: &mut User, patch: &UserPatch) {
    user.status = patch.status.unwrap_or(user.status);
    user.kind = patch.kind.unwrap_or(user.kind);
    user.account_owner = patch.account_owner.unwrap_or(user.account_owner);
    user.super_admin = patch.super_admin.unwrap_or(user.super_admin);
    user.partner_admin = patch.partner_admin.unwrap_or(user.partner_admin);
    if let Some(main_team) = &patch.main_team {
        user.main_team.clone_from(main_team);
    }
    if let Some(teams) = &patch.teams {
        user.teams.clone_from(teams);
    }
    if let Some(seats) = &patch.seats {
        user.seats.clone_from(seats);
    }
    if let Some(person) = &patch.person {
        user.person.clone_from(person);
    }
    if let Some(email) = &patch.email {
        user.email.clone_from(email);
    }
    if let Some(partner) = &patch.partner {
        user.partner.clone_from(partner);
    }
    if let Some(permission_sets) = &patch.permission_sets {
        let before = std::mem::replace(&mut user.permission_sets, permission_sets.clone());
        // A set that comes anew comes from nobody known; that of an actor is named after the plan.
        let stays = |set: &Id| before.contains(set) && permission_sets.contains(set);
        user.set_givers.retain(|set, _| stays(set));
    }
}

/// What removal leaves of a user: a tombstone that says who it was.
fn clear(user: &mut User) {
    *user = User {
        status: user.status,
        kind: user.kind,
        person: user.person.take(),
        partner: user.partner.take(),
        ..User::new(user.id.clone())
    };
}
