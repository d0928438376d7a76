//! Memberships of teams and permission sets, and where mail to a user goes.

use std::collections::HashSet;

use super::grants::granted_by;
use super::{Read, id, listed, once, optional_time, parsed, provenance, wrong};
use crate::authz::document::source::MembershipSource;
use crate::authz::model::{Membership, MembershipOf, check_email};
use crate::authz::yaml::{At, Field};

pub(super) fn memberships(
    field: &Field<Vec<At<MembershipSource>>>,
) -> Read<Option<Vec<At<Membership>>>> {
    let memberships = listed(field, membership)?;
    let mut seen = HashSet::new();
    for At { value, place } in memberships.iter().flatten() {
        once(
            &mut seen,
            (value.of.clone(), value.provenance.clone()),
            *place,
            format_args!(
                "the membership of the {} `{}` with provenance {}",
                value.of.kind().replace('_', " "),
                value.of.id(),
                value.provenance
            ),
        )?;
    }
    Ok(memberships)
}

fn membership(at: &At<MembershipSource>) -> Read<At<Membership>> {
    let source = &at.value;
    let (of, place) = match (&source.team, &source.permission_set) {
        (Some(team), None) => (MembershipOf::Team(id(team, "team")?), team.place),
        (None, Some(set)) => (
            MembershipOf::PermissionSet(id(set, "permission_set")?),
            set.place,
        ),
        _ => {
            return wrong(
                at.place,
                "a membership is either of a `team` or of a `permission_set`",
            );
        }
    };
    Ok(At {
        value: Membership {
            of,
            provenance: provenance(source.provenance.as_ref())?,
            expires_at: optional_time(source.expires_at.as_ref(), "expires_at")?,
            granted_by: granted_by(source.granted_by.as_ref())?,
        },
        place,
    })
}

pub(super) fn email(at: &At<String>) -> Read<String> {
    parsed(at, "email", |text| {
        check_email(text).map(|()| text.to_owned())
    })
}
