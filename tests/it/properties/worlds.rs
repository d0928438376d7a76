//! Random accounts: few ids, so that everything collides, and times within a few microseconds of
//! the decision, so that every boundary is met. The same seed gives the same account.

use std::collections::{BTreeMap, BTreeSet};

use ambit::authz::decision::{DescribedAssignment, ResourceFacts};
use ambit::authz::model::{
    AccessGroup, Account, Assignment, CatalogRef, DEFAULT_KEY, Entity, EntityChange, EntityKey,
    Grant, Id, Level, Membership, MembershipOf, ObjectGrant, PartitionMode, Partner,
    PartnerProgram, PartnerRole, Partnership, PerType, PermissionKey, PermissionSet, Principal,
    PrincipalKind, Provenance, Resource, ResourceKey, Settings, Team, Timestamp,
    UnpartitionedDefault, User, UserKind, UserStatus,
};

use crate::oracle::suite::Suite;

/// A small generator (SplitMix64), so that a seed says everything.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `sides`, which is above 0.
    pub fn below(&mut self, sides: usize) -> usize {
        let sides = u64::try_from(sides).expect("a small number");
        usize::try_from(self.next() % sides).expect("below the sides")
    }

    /// A moment within the ticks, or this far around them.
    pub fn moment(&mut self, around: i64) -> Timestamp {
        let ticks: Vec<i64> = (TICKS.start() - around..=TICKS.end() + around).collect();
        tick(*self.pick(&ticks))
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

pub fn id(text: &str) -> Id {
    Id::parse(text).expect("an id")
}

/// 2026-11-22T00:00:00Z and so many microseconds.
pub fn tick(ticks: i64) -> Timestamp {
    let zero = Timestamp::parse("2026-11-22T00:00:00Z").expect("a time");
    Timestamp::from_unix_micros(zero.unix_micros() + ticks).expect("a time in range")
}

/// Boundaries lie within these ticks.
pub const TICKS: std::ops::RangeInclusive<i64> = -3..=3;

/// Alphabets of ids. Users, teams, groups and resources share letters, so that a mix-up of kinds
/// shows; the last of each never exists as an entity.
pub const USERS: [&str; 7] = ["a", "b", "c", "d", "A", "é", "ghost"];
pub const TEAMS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "ghost"];
pub const SETS: [&str; 4] = ["a", "b", "c", "ghost"];
pub const GROUPS: [&str; 4] = ["a", "b", "c", "ghost"];
pub const RESOURCES: [&str; 9] = ["a", "b", "B", "a/b", "a:b", "*", "é", "c", "ghost"];

pub struct Maker<'s> {
    pub dice: Dice,
    pub catalog: &'s CatalogCase,
    /// Types that the account uses, so that grants and resources meet.
    pub types: Vec<String>,
}

/// One catalog that worlds are made for.
pub struct CatalogCase {
    pub name: &'static str,
    pub reference: CatalogRef,
    pub suite: Suite,
    /// Groups of types that belong together, of which a world uses one.
    pub focus: &'static [&'static [&'static str]],
}

/// The catalog that goes with a seed, so that a seed alone replays a failure.
pub fn catalog_of(seed: u64, catalogs: &[CatalogCase]) -> &CatalogCase {
    let position = usize::try_from(seed).expect("a small seed") % catalogs.len();
    &catalogs[position]
}

impl<'s> Maker<'s> {
    pub fn new(seed: u64, catalog: &'s CatalogCase) -> Self {
        let mut dice = Dice::new(seed);
        let types = dice.pick(catalog.focus).iter().map(|&name| name.to_owned());
        let types = types.collect();
        Self {
            dice,
            catalog,
            types,
        }
    }

    /// All entities of a new account, in an order in which each is after what it refers to.
    pub fn account(&mut self) -> Vec<Entity> {
        let mut entities = vec![self.account_entity()];
        for team in 0..TEAMS.len() - 1 {
            if self.dice.chance(80) {
                entities.push(self.team(team));
            }
        }
        for set in &SETS[..SETS.len() - 1] {
            entities.push(self.permission_set(set));
        }
        for user in &USERS[..USERS.len() - 1] {
            if self.dice.chance(90) {
                entities.push(self.user(user));
            }
        }
        for group in &GROUPS[..GROUPS.len() - 1] {
            entities.push(self.group(group));
        }
        for resource_type in self.types.clone() {
            for resource in &RESOURCES[..RESOURCES.len() - 1] {
                if self.dice.chance(75) {
                    entities.push(self.resource(&resource_type, resource));
                }
            }
        }
        entities
    }

