//! Grants and object grants: keys and actions that the catalog lets be given, and their levels.

use std::collections::HashSet;

use super::{Read, Reader, id, listed, once, optional_time, provenance, split_key, wrong};
use crate::authz::document::DocumentError;
use crate::authz::document::part::KeyGrants;
use crate::authz::document::source::{GrantSource, GrantsSource, ObjectGrantSource};
use crate::authz::model::{
    Grant, Id, Level, ObjectGrant, PermissionKey, Provenance, ResourceKey, Timestamp,
};
use crate::authz::yaml::{At, Entries, Field, Form, Place, one_line, shown};

/// A level, and whether resources without owner and partition are included: `team+unassigned`.
fn level(at: &At<String>) -> Read<(Level, bool)> {
    let (word, unassigned) = match at.value.strip_suffix("+unassigned") {
        Some(word) => (word, true),
        None => (at.value.as_str(), false),
    };
    match Level::from_word(word) {
        Some(level) => Ok((level, unassigned)),
        None => wrong(
            at.place,
            format!(
                "`{}` is not a level: none, owned, team or everything, the middle ones also with +unassigned",
                shown(&at.value)
            ),
        ),
    }
}

impl Reader<'_> {
    pub fn grants(self, field: &Field<GrantsSource>) -> Read<Option<Vec<KeyGrants>>> {
        let entries = match field {
            Field::Absent => return Ok(None),
            Field::Empty => return Ok(Some(Vec::new())),
            Field::Given(Entries(entries)) => entries,
        };
        let mut all = Vec::with_capacity(entries.len());
        for (name, form) in entries {
            let key = self.permission_key(name)?;
            let mut grants = Vec::new();
            match &form.value {
                Form::Text(word) => grants.push(self.grant_of_word(&key, word, form.place)?),
                Form::Map(source) => grants.push(self.grant(&key, source)?),
                Form::List(items) => {
                    for item in items {
                        grants.push(match &item.value {
                            Form::Text(word) => self.grant_of_word(&key, word, item.place)?,
                            Form::Map(source) => self.grant(&key, source)?,
                            Form::List(_) => {
                                return wrong(
                                    item.place,
                                    "a list of grants holds levels and maps, this is a list",
                                );
                            }
                        });
                    }
                }
            }
            all.push(KeyGrants {
                place: name.place,
                key,
                grants,
            });
        }
        Ok(Some(all))
    }

    /// `TYPE.ACTION` or `TYPE.PERMISSION`, split at the last dot.
    fn permission_key(self, at: &At<String>) -> Read<PermissionKey> {
        let (resource_type, permission) = split_key(at)?;
        let key = PermissionKey {
            resource_type,
            permission,
        };
        if let Some(catalog) = self.catalog {
            catalog
                .granted_actions(&key)
                .map_err(|error| DocumentError::at(at.place, one_line(&error.to_string())))?;
        }
        Ok(key)
    }

    fn grant_of_word(self, key: &PermissionKey, word: &str, place: Place) -> Read<Grant> {
        let at = At {
            value: word.to_owned(),
            place,
        };
        let (level, unassigned) = self.level_of(key, &at)?;
        Ok(Grant {
            key: key.clone(),
            level,
            include_unassigned: unassigned,
            not_before: None,
            expires_at: None,
            provenance: Provenance::Manual,
            granted_by: None,
        })
    }

    fn grant(self, key: &PermissionKey, source: &GrantSource) -> Read<Grant> {
        let (level, unassigned) = self.level_of(key, &source.level)?;
        let below_everything = matches!(level, Level::Owned | Level::Team);
        let (not_before, expires_at) =
            window(source.not_before.as_ref(), source.expires_at.as_ref())?;
        Ok(Grant {
            key: key.clone(),
            level,
            include_unassigned: unassigned || (source.unassigned && below_everything),
            not_before,
            expires_at,
            provenance: provenance(source.provenance.as_ref())?,
            granted_by: granted_by(source.granted_by.as_ref())?,
        })
    }

    /// The level of a grant of this key; at none and everything `unassigned` says nothing.
    fn level_of(self, key: &PermissionKey, at: &At<String>) -> Read<(Level, bool)> {
        let (level, unassigned) = level(at)?;
        let between = matches!(level, Level::Owned | Level::Team);
        let flag = self.catalog.is_some_and(|catalog| {
            catalog
                .type_ix(key.resource_type.as_str())
                .and_then(|ix| catalog.resource_type(ix))
                .is_some_and(|resource_type| resource_type.flag)
        });
        if flag && between {
            return wrong(
                at.place,
                format!(
                    "`{key}` is given at everything or none, not at `{level}`: the type `{}` has no levels between",
                    key.resource_type
                ),
            );
        }
        Ok((level, unassigned && between))
    }

    pub fn object_grants(
        self,
        field: &Field<Vec<At<ObjectGrantSource>>>,
    ) -> Read<Option<Vec<At<ObjectGrant>>>> {
        let grants = listed(field, |grant| {
            Ok(At {
                value: self.object_grant(&grant.value)?,
                place: grant.value.resource.place,
            })
        })?;
        let mut seen = HashSet::new();
        for At { value, place } in grants.iter().flatten() {
            once(
                &mut seen,
                (
                    value.resource.clone(),
                    value.action.clone(),
                    value.provenance.clone(),
                ),
                *place,
                format_args!(
                    "the object grant of `{}` on `{}` with provenance {}",
                    value.action, value.resource, value.provenance
                ),
            )?;
        }
        Ok(grants)
    }

    fn object_grant(self, source: &ObjectGrantSource) -> Read<ObjectGrant> {
        let At { value, place } = &source.resource;
        let Some((resource_type, resource_id)) = value.split_once('/') else {
            return wrong(
                *place,
                format!("a resource is written TYPE/ID, this is `{}`", shown(value)),
            );
        };
        let part = |text: &str| At {
            value: text.to_owned(),
            place: *place,
        };
        let resource = ResourceKey {
            resource_type: self.resource_type(&part(resource_type))?,
            id: id(&part(resource_id), "resource id")?,
        };
        let action = self.granted_action(&resource.resource_type, &source.action)?;
        let (not_before, expires_at) =
            window(source.not_before.as_ref(), source.expires_at.as_ref())?;
        Ok(ObjectGrant {
            resource,
            action,
            not_before,
            expires_at,
            provenance: provenance(source.provenance.as_ref())?,
            granted_by: granted_by(source.granted_by.as_ref())?,
        })
    }

    /// An action that can be granted by its own name; a permission is no action.
    fn granted_action(self, resource_type: &Id, at: &At<String>) -> Read<Id> {
        let action = id(at, "action")?;
        let Some(catalog) = self.catalog else {
            return Ok(action);
        };
        let problem = match catalog.resolve(resource_type.as_str(), action.as_str()) {
            Err(error) => Some(error.to_string()),
            Ok(_) => catalog
                .granted_actions(&PermissionKey {
                    resource_type: resource_type.clone(),
                    permission: action.clone(),
                })
                .err()
                .map(|error| error.to_string()),
        };
        match problem {
            Some(problem) => wrong(at.place, one_line(&problem)),
            None => Ok(action),
        }
    }
}

pub(super) fn granted_by(at: Option<&At<String>>) -> Read<Option<Id>> {
    at.map(|at| id(at, "granted_by")).transpose()
}

/// When a grant is live: from `not_before` until just before `expires_at`.
fn window(
    not_before: Option<&At<String>>,
    expires_at: Option<&At<String>>,
) -> Read<(Option<Timestamp>, Option<Timestamp>)> {
    let from = optional_time(not_before, "not_before")?;
    let until = optional_time(expires_at, "expires_at")?;
    if let (Some(start), Some(end), Some(at)) = (from, until, expires_at)
        && start >= end
    {
        return wrong(
            at.place,
            format!("the grant would end at {end}, before it begins at {start}"),
        );
    }
    Ok((from, until))
}
