//! Memberships of teams and permission sets that say why and until when.

use super::super::model::{EntityKey, Id, Membership, MembershipOf, Provenance, User};
use super::overlay::Link;
use super::planner::Planner;
use super::{ChangeError, PERMISSION_SETS_OF_USER_MAX, TEAMS_OF_USER_MAX};

impl Planner<'_> {
    /// Replaces the user's membership of one team or set from one provenance.
    pub(super) fn put_membership(
        &mut self,
        user: &Id,
        membership: &Membership,
    ) -> Result<(), ChangeError> {
        let at = self.overlay.at;
        let slot = self.overlay.user(user);
        let held = slot.part(at, "membership.user", || User::new(user.clone()));
        let Membership { of, provenance, .. } = membership;
        held.memberships
            .retain(|other| !other.is_of(of, provenance));
        held.memberships.insert(membership.clone());
        self.within_memberships(user, ["membership", "membership"])?;
        self.overlay.claim(
            Link::Membership,
            &EntityKey::User(user.clone()),
            entity_of(of),
        );
        Ok(())
    }

    pub(super) fn delete_membership(
        &mut self,
        user: &Id,
        of: &MembershipOf,
        provenance: &Provenance,
    ) {
        let at = self.overlay.at;
        let slot = self.overlay.user(user);
        let held = slot.part(at, "membership.user", || User::new(user.clone()));
        held.memberships
            .retain(|other| !other.is_of(of, provenance));
    }

    /// Plain teams and sets, and those by a membership, are bounded together. `fields` are those to
    /// blame for too many teams and for too many sets.
    pub(super) fn within_memberships(
        &mut self,
        user: &Id,
        fields: [&str; 2],
    ) -> Result<(), ChangeError> {
        let Some(user) = self.overlay.user(user).get() else {
            return Ok(());
        };
        let by_team = |held: &&Membership| matches!(held.of, MembershipOf::Team(_));
        let in_teams = user.memberships.iter().filter(by_team).count();
        let teams = user.teams.len() + in_teams;
        let sets = user.permission_sets.len() + (user.memberships.len() - in_teams);
        let [of_teams, of_sets] = fields;
        self.overlay.within(
            teams,
            TEAMS_OF_USER_MAX,
            of_teams,
            "additional teams of one user",
        )?;
        self.overlay.within(
            sets,
            PERMISSION_SETS_OF_USER_MAX,
            of_sets,
            "permission sets of one user",
        )
    }
}

/// The entity that a membership is of.
pub(super) fn entity_of(of: &MembershipOf) -> EntityKey {
    match of {
        MembershipOf::Team(id) => EntityKey::Team(id.clone()),
        MembershipOf::PermissionSet(id) => EntityKey::PermissionSet(id.clone()),
    }
}
