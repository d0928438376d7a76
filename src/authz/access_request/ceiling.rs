//! The grant ceiling (R4, D3): an approver who is neither account owner nor super admin gives no
//! more than the approver holds, at this moment and until the gift ends. What an approver holds of a
//! permission is found by [`crate::authz::ceiling`]; a resolution is given whole or refused, and of
//! memberships and assignments all counts that they open.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;

use super::opening::{Comparison, Piece};
use super::resolution::resource_of;
use super::{AccessRequest, GrantOffer, RequestRefusal, Resolution};
use crate::authz::access_set::AccessSet;
use crate::authz::assignment::Authority;
use crate::authz::catalog::{ActionIx, ActionSet, TypeIx};
use crate::authz::ceiling::{Ceiling as Held, OF_ONE, Reach};
use crate::authz::decision::Target;
use crate::authz::graph::{AccountGraph, CompiledUser};
use crate::authz::model::{Grant, Id, Level, MembershipOf, PermissionKey, Principal, Timestamp};

/// Most moments until the end of a gift at which the approver's rights are looked at anew.
const MOMENTS_MAX: usize = 1_000;

/// What an approver may give.
pub(super) struct Ceiling<'g> {
    graph: &'g AccountGraph,
    approver: &'g CompiledUser,
    /// What the approver holds of permissions.
    held: Held<'g>,
    now: Timestamp,
    /// When the gift ends.
    until: Option<Timestamp>,
    /// Work that was done on moments to come; it has a bound of its own, so that a team whose members
    /// get much later withholds itself and no other resolution.
    work_ahead: u64,
}