    /// A change to an account: an entity put anew, or deleted whatever still refers to it.
    pub fn change(&mut self) -> EntityChange {
        let entity = match self.dice.below(16) {
            0 => self.account_entity(),
            1 | 2 => {
                let team = self.dice.below(TEAMS.len() - 1);
                self.team(team)
            }
            3 | 4 => {
                let set = SETS[self.dice.below(SETS.len() - 1)];
                self.permission_set(set)
            }
            5..=8 => {
                let user = USERS[self.dice.below(USERS.len() - 1)];
                self.user(user)
            }
            9 | 10 => {
                let group = GROUPS[self.dice.below(GROUPS.len() - 1)];
                self.group(group)
            }
            _ => {
                let resource_type = self.a_type();
                let resource = RESOURCES[self.dice.below(RESOURCES.len() - 1)];
                self.resource(&resource_type, resource)
            }
        };
        let key = entity.key();
        if key != EntityKey::Account && self.dice.chance(25) {
            EntityChange::Delete(key)
        } else {
            EntityChange::Put(entity)
        }
    }

    pub fn a_type(&mut self) -> String {
        self.dice.pick(&self.types).clone()
    }

    fn account_entity(&mut self) -> Entity {
        let plans: Vec<&String> = self.catalog.suite.plans.keys().collect();
        // The widest plan half of the time: most rules show there.
        let widest = plans.iter().copied().find(|name| {
            let plan = &self.catalog.suite.plans[*name];
            plan.nested_teams && plan.object_access_requests
        });
        let plan = match widest {
            Some(widest) if self.dice.chance(50) => widest,
            _ => self.dice.pick(&plans),
        };
        Entity::Account(Account {
            id: id("acme"),
            catalog: self.catalog.reference.clone(),
            plan: id(plan),
            partner_program: PartnerProgram::None,
            payment_method_valid: self.dice.chance(80),
            settings: Settings {
                partition_mode: self.per_type(&[PartitionMode::Wall, PartitionMode::Share]),
                unpartitioned: self.per_type(&[
                    UnpartitionedDefault::Everyone,
                    UnpartitionedDefault::CreatorAndTeam,
                    UnpartitionedDefault::NoOne,
                ]),
                ..Settings::default()
            },
        })
    }

    fn per_type<T: Copy>(&mut self, values: &[T]) -> PerType<T> {
        let mut settings = BTreeMap::new();
        if self.dice.chance(30) {
            settings.insert(id(DEFAULT_KEY), *self.dice.pick(values));
        }
        for name in self.types.clone() {
            if self.dice.chance(25) {
                settings.insert(id(&name), *self.dice.pick(values));
            }
        }
        settings
    }

    /// A parent always comes earlier in the alphabet, so that no change makes a cycle.
    fn team(&mut self, position: usize) -> Entity {
        let parent =
            (position > 0 && self.dice.chance(70)).then(|| id(TEAMS[self.dice.below(position)]));
        Entity::Team(Team {
            id: id(TEAMS[position]),
            parent,
        })
    }

    fn permission_set(&mut self, name: &str) -> Entity {
        Entity::PermissionSet(PermissionSet {
            id: id(name),
            grants: self.grants(3),
        })
    }

    fn some_of(&mut self, alphabet: &[&str], most: usize, ghost_percent: u64) -> BTreeSet<Id> {
        let count = self.dice.below(most + 1);
        (0..count)
            .map(|_| id(self.one_of(alphabet, ghost_percent)))
            .collect()
    }

