//! A naive oracle: the decision of the rule book (`domain.md` section 3) as plain loops over the
//! entities of an account. No graph, no bitmap, no cache, and nothing of the core but its values:
//! it reads catalogs from their YAML by itself ([`suite`]). Where it and the core disagree, the
//! text of the rule book decides.

use std::collections::{BTreeMap, BTreeSet};

use ambit::authz::access_set::Narrowing;
use ambit::authz::decision::{
    Decision, Effect, Presentation, ReasonCode, Requestable, ResourceFacts, Target,
};
use ambit::authz::model::{
    AccessGroup, Account, DEFAULT_KEY, Entity, Grant, Id, Level, ObjectGrant, PartitionMode,
    Partnership, PermissionSet, Principal, Resource, Team, Timestamp, UnpartitionedDefault, User,
    UserStatus,
};

pub mod suite;

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

/// What a check needs to know of a resource, stored or described.
struct Facts<'f> {
    id: &'f str,
    owners: Vec<&'f Id>,
    owning_team: Option<&'f Id>,
    partitioned: bool,
    assigned: Vec<(&'f Principal, Option<Timestamp>)>,
}

/// A grant that counts for the action that is asked for.
struct Counting {
    level: Level,
    include_unassigned: bool,
}

/// What is known about the user and one resource (3.2 step 8).
#[derive(Clone, Copy)]
struct Relation {
    own: bool,
    assigned_user: bool,
    object_grant: bool,
    team_own: bool,
    team_below: bool,
    group: bool,
    mask_failed: bool,
    owning_own: bool,
    owning_below: bool,
    any_live: bool,
}

impl Relation {
    fn named(self) -> bool {
        self.assigned_user || self.object_grant
    }
    fn team_assigned(self) -> bool {
        self.team_own || self.team_below
    }
    fn team_owned(self) -> bool {
        self.owning_own || self.owning_below
    }
    /// What passes a wall.
    fn admitted(self) -> bool {
        self.own || self.named() || self.team_assigned() || self.group
    }
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
                Entity::Account(_) | Entity::Segment(_) => {}
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

