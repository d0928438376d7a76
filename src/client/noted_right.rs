//! Rights that the grant ceiling kept or withheld.

use std::fmt;

use crate::authz::model::Timestamp;
use crate::grpc::wire;
use wire::noted_right::What;

/// A right that was to go and stays, or that was not given whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct NotedRight {
    /// `user` or `permission_set`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// Such as `email.edit at team`, `view on email/e1` or `super_admin`.
    pub right: String,
    /// When it ends, in RFC 3339; empty: never.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expires_at: String,
    /// The permission set that it was to come or to go with; empty: a grant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub permission_set: String,
}

impl NotedRight {
    pub(crate) fn of_all(noted: &[wire::NotedRight]) -> Vec<Self> {
        noted.iter().map(Self::of_wire).collect()
    }

    pub(crate) fn of_wire(noted: &wire::NotedRight) -> Self {
        let of = noted.of.clone().unwrap_or_default();
        let kind = match of.kind() {
            wire::EntityKind::PermissionSet => "permission_set",
            _ => "user",
        };
        let moment = noted.expires_at.as_ref().and_then(|moment| {
            let micros = moment.seconds.checked_mul(1_000_000)?;
            Timestamp::from_unix_micros(micros.checked_add(i64::from(moment.nanos) / 1_000)?)
        });
        Self {
            kind,
            id: of.id,
            right: noted.what.as_ref().map(right).unwrap_or_default(),
            expires_at: moment.map(|moment| moment.to_string()).unwrap_or_default(),
            permission_set: noted.permission_set_id.clone(),
        }
    }
}

fn right(what: &What) -> String {
    match what {
        What::Permission(permission) => {
            let level = match permission.level() {
                wire::Level::Owned => "owned",
                wire::Level::Team => "team",
                wire::Level::Everything => "everything",
                wire::Level::None | wire::Level::Unspecified => "none",
            };
            let unassigned = match permission.include_unassigned {
                true => "+unassigned",
                false => "",
            };
            let wire::NotedPermission {
                resource_type,
                permission,
                ..
            } = permission;
            format!("{resource_type}.{permission} at {level}{unassigned}")
        }
        What::Object(object) => format!(
            "{} on {}/{}",
            object.action, object.resource_type, object.resource_id
        ),
        What::Role(role) => role.clone(),
    }
}

/// `user lena: email.edit at team, with the permission set editors, until ...`.
impl fmt::Display for NotedRight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.replace('_', " ");
        write!(formatter, "{kind} {}: {}", self.id, self.right)?;
        if !self.permission_set.is_empty() && self.kind == "user" {
            write!(formatter, ", of the permission set {}", self.permission_set)?;
        }
        if !self.expires_at.is_empty() {
            write!(formatter, ", until {}", self.expires_at)?;
        }
        Ok(())
    }
}