impl<'g> Ceiling<'g> {
    /// `None` for those who are above it.
    pub(super) fn of(
        graph: &'g AccountGraph,
        approver: &Id,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<Self>, RequestRefusal> {
        let Some(approver) = graph.compiled_user(approver.as_str()) else {
            return Err(RequestRefusal::NotAnApprover);
        };
        let held = Held::of(graph, &approver.user.id, now);
        Ok(held.map(|held| Self {
            graph,
            approver,
            held,
            now,
            until,
            work_ahead: 0,
        }))
    }

    /// Whether the approver may give this resolution of this request.
    pub(super) fn check(
        &mut self,
        request: &AccessRequest,
        resolution: &Resolution,
        after: &AccountGraph,
        comparison: &mut Comparison<'_>,
    ) -> Result<(), RequestRefusal> {
        self.check_assigning(request, resolution)?;
        match resolution {
            Resolution::ObjectGrant => self.check_object(request),
            Resolution::DirectGrant(offer) | Resolution::RaiseLevel(offer) => {
                self.check_offer(offer, self.until)
            }
            Resolution::PermissionSet(set) => self.check_set(set),
            Resolution::AssignToUser | Resolution::AssignToTeam(_) | Resolution::AddToTeam(_) => {
                let pieces = comparison.pieces(request, resolution, after)?;
                pieces
                    .iter()
                    .try_for_each(|piece| self.check_piece(piece, self.now))?;
                self.check_ahead(request, resolution, after, comparison)
            }
        }
    }

    /// What an assignment or a membership opens once a grant begins to count that somebody has
    /// already: it is given today, whoever gave that grant.
    fn check_ahead(
        &mut self,
        request: &AccessRequest,
        resolution: &Resolution,
        after: &AccountGraph,
        comparison: &Comparison<'_>,
    ) -> Result<(), RequestRefusal> {
        let mut beginnings = comparison.beginnings(resolution, after);
        beginnings.retain(|begin| self.is_ahead(*begin));
        for begin in beginnings {
            let mut then = comparison.at(begin, self.work_ahead)?;
            let pieces = then.pieces(request, resolution, after);
            self.work_ahead = then.work();
            pieces?
                .iter()
                .try_for_each(|piece| self.check_piece(piece, begin))?;
        }
        Ok(())
    }

    /// An object request is answered by those only who may assign its resource to whom it goes to.
    fn check_assigning(
        &self,
        request: &AccessRequest,
        resolution: &Resolution,
    ) -> Result<(), RequestRefusal> {
        let Ok(key) = resource_of(request) else {
            return Ok(());
        };
        // Approving looks at that before; what is gone closes no revocation.
        let Some(resource) = self.graph.resource(&key) else {
            return Ok(());
        };
        let to = match resolution {
            Resolution::AssignToTeam(team) | Resolution::AddToTeam(team) => {
                Principal::Team(team.clone())
            }
            Resolution::ObjectGrant
            | Resolution::AssignToUser
            | Resolution::DirectGrant(_)
            | Resolution::PermissionSet(_)
            | Resolution::RaiseLevel(_) => Principal::User(request.user.clone()),
        };
        let approver = &self.approver.user.id;
        match Authority::of(self.graph, Some(approver), self.now).may_assign(&resource, &to) {
            true => Ok(()),
            false => Err(RequestRefusal::NoAssignAuthority {
                target: format!("`{to}`"),
            }),
        }
    }

    /// The approver's own check on the resource, for the action and all that it implies.
    fn check_object(&self, request: &AccessRequest) -> Result<(), RequestRefusal> {
        let key = resource_of(request)?;
        let action = &request.target.action;
        let catalog = self.graph.catalog();
        catalog.resolve(key.resource_type.as_str(), action.as_str())?;
        match self.held.held_on(&key, action).reaches(OF_ONE, self.until) {
            true => Ok(()),
            false => Err(self.beyond(&format!("`{}.{action}` on `{key}`", key.resource_type))),
        }
    }

    /// Every grant of the set, since all of them come with it.
    fn check_set(&mut self, set: &Id) -> Result<(), RequestRefusal> {
        let Some(set) = self.graph.permission_set(set.as_str()) else {
            return Ok(());
        };
        set.grants
            .iter()
            .filter(|grant| grant.level != Level::None)
            .try_for_each(|grant| self.check_grant(grant))
    }

    pub(super) fn check_grant(&mut self, grant: &Grant) -> Result<(), RequestRefusal> {
        let offer = GrantOffer {
            key: grant.key.clone(),
            level: grant.level,
            include_unassigned: grant.include_unassigned,
        };
        if grant.expires_at.is_some_and(|end| end <= self.now) {
            return Ok(());
        }
        let until = [self.until, grant.expires_at].into_iter().flatten().min();
        self.check_offer(&offer, until)
    }

    fn check_offer(
        &mut self,
        offer: &GrantOffer,
        until: Option<Timestamp>,
    ) -> Result<(), RequestRefusal> {
        let (type_ix, actions) = self.granted(&offer.key)?;
        let reach = Reach::new(offer.level, offer.include_unassigned);
        for (of, action) in self.held.given(type_ix, actions) {
            if !self.held.held_of(of, action).reaches(reach, until) {
                let what = format!(
                    "`{}` at {}{}",
                    self.name(of, action),
                    offer.level,
                    if offer.include_unassigned {
                        ", unassigned resources included,"
                    } else {
                        ""
                    }
                );
                return Err(self.beyond(&what));
            }
        }
        Ok(())
    }

    fn granted(&self, key: &PermissionKey) -> Result<(TypeIx, ActionSet), RequestRefusal> {
        self.graph
            .catalog()
            .granted_actions(key)
            .map_err(|error| super::resolution::invalid("resolution.key", error.to_string()))
    }

    /// Whether the approver may do, from a moment until the gift ends, all that it newly allows
    /// anybody.
    fn check_piece(&self, piece: &Piece<'_>, from: Timestamp) -> Result<(), RequestRefusal> {
        for moment in self.moments(piece, from)? {
            let set = AccessSet::resolved(
                self.graph,
                Some(self.approver),
                piece.type_ix,
                piece.action,
                moment,
            );
            let enough = set.is_some_and(|set| {
                (!piece.tool || set.decide(Target::Tool).is_allow())
                    && piece.rows.is_subset(&set.ordinals())
            });
            if !enough {
                let name = self.name(piece.type_ix, piece.action);
                return Err(self.beyond(&format!("`{name}` on all that this opens")));
            }
        }
        Ok(())
    }

    /// The first moment, and whenever the approver may lose something of a piece before the gift
    /// ends.
    fn moments(
        &self,
        piece: &Piece<'_>,
        from: Timestamp,
    ) -> Result<BTreeSet<Timestamp>, RequestRefusal> {
        let user = &self.approver.user;
        let sets = user
            .permission_sets
            .iter()
            .chain(
                user.memberships
                    .iter()
                    .filter_map(|membership| match &membership.of {
                        MembershipOf::PermissionSet(set) => Some(set),
                        MembershipOf::Team(_) => None,
                    }),
            );
        let set_grants = sets
            .filter_map(|set| self.graph.permission_set(set.as_str()))
            .flat_map(|set| &set.grants);
        let grants = user.grants.iter().chain(set_grants);
        let ends = grants
            .map(|grant| grant.expires_at)
            .chain(user.object_grants.iter().map(|grant| grant.expires_at))
            .chain(user.memberships.iter().map(|one| one.expires_at))
            .flatten();
        let mut moments = BTreeSet::new();
        moments.extend(ends.filter(|end| self.is_ahead(*end)));
        if let Some(index) = self.graph.index(piece.type_ix) {
            let timed: RoaringBitmap = &*index.postings.timed & &*piece.rows;
            for row in timed {
                let assignments = index.row(row).facts().assignments;
                let ends = assignments.iter().filter_map(|fact| fact.expires_at);
                moments.extend(ends.filter(|end| self.is_ahead(*end)));
            }
            // Who owns a resource lends it to their teams while they are in them.
            let owners = piece
                .rows
                .iter()
                .flat_map(|row| index.row(row).facts().owners);
            for owner in owners.collect::<BTreeSet<u32>>() {
                let owner = self.graph.directory.user_by_number(owner);
                let leaves = owner
                    .into_iter()
                    .flat_map(|owner| &owner.user.memberships)
                    .filter_map(|membership| membership.expires_at);
                moments.extend(leaves.filter(|end| self.is_ahead(*end)));
            }
        }
        moments.retain(|moment| from < *moment);
        moments.insert(from);
        if moments.len() > MOMENTS_MAX {
            return Err(too_many_moments());
        }
        Ok(moments)
    }

    /// Between now and the end of the gift.
    fn is_ahead(&self, moment: Timestamp) -> bool {
        self.now < moment && self.until.is_none_or(|until| moment < until)
    }

    fn name(&self, type_ix: TypeIx, action: ActionIx) -> String {
        let catalog = self.graph.catalog();
        let resource_type = catalog.resource_type(type_ix);
        let name = resource_type.map_or("", |resource_type| resource_type.name.as_str());
        let action = catalog.action_name(action).map_or("", Id::as_str);
        format!("{name}.{action}")
    }

    fn beyond(&self, what: &str) -> RequestRefusal {
        RequestRefusal::BeyondOwnRights {
            what: match self.until {
                Some(until) => format!("{what} until {until}"),
                None => format!("{what} without an end"),
            },
        }
    }
}

fn too_many_moments() -> RequestRefusal {
    RequestRefusal::TooMuch {
        what: "following the approver's rights to the end of the gift",
        limit: MOMENTS_MAX as u64,
    }
}
