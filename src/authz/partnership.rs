//! Agencies in the accounts of their clients (S4, D1, D2): who manages an agency's people, who lets
//! them into a client, and what becomes of the client's users where a link is approved or a
//! partnership ends.
//!
//! Each call needs two authorities (D2): one in the agency's account, and one in the client's. They
//! are judged on the two accounts as they stand, by two functions, so that each refusal names the one
//! that was missing.

use std::collections::BTreeSet;

use super::access_request::same_human;
use super::access_set::{barred, check};
use super::catalog::SeatSet;
use super::change::{Change, UserPatch};
use super::decision::{ReasonCode, Target};
use super::graph::AccountGraph;
use super::model::{
    Id, Partner, PartnerProgram, PartnerRole, Partnership, Timestamp, User, UserKind, UserStatus,
};
use super::on_behalf::beyond;

/// The permission that makes somebody manage an agency's people, in the agency's account (S4.2). A
/// catalog without it leaves it to owner and super admins.
const STAFF_TYPE: &str = "partner_management";
const STAFF_ACTIONS: [&str; 2] = ["view", "edit"];

/// The permission that lets somebody manage the users of a client (D1).
const USERS_TYPE: &str = "user_management";
const USERS_ACTION: &str = "edit";

/// The seat of partner users, where the catalog has one (S4.12, S4.28).
const PARTNER_SEAT: &str = "partner";

/// Why something between an agency and a client is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartnerRefusal {
    #[error("the account is neither a solutions partner nor a provider (S4.3)")]
    NotAPartner,
    #[error(
        "`{0}` is no active super admin of the agency's account, and may not view and edit `partner_management` there (S4.2)"
    )]
    NoPartnerManagement(Id),
    #[error("`{0}` is no active partner admin in the client (D2)")]
    NotPartnerAdmin(Id),
    #[error(
        "`{0}` is no active account owner, super admin or user who may edit users of the client, or is a partner user (D1)"
    )]
    NotAnApprover(Id),
    #[error("there is no such access link")]
    LinkNotFound,
    #[error("the access link expired at {0}; the agency makes a new one")]
    LinkExpired(Timestamp),
    #[error("the access link was revoked at {0}")]
    LinkRevoked(Timestamp),
    #[error(
        "the client approved this access link before, and what it gave was taken back since; the agency makes a new one"
    )]
    LinkUsed,
    #[error("an agency is no client of itself")]
    OwnClient,
    #[error("the client has another user `{0}`: name another id for the agency's user")]
    UserTaken(Id),
    #[error("the agency's user is `{0}` in this client already")]
    KnownAs(Id),
    #[error("the client has no users of that agency")]
    NoPartnership,
    #[error(
        "only partner users would be left as active super admins, and none of them could do anything any more; make another user one first (D9)"
    )]
    LastSuperAdmin,
    #[error("the client has no user who stands for `{0}` of the agency")]
    NotStaff(Id),
    #[error(
        "`{0}` is the person who asks, or another partner admin, a super admin or the account owner, whom no partner admin changes (D4)"
    )]
    NotChangeable(Id),
    #[error("`{0}` is deactivated in the client: reactivate them first")]
    Deactivated(Id),
    #[error(
        "`{0}` is a contractor: contractors are removed from clients, and not deactivated (D8)"
    )]
    ContractorStays(Id),
    #[error("`{0}` is no active user of the agency's account")]
    NotOfAgency(Id),
    #[error("`{0}` is no contractor of the agency")]
    NotAContractor(Id),
    #[error("the client has no permission set `{0}`")]
    UnknownSet(Id),
    #[error("{0}")]
    TooManyRights(String),
    #[error("nobody but oneself becomes a partner admin in place of a super admin (S4.26)")]
    SelfOnly,
    #[error("`{0}` is no active super admin of the client")]
    NotSuperAdmin(Id),
    #[error("`{0}` is a super admin of the client, whom no partner admin removes (S4.22)")]
    SuperAdminNotRemovable(Id),
    #[error(
        "`{0}` can't take over there: it takes an active user of the agency in the client, other than who goes and who asks, and no partner admin, super admin or account owner (D4)"
    )]
    NoHeir(Id),
    #[error("billing is not kept: in the client's catalog no grant gives it")]
    NoBillingToKeep,
    #[error("`{0}` is the same person: nobody does this for themselves (D4)")]
    SamePerson(Id),
    #[error(
        "the user would have {0} again, which whoever approves does not hold (D3): a super admin of the client may approve"
    )]
    BeyondApprover(String),
    #[error("`{0}` is invited in the client and has yet to accept")]
    YetToAccept(Id),
    #[error("an id of the form AGENCY/USER would be too long for `{0}`: name another one")]
    IdTooLong(Id),
}