    /// All grants of the user, direct and by set.
    fn all_grants(&self, user: &'w User) -> impl Iterator<Item = &'w Grant> + use<'w> {
        let sets: Vec<&'w PermissionSet> = user
            .permission_sets
            .iter()
            .filter_map(|set| self.sets.get(set.as_str()).copied())
            .collect();
        user.grants
            .iter()
            .chain(sets.into_iter().flat_map(|set| set.grants.iter()))
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
            .filter(|grant| live(grant.not_before, grant.expires_at, at))
            .filter(|grant| self.gives(grant, resource_type, action))
            .map(|grant| Counting {
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
            .filter(|grant| expired(grant.not_before, grant.expires_at, at))
            .any(|grant| self.gives(grant, resource_type, action));
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

    /// Main and additional teams that the account has.
    fn own_teams(&self, user: &User) -> BTreeSet<&'w str> {
        user.all_teams()
            .filter_map(|team| self.teams.get(team.as_str()))
            .map(|team| team.id.as_str())
            .collect()
    }

    /// Whether walking up from `team` meets one of `tops`, itself excluded.
    fn below(&self, team: &str, tops: &BTreeSet<&str>) -> bool {
        if !self.plan().nested_teams {
            return false;
        }
        let mut seen = BTreeSet::new();
        let mut present = self.teams.get(team).copied();
        while let Some(step) = present {
            if !seen.insert(step.id.as_str()) {
                return false;
            }
            present = step
                .parent
                .as_ref()
                .and_then(|parent| self.teams.get(parent.as_str()).copied());
            if present.is_some_and(|parent| tops.contains(parent.id.as_str())) {
                return true;
            }
        }
        false
    }

    fn relation(
        &self,
        user: &User,
        action: &str,
        facts: &Facts<'_>,
        object_grant: bool,
        at: Timestamp,
    ) -> Relation {
        let mine = self.own_teams(user);
        let mut relation = Relation {
            own: facts.owners.contains(&&user.id),
            assigned_user: false,
            object_grant,
            team_own: false,
            team_below: false,
            group: false,
            mask_failed: false,
            owning_own: false,
            owning_below: false,
            any_live: false,
        };
        for (principal, expires_at) in &facts.assigned {
            if !live(None, *expires_at, at) {
                continue;
            }
            relation.any_live = true;
            match principal {
                Principal::User(id) => relation.assigned_user |= *id == user.id,
                Principal::Team(id) => {
                    relation.team_own |= mine.contains(id.as_str());
                    relation.team_below |= self.below(id.as_str(), &mine);
                }
                Principal::Group(id) => {
                    let Some(group) = self.groups.get(id.as_str()) else {
                        continue;
                    };
                    for (member, mask) in &group.members {
                        let is_member = match member {
                            Principal::User(id) => *id == user.id,
                            Principal::Team(id) => {
                                mine.contains(id.as_str()) || self.below(id.as_str(), &mine)
                            }
                            Principal::Group(_) => false,
                        };
                        let named = mask.iter().any(|named| named.as_str() == action);
                        relation.group |= is_member && named;
                        relation.mask_failed |= is_member && !named;
                    }
                }
            }
        }
        let owning: Vec<&str> = match facts.owning_team {
            Some(team) => vec![team.as_str()],
            None => facts
                .owners
                .iter()
                .filter_map(|owner| self.users.get(owner.as_str()))
                .flat_map(|owner| owner.all_teams())
                .map(Id::as_str)
                .collect(),
        };
        for team in owning {
            relation.owning_own |= mine.contains(team);
            relation.owning_below |= self.below(team, &mine);
        }
        relation
    }

    fn setting<T: Copy>(of: &BTreeMap<Id, T>, resource_type: &str) -> Option<T> {
        of.get(resource_type)
            .or_else(|| of.get(DEFAULT_KEY))
            .copied()
    }

    // Step 8.
    fn object_level(
        &self,
        resource_type: &str,
        grants: &[Counting],
        always: bool,
        facts: &Facts<'_>,
        relation: Relation,
    ) -> Result<Answer, ReasonCode> {
        let settings = &self.account.settings;
        let share =
            Self::setting(&settings.partition_mode, resource_type) == Some(PartitionMode::Share);
        let no_one = Self::setting(&settings.unpartitioned, resource_type)
            == Some(UnpartitionedDefault::NoOne);
        let walled = !share && (facts.partitioned || no_one);
        if walled && !relation.admitted() {
            return Err(if !facts.partitioned {
                ReasonCode::UnpartitionedRestricted
            } else if !relation.any_live {
                ReasonCode::Orphaned
            } else if relation.mask_failed {
                ReasonCode::ActionNotInGroup
            } else {
                ReasonCode::NotInPartition
            });
        }
        let unassigned = !walled && facts.owners.is_empty() && !facts.partitioned;
        // An object grant passes as a grant at owned: it names the user.
        let object_grant = relation.object_grant.then_some(Counting {
            level: Level::Owned,
            include_unassigned: false,
        });
        let passing: Vec<(&Counting, bool)> = grants
            .iter()
            .chain(object_grant.as_ref())
            .filter_map(|grant| {
                let reached = match grant.level {
                    Level::None => false,
                    Level::Owned => relation.own || relation.named(),
                    Level::Team => walled || relation.admitted() || relation.team_owned(),
                    Level::Everything => true,
                };
                let by_box = !reached && unassigned && grant.include_unassigned;
                (reached || by_box).then_some((grant, by_box))
            })
            .collect();
        if passing.is_empty() {
            if always {
                return Ok(allow(ReasonCode::Always, Level::Everything, false));
            }
            let highest = grants.iter().map(|grant| grant.level).max();
            return Err(if unassigned {
                ReasonCode::UnassignedNotIncluded
            } else if highest == Some(Level::Team) {
                ReasonCode::NotInTeam
            } else {
                ReasonCode::NotOwner
            });
        }
        let reason = allow_code(&passing, walled, relation);
        let counting = passing.iter().map(|(grant, _)| *grant);
        let (level, include_unassigned) = highest(counting, always);
        Ok(allow(reason, level, include_unassigned))
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

/// The first code that holds for any of the passing grants.
fn allow_code(passing: &[(&Counting, bool)], walled: bool, relation: Relation) -> ReasonCode {
    let wide = passing.iter().any(|(grant, _)| grant.level >= Level::Team);
    let team = relation.team_own || (!walled && relation.owning_own);
    let below = relation.team_below || (!walled && relation.owning_below);
    if relation.own {
        ReasonCode::Owner
    } else if relation.assigned_user {
        ReasonCode::AssignedUser
    } else if relation.object_grant {
        ReasonCode::ObjectGrant
    } else if wide && team {
        ReasonCode::Team
    } else if wide && below {
        ReasonCode::ParentTeam
    } else if wide && relation.group {
        ReasonCode::AccessGroup
    } else if passing.iter().any(|(_, by_box)| *by_box) {
        ReasonCode::Unassigned
    } else {
        ReasonCode::Everything
    }
}

/// 3.5: "`partitioned` turns true with the first assignment and false only by explicit Unpartition
/// (which deletes all rows)". So a resource with rows, live or not, is partitioned, whatever a
/// store or a caller says.
fn sticky(partitioned: bool, rows: usize) -> bool {
    partitioned || rows > 0
}

fn facts_stored(resource: &Resource) -> Facts<'_> {
    Facts {
        id: resource.key.id.as_str(),
        owners: resource.owners.iter().collect(),
        owning_team: resource.owning_team.as_ref(),
        partitioned: sticky(resource.partitioned, resource.assignments.len()),
        assigned: resource
            .assignments
            .iter()
            .map(|assignment| (&assignment.principal, assignment.expires_at))
            .collect(),
    }
}

fn facts_described<'f>(id: &'f str, described: &'f ResourceFacts) -> Facts<'f> {
    Facts {
        id,
        owners: described.owners.iter().collect(),
        owning_team: described.owning_team.as_ref(),
        partitioned: sticky(described.partitioned, described.assigned_to.len()),
        assigned: described
            .assigned_to
            .iter()
            .map(|assignment| (&assignment.principal, assignment.expires_at))
            .collect(),
    }
}
