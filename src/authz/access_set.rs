//! The access set of one (user, action, type): what the rule book says of them before a resource
//! is looked at. Built in one place, and read as a decision ([`AccessSet::decide`]), as a list
//! ([`AccessSet::accessible`]) and as an explanation ([`super::explain`]), so that these can't
//! disagree.
//!
//! The steps are those of `domain.md` 3.2, in its order. Nothing here waits, allocates for a stored
//! resource, or knows a clock.

use smallvec::SmallVec;

use super::catalog::{ActionIx, ActionRule, ActionSet, Reserved, ResourceType, SeatSet, TypeIx};
use super::decision::{
    Decision, Effect, Presentation, ReasonCode, Requestable, ResourceFacts, Target, UnknownName,
};
use super::graph::{
    AccountGraph, AssignmentFact, CompiledGrant, CompiledObjectGrant, CompiledUser, Facts, Holding,
    TypeMode,
};
use super::model::{Id, Level, PrincipalKind, Timestamp, UserStatus};

mod connections;
mod listing;
mod liveness;
mod verdict;

pub(in crate::authz) use connections::{Connections, LiveIndex};
pub(in crate::authz) use listing::Footing;
pub use listing::{Accessible, Narrowing};
pub(in crate::authz) use liveness::{Liveness, held_until, liveness};
pub(in crate::authz) use verdict::{Reaching, Standing, Verdict, Via, Wall};

/// A number that no name has: what an unknown user, team or group of inline facts becomes.
const NOBODY: u32 = u32::MAX;

pub struct AccessSet<'g> {
    pub(in crate::authz) graph: &'g AccountGraph,
    pub(in crate::authz) type_ix: TypeIx,
    pub(in crate::authz) action: ActionIx,
    pub(in crate::authz) resource_type: &'g ResourceType,
    pub(in crate::authz) rule: &'g ActionRule,
    pub(in crate::authz) mode: TypeMode,
    pub(in crate::authz) at: Timestamp,
    /// `None` for an unknown user.
    pub(in crate::authz) user: Option<&'g CompiledUser>,
    pub(in crate::authz) gate: Gate,
    /// Live grants that count for the action, object grants aside.
    grants: SmallVec<[Reaching; 6]>,
    /// A grant that would count has expired.
    expired: bool,
    /// The next moment at which a grant that counts begins or ends.
    boundary: Option<Timestamp>,
}

/// What steps 1 to 4 come to: they need no resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::authz) enum Gate {
    /// Step 1.
    Barred(ReasonCode),
    /// Steps 2 and 3.
    Locked(ReasonCode),
    /// Step 3: a holder of the reserved action.
    Holder,
    /// Step 4: owner and super admin, for resources that exist.
    Above(ReasonCode),
    /// Steps 5 to 8.
    Open,
}

impl<'g> AccessSet<'g> {
    /// An unknown user is a denial, an unknown type or action an error.
    pub fn new(
        graph: &'g AccountGraph,
        user: &str,
        resource_type: &str,
        action: &str,
        at: Timestamp,
    ) -> Result<Self, UnknownName> {
        let (type_ix, action) = graph.catalog().resolve(resource_type, action)?;
        Self::resolved(graph, graph.compiled_user(user), type_ix, action, at).ok_or_else(|| {
            UnknownName::Action {
                resource_type: resource_type.to_owned(),
                action: graph
                    .catalog()
                    .action_name(action)
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            }
        })
    }

    /// `None` only for indices that the account's catalog did not give out.
    pub(in crate::authz) fn resolved(
        graph: &'g AccountGraph,
        user: Option<&'g CompiledUser>,
        type_ix: TypeIx,
        action: ActionIx,
        at: Timestamp,
    ) -> Option<Self> {
        let resource_type = graph.catalog().resource_type(type_ix)?;
        let rule = resource_type.rule(action)?;
        let mut set = Self {
            graph,
            type_ix,
            action,
            resource_type,
            rule,
            mode: graph.directory.mode(type_ix),
            at,
            user,
            gate: Gate::Open,
            grants: SmallVec::new(),
            expired: false,
            boundary: None,
        };
        set.gate = set.pass_gates();
        Some(set)
    }