/// S4.3.
///
/// # Errors
/// [`PartnerRefusal::NotAPartner`].
pub fn require_partner(agency: &AccountGraph) -> Result<(), PartnerRefusal> {
    match agency.account().partner_program {
        PartnerProgram::Solutions | PartnerProgram::Provider => Ok(()),
        PartnerProgram::None => Err(PartnerRefusal::NotAPartner),
    }
}

/// S4.2: the authority in the agency's account.
///
/// # Errors
/// [`PartnerRefusal::NoPartnerManagement`].
pub fn require_management(
    agency: &AccountGraph,
    user: &Id,
    now: Timestamp,
) -> Result<(), PartnerRefusal> {
    let holds = |action| holds(agency, user, STAFF_TYPE, action, now);
    match is_above(agency, user) || STAFF_ACTIONS.into_iter().all(holds) {
        true => Ok(()),
        false => Err(PartnerRefusal::NoPartnerManagement(user.clone())),
    }
}

/// D2: the authority in the client, of whom `user` is in the agency; answers who that is in the
/// client.
///
/// # Errors
/// [`PartnerRefusal::NotPartnerAdmin`].
pub fn require_admin<'g>(
    client: &'g AccountGraph,
    agency: &Id,
    user: &Id,
) -> Result<&'g User, PartnerRefusal> {
    let is_theirs = |partner: &Partner| partner.account == *agency && partner.user == *user;
    client
        .users()
        .find(|one| {
            one.partner.as_ref().is_some_and(is_theirs)
                && one.partner_admin
                && one.is_partner_user()
                && is_active(client, &one.id)
        })
        .ok_or_else(|| PartnerRefusal::NotPartnerAdmin(user.clone()))
}

/// D1: who lets an agency's people in, and ends a partnership from the client's side. No partner user
/// does, whatever they hold: partner admins make no partner admins.
///
/// # Errors
/// [`PartnerRefusal::NotAnApprover`].
pub fn require_approver(
    client: &AccountGraph,
    user: &Id,
    now: Timestamp,
) -> Result<(), PartnerRefusal> {
    let is_own = client
        .user(user.as_str())
        .is_some_and(|user| !user.is_partner_user() && user.partner.is_none());
    let may = || is_above(client, user) || holds(client, user, USERS_TYPE, USERS_ACTION, now);
    match is_own && may() {
        true => Ok(()),
        false => Err(PartnerRefusal::NotAnApprover(user.clone())),
    }
}

/// An active account owner or super admin, who is above the grant ceiling.
fn is_above(graph: &AccountGraph, user: &Id) -> bool {
    let is_above = |user: &User| user.account_owner || user.super_admin;
    graph.user(user.as_str()).is_some_and(is_above) && is_active(graph, user)
}

/// A user who gets past step 1 of every check.
pub(super) fn is_active(graph: &AccountGraph, user: &Id) -> bool {
    graph
        .compiled_user(user.as_str())
        .is_some_and(|user| barred(user).is_none())
}

/// To hold a permission is that its tool-level check is ALLOW (R4); what everybody may do is nobody's
/// to hold.
fn holds(
    graph: &AccountGraph,
    user: &Id,
    resource_type: &str,
    action: &str,
    now: Timestamp,
) -> bool {
    check(
        graph,
        user.as_str(),
        resource_type,
        action,
        Target::Tool,
        now,
    )
    .is_ok_and(|decision| decision.is_allow() && decision.reason != ReasonCode::Always)
}

