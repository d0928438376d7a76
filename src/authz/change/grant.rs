//! Grants of users and permission sets, and object grants.

use std::collections::BTreeSet;

use super::super::catalog::Catalog;
use super::super::graph::AccountGraph;
use super::super::model::{
    EntityKey, Grant, Id, Level, ObjectGrant, PermissionKey, PermissionSet, Provenance,
    ResourceKey, Timestamp, User,
};
use super::overlay::Link;
use super::planner::Planner;
use super::{ChangeError, GRANTS_MAX, GrantHolder, OBJECT_GRANTS_MAX};

impl Planner<'_> {
    /// Replaces the holder's grants of one key and provenance.
    pub(super) fn set_grants(
        &mut self,
        holder: &GrantHolder,
        key: &PermissionKey,
        provenance: &Provenance,
        grants: &[Grant],
    ) -> Result<(), ChangeError> {
        for grant in grants {
            self.check_grant(key, provenance, grant)?;
        }
        if let GrantHolder::User(id) = holder
            && !grants.is_empty()
        {
            self.is_no_tombstone(id, "grants.user")?;
        }
        let at = self.overlay.at;
        let stored = match holder {
            GrantHolder::User(id) => {
                let slot = self.overlay.user(id);
                &mut slot
                    .part(at, "grants.user", || User::new(id.clone()))
                    .grants
            }
            GrantHolder::PermissionSet(id) => {
                let new = || PermissionSet {
                    id: id.clone(),
                    grants: BTreeSet::new(),
                };
                let slot = self.overlay.permission_set(id);
                &mut slot.part(at, "grants.permission_set", new).grants
            }
        };
        let replaced = of_key(stored, key, provenance);
        for grant in &replaced {
            stored.remove(grant);
        }
        stored.extend(grants.iter().map(normal));
        let count = stored.len();
        if grants.is_empty() && replaced.is_empty() {
            self.check_revoked_key(key)?;
        }
        self.overlay
            .within(count, GRANTS_MAX, "grants", "grants of one holder")
    }

    /// Replaces the user's grant of one action on one resource from one provenance.
    pub(super) fn set_object_grant(
        &mut self,
        user: &Id,
        resource: &ResourceKey,
        action: &Id,
        provenance: &Provenance,
        grant: Option<&ObjectGrant>,
    ) -> Result<(), ChangeError> {
        if let Some(grant) = grant {
            self.check_object_grant(resource, action, provenance, grant)?;
            self.is_no_tombstone(user, "object_grant.user")?;
        }
        let at = self.overlay.at;
        let slot = self.overlay.user(user);
        let stored = &mut slot
            .part(at, "object_grant.user", || User::new(user.clone()))
            .object_grants;
        for replaced in of_object(stored, resource, action, provenance) {
            stored.remove(&replaced);
        }
        let Some(grant) = grant else {
            return Ok(());
        };
        stored.insert(grant.clone());
        let count = stored.len();
        self.overlay.within(
            count,
            OBJECT_GRANTS_MAX,
            "object_grant",
            "object grants of one user",
        )?;
        self.overlay.claim(
            Link::ObjectGrant,
            &EntityKey::User(user.clone()),
            EntityKey::Resource(resource.clone()),
        );
        Ok(())
    }

    fn check_grant(
        &self,
        key: &PermissionKey,
        provenance: &Provenance,
        grant: &Grant,
    ) -> Result<(), ChangeError> {
        if grant.key != *key || grant.provenance != *provenance {
            return Err(self.overlay.invalid(
                "grants",
                format!(
                    "a grant of `{}` from `{}` among those of `{key}` from `{provenance}`",
                    grant.key, grant.provenance
                ),
            ));
        }
        check_key(&self.terms.catalog, key)
            .map_err(|why| self.overlay.invalid("grants.key", why))?;
        check_level(&self.terms.catalog, key, grant.level)
            .map_err(|why| self.overlay.invalid("grants.level", why))?;
        self.check_window("grants", grant.not_before, grant.expires_at)
    }

    fn check_object_grant(
        &self,
        resource: &ResourceKey,
        action: &Id,
        provenance: &Provenance,
        grant: &ObjectGrant,
    ) -> Result<(), ChangeError> {
        if grant.resource != *resource || grant.action != *action || grant.provenance != *provenance
        {
            return Err(self.overlay.invalid(
                "object_grant",
                format!(
                    "a grant of `{}` on `{}` from `{}` where one of `{action}` on `{resource}` from `{provenance}` is set",
                    grant.action, grant.resource, grant.provenance
                ),
            ));
        }
        check_object_action(&self.terms.catalog, &resource.resource_type, action)
            .map_err(|why| self.overlay.invalid("object_grant.action", why))?;
        self.check_window("object_grant", grant.not_before, grant.expires_at)
    }

    fn check_window(
        &self,
        field: &str,
        not_before: Option<Timestamp>,
        expires_at: Option<Timestamp>,
    ) -> Result<(), ChangeError> {
        match not_before.zip(expires_at) {
            Some((from, to)) if from >= to => Err(self.overlay.invalid(
                &format!("{field}.expires_at"),
                format!("the grant would end at {to}, before it begins at {from}"),
            )),
            _ => Ok(()),
        }
    }

    /// A revocation that takes nothing back and names no permission is a mistake that should be
    /// heard of. The catalog that the list replaces counts too: its permissions are taken back in
    /// the same list.
    fn check_revoked_key(&self, key: &PermissionKey) -> Result<(), ChangeError> {
        let Err(why) = check_key(&self.terms.catalog, key) else {
            return Ok(());
        };
        match self.overlay.graph.map(AccountGraph::catalog) {
            Some(present) if check_key(present, key).is_ok() => Ok(()),
            _ => Err(self.overlay.invalid("grants.key", why)),
        }
    }
}

