//! A naive oracle: the decision of the rule book (`domain.md` section 3) as plain loops over the
//! entities of an account. No graph, no bitmap, no cache, and nothing of the core but its values:
//! it reads catalogs from their YAML by itself ([`suite`]). Where it and the core disagree, the
//! text of the rule book decides.

use std::collections::BTreeMap;

use ambit::authz::access_set::Narrowing;
use ambit::authz::decision::{Decision, Effect, Presentation, ReasonCode, Requestable, Target};
use ambit::authz::model::{
    AccessGroup, Account, Entity, Grant, Id, Level, MembershipOf, ObjectGrant, Partnership,
    PermissionSet, Principal, Resource, Team, Timestamp, User, UserStatus,
};

mod resource;
pub mod suite;

use resource::{facts_described, facts_stored};
use suite::{Suite, SuiteType};

/// An answer to compare: all of a [`Decision`] but `valid_until`, which is checked by sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub effect: Effect,
    pub reason: ReasonCode,
    pub level: Level,
    pub include_unassigned: bool,
    pub requestable: Requestable,
    pub presentation: Presentation,
}

impl Answer {
    pub fn allows(&self) -> bool {
        self.effect == Effect::Allow
    }
}

impl From<Decision> for Answer {
    fn from(decision: Decision) -> Self {
        Self {
            effect: decision.effect,
            reason: decision.reason,
            level: decision.level,
            include_unassigned: decision.include_unassigned,
            requestable: decision.requestable,
            presentation: decision.presentation,
        }
    }
}

/// The entities of one account, by kind. The last entity of a key counts.
pub struct World<'w> {
    pub suite: &'w Suite,
    pub account: &'w Account,
    pub teams: BTreeMap<&'w str, &'w Team>,
    pub sets: BTreeMap<&'w str, &'w PermissionSet>,
    pub users: BTreeMap<&'w str, &'w User>,
    pub groups: BTreeMap<&'w str, &'w AccessGroup>,
    pub resources: BTreeMap<(&'w str, &'w str), &'w Resource>,
}

/// A grant that counts for the action that is asked for.
pub struct Counting {
    level: Level,
    include_unassigned: bool,
}

fn allow(reason: ReasonCode, level: Level, include_unassigned: bool) -> Answer {
    Answer {
        effect: Effect::Allow,
        reason,
        level,
        include_unassigned,
        requestable: Requestable::None,
        presentation: Presentation::None,
    }
}

fn live(not_before: Option<Timestamp>, expires_at: Option<Timestamp>, at: Timestamp) -> bool {
    not_before.is_none_or(|start| start <= at) && expires_at.is_none_or(|end| at < end)
}

/// Begun and over. What has not begun counts for nothing, so it is not expired either.
fn expired(not_before: Option<Timestamp>, expires_at: Option<Timestamp>, at: Timestamp) -> bool {
    not_before.is_none_or(|start| start <= at) && expires_at.is_some_and(|end| end <= at)
}

impl<'w> World<'w> {
    pub fn new(suite: &'w Suite, entities: &'w [Entity]) -> Self {
        let account = entities
            .iter()
            .rev()
            .find_map(|entity| match entity {
                Entity::Account(account) => Some(account),
                _ => None,
            })
            .expect("a world has an account");
        let mut world = Self {
            suite,
            account,
            teams: BTreeMap::new(),
            sets: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            resources: BTreeMap::new(),
        };
        for entity in entities {
            match entity {
                Entity::Team(team) => {
                    world.teams.insert(team.id.as_str(), team);
                }
                Entity::PermissionSet(set) => {
                    world.sets.insert(set.id.as_str(), set);
                }
                Entity::User(user) => {
                    world.users.insert(user.id.as_str(), user);
                }
                Entity::AccessGroup(group) => {
                    world.groups.insert(group.id.as_str(), group);
                }
                Entity::Resource(resource, _) => {
                    let key = &resource.key;
                    world
                        .resources
                        .insert((key.resource_type.as_str(), key.id.as_str()), resource);
                }
                Entity::Account(_) | Entity::Segment(_) | Entity::AccessRequest(_) => {}
            }
        }
        world
    }

    fn plan(&self) -> &suite::SuitePlan {
        &self.suite.plans[self.account.plan.as_str()]
    }