/// Users of a client who stand for people of an agency; tombstones of removed ones are none.
pub fn partner_users<'a>(
    client: &'a AccountGraph,
    agency: &'a Id,
) -> impl Iterator<Item = &'a User> {
    client.users().filter(move |user| {
        let is_of = |partner: &Partner| partner.account == *agency;
        user.status != UserStatus::Removed && user.partner.as_ref().is_some_and(is_of)
    })
}

/// Whom a client lets in.
#[derive(Debug, Clone)]
pub struct LetIn<'a> {
    /// The client's user who approves.
    pub approver: &'a Id,
    pub now: Timestamp,
    pub agency: &'a Id,
    /// The user in the agency's account.
    pub partner_user: &'a User,
    /// The id in the client; `None`: the one that they have there, else one made of both ids.
    pub user: Option<&'a Id>,
}

/// S4.5: what makes somebody of an agency a partner employee with partner-admin permissions, and who
/// that is in the client.
///
/// # Errors
/// Where the id is somebody else's, or they are somebody else there already.
pub fn let_in(client: &AccountGraph, who: &LetIn<'_>) -> Result<(Id, Change), PartnerRefusal> {
    let id = user_id_for(client, who.agency, &who.partner_user.id, who.user)?;
    let present = client.user(id.as_str());
    may_bring(client, who, present)?;
    let none = BTreeSet::new();
    let seats = partner_seats(client, present.map_or(&none, |user| &user.seats));
    let (email, person) = match present {
        Some(_) => (None, None),
        None => (
            Some(who.partner_user.email.clone()),
            Some(who.partner_user.person.clone()),
        ),
    };
    let patch = UserPatch {
        status: Some(UserStatus::Active),
        kind: Some(UserKind::PartnerEmployee),
        partner_admin: Some(true),
        seats: Some(seats),
        email,
        person,
        partner: Some(Some(Partner {
            account: who.agency.clone(),
            user: who.partner_user.id.clone(),
            role: PartnerRole::Admin,
            partnership: Partnership::Active,
        })),
        ..patch_of(&id)
    };
    Ok((id, Change::PutUser(Box::new(patch))))
}

/// Nobody lets themselves in, and whoever comes back has no more than the approver could give (D3).
fn may_bring(
    client: &AccountGraph,
    who: &LetIn<'_>,
    present: Option<&User>,
) -> Result<(), PartnerRefusal> {
    let approver = client
        .user(who.approver.as_str())
        .ok_or_else(|| PartnerRefusal::NotAnApprover(who.approver.clone()))?;
    let person = &who.partner_user.person;
    let is_same = person.is_some() && *person == approver.person;
    if is_same || present.is_some_and(|present| same_human(approver, present)) {
        return Err(PartnerRefusal::SamePerson(who.approver.clone()));
    }
    let returns = present.filter(|present| !present.is_active());
    match returns.and_then(|user| beyond(client, who.approver, user, who.now)) {
        Some(what) => Err(PartnerRefusal::BeyondApprover(what)),
        None => Ok(()),
    }
}

/// The user of a client who stands for somebody of an agency.
pub(super) fn known_in<'g>(
    client: &'g AccountGraph,
    agency: &Id,
    partner_user: &Id,
) -> Option<&'g User> {
    let is_theirs = |partner: &Partner| partner.account == *agency && partner.user == *partner_user;
    client.users().find(|user| {
        user.status != UserStatus::Removed && user.partner.as_ref().is_some_and(is_theirs)
    })
}

/// Who somebody of an agency is in a client, or is to be: by the id that is named, the one that they
/// have there, or `AGENCY/USER`, which no user that the client named is likely to have.
pub(super) fn user_id_for(
    client: &AccountGraph,
    agency: &Id,
    partner_user: &Id,
    named: Option<&Id>,
) -> Result<Id, PartnerRefusal> {
    let id = match (known_in(client, agency, partner_user), named) {
        (Some(known), Some(named)) if known.id != *named => {
            return Err(PartnerRefusal::KnownAs(known.id.clone()));
        }
        (Some(known), _) => known.id.clone(),
        (None, Some(named)) => named.clone(),
        (None, None) => Id::parse(&format!("{agency}/{partner_user}"))
            .map_err(|_too_long| PartnerRefusal::IdTooLong(partner_user.clone()))?,
    };
    // A tombstone of theirs is theirs too.
    let is_theirs = |partner: &Partner| partner.account == *agency && partner.user == *partner_user;
    let is_free = client
        .user(id.as_str())
        .is_none_or(|user| user.partner.as_ref().is_some_and(is_theirs));
    match is_free {
        true => Ok(id),
        false => Err(PartnerRefusal::UserTaken(id)),
    }
}