fn of_key(stored: &BTreeSet<Grant>, key: &PermissionKey, provenance: &Provenance) -> Vec<Grant> {
    // The least grant of the key: each field at its first value.
    let least = Grant {
        key: key.clone(),
        level: Level::None,
        include_unassigned: false,
        not_before: None,
        expires_at: None,
        provenance: Provenance::Manual,
        granted_by: None,
    };
    stored
        .range(least..)
        .take_while(|grant| grant.key == *key)
        .filter(|grant| grant.provenance == *provenance)
        .cloned()
        .collect()
}

fn of_object(
    stored: &BTreeSet<ObjectGrant>,
    resource: &ResourceKey,
    action: &Id,
    provenance: &Provenance,
) -> Vec<ObjectGrant> {
    let least = ObjectGrant {
        resource: resource.clone(),
        action: action.clone(),
        not_before: None,
        expires_at: None,
        provenance: Provenance::Manual,
        granted_by: None,
    };
    stored
        .range(least..)
        .take_while(|grant| grant.resource == *resource && grant.action == *action)
        .filter(|grant| grant.provenance == *provenance)
        .cloned()
        .collect()
}

/// Whether the catalog lets the key be granted.
pub(super) fn check_key(catalog: &Catalog, key: &PermissionKey) -> Result<(), String> {
    match catalog.granted_actions(key) {
        Ok(_) => Ok(()),
        Err(problem) => Err(problem.to_string()),
    }
}

/// A flag type takes a grant whole or not at all.
pub(super) fn check_level(
    catalog: &Catalog,
    key: &PermissionKey,
    level: Level,
) -> Result<(), String> {
    let flag = catalog
        .type_ix(key.resource_type.as_str())
        .and_then(|ix| catalog.resource_type(ix))
        .is_some_and(|resource_type| resource_type.flag);
    match level {
        Level::Owned | Level::Team if flag => Err(format!(
            "`{}` takes only the levels none and everything, not `{level}`",
            key.resource_type
        )),
        Level::None | Level::Owned | Level::Team | Level::Everything => Ok(()),
    }
}

/// An object grant gives an action, never a permission that bundles several.
pub(super) fn check_object_action(
    catalog: &Catalog,
    resource_type: &Id,
    action: &Id,
) -> Result<(), String> {
    catalog
        .resolve(resource_type.as_str(), action.as_str())
        .map_err(|problem| problem.to_string())?;
    check_key(
        catalog,
        &PermissionKey {
            resource_type: resource_type.clone(),
            permission: action.clone(),
        },
    )
}

/// `include_unassigned` says nothing at none and everything, and is then not kept.
fn normal(grant: &Grant) -> Grant {
    let says_something = matches!(grant.level, Level::Owned | Level::Team);
    Grant {
        include_unassigned: grant.include_unassigned && says_something,
        ..grant.clone()
    }
}
