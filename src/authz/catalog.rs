//! What a suite knows: its resource types, actions, permissions, seats and plans, as data.
//!
//! A catalog is written in YAML ([`source`], `docs/catalogs.md`) and compiled into dense tables, so
//! that a decision is a few loads and no string is compared. Nothing about a vendor is in code: the
//! built-in catalogs are files like any other.
//!
//! INVARIANT (resolved actions): [`Catalog::resolve`] is the only way from names to indices, and
//! gives the canonical action (`bulk_delete` gives `delete`), so everything behind it speaks of
//! actions that have a rule.

use std::collections::HashMap;

use super::decision::{Presentation, UnknownName};
use super::model::{Id, PermissionKey};

pub mod source;

/// Position of a resource type in its catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeIx(pub u16);

/// Position of an action name in its catalog; names are shared by all types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionIx(pub u8);

/// Position of a seat in its catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatIx(pub u8);

/// Most action names in one catalog: an [`ActionSet`] is one 128-bit word.
pub const ACTIONS_MAX: usize = 128;
/// Most seats in one catalog: a [`SeatSet`] is one 64-bit word.
pub const SEATS_MAX: usize = 64;
/// Most resource types in one catalog.
pub const TYPES_MAX: usize = 1_000;

/// A set of actions of one catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ActionSet(u128);

impl ActionSet {
    pub const EMPTY: Self = Self(0);
    pub fn of(action: ActionIx) -> Self {
        Self(1u128.checked_shl(u32::from(action.0)).unwrap_or(0))
    }
    pub fn contains(self, action: ActionIx) -> bool {
        self.intersects(Self::of(action))
    }
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    pub fn insert(&mut self, action: ActionIx) {
        *self = self.union(Self::of(action));
    }
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    pub fn iter(self) -> impl Iterator<Item = ActionIx> {
        (0..128u8)
            .map(ActionIx)
            .filter(move |action| self.contains(*action))
    }
}

impl FromIterator<ActionIx> for ActionSet {
    fn from_iter<T: IntoIterator<Item = ActionIx>>(actions: T) -> Self {
        actions
            .into_iter()
            .fold(Self::EMPTY, |set, action| set.union(Self::of(action)))
    }
}

/// A set of seats of one catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct SeatSet(u64);

impl SeatSet {
    pub const EMPTY: Self = Self(0);
    pub fn of(seat: SeatIx) -> Self {
        Self(1u64.checked_shl(u32::from(seat.0)).unwrap_or(0))
    }
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A compiled catalog. Fields are read by the decision path; only [`source`] makes one.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub name: Id,
    pub version: u32,
    pub description: String,
    pub types: Vec<ResourceType>,
    pub actions: Vec<Id>,
    pub seats: Vec<Seat>,
    pub plans: Vec<Plan>,
    /// Seats that alone allow only reading.
    pub read_only_seats: SeatSet,
    /// D9: an account may lose its last active super admin while it has an active account owner.
    pub owner_may_stand_alone: bool,
    pub(crate) type_index: HashMap<Id, TypeIx>,
    pub(crate) action_index: HashMap<Id, ActionIx>,
    pub(crate) seat_index: HashMap<Id, SeatIx>,
}

#[derive(Debug, Clone)]
pub struct Seat {
    pub name: Id,
    pub read_only: bool,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub name: Id,
    /// Reach of a team includes its descendants.
    pub nested_teams: bool,
    /// Object-level access requests are available (S1.9).
    pub object_access_requests: bool,
    /// By [`TypeIx`]: the actions that the plan includes; a type that it lacks has none.
    pub entitled: Vec<ActionSet>,
    /// By [`TypeIx`]: whether resources of the type may be partitioned.
    pub partitionable: Vec<bool>,
}

#[derive(Debug, Clone)]
pub struct ResourceType {
    pub name: Id,
    /// A grant is given at `everything` or not at all.
    pub flag: bool,
    /// All actions by name, canonical or not.
    pub actions: ActionSet,
    /// The action `view`, which every type has.
    pub view: ActionIx,
    /// By [`ActionIx`]: the rule of each canonical action of this type.
    pub rules: Vec<Option<ActionRule>>,
    /// By [`ActionIx`]: the canonical action of each action of this type (itself, for most).
    pub(crate) canonical: Vec<Option<ActionIx>>,
    /// What each grantable key (an action or a permission) of this type grants, before implication.
    pub(crate) grantable: HashMap<Id, ActionSet>,
    /// Any of these seats opens the type; empty: no seat is asked for.
    pub seats: SeatSet,
    /// How a denied `view` is shown (3.4).
    pub no_view: Presentation,
    /// Whether denials may be requested at all (S1.11).
    pub requestable: bool,
    /// Whether any plan lets it be partitioned.
    pub partitionable: bool,
}

