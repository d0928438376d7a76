//! What a write has to change: the rows in which the touched entities differ from what is stored.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::StoreError;
use super::kinds::parents_first;
use super::rows::not_json;
use super::tables::{Rows, Table, rows_of, team_row};
use crate::authz::model::{Attributes, Entity, EntityChange, EntityKey, Id, ResourceKey, Team};

/// What each touched entity is to become; `None`: gone.
pub(super) type Wanted<'a> = BTreeMap<EntityKey, Option<&'a Entity>>;

pub(super) fn wanted<'a>(
    account: &Id,
    changes: &'a [EntityChange],
) -> Result<Wanted<'a>, StoreError> {
    let mut wanted = Wanted::new();
    for change in changes {
        match change {
            EntityChange::Put(entity) => {
                if let Entity::Account(put) = entity
                    && put.id != *account
                {
                    return Err(StoreError::Constraint {
                        rule: "a write to one account can't put another".to_owned(),
                    });
                }
                wanted.insert(entity.key(), Some(entity));
            }
            EntityChange::Delete(EntityKey::Account) => {
                return Err(StoreError::Constraint {
                    rule: "an account is not deleted by a change to it".to_owned(),
                });
            }
            EntityChange::Delete(key) => {
                wanted.insert(key.clone(), None);
            }
        }
    }
    Ok(wanted)
}

/// The rows to write, by table.
#[derive(Default)]
pub(super) struct Difference {
    /// Teams that stand somewhere before their parent is set: those that move, so that no order of
    /// moves makes a cycle on the way, and new ones that refer to each other.
    pub(super) loosened: Vec<String>,
    /// Rows of entities that stay, but without them.
    pub(super) removed: BTreeMap<Table, Vec<String>>,
    /// Rows of entities that are there, and all teams; of each table they are put before those that
    /// are created.
    pub(super) put: BTreeMap<Table, Vec<String>>,
    /// Rows of entities that are not there yet: nothing to put them over.
    pub(super) created: BTreeMap<Table, Vec<String>>,
    /// Entities that go, as rows of their keys.
    pub(super) deleted: BTreeMap<Table, Vec<String>>,
}

impl Difference {
    /// Tables with rows to put, in the order in which they can be put: what others refer to first.
    pub(super) fn tables_put(&self) -> BTreeSet<Table> {
        self.put
            .keys()
            .chain(self.created.keys())
            .copied()
            .collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows written; what goes along with a deleted entity is not counted.
    pub(super) fn len(&self) -> usize {
        [&self.removed, &self.put, &self.created, &self.deleted]
            .into_iter()
            .flat_map(BTreeMap::values)
            .map(Vec::len)
            .sum()
    }
}

/// What has to be written so that the entities that are `present` become what is wanted.
pub(super) fn difference(
    present: &BTreeMap<EntityKey, Entity>,
    wanted: &Wanted<'_>,
) -> Result<Difference, StoreError> {
    let mut difference = Difference::default();
    let mut teams = Vec::new();
    for (key, entity) in wanted {
        match (present.get(key), entity) {
            (before, Some(Entity::Team(team))) => {
                let before = match before {
                    Some(Entity::Team(before)) => Some(before),
                    _ => None,
                };
                if before != Some(team) {
                    if before.is_some_and(|before| before.parent.is_some()) {
                        difference.loosened.push(json(&team_row(team))?);
                    }
                    teams.push(team.clone());
                }
            }
            (None, Some(entity)) => {
                for (table, row) in rows_of(entity)? {
                    difference.created.entry(table).or_default().push(row);
                }
            }
            (Some(before), Some(entity)) => {
                compare(rows_of(before)?, rows_of(entity)?, &mut difference);
            }
            (Some(before), None) => {
                resign(before, &mut difference)?;
                delete(key, &mut difference)?;
            }
            (None, None) => {}
        }
    }
    put_teams(teams, &mut difference)?;
    for rows in [&mut difference.put, &mut difference.created] {
        if let Some(users) = rows.get_mut(&Table::User) {
            // At most one owner at every step: who is no owner any more comes first.
            users.sort_by_key(|row| is_owner_row(row));
        }
    }
    Ok(difference)
}

/// Of the resources that are wanted, those whose attributes are written.
pub(super) fn described<'a>(wanted: &Wanted<'a>) -> Vec<&'a ResourceKey> {
    wanted
        .values()
        .filter_map(|entity| match entity {
            Some(Entity::Resource(resource, Some(_))) => Some(&resource.key),
            _ => None,
        })
        .collect()
}