    /// The last of an alphabet does not exist.
    fn one_of<'a>(&mut self, alphabet: &[&'a str], ghost_percent: u64) -> &'a str {
        if self.dice.chance(ghost_percent) {
            alphabet[alphabet.len() - 1]
        } else {
            alphabet[self.dice.below(alphabet.len() - 1)]
        }
    }

    fn user(&mut self, name: &str) -> Entity {
        let status = match self.dice.below(20) {
            0 => UserStatus::Invited,
            1 => UserStatus::Deactivated,
            2 => UserStatus::Removed,
            _ => UserStatus::Active,
        };
        let kind = match self.dice.below(10) {
            0 => UserKind::PartnerEmployee,
            1 => UserKind::Contractor,
            _ => UserKind::Internal,
        };
        let partner = (kind != UserKind::Internal && self.dice.chance(80)).then(|| Partner {
            account: id("agency"),
            user: id("u1"),
            role: *self.dice.pick(PartnerRole::ALL),
            partnership: if self.dice.chance(80) {
                Partnership::Active
            } else {
                Partnership::Ended
            },
        });
        let seats: Vec<&String> = self.catalog.suite.seats.iter().collect();
        let seats = (0..self.dice.below(3))
            .filter(|_| !seats.is_empty())
            .map(|_| id(self.dice.pick(&seats).as_str()))
            .collect();
        Entity::User(User {
            status,
            kind,
            account_owner: self.dice.chance(4),
            super_admin: self.dice.chance(6),
            partner_admin: self.dice.chance(if partner.is_some() { 50 } else { 3 }),
            main_team: self.dice.chance(70).then(|| id(self.one_of(&TEAMS, 2))),
            teams: self.some_of(&TEAMS, 2, 2),
            email: self.dice.chance(30).then(|| format!("{name}@example.org")),
            seats,
            partner,
            permission_sets: self.some_of(&SETS, 2, 2),
            memberships: self.memberships(),
            grants: self.grants(3),
            object_grants: self.object_grants(),
            ..User::new(id(name))
        })
    }

    /// Most of them end, some in teams and sets that the user has otherwise too.
    fn memberships(&mut self) -> BTreeSet<Membership> {
        let mut held: BTreeSet<Membership> = BTreeSet::new();
        for _ in 0..self.dice.below(5).saturating_sub(1) {
            let of = if self.dice.chance(60) {
                MembershipOf::Team(id(self.one_of(&TEAMS, 3)))
            } else {
                MembershipOf::PermissionSet(id(self.one_of(&SETS, 3)))
            };
            let provenance = self.provenance();
            let expires_at = self.moment(80);
            let granted_by = self.dice.chance(30).then(|| id("a"));
            if held.iter().all(|other| !other.is_of(&of, &provenance)) {
                held.insert(Membership {
                    of,
                    provenance,
                    expires_at,
                    granted_by,
                });
            }
        }
        held
    }

    fn moment(&mut self, percent: u64) -> Option<Timestamp> {
        self.dice.chance(percent).then(|| self.dice.moment(0))
    }

    fn provenance(&mut self) -> Provenance {
        match self.dice.below(8) {
            0 => Provenance::Segment(id("s")),
            1 => Provenance::Import(id("j")),
            2 => Provenance::Form(id("f")),
            3 => Provenance::Default,
            4 => Provenance::Request(id("r")),
            _ => Provenance::Manual,
        }
    }

    fn grants(&mut self, most: usize) -> BTreeSet<Grant> {
        let count = self.dice.below(most + 1);
        (0..count).filter_map(|_| self.grant()).collect()
    }

    pub fn grant(&mut self) -> Option<Grant> {
        let resource_type = self.a_type();
        let kind = &self.catalog.suite.types[&resource_type];
        let keys = kind.grant_keys();
        if keys.is_empty() {
            return None;
        }
        let flag = kind.flag;
        let permission = if self.dice.chance(30) {
            "view"
        } else {
            self.dice.pick(&keys)
        };
        if !keys.contains(&permission) {
            return None;
        }
        let levels = [Level::Owned, Level::Team, Level::Team, Level::Everything];
        let level = match self.dice.chance(4) {
            true => Level::None,
            false if flag => Level::Everything,
            false => *self.dice.pick(&levels),
        };
        Some(Grant {
            key: PermissionKey {
                resource_type: id(&resource_type),
                permission: id(permission),
            },
            level,
            include_unassigned: matches!(level, Level::Owned | Level::Team) && self.dice.chance(35),
            not_before: self.moment(15),
            expires_at: self.moment(30),
            provenance: self.provenance(),
            granted_by: self.dice.chance(30).then(|| id("a")),
        })
    }

    fn object_grants(&mut self) -> BTreeSet<ObjectGrant> {
        let count = self.dice.below(4).saturating_sub(1);
        (0..count)
            .map(|_| {
                let resource_type = self.a_type();
                // An action that stands for another can't be granted by its own name.
                let kind = &self.catalog.suite.types[&resource_type];
                let action = self.dice.pick(&kind.actions);
                let action = kind.canonical(action);
                ObjectGrant {
                    resource: ResourceKey {
                        resource_type: id(&resource_type),
                        id: id(self.one_of(&RESOURCES, 5)),
                    },
                    action: id(action),
                    not_before: self.moment(15),
                    expires_at: self.moment(30),
                    provenance: self.provenance(),
                    granted_by: None,
                }
            })
            .collect()
    }

    fn group(&mut self, name: &str) -> Entity {
        let mut members = BTreeMap::new();
        for _ in 0..self.dice.below(5) {
            let principal = if self.dice.chance(50) {
                Principal::User(id(self.one_of(&USERS, 3)))
            } else {
                Principal::Team(id(self.one_of(&TEAMS, 3)))
            };
            let mut mask = BTreeSet::new();
            for _ in 0..self.dice.below(5) {
                let resource_type = self.a_type();
                let actions = &self.catalog.suite.types[&resource_type].actions;
                mask.insert(id(self.dice.pick(actions).as_str()));
            }
            members.insert(principal, mask);
        }
        Entity::AccessGroup(AccessGroup {
            id: id(name),
            members,
        })
    }

    fn principal(&mut self, ghost_percent: u64) -> Principal {
        match self.dice.below(4) {
            0 => Principal::User(id(self.one_of(&USERS, ghost_percent))),
            1 => Principal::Group(id(self.one_of(&GROUPS, ghost_percent))),
            _ => Principal::Team(id(self.one_of(&TEAMS, ghost_percent))),
        }
    }

    pub fn resource(&mut self, resource_type: &str, name: &str) -> Entity {
        // Half of all resources are plain: no assignments.
        let count = if self.dice.chance(50) {
            0
        } else {
            self.dice.below(4)
        };
        let mut rows = BTreeMap::new();
        for _ in 0..count {
            let pair = (self.principal(3), self.provenance());
            rows.insert(pair, self.moment(35));
        }
        let assignments: BTreeSet<Assignment> = rows
            .into_iter()
            .map(|((principal, provenance), expires_at)| Assignment {
                principal,
                provenance,
                expires_at,
            })
            .collect();
        let partitioned = if assignments.is_empty() {
            self.dice.chance(20)
        } else {
            self.dice.chance(96)
        };
        Entity::Resource(
            Resource {
                key: ResourceKey {
                    resource_type: id(resource_type),
                    id: id(name),
                },
                owners: if self.dice.chance(40) {
                    BTreeSet::new()
                } else {
                    self.some_of(&USERS, 2, 3)
                },
                owning_team: self.dice.chance(25).then(|| id(self.one_of(&TEAMS, 3))),
                partitioned,
                assignments,
            },
            None,
        )
    }

    /// Inline facts, whose principals often don't exist.
    pub fn facts(&mut self) -> ResourceFacts {
        let owners: Vec<Id> = self.some_of(&USERS, 2, 25).into_iter().collect();
        let assigned_to: Vec<DescribedAssignment> = (0..self.dice.below(4))
            .map(|_| DescribedAssignment {
                principal: self.principal(25),
                expires_at: self.moment(35),
            })
            .collect();
        ResourceFacts {
            owners,
            owning_team: self.dice.chance(35).then(|| id(self.one_of(&TEAMS, 30))),
            partitioned: self.dice.chance(60),
            assigned_to,
        }
    }
}

/// What a list of changes leaves of an account.
pub fn changed(entities: &[Entity], changes: &[EntityChange]) -> Vec<Entity> {
    let mut by_key: BTreeMap<EntityKey, Entity> = entities
        .iter()
        .map(|entity| (entity.key(), entity.clone()))
        .collect();
    for change in changes {
        match change {
            EntityChange::Put(entity) => {
                by_key.insert(entity.key(), entity.clone());
            }
            EntityChange::Delete(key) => {
                by_key.remove(key);
            }
        }
    }
    by_key.into_values().collect()
}

/// Every user, team and group that a question can name, the ones that don't exist included.
pub fn principals(kind: PrincipalKind) -> &'static [&'static str] {
    match kind {
        PrincipalKind::User => &USERS,
        PrincipalKind::Team => &TEAMS,
        PrincipalKind::Group => &GROUPS,
    }
}
