//! Memberships of teams and permission sets that say why and until when.

use std::collections::BTreeSet;

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
        self.is_no_tombstone(user, "membership.user")?;
        let at = self.overlay.at;
        let slot = self.overlay.user(user);
        let held = slot.part(at, "membership.user", || User::new(user.clone()));
        let Membership { of, provenance, .. } = membership;
        take_out(&mut held.memberships, of, provenance);
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
        take_out(&mut held.memberships, of, provenance);
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
        // Those of sets come last, and no more of them are counted than there may be.
        let last = user.memberships.iter().rev();
        let of_sets = last
            .take_while(|held| matches!(held.of, MembershipOf::PermissionSet(_)))
            .take(PERMISSION_SETS_OF_USER_MAX + 1)
            .count();
        let teams = user.teams.len() + (user.memberships.len() - of_sets);
        let sets = user.permission_sets.len() + of_sets;
        let [too_many_teams, too_many_sets] = fields;
        self.overlay.within(
            sets,
            PERMISSION_SETS_OF_USER_MAX,
            too_many_sets,
            "permission sets of one user",
        )?;
        self.overlay.within(
            teams,
            TEAMS_OF_USER_MAX,
            too_many_teams,
            "additional teams of one user",
        )
    }
}

fn take_out(stored: &mut BTreeSet<Membership>, of: &MembershipOf, provenance: &Provenance) {
    // The least of them: each further field at its first value.
    let least = Membership {
        of: of.clone(),
        provenance: provenance.clone(),
        expires_at: None,
        granted_by: None,
    };
    let same: Vec<Membership> = stored
        .range(least..)
        .take_while(|held| held.is_of(of, provenance))
        .cloned()
        .collect();
    for held in &same {
        stored.remove(held);
    }
}

/// The entity that a membership is of.
pub(super) fn entity_of(of: &MembershipOf) -> EntityKey {
    match of {
        MembershipOf::Team(id) => EntityKey::Team(id.clone()),
        MembershipOf::PermissionSet(id) => EntityKey::PermissionSet(id.clone()),
    }
}