    /// Steps 1 to 4, and for those that get past them the grants of step 6.
    fn pass_gates(&mut self) -> Gate {
        // 1. User status.
        let Some(user) = self.user else {
            return Gate::Barred(ReasonCode::UserUnknown);
        };
        if let Some(code) = barred(user) {
            return Gate::Barred(code);
        }
        // 2. Entitlement: for everyone, owner and super admin included.
        if let Some(code) = self.entitlement(user) {
            return Gate::Locked(code);
        }
        // 3. Reserved actions.
        if let Some(reserved) = self.rule.reserved {
            return self.reserved(user, reserved);
        }
        // 4. Account owner, super admin.
        if user.user.account_owner {
            return Gate::Above(ReasonCode::AccountOwner);
        }
        if user.user.super_admin {
            return Gate::Above(ReasonCode::SuperAdmin);
        }
        self.collect_grants(user);
        Gate::Open
    }

    fn entitlement(&self, user: &CompiledUser) -> Option<ReasonCode> {
        let entitled = self
            .graph
            .plan()
            .entitled
            .get(usize::from(self.type_ix.0))
            .copied()
            .unwrap_or_default();
        if !entitled.contains(self.action) {
            return Some(ReasonCode::NotEntitled);
        }
        let gate = self.resource_type.seats;
        if !gate.is_empty() && !gate.intersects(user.seats) {
            return Some(ReasonCode::SeatRequired);
        }
        let read_only: SeatSet = self.graph.catalog().read_only_seats;
        let only_reads = !user.seats.is_empty() && user.seats.without(read_only).is_empty();
        if only_reads && !self.rule.read_only {
            return Some(ReasonCode::SeatReadOnly);
        }
        let pays = self.graph.account().payment_method_valid;
        (self.rule.needs_payment_method && !pays).then_some(ReasonCode::PaymentMethodInvalid)
    }

    fn reserved(&mut self, user: &CompiledUser, reserved: Reserved) -> Gate {
        let partner_user = user.user.is_partner_user();
        let excluded = reserved.except_partner_users && partner_user;
        let by_role = (reserved.account_owner && user.user.account_owner)
            || (reserved.super_admin && user.user.super_admin)
            || (reserved.partner_admin && user.user.partner_admin);
        if by_role {
            return Gate::Holder;
        }
        if reserved.explicit_grant && !excluded {
            self.collect_grants(user);
            if !self.grants.is_empty() {
                return Gate::Holder;
            }
        }
        let owner_only = reserved.account_owner
            && !(reserved.super_admin || reserved.partner_admin || reserved.explicit_grant);
        Gate::Locked(match (owner_only, excluded) {
            (true, _) => ReasonCode::OwnerOnly,
            (false, true) => ReasonCode::PartnerForbidden,
            (false, false) => ReasonCode::Reserved,
        })
    }

    /// Live grants among those that count (closed under implication by the rule's sources), with
    /// their next boundary.
    fn collect_grants(&mut self, user: &CompiledUser) {
        for (type_ix, actions) in &self.rule.sources {
            for (holding, grant) in user.holdings.iter().flat_map(|holding| {
                let grants = holding.table.of(*type_ix, *actions);
                grants.map(move |grant| (holding, grant))
            }) {
                match liveness(
                    grant.not_before,
                    held_until(holding, grant),
                    self.at,
                    &mut self.boundary,
                ) {
                    Liveness::Live => self.grants.push(Reaching {
                        level: grant.level,
                        include_unassigned: grant.include_unassigned,
                    }),
                    Liveness::Expired => self.expired = true,
                    Liveness::NotBegun => {}
                }
            }
        }
    }

    /// The decision for one target. Never allocates for a stored resource of usual size.
    pub fn decide(&self, target: Target<'_>) -> Decision {
        match self.gate {
            Gate::Barred(code) => return self.deny(code, Presentation::None, None),
            Gate::Locked(code) => return self.deny(code, Presentation::Lock, self.boundary),
            Gate::Holder => {
                return self.allow(
                    ReasonCode::ReservedHolder,
                    Reaching::EVERYTHING,
                    self.boundary,
                );
            }
            Gate::Above(_) | Gate::Open => {}
        }
        let (id, facts) = match target {
            Target::Tool => return self.decide_tool(),
            // `create` ignores the id (step 7).
            _ if self.rule.tool_level => return self.decide_tool(),
            Target::Described(id, facts) => (id, self.described(facts)),
            Target::Resource(id) => match self.stored(id) {
                Some(facts) => (id, facts),
                None => return self.deny(ReasonCode::ResourceNotFound, Presentation::None, None),
            },
        };
        if let Gate::Above(code) = self.gate {
            return self.allow(code, Reaching::EVERYTHING, None);
        }
        self.decide_object(id, &facts)
    }

