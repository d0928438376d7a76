//! What a suite knows: its resource types, actions, permissions, seats and plans, as data.
//!
//! A catalog is written in YAML ([`source`], `docs/catalogs.md`) and compiled into dense tables, so
//! that a decision is a few loads and no string is compared. Nothing about a vendor is in code: the
//! built-in catalogs are files like any other.
//!
//! INVARIANT (resolved actions): [`Catalog::resolve`] is the only way from names to indices, and
//! gives the canonical action (`bulk_delete` gives `delete`), so everything behind it speaks of
//! actions that have a rule.

use std::fmt;

use hashbrown::HashMap;

use super::decision::{Presentation, UnknownName};
use super::model::{Id, PermissionKey};
use super::yaml::{Place, YamlError};

mod built_in;
mod compile;
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

/// Why a text is no catalog: one line, with the place where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogError {
    pub place: Option<Place>,
    pub problem: String,
}

impl CatalogError {
    pub(crate) fn at(place: Place, problem: impl Into<String>) -> Self {
        Self {
            place: Some(place),
            problem: problem.into(),
        }
    }

    /// An error of the text as a whole.
    pub(crate) fn whole(problem: impl Into<String>) -> Self {
        Self {
            place: None,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for CatalogError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(formatter, "{place}: {}", self.problem),
            None => formatter.write_str(&self.problem),
        }
    }
}

impl std::error::Error for CatalogError {}

impl From<YamlError> for CatalogError {
    fn from(error: YamlError) -> Self {
        Self {
            place: error.place,
            problem: error.problem,
        }
    }
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
        Err(
            match self.why_not_grantable(resource_type, &key.permission) {
                Some(why) => PermissionKeyError::NotGrantable(key.to_string(), why),
                None => PermissionKeyError::UnknownPermission {
                    resource_type: key.resource_type.to_string(),
                    permission: key.permission.to_string(),
                },
            },
        )
    }

    /// `None` where the type has no action of this name.
    fn why_not_grantable(&self, resource_type: &ResourceType, permission: &Id) -> Option<String> {
        let action = self
            .action_ix(permission.as_str())
            .filter(|action| resource_type.actions.contains(*action))?;
        let canonical = resource_type
            .canonical
            .get(usize::from(action.0))
            .copied()
            .flatten()?;
        if canonical != action {
            let name = self.action_name(canonical)?;
            return Some(format!("it is the same as `{name}`, grant that"));
        }
        let derived = resource_type.rule(action).is_some_and(|rule| rule.derived);
        Some(if derived {
            "it follows from other permissions, grant one of those".to_owned()
        } else {
            "the catalog lets nobody be given it".to_owned()
        })
    }
}

