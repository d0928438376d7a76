//! The data set of the measurements: one account, its users, teams, groups and contacts, made from
//! a seed, the same on every machine.
//!
//! Its shape is that of the figures published for it: 100 teams in three levels, 200 access groups,
//! contacts in one or two of them and one in twenty in none, levels none, owned, team and everything
//! at 10, 20, 50 and 20 in a hundred, for view and edit each.

use std::collections::{BTreeMap, BTreeSet};

use crate::authz::model::{
    AccessGroup, Account, Assignment, CatalogRef, Entity, EntityChange, Grant, Id, IdError, Level,
    PartnerProgram, PermissionKey, Principal, Provenance, Resource, ResourceKey, Settings, Team,
    User,
};

/// The account that the data set makes.
pub const ACCOUNT: &str = "bench";
/// What its contacts are.
pub const RESOURCE_TYPE: &str = "contact";
/// Actions that the users hold levels for, and that the questions are about.
pub const ACTIONS: [&str; 2] = ["view", "edit"];

/// A catalog of its own, so that the figures stay comparable whatever a suite comes to know.
const CATALOG: &str = include_str!("catalog.yaml");
const PLAN: &str = "standard";
/// Teams of the first, second and third level.
const TEAM_LEVELS: [u32; 3] = [5, 20, 75];
const GROUPS: u32 = 200;

/// A small generator of numbers (SplitMix64): the same from the same seed, everywhere and forever.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which must not be 0; the tiny bias of a remainder does no harm here.
    pub fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.draw() % u64::from(bound.max(1))).unwrap_or(0)
    }

    fn percent(&mut self) -> u32 {
        self.below(100)
    }
}

/// A bijection of 64-bit words, so that different contacts have different ids.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// How large the data set is, and the seed that it is made from.
#[derive(Debug, Clone, Copy)]
pub struct DataSet {
    pub users: u32,
    pub contacts: u32,
    pub seed: u64,
}

impl DataSet {
    pub fn user(&self, index: u32) -> String {
        format!("user_{index:06}")
    }

    /// 24 bytes without order, as the ids of a CRM.
    pub fn contact(&self, index: u32) -> String {
        format!("contact_{:016x}", mix(self.seed ^ u64::from(index)))
    }

    /// The account, teams, groups and users: everything but the contacts.
    pub fn directory(&self) -> Result<Vec<EntityChange>, IdError> {
        let mut numbers = Numbers::from_seed(self.seed);
        let mut changes = vec![put(Entity::Account(account()?))];
        for team in teams()? {
            changes.push(put(Entity::Team(team)));
        }
        for index in 0..self.users {
            changes.push(put(Entity::User(self.make_user(index, &mut numbers)?)));
        }
        for index in 0..GROUPS {
            changes.push(put(Entity::AccessGroup(
                self.make_group(index, &mut numbers)?,
            )));
        }
        Ok(changes)
    }

    /// Contact number `index`; each is made from its number alone, in any order.
    pub fn make_contact(&self, index: u32) -> Result<EntityChange, IdError> {
        let mut numbers = Numbers::from_seed(mix(self.seed) ^ mix(u64::from(index) << 1 | 1));
        let groups = match numbers.percent() {
            0..5 => 0,
            5..60 => 1,
            _ => 2,
        };
        let mut assignments = BTreeSet::new();
        while assignments.len() < groups {
            assignments.insert(Assignment {
                principal: Principal::Group(group_id(numbers.below(GROUPS))?),
                provenance: Provenance::Manual,
                expires_at: None,
            });
        }
        let owner = Id::parse(&self.user(numbers.below(self.users)))?;
        let resource = Resource {
            key: ResourceKey {
                resource_type: Id::parse(RESOURCE_TYPE)?,
                id: Id::parse(&self.contact(index))?,
            },
            owners: BTreeSet::from([owner]),
            owning_team: None,
            partitioned: !assignments.is_empty(),
            assignments,
        };
        Ok(put(Entity::Resource(resource, None)))
    }

