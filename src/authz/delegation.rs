//! What a partner admin does with the agency's people in a client (S4.13-S4.18, S4.22-S4.27, D4, D8,
//! D10): adding them with a permission set, changing it, deactivating, and one's own way from super
//! admin to partner admin.
//!
//! Rights are handed on under the [ceiling](super::ceiling) of the partner admin as it is at the
//! commit: what the admin lacks is withheld, and what the admin can't take is kept, and both are told.

use std::collections::BTreeSet;

use super::access_request::same_human;
use super::catalog::ActionIx;
use super::ceiling::{Ceiling, Note, PermissionSets, Settled, TooMany};
use super::change::{Change, GrantHolder, UserPatch};
use super::graph::AccountGraph;
use super::model::{
    Grant, Id, Level, MembershipOf, Partner, PartnerRole, Partnership, PermissionKey, Provenance,
    Timestamp, User, UserKind, UserStatus,
};
use super::partnership::{
    PartnerRefusal, is_active, known_in, partner_seats, patch_of, user_id_for,
};

pub mod removal;

/// The permission of a partner admin that a client may give (S4.11), by the names of the rule book.
const BILLING_TYPE: &str = "account.billing";

/// Somebody who is added to a client, or whose permission set is changed there.
#[derive(Debug, Clone)]
pub struct Staff {
    /// The user in the agency.
    pub partner_user: Id,
    pub role: PartnerRole,
    /// The id in the client; `None`: the one that they have there, else one made of both ids.
    pub user: Option<Id>,
    /// For the mail of access requests, where they are new.
    pub email: Option<String>,
    /// Who they are whatever the account, where they are new.
    pub person: Option<Id>,
}

/// The partner admin who acts, as the client knows them.
#[derive(Debug, Clone, Copy)]
pub struct Acting<'a> {
    pub agency: &'a Id,
    pub admin: &'a User,
    pub now: Timestamp,
}

/// What became of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub partner_user: Id,
    pub user: User,
    /// What the set holds and the admin lacks (S4.16).
    pub withheld: Vec<Note>,
    /// What was to go and the admin lacks (S4.17).
    pub kept: Vec<Note>,
}

impl From<TooMany> for PartnerRefusal {
    fn from(error: TooMany) -> Self {
        Self::TooManyRights(error.to_string())
    }
}

/// S4.13, S4.14: what makes somebody of the agency a user of the client with one permission set, or
/// gives somebody who is one already that set in place of others.
///
/// # Errors
/// Where there is no such set, it is another user's id, or they are none whom the admin may change.
pub fn place(
    client: &AccountGraph,
    acting: &Acting<'_>,
    staff: &Staff,
    set: &Id,
) -> Result<Placed, PartnerRefusal> {
    let known = known_in(client, acting.agency, &staff.partner_user);
    if let Some(known) = known {
        require_changeable(acting, known)?;
        match known.status {
            UserStatus::Deactivated => {
                return Err(PartnerRefusal::Deactivated(known.id.clone()));
            }
            // What waits for them is the client's to give.
            UserStatus::Invited => return Err(PartnerRefusal::YetToAccept(known.id.clone())),
            UserStatus::Active | UserStatus::Removed => {}
        }
    }
    let id = user_id_for(
        client,
        acting.agency,
        &staff.partner_user,
        staff.user.as_ref(),
    )?;
    let new = User {
        email: staff.email.clone(),
        person: staff.person.clone(),
        ..User::new(id)
    };
    if same_human(acting.admin, &new) {
        return Err(PartnerRefusal::SamePerson(acting.admin.id.clone()));
    }
    // What they had before a partnership ended they don't hold: it doesn't come back through somebody
    // who couldn't give it.
    let before = known
        .filter(|known| is_active(client, &known.id))
        .unwrap_or(&new);
    let kind = match staff.role {
        PartnerRole::Contractor => UserKind::Contractor,
        PartnerRole::Admin | PartnerRole::Employee => UserKind::PartnerEmployee,
    };
    let present = User {
        kind,
        status: UserStatus::Active,
        // Seats are the client's to change, whom it knows already.
        seats: known.map_or_else(
            || partner_seats(client, &BTreeSet::new()),
            |known| known.seats.clone(),
        ),
        partner: Some(Partner {
            account: acting.agency.clone(),
            user: staff.partner_user.clone(),
            role: staff.role,
            partnership: Partnership::Active,
        }),
        ..before.clone()
    };
    with_set(client, acting, &staff.partner_user, (before, present), set)
}