    /// The decision on one question. Type and action are known.
    pub fn check(
        &self,
        user: &str,
        resource_type: &str,
        action: &str,
        target: Target<'_>,
        at: Timestamp,
    ) -> Answer {
        let kind = &self.suite.types[resource_type];
        let action = kind.canonical(action);
        match self.decide(user, resource_type, action, target, at) {
            Ok(answer) => answer,
            Err(reason) => Answer {
                effect: Effect::Deny,
                reason,
                level: Level::None,
                include_unassigned: false,
                requestable: self.requestable(kind, reason),
                presentation: self.presentation(user, resource_type, action, reason, at),
            },
        }
    }

    fn decide(
        &self,
        user_id: &str,
        resource_type: &str,
        action: &str,
        target: Target<'_>,
        at: Timestamp,
    ) -> Result<Answer, ReasonCode> {
        let kind = &self.suite.types[resource_type];
        let user = self.user_status(user_id)?;
        self.entitlement(user, resource_type, kind, action)?;
        if let Some(reserved) = kind.reserved.get(action) {
            return self.reserved(user, resource_type, action, reserved, at);
        }
        let facts = match target {
            _ if kind.tool_level.contains(action) => None,
            Target::Tool => None,
            Target::Described(id, described) => Some(facts_described(id, described)),
            Target::Resource(id) => Some(
                self.resources
                    .get(&(resource_type, id))
                    .map(|resource| facts_stored(resource))
                    .ok_or(ReasonCode::ResourceNotFound)?,
            ),
        };
        if user.account_owner {
            return Ok(allow(ReasonCode::AccountOwner, Level::Everything, false));
        }
        if user.super_admin {
            return Ok(allow(ReasonCode::SuperAdmin, Level::Everything, false));
        }

        let always = kind.always.contains(action);
        let id = facts.as_ref().map(|facts| facts.id);
        let grants = self.counting(user, resource_type, action, at);
        let object_grant = id.is_some_and(|id| {
            self.object_grants(user, resource_type, action, id)
                .any(|grant| live(grant.not_before, grant.expires_at, at))
        });
        if grants.is_empty() && !object_grant && !always {
            return Err(self.no_grant(user, resource_type, action, id, at));
        }
        match facts {
            None => Ok(tool_level(&grants, always)),
            Some(facts) => {
                let relation = self.relation(user, action, &facts, object_grant, at);
                self.object_level(resource_type, &grants, always, &facts, relation)
            }
        }
    }