impl ResourceType {
    pub fn rule(&self, action: ActionIx) -> Option<&ActionRule> {
        self.rules.get(usize::from(action.0))?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in(name: &str) -> std::sync::Arc<Catalog> {
        let text = Catalog::built_in_text(name).unwrap();
        // Parsed here rather than looked up, so that an error is shown.
        let parsed = Catalog::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(parsed.name.as_str(), name);
        Catalog::built_in(name).unwrap()
    }

    fn rule<'c>(catalog: &'c Catalog, resource_type: &str, action: &str) -> &'c ActionRule {
        let (type_ix, action) = catalog.resolve(resource_type, action).unwrap();
        catalog
            .resource_type(type_ix)
            .unwrap()
            .rule(action)
            .unwrap()
    }

    /// Keys of which a grant counts for the action, as `type.action` in catalog order.
    fn sources(catalog: &Catalog, resource_type: &str, action: &str) -> Vec<String> {
        rule(catalog, resource_type, action)
            .sources
            .iter()
            .flat_map(|(type_ix, actions)| {
                let name = &catalog.resource_type(*type_ix).unwrap().name;
                actions
                    .iter()
                    .map(move |action| format!("{name}.{}", catalog.action_name(action).unwrap()))
            })
            .collect()
    }

    fn granted(catalog: &Catalog, resource_type: &str, key: &str) -> Result<Vec<String>, String> {
        let key = PermissionKey {
            resource_type: Id::parse(resource_type).unwrap(),
            permission: Id::parse(key).unwrap(),
        };
        catalog
            .granted_actions(&key)
            .map(|(_, actions)| {
                actions
                    .iter()
                    .map(|action| catalog.action_name(action).unwrap().to_string())
                    .collect()
            })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_built_in_catalog_compiles_and_every_type_has_view() {
        for name in Catalog::built_in_names() {
            let catalog = built_in(name);
            for resource_type in &catalog.types {
                assert!(resource_type.rule(resource_type.view).is_some());
                assert_eq!(
                    catalog.action_name(resource_type.view).unwrap().as_str(),
                    "view"
                );
            }
        }
        assert!(Catalog::built_in("salesforce").is_none());
    }

    #[test]
    fn domain_3_3_publish_implies_view_and_neither_edit_nor_the_reverse() {
        let hubspot = built_in("hubspot");
        let view = sources(&hubspot, "email", "view");
        assert_eq!(
            view,
            [
                "email.view",
                "email.create",
                "email.edit",
                "email.delete",
                "email.publish",
                "email.activate"
            ]
        );
        assert_eq!(sources(&hubspot, "email", "edit"), ["email.edit"]);
        assert_eq!(sources(&hubspot, "email", "publish"), ["email.publish"]);
        // assign implies nothing.
        assert!(!view.contains(&"email.assign".to_owned()));
    }

    #[test]
    fn bulk_delete_is_delete_and_cannot_be_granted() {
        let hubspot = built_in("hubspot");
        assert_eq!(
            hubspot.resolve("contact", "bulk_delete"),
            hubspot.resolve("contact", "delete")
        );
        assert_eq!(
            granted(&hubspot, "contact", "bulk_delete").unwrap_err(),
            "`contact.bulk_delete` cannot be granted: it is the same as `delete`, grant that"
        );
    }

    #[test]
    fn s3_5_permissions_bundle_actions_and_each_is_grantable_by_its_own_name() {
        let brevo = built_in("brevo");
        assert_eq!(
            granted(&brevo, "email_campaign", "create_edit_delete").unwrap(),
            ["create", "edit", "delete"]
        );
        assert_eq!(
            granted(&brevo, "email_campaign", "requeue").unwrap(),
            ["requeue"]
        );
        assert_eq!(
            sources(&brevo, "email_campaign", "requeue"),
            ["email_campaign.requeue"]
        );
        assert_eq!(
            granted(&brevo, "email_campaign", "nothing").unwrap_err(),
            "the resource type `email_campaign` has no action or permission `nothing`"
        );
        assert_eq!(
            granted(&brevo, "account.billing", "view").unwrap_err(),
            "`account.billing.view` cannot be granted: the catalog lets nobody be given it"
        );
    }

    #[test]
    fn derived_actions_take_the_grants_of_their_any_of() {
        let brevo = built_in("brevo");
        assert_eq!(
            sources(&brevo, "test_list", "manage"),
            ["contact.create", "contact.edit", "contact.delete"]
        );
        assert_eq!(
            sources(&brevo, "sms_campaign", "export_engagement"),
            ["contact.export"]
        );
        let settings = sources(&brevo, "sender_settings", "manage");
        assert!(settings.contains(&"template.activate".to_owned()));
        assert!(settings.contains(&"sms_campaign.requeue".to_owned()));
        // Always-allowed actions do not count.
        assert!(!settings.iter().any(|key| key.ends_with(".preview")));
        assert!(!settings.iter().any(|key| key.starts_with("contact.")));
        assert_eq!(
            granted(&brevo, "sender_settings", "manage").unwrap_err(),
            "`sender_settings.manage` cannot be granted: it follows from other permissions, grant one of those"
        );
    }

    #[test]
    fn s2_5_sales_enterprise_has_no_pages_and_partitions_none() {
        let hubspot = built_in("hubspot");
        let page = usize::from(hubspot.type_ix("blog_post").unwrap().0);
        let email = usize::from(hubspot.type_ix("email").unwrap().0);
        let plan = |name: &str| hubspot.plan(name).unwrap();
        assert!(plan("enterprise").partitionable[page]);
        assert!(!plan("enterprise").entitled[page].is_empty());
        assert!(!plan("sales_enterprise").partitionable[page]);
        assert!(plan("sales_enterprise").entitled[page].is_empty());
        assert!(plan("sales_enterprise").partitionable[email]);
        assert!(plan("sales_enterprise").nested_teams);
        assert!(!plan("professional").partitionable[email]);
        assert!(!plan("professional").object_access_requests);
    }

    #[test]
    fn reserved_holders_are_those_of_3_2() {
        let hubspot = built_in("hubspot");
        let reserved = |resource_type: &str| {
            let reserved = rule(&hubspot, resource_type, "view").reserved.unwrap();
            (
                reserved.account_owner,
                reserved.super_admin,
                reserved.partner_admin,
                reserved.explicit_grant,
                reserved.except_partner_users,
            )
        };
        assert_eq!(
            reserved("account.billing"),
            (true, true, false, true, false)
        );
        assert_eq!(
            reserved("account.profile"),
            (true, true, false, true, false)
        );
        assert_eq!(reserved("payment_tools"), (true, true, false, true, true));
        assert_eq!(
            reserved("payment_connection"),
            (true, true, true, false, false)
        );
        assert_eq!(
            reserved("sensitive_property"),
            (false, true, false, true, true)
        );
        assert_eq!(
            reserved("partner_staff"),
            (false, false, true, false, false)
        );
        assert!(rule(&hubspot, "contact", "view").reserved.is_none());
    }
}