    /// Step 7.
    fn decide_tool(&self) -> Decision {
        if let Gate::Above(code) = self.gate {
            return self.allow(code, Reaching::EVERYTHING, None);
        }
        match self.grants.iter().max() {
            Some(_) if self.rule.always => {
                self.allow(ReasonCode::Tool, Reaching::EVERYTHING, self.boundary)
            }
            Some(highest) => self.allow(ReasonCode::Tool, *highest, self.boundary),
            None if self.rule.always => {
                self.allow(ReasonCode::Always, Reaching::EVERYTHING, self.boundary)
            }
            None => self.deny_without_grant(self.expired, self.boundary),
        }
    }

    /// Steps 6 and 8.
    fn decide_object(&self, id: &str, facts: &Facts) -> Decision {
        let mut boundary = self.boundary;
        let (mut object_grant, mut expired) = (false, self.expired);
        for grant in self.object_grants(id) {
            match liveness(grant.not_before, grant.expires_at, self.at, &mut boundary) {
                Liveness::Live => object_grant = true,
                Liveness::Expired => expired = true,
                Liveness::NotBegun => {}
            }
        }
        if self.grants.is_empty() && !object_grant && !self.rule.always {
            return self.deny_without_grant(expired, boundary);
        }
        for assignment in &facts.assignments {
            liveness(None, assignment.expires_at, self.at, &mut boundary);
        }
        if self.graph.directory.has_timed_teams {
            self.lower_to_next_leave(facts, &mut boundary);
        }
        match self
            .standing(facts, object_grant)
            .verdict(&self.grants, self.rule.always)
        {
            Verdict::Allow(code, highest) => self.allow(code, highest, boundary),
            Verdict::Deny(code) => self.deny(code, Presentation::BlockedPage, boundary),
        }
    }

    /// Where a team is left the decision may turn: the user's, and of a resource without a stamp
    /// its owners'.
    #[cold]
    fn lower_to_next_leave(&self, facts: &Facts, boundary: &mut Option<Timestamp>) {
        let owners = match facts.owning_team {
            Some(_) => &[][..],
            None => facts.owners.as_slice(),
        };
        let directory = &self.graph.directory;
        let people = owners
            .iter()
            .filter_map(|owner| directory.user_by_number(*owner))
            .chain(self.user);
        let leaves = people.filter_map(|person| person.next_leave(self.at));
        *boundary = boundary.iter().copied().chain(leaves).min();
    }