/// S4.15: gives somebody of the agency who is in the client one permission set in place of what they
/// have by hand. What they have by an approved request stays (D4).
///
/// # Errors
/// Where there is no such set, or they are none whom the admin may change.
pub fn change_set(
    client: &AccountGraph,
    acting: &Acting<'_>,
    partner_user: &Id,
    set: &Id,
) -> Result<Placed, PartnerRefusal> {
    let known = require_known(client, acting, partner_user)?;
    let unchanged = known.clone();
    with_set(client, acting, partner_user, (known, unchanged), set)
}

fn with_set(
    client: &AccountGraph,
    acting: &Acting<'_>,
    partner_user: &Id,
    (before, present): (&User, User),
    set: &Id,
) -> Result<Placed, PartnerRefusal> {
    if client.permission_set(set.as_str()).is_none() {
        return Err(PartnerRefusal::UnknownSet(set.clone()));
    }
    let by_hand = |provenance: &Provenance| *provenance == Provenance::Manual;
    let mut wanted = present;
    wanted.permission_sets = BTreeSet::from([set.clone()]);
    wanted.grants.retain(|grant| !by_hand(&grant.provenance));
    wanted.memberships.retain(|held| {
        let is_set = matches!(held.of, MembershipOf::PermissionSet(_));
        !(is_set && by_hand(&held.provenance))
    });
    let settled = match Ceiling::of(client, &acting.admin.id, acting.now) {
        Some(ceiling) => ceiling.settle_user(Some(before), &wanted, &PermissionSets::of(client))?,
        // A partner admin who is a super admin of the client besides is above the ceiling.
        None => Settled {
            is: wanted,
            kept: Vec::new(),
            withheld: Vec::new(),
        },
    };
    let mut user = settled.is;
    user.set_given(before, Some(&acting.admin.id));
    Ok(Placed {
        partner_user: partner_user.clone(),
        user,
        withheld: settled.withheld,
        kept: settled.kept,
    })
}

fn require_known<'g>(
    client: &'g AccountGraph,
    acting: &Acting<'_>,
    partner_user: &Id,
) -> Result<&'g User, PartnerRefusal> {
    let known = known_in(client, acting.agency, partner_user)
        .ok_or_else(|| PartnerRefusal::NotStaff(partner_user.clone()))?;
    require_changeable(acting, known)?;
    Ok(known)
}

/// D4: an admin changes neither self nor another partner admin or super admin, nor the account owner.
fn require_changeable(acting: &Acting<'_>, user: &User) -> Result<(), PartnerRefusal> {
    match same_human(acting.admin, user) || user.partner_admin || is_above(user) {
        true => Err(PartnerRefusal::NotChangeable(user.id.clone())),
        false => Ok(()),
    }
}

/// Whom no partner admin changes, whatever else they are.
fn is_above(user: &User) -> bool {
    user.super_admin || user.account_owner
}

/// D8: what deactivates an employee of the agency in the client, or takes that back. Grants and
/// ownership stay. Nothing where it is so already.
///
/// # Errors
/// For a contractor, for self and other partner admins, and where no active super admin would be left
/// (S4.23).
pub fn set_status(
    client: &AccountGraph,
    acting: &Acting<'_>,
    partner_user: &Id,
    status: UserStatus,
) -> Result<Option<Change>, PartnerRefusal> {
    let user = known_in(client, acting.agency, partner_user)
        .ok_or_else(|| PartnerRefusal::NotStaff(partner_user.clone()))?;
    if same_human(acting.admin, user) || user.partner_admin || user.account_owner {
        return Err(PartnerRefusal::NotChangeable(user.id.clone()));
    }
    if user.kind == UserKind::Contractor {
        return Err(PartnerRefusal::ContractorStays(partner_user.clone()));
    }
    if user.status == status {
        return Ok(None);
    }
    // What is taken back is a deactivation: who is invited accepts, and a super admin is nobody's of
    // the agency to make (S4.28).
    if status == UserStatus::Active && user.status != UserStatus::Deactivated {
        return Err(PartnerRefusal::YetToAccept(user.id.clone()));
    }
    if status == UserStatus::Active && user.super_admin {
        return Err(PartnerRefusal::NotChangeable(user.id.clone()));
    }
    if status == UserStatus::Deactivated && user.super_admin {
        require_another_super_admin(client, &user.id)?;
    }
    let patch = UserPatch {
        status: Some(status),
        ..patch_of(&user.id)
    };
    Ok(Some(Change::PutUser(Box::new(patch))))
}