    fn make_user(&self, index: u32, numbers: &mut Numbers) -> Result<User, IdError> {
        let mut user = User::new(Id::parse(&self.user(index))?);
        user.main_team = Some(team_id(numbers.below(team_count()))?);
        if numbers.percent() < 30 {
            user.teams.insert(team_id(numbers.below(team_count()))?);
        }
        for action in ACTIONS {
            let level = match numbers.percent() {
                0..10 => Level::None,
                10..30 => Level::Owned,
                30..80 => Level::Team,
                _ => Level::Everything,
            };
            user.grants.insert(Grant {
                key: PermissionKey {
                    resource_type: Id::parse(RESOURCE_TYPE)?,
                    permission: Id::parse(action)?,
                },
                level,
                include_unassigned: false,
                not_before: None,
                expires_at: None,
                provenance: Provenance::Manual,
                granted_by: None,
            });
        }
        // One user who sees all of it: whose list is the longest.
        user.super_admin = index == 0;
        Ok(user)
    }

    fn make_group(&self, index: u32, numbers: &mut Numbers) -> Result<AccessGroup, IdError> {
        let all: BTreeSet<Id> = ACTIONS
            .iter()
            .map(|action| Id::parse(action))
            .collect::<Result<_, _>>()?;
        let view = BTreeSet::from([Id::parse("view")?]);
        let mut members = BTreeMap::new();
        for mask in [&all, &all, &view] {
            let team = team_id(numbers.below(team_count()))?;
            members.insert(Principal::Team(team), mask.clone());
        }
        for _ in 0..3 {
            let user = Id::parse(&self.user(numbers.below(self.users)))?;
            members.insert(Principal::User(user), all.clone());
        }
        Ok(AccessGroup {
            id: group_id(index)?,
            members,
        })
    }
}

fn put(entity: Entity) -> EntityChange {
    EntityChange::Put(entity)
}

fn account() -> Result<Account, IdError> {
    Ok(Account {
        id: Id::parse(ACCOUNT)?,
        catalog: CatalogRef::Custom(CATALOG.into()),
        plan: Id::parse(PLAN)?,
        partner_program: PartnerProgram::None,
        payment_method_valid: true,
        settings: Settings::default(),
    })
}

fn team_count() -> u32 {
    TEAM_LEVELS.iter().sum()
}

fn team_id(index: u32) -> Result<Id, IdError> {
    Id::parse(&format!("team_{index:03}"))
}

fn group_id(index: u32) -> Result<Id, IdError> {
    Id::parse(&format!("group_{index:03}"))
}

/// Each level spread evenly over the one above, parents first.
fn teams() -> Result<Vec<Team>, IdError> {
    let mut teams = Vec::new();
    let mut above = 0..0;
    let mut first = 0;
    for size in TEAM_LEVELS {
        for index in 0..size {
            let parents = above.end - above.start;
            let parent = match parents {
                0 => None,
                _ => Some(team_id(above.start + index % parents)?),
            };
            teams.push(Team {
                id: team_id(first + index)?,
                parent,
            });
        }
        above = first..first + size;
        first += size;
    }
    Ok(teams)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: DataSet = DataSet {
        users: 50,
        contacts: 2_000,
        seed: 7,
    };

    #[test]
    fn the_same_seed_makes_the_same_data() {
        assert_eq!(SMALL.directory().unwrap(), SMALL.directory().unwrap());
        assert_eq!(
            SMALL.make_contact(3).unwrap(),
            SMALL.make_contact(3).unwrap()
        );
        let other = DataSet { seed: 8, ..SMALL };
        assert_ne!(
            SMALL.make_contact(3).unwrap(),
            other.make_contact(3).unwrap()
        );
    }

    #[test]
    fn contacts_have_ids_of_their_own_and_one_in_twenty_is_in_no_group() {
        let mut ids = BTreeSet::new();
        let mut in_none = 0;
        for index in 0..SMALL.contacts {
            let EntityChange::Put(Entity::Resource(contact, _)) =
                SMALL.make_contact(index).unwrap()
            else {
                panic!("a contact is a resource");
            };
            assert_eq!(contact.key.id.as_str().len(), 24);
            assert_eq!(contact.partitioned, !contact.assignments.is_empty());
            in_none += u32::from(contact.assignments.is_empty());
            ids.insert(contact.key.id);
        }
        assert_eq!(ids.len(), 2_000);
        assert!((60..140).contains(&in_none), "{in_none} of 2000");
    }

    #[test]
    fn a_hundred_teams_hang_in_three_levels() {
        let teams = teams().unwrap();
        assert_eq!(teams.len(), 100);
        assert_eq!(teams.iter().filter(|team| team.parent.is_none()).count(), 5);
    }
}