/// Entities as they are stored, by key, the resources with what was read of their attributes.
pub(super) fn by_key(
    entities: Vec<Entity>,
    attributes: Vec<(ResourceKey, Attributes)>,
) -> BTreeMap<EntityKey, Entity> {
    let mut attributes: BTreeMap<ResourceKey, Attributes> = attributes.into_iter().collect();
    entities
        .into_iter()
        .map(|entity| match entity {
            Entity::Resource(resource, _) => {
                let attributes = attributes.remove(&resource.key);
                let key = EntityKey::Resource(resource.key.clone());
                (key, Entity::Resource(resource, attributes))
            }
            other => (other.key(), other),
        })
        .collect()
}

fn compare(before: Rows, after: Rows, difference: &mut Difference) {
    let mut gone: HashSet<(Table, String)> = before.into_iter().collect();
    for row in after {
        if !gone.remove(&row) {
            difference.put.entry(row.0).or_default().push(row.1);
        }
    }
    for (table, row) in gone {
        if !table.is_entity() {
            difference.removed.entry(table).or_default().push(row);
        }
    }
}

/// Entities are deleted last, so an account owner who goes steps back first: another may be put in
/// the same write.
fn resign(before: &Entity, difference: &mut Difference) -> Result<(), StoreError> {
    if let Entity::User(owner) = before
        && owner.account_owner
    {
        let mut resigned = owner.clone();
        resigned.account_owner = false;
        compare(
            rows_of(before)?,
            rows_of(&Entity::User(resigned))?,
            difference,
        );
    }
    Ok(())
}

fn delete(key: &EntityKey, difference: &mut Difference) -> Result<(), StoreError> {
    let (table, row) = match key {
        // Refused where the changes are read.
        EntityKey::Account => return Ok(()),
        EntityKey::Team(id) => (Table::Team, json(&[id])?),
        EntityKey::PermissionSet(id) => (Table::PermissionSet, json(&[id])?),
        EntityKey::User(id) => (Table::User, json(&[id])?),
        EntityKey::AccessGroup(id) => (Table::AccessGroup, json(&[id])?),
        EntityKey::Segment(id) => (Table::Segment, json(&[id])?),
        EntityKey::AccessRequest(id) => (Table::AccessRequest, json(&[id])?),
        EntityKey::Resource(key) => (Table::Resource, json(&(&key.resource_type, &key.id))?),
    };
    difference.deleted.entry(table).or_default().push(row);
    Ok(())
}

/// Parents first. Those that are left over are a cycle and what hangs below it: they are put
/// without a parent, so that it is the rule against cycles that refuses them.
fn put_teams(teams: Vec<Team>, difference: &mut Difference) -> Result<(), StoreError> {
    let named: HashSet<Id> = teams.iter().map(|team| team.id.clone()).collect();
    let mut placed: HashSet<Id> = HashSet::new();
    let mut left_over = false;
    for team in parents_first(teams) {
        let row = json(&team_row(&team))?;
        left_over |= team
            .parent
            .as_ref()
            .is_some_and(|parent| named.contains(parent) && !placed.contains(parent));
        if left_over {
            difference.loosened.push(row.clone());
        }
        placed.insert(team.id);
        difference.put.entry(Table::Team).or_default().push(row);
    }
    Ok(())
}

/// Whether a row of `app_user` as [`rows_of`] writes it has the flag `account_owner`.
fn is_owner_row(row: &str) -> bool {
    serde_json::from_str::<Vec<serde_json::Value>>(row)
        .is_ok_and(|columns| columns.get(3) == Some(&serde_json::Value::Bool(true)))
}

fn json(row: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(row).map_err(not_json)
}
