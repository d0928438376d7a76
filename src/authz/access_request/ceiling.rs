//! The grant ceiling (R4, D3): an approver who is neither account owner nor super admin gives no
//! more than the approver holds, at this moment and until the gift ends.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::opening::{Comparison, Piece};
use super::resolution::{covers, resource_of};
use super::{AccessRequest, GrantOffer, RequestRefusal, Resolution};
use crate::authz::access_set::AccessSet;
use crate::authz::assignment::Authority;
use crate::authz::catalog::{ActionIx, ActionSet, TypeIx};
use crate::authz::decision::{ReasonCode, Target};
use crate::authz::graph::{AccountGraph, CompiledUser};
use crate::authz::model::{Grant, Id, Level, MembershipOf, PermissionKey, Principal, Timestamp};

/// Most moments until the end of a gift at which the approver's rights are looked at anew.
const MOMENTS_MAX: usize = 1_000;

/// What a grant of each type gives: by the type of its key, the actions that give and what they
/// give, implied and derived actions included.
pub(super) type Gifts = HashMap<TypeIx, Vec<(ActionSet, TypeIx, ActionIx)>>;

pub(super) fn gifts(graph: &AccountGraph) -> Gifts {
    let mut gifts = Gifts::new();
    for (type_ix, resource_type) in (0u16..).map(TypeIx).zip(&graph.catalog().types) {
        for (action, rule) in (0u8..).map(ActionIx).zip(&resource_type.rules) {
            for (source, actions) in rule.iter().flat_map(|rule| &rule.sources) {
                let entry = gifts.entry(*source).or_default();
                entry.push((*actions, type_ix, action));
            }
        }
    }
    gifts
}

/// What an approver may give.
pub(super) struct Ceiling<'g> {
    graph: &'g AccountGraph,
    approver: &'g CompiledUser,
    gifts: Gifts,
    now: Timestamp,
    /// When the gift ends.
    until: Option<Timestamp>,
    /// Work that was done on moments to come; it has a bound of its own, so that a team whose members
    /// get much later withholds itself and no other resolution.
    work_ahead: u64,
    /// What was found out about levels of tools, until the moment in the key.
    held: HashMap<(TypeIx, ActionIx, Level, bool, Option<Timestamp>), bool>,
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
        if super::approver::is_above_ceiling(&approver.user) {
            return Ok(None);
        }
        Ok(Some(Self {
            graph,
            approver,
            gifts: gifts(graph),
            now,
            until,
            work_ahead: 0,
            held: HashMap::new(),
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
        let catalog = self.graph.catalog();
        let (type_ix, action) =
            catalog.resolve(key.resource_type.as_str(), request.target.action.as_str())?;
        let given = ActionSet::of(action);
        for (source, of, follows) in self.gifts.get(&type_ix).into_iter().flatten() {
            // An object grant counts on its own type only.
            if *of != type_ix || !source.intersects(given) || !self.may_matter(*of, *follows) {
                continue;
            }
            if !self.holds_on(*of, *follows, key.id.as_str())? {
                return Err(self.beyond(&format!("`{}` on `{key}`", self.name(*of, *follows))));
            }
        }
        Ok(())
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

    fn check_grant(&mut self, grant: &Grant) -> Result<(), RequestRefusal> {
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
        let given: Vec<(TypeIx, ActionIx)> = self
            .gifts
            .get(&type_ix)
            .into_iter()
            .flatten()
            .filter(|(source, ..)| source.intersects(actions))
            .map(|(_, of, action)| (*of, *action))
            .collect();
        for (of, action) in given {
            let own = of == type_ix && actions.contains(action);
            if !own && !self.may_matter(of, action) {
                continue;
            }
            if !self.holds(of, action, offer, until)? {
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

    /// What follows from a grant but is in no plan of the account is given to nobody by it.
    fn may_matter(&self, type_ix: TypeIx, action: ActionIx) -> bool {
        let entitled = self.graph.plan().entitled.get(usize::from(type_ix.0));
        entitled.is_some_and(|entitled| entitled.contains(action))
    }

    /// Whether the approver's tool-level check is ALLOW at least as far as the offer, from now until
    /// the moment. Reserved actions are nobody's to hand on (D3).
    fn holds(
        &mut self,
        type_ix: TypeIx,
        action: ActionIx,
        offer: &GrantOffer,
        until: Option<Timestamp>,
    ) -> Result<bool, RequestRefusal> {
        let known = (
            type_ix,
            action,
            offer.level,
            offer.include_unassigned,
            until,
        );
        if let Some(held) = self.held.get(&known) {
            return Ok(*held);
        }
        let mut moment = self.now;
        let mut held = true;
        for _ in 0..MOMENTS_MAX {
            let Some(set) =
                AccessSet::resolved(self.graph, Some(self.approver), type_ix, action, moment)
            else {
                held = false;
                break;
            };
            let decision = set.decide(Target::Tool);
            let far = decision.reason == ReasonCode::Always || covers(set.live_grants(), offer);
            if set.rule.reserved.is_some() || !decision.is_allow() || !far {
                held = false;
                break;
            }
            match decision.valid_until.filter(|next| !ends_by(until, *next)) {
                Some(next) => moment = next,
                None => {
                    self.held.insert(known, true);
                    return Ok(true);
                }
            }
        }
        if held {
            return Err(too_many_moments());
        }
        self.held.insert(known, false);
        Ok(false)
    }

    /// Whether the approver's own check on the resource is ALLOW from now until the gift ends.
    fn holds_on(
        &self,
        type_ix: TypeIx,
        action: ActionIx,
        id: &str,
    ) -> Result<bool, RequestRefusal> {
        let mut moment = self.now;
        for _ in 0..MOMENTS_MAX {
            let Some(set) =
                AccessSet::resolved(self.graph, Some(self.approver), type_ix, action, moment)
            else {
                return Ok(false);
            };
            let decision = set.decide(Target::Resource(id));
            if set.rule.reserved.is_some() || !decision.is_allow() {
                return Ok(false);
            }
            match decision
                .valid_until
                .filter(|next| !ends_by(self.until, *next))
            {
                Some(next) => moment = next,
                None => return Ok(true),
            }
        }
        Err(too_many_moments())
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

/// Whether a gift that ends at `until` is over at `moment`.
fn ends_by(until: Option<Timestamp>, moment: Timestamp) -> bool {
    until.is_some_and(|until| until <= moment)
}

fn too_many_moments() -> RequestRefusal {
    RequestRefusal::TooMuch {
        what: "following the approver's rights to the end of the gift",
        limit: MOMENTS_MAX as u64,
    }
}