/// The rule of one action on one type.
#[derive(Debug, Clone)]
pub struct ActionRule {
    /// Decided at the tool level even with an id (`create`).
    pub tool_level: bool,
    /// Open to a read-only seat.
    pub read_only: bool,
    pub needs_payment_method: bool,
    /// Waives the permission (3.2 step 5).
    pub always: bool,
    /// Has no permission of its own: its sources are those of its ANY_OF (3.2 step 6).
    pub derived: bool,
    /// Grants that count for this action: of the type, any that meets the action set. For a plain
    /// action its own type and the actions that imply it, itself included; for a derived one those
    /// of its ANY_OF.
    pub sources: Vec<(TypeIx, ActionSet)>,
    pub reserved: Option<Reserved>,
}

/// Who holds a reserved action (3.2 step 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    pub account_owner: bool,
    pub super_admin: bool,
    pub partner_admin: bool,
    pub explicit_grant: bool,
    /// An explicit grant doesn't count for partner users: PARTNER_FORBIDDEN.
    pub except_partner_users: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermissionKeyError {
    #[error("the catalog has no resource type `{0}`")]
    UnknownType(String),
    #[error("the resource type `{resource_type}` has no action or permission `{permission}`")]
    UnknownPermission {
        resource_type: String,
        permission: String,
    },
    #[error("`{0}` cannot be granted: {1}")]
    NotGrantable(String, String),
}

impl Catalog {
    pub fn type_ix(&self, resource_type: &str) -> Option<TypeIx> {
        self.type_index.get(resource_type).copied()
    }

    /// The type at an index that this catalog gave out.
    pub fn resource_type(&self, ix: TypeIx) -> Option<&ResourceType> {
        self.types.get(usize::from(ix.0))
    }

    pub fn action_ix(&self, action: &str) -> Option<ActionIx> {
        self.action_index.get(action).copied()
    }

    pub fn action_name(&self, ix: ActionIx) -> Option<&Id> {
        self.actions.get(usize::from(ix.0))
    }

    pub fn seat_ix(&self, seat: &str) -> Option<SeatIx> {
        self.seat_index.get(seat).copied()
    }

    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.name.as_str() == name)
    }

    /// From names to the type and its canonical action.
    pub fn resolve(
        &self,
        resource_type: &str,
        action: &str,
    ) -> Result<(TypeIx, ActionIx), UnknownName> {
        let type_ix = self
            .type_ix(resource_type)
            .ok_or_else(|| UnknownName::ResourceType(resource_type.to_owned()))?;
        let canonical = self.resource_type(type_ix).and_then(|resource_type| {
            let action = self.action_ix(action)?;
            resource_type
                .canonical
                .get(usize::from(action.0))
                .copied()
                .flatten()
        });
        match canonical {
            Some(action) => Ok((type_ix, action)),
            None => Err(UnknownName::Action {
                resource_type: resource_type.to_owned(),
                action: action.to_owned(),
            }),
        }
    }

    /// The actions that a grant of this key gives, before implication.
    pub fn granted_actions(
        &self,
        key: &PermissionKey,
    ) -> Result<(TypeIx, ActionSet), PermissionKeyError> {
        let type_ix = self
            .type_ix(key.resource_type.as_str())
            .ok_or_else(|| PermissionKeyError::UnknownType(key.resource_type.to_string()))?;
        let Some(resource_type) = self.resource_type(type_ix) else {
            return Err(PermissionKeyError::UnknownType(
                key.resource_type.to_string(),
            ));
        };
        if let Some(actions) = resource_type.grantable.get(&key.permission) {
            return Ok((type_ix, *actions));
        }
        let known = self
            .action_ix(key.permission.as_str())
            .is_some_and(|action| resource_type.actions.contains(action));
        Err(if known {
            PermissionKeyError::NotGrantable(
                key.to_string(),
                "it is derived from other permissions, stands for another action, or is reserved"
                    .to_owned(),
            )
        } else {
            PermissionKeyError::UnknownPermission {
                resource_type: key.resource_type.to_string(),
                permission: key.permission.to_string(),
            }
        })
    }
}

impl ResourceType {
    pub fn rule(&self, action: ActionIx) -> Option<&ActionRule> {
        self.rules.get(usize::from(action.0))?.as_ref()
    }
}