/// With the seat that partner users have, where the client's catalog knows one. A seat that only reads
/// is the client's limit, and stays the only one.
pub(super) fn partner_seats(client: &AccountGraph, seats: &BTreeSet<Id>) -> BTreeSet<Id> {
    let mut seats = seats.clone();
    let catalog = client.catalog();
    let only_reads = |seat: &Id| {
        let ix = catalog.seat_ix(seat.as_str());
        ix.is_some_and(|ix| catalog.read_only_seats.intersects(SeatSet::of(ix)))
    };
    if catalog.seat_ix(PARTNER_SEAT).is_some()
        && !seats.iter().any(only_reads)
        && let Ok(seat) = Id::parse(PARTNER_SEAT)
    {
        seats.insert(seat);
    }
    seats
}

/// Whether what an approval gave still stands.
pub fn stands(client: &AccountGraph, agency: &Id, user: &Id) -> bool {
    partner_users(client, agency).any(|one| {
        one.id == *user && one.partner_admin && one.is_partner_user() && is_active(client, user)
    })
}

/// Whether somebody of an agency can do anything in the client.
pub fn stands_for(client: &AccountGraph, agency: &Id, partner_user: &Id) -> bool {
    known_in(client, agency, partner_user).is_some_and(|user| is_active(client, &user.id))
}

/// What ends a partnership: all users of the agency are PARTNERSHIP_INACTIVE from there on. Nothing
/// where it has ended already.
///
/// # Errors
/// Where there is none, or where it would take the last super admin who can do anything (D9).
pub fn end(client: &AccountGraph, agency: &Id) -> Result<Vec<Change>, PartnerRefusal> {
    let users: Vec<&User> = partner_users(client, agency).collect();
    if users.is_empty() {
        return Err(PartnerRefusal::NoPartnership);
    }
    let is_admin = |user: &&User| user.super_admin && is_active(client, &user.id);
    let is_of = |user: &&User| {
        user.partner
            .as_ref()
            .is_some_and(|partner| partner.account == *agency)
    };
    let takes_any = users.iter().any(is_admin);
    let leaves_one = client.users().any(|user| is_admin(&user) && !is_of(&user))
        || (client.catalog().owner_may_stand_alone
            && client
                .users()
                .any(|user| user.account_owner && is_active(client, &user.id) && !is_of(&user)));
    if takes_any && !leaves_one {
        return Err(PartnerRefusal::LastSuperAdmin);
    }
    Ok(users.into_iter().filter_map(ended).collect())
}

fn ended(user: &User) -> Option<Change> {
    let partner = user.partner.as_ref()?;
    // One that a plain writer made an internal user of an agency would not be barred.
    let kind = match (user.kind, partner.role) {
        (UserKind::Internal, PartnerRole::Contractor) => UserKind::Contractor,
        (UserKind::Internal, PartnerRole::Admin | PartnerRole::Employee) => {
            UserKind::PartnerEmployee
        }
        (kind, _) => kind,
    };
    if partner.partnership == Partnership::Ended && kind == user.kind {
        return None;
    }
    let patch = UserPatch {
        kind: Some(kind),
        partner: Some(Some(Partner {
            partnership: Partnership::Ended,
            ..partner.clone()
        })),
        ..patch_of(&user.id)
    };
    Some(Change::PutUser(Box::new(patch)))
}

/// A patch that changes nothing.
pub(super) fn patch_of(user: &Id) -> UserPatch {
    UserPatch {
        id: user.clone(),
        status: None,
        kind: None,
        account_owner: None,
        super_admin: None,
        partner_admin: None,
        main_team: None,
        teams: None,
        seats: None,
        person: None,
        email: None,
        partner: None,
        permission_sets: None,
    }
}