    // Step 1.
    fn user_status(&self, id: &str) -> Result<&'w User, ReasonCode> {
        let user = *self.users.get(id).ok_or(ReasonCode::UserUnknown)?;
        match user.status {
            UserStatus::Invited => Err(ReasonCode::UserPending),
            UserStatus::Deactivated | UserStatus::Removed => Err(ReasonCode::UserDeactivated),
            UserStatus::Active => {
                let ended = user
                    .partner
                    .as_ref()
                    .is_some_and(|partner| partner.partnership == Partnership::Ended);
                if user.is_partner_user() && ended {
                    return Err(ReasonCode::PartnershipInactive);
                }
                Ok(user)
            }
        }
    }

    // Step 2.
    fn entitlement(
        &self,
        user: &User,
        resource_type: &str,
        kind: &SuiteType,
        action: &str,
    ) -> Result<(), ReasonCode> {
        if !self.plan().has(resource_type, action) {
            return Err(ReasonCode::NotEntitled);
        }
        let opens = |seat: &Id| kind.seats.contains(seat.as_str());
        if !kind.seats.is_empty() && !user.seats.iter().any(opens) {
            return Err(ReasonCode::SeatRequired);
        }
        let read_only = |seat: &Id| self.suite.read_only_seats.contains(seat.as_str());
        if !user.seats.is_empty()
            && user.seats.iter().all(read_only)
            && !kind.read_only.contains(action)
        {
            return Err(ReasonCode::SeatReadOnly);
        }
        if kind.needs_payment.contains(action) && !self.account.payment_method_valid {
            return Err(ReasonCode::PaymentMethodInvalid);
        }
        Ok(())
    }

    // Step 3.
    fn reserved(
        &self,
        user: &User,
        resource_type: &str,
        action: &str,
        reserved: &suite::SuiteReserved,
        at: Timestamp,
    ) -> Result<Answer, ReasonCode> {
        let excluded = reserved.except_partner_users && user.is_partner_user();
        let explicit = reserved.explicit_grant
            && !excluded
            && !self.counting(user, resource_type, action, at).is_empty();
        if (reserved.account_owner && user.account_owner)
            || (reserved.super_admin && user.super_admin)
            || (reserved.partner_admin && user.partner_admin)
            || explicit
        {
            return Ok(allow(ReasonCode::ReservedHolder, Level::Everything, false));
        }
        let only_owner = reserved.account_owner
            && !reserved.super_admin
            && !reserved.partner_admin
            && !reserved.explicit_grant;
        Err(if only_owner {
            ReasonCode::OwnerOnly
        } else if excluded {
            ReasonCode::PartnerForbidden
        } else {
            ReasonCode::Reserved
        })
    }

    /// All grants of the user, direct and by set, each with its end. A set that is held in several
    /// ways gives its grants once for each; a membership that ends, ends them.
    fn all_grants(&self, user: &'w User) -> Vec<(&'w Grant, Option<Timestamp>)> {
        let mut held: Vec<(&Id, Option<Timestamp>)> = Vec::new();
        for set in &user.permission_sets {
            held.push((set, None));
        }
        for membership in &user.memberships {
            if let MembershipOf::PermissionSet(set) = &membership.of {
                held.push((set, membership.expires_at));
            }
        }
        let mut all = Vec::new();
        for grant in &user.grants {
            all.push((grant, grant.expires_at));
        }
        for (set, until) in held {
            let Some(set) = self.sets.get(set.as_str()) else {
                continue;
            };
            for grant in &set.grants {
                let ends = grant.expires_at.into_iter().chain(until);
                all.push((grant, ends.min()));
            }
        }
        all
    }

    /// Whether a grant of this key is a grant of the action.
    fn gives(&self, grant: &Grant, resource_type: &str, action: &str) -> bool {
        let (of, key) = (&grant.key.resource_type, &grant.key.permission);
        grant.level > Level::None
            && self
                .suite
                .counts(of.as_str(), key.as_str(), resource_type, action)
    }

    fn counting(
        &self,
        user: &User,
        resource_type: &str,
        action: &str,
        at: Timestamp,
    ) -> Vec<Counting> {
        let user = self.users[user.id.as_str()];
        self.all_grants(user)
            .into_iter()
            .filter(|(grant, end)| live(grant.not_before, *end, at))
            .filter(|(grant, _)| self.gives(grant, resource_type, action))
            .map(|(grant, _)| Counting {
                level: grant.level,
                include_unassigned: grant.include_unassigned,
            })
            .collect()
    }

    /// The user's object grants of one resource that count for the action, live or not.
    fn object_grants<'a>(
        &'a self,
        user: &'a User,
        resource_type: &'a str,
        action: &'a str,
        id: &'a str,
    ) -> impl Iterator<Item = &'a ObjectGrant> {
        user.object_grants.iter().filter(move |grant| {
            grant.resource.resource_type.as_str() == resource_type
                && grant.resource.id.as_str() == id
                && self
                    .suite
                    .counts(resource_type, grant.action.as_str(), resource_type, action)
        })
    }

    // Step 6, where no grant is live.
    fn no_grant(
        &self,
        user: &User,
        resource_type: &str,
        action: &str,
        id: Option<&str>,
        at: Timestamp,
    ) -> ReasonCode {
        let user = self.users[user.id.as_str()];
        let by_grant = self
            .all_grants(user)
            .into_iter()
            .filter(|(grant, end)| expired(grant.not_before, *end, at))
            .any(|(grant, _)| self.gives(grant, resource_type, action));
        let by_object_grant = id.is_some_and(|id| {
            self.object_grants(user, resource_type, action, id)
                .any(|grant| expired(grant.not_before, grant.expires_at, at))
        });
        if by_grant || by_object_grant {
            ReasonCode::GrantExpired
        } else if self.suite.types[resource_type].derived.contains_key(action) {
            ReasonCode::MissingPrerequisite
        } else {
            ReasonCode::NoPermission
        }
    }

    // 3.4.
    fn requestable(&self, kind: &SuiteType, reason: ReasonCode) -> Requestable {
        use ReasonCode::{
            ActionNotInGroup, GrantExpired, MissingPrerequisite, NoPermission, NotInPartition,
            NotInTeam, NotOwner, Orphaned, UnassignedNotIncluded, UnpartitionedRestricted,
        };
        if !kind.requestable {
            return Requestable::None;
        }
        match reason {
            NoPermission | GrantExpired | MissingPrerequisite => Requestable::Tool,
            NotInPartition
            | Orphaned
            | UnpartitionedRestricted
            | ActionNotInGroup
            | NotOwner
            | NotInTeam
            | UnassignedNotIncluded
                if self.plan().object_access_requests =>
            {
                Requestable::Object
            }
            _ => Requestable::None,
        }
    }

    fn presentation(
        &self,
        user: &str,
        resource_type: &str,
        action: &str,
        reason: ReasonCode,
        at: Timestamp,
    ) -> Presentation {
        use ReasonCode as R;
        match reason {
            R::UserUnknown
            | R::UserPending
            | R::UserDeactivated
            | R::PartnershipInactive
            | R::ResourceNotFound => Presentation::None,
            R::NotEntitled
            | R::SeatRequired
            | R::SeatReadOnly
            | R::PaymentMethodInvalid
            | R::OwnerOnly
            | R::PartnerForbidden
            | R::Reserved => Presentation::Lock,
            R::NoPermission | R::GrantExpired | R::MissingPrerequisite => {
                let views = action != "view"
                    && self
                        .check(user, resource_type, "view", Target::Tool, at)
                        .allows();
                if views {
                    Presentation::TooltipLink
                } else {
                    self.suite.types[resource_type].no_view
                }
            }
            _ => Presentation::BlockedPage,
        }
    }

    /// Ids of the type on which the action is allowed, in byte order.
    pub fn list(
        &self,
        user: &str,
        resource_type: &str,
        action: &str,
        narrow: Narrowing<'_>,
        at: Timestamp,
    ) -> Vec<&'w str> {
        self.resources
            .values()
            .filter(|resource| resource.key.resource_type.as_str() == resource_type)
            .filter(|resource| self.kept(resource, narrow, at))
            .map(|resource| resource.key.id.as_str())
            .filter(|id| {
                self.check(user, resource_type, action, Target::Resource(id), at)
                    .allows()
            })
            .collect()
    }

    fn kept(&self, resource: &Resource, narrow: Narrowing<'_>, at: Timestamp) -> bool {
        let assigned = |wanted: &Principal| {
            resource.assignments.iter().any(|assignment| {
                assignment.principal == *wanted && live(None, assignment.expires_at, at)
            })
        };
        let id = |text: &str| Id::parse(text).expect("an id");
        narrow
            .owner
            .is_none_or(|owner| resource.owners.contains(owner))
            && narrow.team.is_none_or(|team| {
                resource
                    .owning_team
                    .as_ref()
                    .is_some_and(|owning| owning.as_str() == team)
                    || assigned(&Principal::Team(id(team)))
            })
            && narrow
                .group
                .is_none_or(|group| assigned(&Principal::Group(id(group))))
    }

    /// Users that may do the action on the target, in byte order of their ids.
    pub fn who(
        &self,
        resource_type: &str,
        action: &str,
        target: Target<'_>,
        at: Timestamp,
    ) -> Vec<(&'w str, Answer)> {
        self.users
            .keys()
            .map(|user| (*user, self.check(user, resource_type, action, target, at)))
            .filter(|(_, answer)| answer.allows())
            .collect()
    }

    /// Actions of the type that the user may do on the target.
    pub fn actions(
        &self,
        user: &str,
        resource_type: &str,
        target: Target<'_>,
        at: Timestamp,
    ) -> BTreeMap<&'w str, Answer> {
        self.suite.types[resource_type]
            .actions
            .iter()
            .map(|action| {
                let answer = self.check(user, resource_type, action, target, at);
                (action.as_str(), answer)
            })
            .filter(|(_, answer)| answer.allows())
            .collect()
    }
}

// Step 7.
fn tool_level(grants: &[Counting], always: bool) -> Answer {
    if grants.is_empty() {
        return allow(ReasonCode::Always, Level::Everything, false);
    }
    let (level, include_unassigned) = highest(grants.iter(), always);
    allow(ReasonCode::Tool, level, include_unassigned)
}

/// The highest level among passing grants, with its include_unassigned. An always-allowed action is
/// a grant at everything.
fn highest<'c>(grants: impl Iterator<Item = &'c Counting> + Clone, always: bool) -> (Level, bool) {
    let level = grants
        .clone()
        .map(|grant| grant.level)
        .chain(always.then_some(Level::Everything))
        .max()
        .unwrap_or(Level::None);
    let include_unassigned = level < Level::Everything
        && grants
            .filter(|grant| grant.level == level)
            .any(|grant| grant.include_unassigned);
    (level, include_unassigned)
}