/// That an active super admin is left who gets past step 1 of a check (S4.23, S4.27, D9).
fn require_another_super_admin(client: &AccountGraph, user: &Id) -> Result<(), PartnerRefusal> {
    let is_other =
        |other: &User| other.super_admin && other.id != *user && is_active(client, &other.id);
    match client.users().any(is_other) {
        true => Ok(()),
        false => Err(PartnerRefusal::LastSuperAdmin),
    }
}

/// D10: what makes a super admin of a client, who is of an agency, a partner admin instead.
///
/// # Errors
/// Who is no active super admin, is of no agency, or would be the last super admin.
pub fn migrate(
    client: &AccountGraph,
    user: &Id,
    keep_billing: bool,
) -> Result<(Id, Vec<Change>), PartnerRefusal> {
    let present = client.user(user.as_str()).filter(|user| user.super_admin);
    let Some(present) = present.filter(|user| is_active(client, &user.id)) else {
        return Err(PartnerRefusal::NotSuperAdmin(user.clone()));
    };
    let Some(partner) = present.partner.clone() else {
        return Err(PartnerRefusal::NotAPartner);
    };
    require_another_super_admin(client, user)?;
    let kind = match present.kind {
        UserKind::Internal => UserKind::PartnerEmployee,
        kind => kind,
    };
    let agency = partner.account.clone();
    let patch = UserPatch {
        kind: Some(kind),
        super_admin: Some(false),
        partner_admin: Some(true),
        seats: Some(partner_seats(client, &present.seats)),
        partner: Some(Some(Partner {
            role: PartnerRole::Admin,
            ..partner
        })),
        ..patch_of(user)
    };
    let mut changes = vec![Change::PutUser(Box::new(patch))];
    let keys = billing_keys(client);
    if keep_billing && keys.is_empty() {
        return Err(PartnerRefusal::NoBillingToKeep);
    }
    for key in keys {
        let holds = present.grants.iter().any(|grant| grant.key == key);
        if keep_billing || holds {
            changes.extend(billing(present, &key, keep_billing));
        }
    }
    Ok((agency, changes))
}

/// What gives or takes one permission of billing (S4.25), whatever its provenance.
fn billing(user: &User, key: &PermissionKey, keep: bool) -> Vec<Change> {
    let of_key = user.grants.iter().filter(|grant| grant.key == *key);
    let mut provenances: BTreeSet<Provenance> =
        of_key.map(|grant| grant.provenance.clone()).collect();
    if keep {
        provenances = BTreeSet::from([Provenance::Manual]);
    }
    let grant = Grant {
        key: key.clone(),
        level: Level::Everything,
        include_unassigned: false,
        not_before: None,
        expires_at: None,
        provenance: Provenance::Manual,
        granted_by: Some(user.id.clone()),
    };
    provenances
        .into_iter()
        .map(|provenance| Change::SetGrants {
            holder: GrantHolder::User(user.id.clone()),
            key: key.clone(),
            provenance,
            grants: if keep {
                vec![grant.clone()]
            } else {
                Vec::new()
            },
        })
        .collect()
}

/// The permissions of billing that an explicit grant holds in the client's catalog.
fn billing_keys(client: &AccountGraph) -> Vec<PermissionKey> {
    let catalog = client.catalog();
    let Some(billing) = catalog
        .type_ix(BILLING_TYPE)
        .and_then(|ix| catalog.resource_type(ix))
    else {
        return Vec::new();
    };
    let explicit = (0u8..)
        .map(ActionIx)
        .zip(&billing.rules)
        .filter(|(_, rule)| {
            let reserved = rule.as_ref().and_then(|rule| rule.reserved);
            reserved.is_some_and(|of| of.explicit_grant && !of.except_partner_users)
        });
    explicit
        .filter_map(|(action, _)| {
            Some(PermissionKey {
                resource_type: Id::parse(BILLING_TYPE).ok()?,
                permission: catalog.action_name(action)?.clone(),
            })
        })
        .collect()
}