    /// Object grants on this resource that count for the action, whatever the time.
    pub(in crate::authz) fn object_grants(
        &self,
        id: &str,
    ) -> impl Iterator<Item = &'g CompiledObjectGrant> {
        let actions = self.object_actions();
        let grants = self
            .user
            .map_or(&[][..], |user| user.object_grants(self.type_ix, id));
        grants
            .iter()
            .filter(move |grant| grant.actions.intersects(actions))
    }

    /// The actions whose object grants count: those of the action's sources on its own type.
    fn object_actions(&self) -> ActionSet {
        let own = self
            .rule
            .sources
            .iter()
            .filter(|(type_ix, _)| *type_ix == self.type_ix);
        own.fold(ActionSet::EMPTY, |all, (_, actions)| all.union(*actions))
    }

    /// Grants that count for the action, object grants aside, whatever the time, with what they come
    /// by.
    pub(in crate::authz) fn counting_grants(
        &self,
    ) -> impl Iterator<Item = (&'g Holding, &'g CompiledGrant)> {
        let holdings = self.user.map_or(&[][..], |user| user.holdings.as_slice());
        let sources = self.rule.sources.as_slice();
        sources.iter().flat_map(move |(type_ix, actions)| {
            holdings.iter().flat_map(move |holding| {
                holding
                    .table
                    .of(*type_ix, *actions)
                    .map(move |grant| (holding, grant))
            })
        })
    }

    /// The next moment at which a grant that counts begins or ends, object grants aside.
    pub(in crate::authz) fn next_boundary(&self) -> Option<Timestamp> {
        self.boundary
    }

    /// Levels of the live grants, object grants aside.
    pub(in crate::authz) fn live_levels(&self) -> impl Iterator<Item = Level> {
        self.grants.iter().map(|grant| grant.level)
    }

    /// The live grants, object grants aside.
    pub(in crate::authz) fn live_grants(&self) -> &[Reaching] {
        &self.grants
    }

    /// What the live grants come to: the highest level, and whether any of them includes unassigned
    /// resources. Which resources they reach depends on nothing else of them.
    pub(in crate::authz) fn extent(&self) -> Option<Reaching> {
        let level = self.live_levels().max()?;
        Some(Reaching {
            level,
            include_unassigned: self.grants.iter().any(|grant| grant.include_unassigned),
        })
    }

    /// The facts of a stored resource.
    pub(in crate::authz) fn stored(&self, id: &str) -> Option<Facts> {
        let index = self.graph.index(self.type_ix)?;
        Some(index.row(index.find(id)?).facts())
    }

    /// Inline facts as numbers; those that the account doesn't have match nobody.
    pub(in crate::authz) fn described(&self, facts: &ResourceFacts) -> Facts {
        let names = &self.graph.names;
        let assignment = |described: &super::decision::DescribedAssignment| {
            let principal = &described.principal;
            let number = names
                .principals(principal.kind())
                .find(principal.id().as_str())
                .unwrap_or(NOBODY);
            AssignmentFact::described(principal.kind(), number, described.expires_at)
        };
        Facts {
            owners: facts
                .owners
                .iter()
                .map(|id| names.users.find(id.as_str()).unwrap_or(NOBODY))
                .collect(),
            owning_team: facts
                .owning_team
                .as_ref()
                .map(|id| names.teams.find(id.as_str()).unwrap_or(NOBODY)),
            partitioned: facts.partitioned || !facts.assigned_to.is_empty(),
            assignments: facts.assigned_to.iter().map(assignment).collect(),
        }
    }

    /// How a resource stands to the user.
    pub(in crate::authz) fn standing(&self, facts: &Facts, object_grant: bool) -> Standing {
        let mut standing = Standing {
            object_grant,
            ..Standing::default()
        };
        standing.wall = match (self.mode.share, facts.partitioned, self.mode.no_one) {
            (true, _, _) | (false, false, false) => Wall::None,
            (false, true, _) => Wall::Partition,
            (false, false, true) => Wall::NoOne,
        };
        standing.unassigned = facts.owners.is_empty() && !facts.partitioned;
        let Some(user) = self.user else {
            return standing;
        };
        standing.own = facts.owners.contains(&user.number);
        for assignment in facts
            .assignments
            .iter()
            .filter(|assignment| assignment.is_live(self.at))
        {
            standing.live_assignment = true;
            match assignment.kind {
                PrincipalKind::User => {
                    standing.assigned_user |= assignment.principal == user.number
                }
                PrincipalKind::Team => {
                    let via = self.via(user, assignment.principal);
                    standing.assigned_team = standing.assigned_team.into_iter().chain(via).min();
                }
                PrincipalKind::Group => match self.mask(user, assignment.principal) {
                    Some(mask) if mask.contains(self.action) => standing.group = true,
                    Some(_) => standing.group_without_action = true,
                    None => {}
                },
            }
        }
        standing.owning_team = match facts.owning_team {
            Some(team) => self.via(user, team),
            None => facts
                .owners
                .iter()
                .filter_map(|owner| self.via_teams_of(user, *owner))
                .min(),
        };
        standing
    }

    pub(in crate::authz) fn mask(&self, user: &CompiledUser, group: u32) -> Option<ActionSet> {
        self.graph
            .directory
            .group(group)?
            .mask(user, &self.graph.directory.tree, self.at)
    }

    pub(in crate::authz) fn via(&self, user: &CompiledUser, team: u32) -> Option<Via> {
        let tree = &self.graph.directory.tree;
        if user.is_member(team, self.at) && tree.span(team).is_some() {
            Some(Via::OwnTeam)
        } else if user.reaches(tree, team, self.at) {
            Some(Via::Descendant)
        } else {
            None
        }
    }

    /// The best way from the user to any team of an owner.
    fn via_teams_of(&self, user: &CompiledUser, owner: u32) -> Option<Via> {
        let owner = self.graph.directory.user_by_number(owner)?;
        owner
            .teams(self.at)
            .filter_map(|team| self.via(user, team))
            .min()
    }

    /// Step 6 where no grant is live.
    fn deny_without_grant(&self, expired: bool, boundary: Option<Timestamp>) -> Decision {
        let code = if expired {
            ReasonCode::GrantExpired
        } else if self.rule.derived {
            ReasonCode::MissingPrerequisite
        } else {
            ReasonCode::NoPermission
        };
        let presentation = if self.action != self.resource_type.view && self.may_view_tool() {
            Presentation::TooltipLink
        } else {
            self.resource_type.no_view
        };
        self.deny(code, presentation, boundary)
    }

    fn may_view_tool(&self) -> bool {
        Self::resolved(
            self.graph,
            self.user,
            self.type_ix,
            self.resource_type.view,
            self.at,
        )
        .is_some_and(|view| view.decide(Target::Tool).is_allow())
    }

    fn allow(
        &self,
        reason: ReasonCode,
        highest: Reaching,
        valid_until: Option<Timestamp>,
    ) -> Decision {
        Decision {
            effect: Effect::Allow,
            reason,
            level: highest.level,
            include_unassigned: highest.include_unassigned && highest.level != Level::Everything,
            requestable: Requestable::None,
            presentation: Presentation::None,
            valid_until,
        }
    }

    fn deny(
        &self,
        reason: ReasonCode,
        presentation: Presentation,
        valid_until: Option<Timestamp>,
    ) -> Decision {
        Decision {
            effect: Effect::Deny,
            reason,
            level: Level::None,
            include_unassigned: false,
            requestable: self.requestable(reason),
            presentation,
            valid_until,
        }
    }

    /// 3.4: what kind of request could turn this denial.
    fn requestable(&self, reason: ReasonCode) -> Requestable {
        use ReasonCode as Code;
        if !self.resource_type.requestable {
            return Requestable::None;
        }
        match reason {
            Code::NoPermission | Code::GrantExpired | Code::MissingPrerequisite => {
                Requestable::Tool
            }
            Code::NotInPartition
            | Code::Orphaned
            | Code::UnpartitionedRestricted
            | Code::ActionNotInGroup
            | Code::NotOwner
            | Code::NotInTeam
            | Code::UnassignedNotIncluded
                if self.graph.plan().object_access_requests =>
            {
                Requestable::Object
            }
            _ => Requestable::None,
        }
    }
}

/// Step 1.
pub(in crate::authz) fn barred(user: &CompiledUser) -> Option<ReasonCode> {
    match user.user.status {
        UserStatus::Invited => return Some(ReasonCode::UserPending),
        UserStatus::Deactivated | UserStatus::Removed => return Some(ReasonCode::UserDeactivated),
        UserStatus::Active => {}
    }
    user.user
        .is_cut_off()
        .then_some(ReasonCode::PartnershipInactive)
}

/// One check.
pub fn check(
    graph: &AccountGraph,
    user: &str,
    resource_type: &str,
    action: &str,
    target: Target<'_>,
    at: Timestamp,
) -> Result<Decision, UnknownName> {
    Ok(AccessSet::new(graph, user, resource_type, action, at)?.decide(target))
}

/// Every user that may do the action on the target, in id byte order, each with the decision.
pub fn users_with_access(
    graph: &AccountGraph,
    resource_type: &str,
    action: &str,
    target: Target<'_>,
    at: Timestamp,
) -> Result<Vec<(Id, Decision)>, UnknownName> {
    let (type_ix, action) = graph.catalog().resolve(resource_type, action)?;
    let decide = |id: &Id| {
        let set =
            AccessSet::resolved(graph, graph.compiled_user(id.as_str()), type_ix, action, at)?;
        Some(set.decide(target)).filter(Decision::is_allow)
    };
    Ok(graph
        .users()
        .filter_map(|user| Some((user.id.clone(), decide(&user.id)?)))
        .collect())
}

/// The actions of the type that the user may do on the target, in catalog order, each with the
/// decision.
pub fn actions_allowed(
    graph: &AccountGraph,
    user: &str,
    resource_type: &str,
    target: Target<'_>,
    at: Timestamp,
) -> Result<Vec<(Id, Decision)>, UnknownName> {
    let catalog = graph.catalog();
    let resolved = catalog
        .type_ix(resource_type)
        .and_then(|type_ix| catalog.resource_type(type_ix))
        .ok_or_else(|| UnknownName::ResourceType(resource_type.to_owned()))?;
    let mut allowed = Vec::new();
    for action in resolved
        .actions
        .iter()
        .filter_map(|action| catalog.action_name(action))
    {
        let decision = check(graph, user, resource_type, action.as_str(), target, at)?;
        if decision.is_allow() {
            allowed.push((action.clone(), decision));
        }
    }
    Ok(allowed)
}
