//! Taking somebody of an agency out of a client (S4.18, S4.21, S4.22, D6): what it would touch, what
//! stands in its way, and what it changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::authz::access_request::same_human;
use crate::authz::change::{Change, ResourcePatch, UserPatch};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{
    Assignment, Id, PartnerRole, Principal, Provenance, Resource, ResourceKey, Timestamp, User,
    UserStatus,
};
use crate::authz::partnership::{PartnerRefusal, is_active, known_in, patch_of, require_admin};

/// What a removal would touch in one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The id in the client.
    pub user: Id,
    pub role: Option<PartnerRole>,
    pub status: UserStatus,
    /// Resources that the user owns, by type.
    pub owned: BTreeMap<Id, BTreeSet<Id>>,
    /// Resources that are assigned to the user by name.
    pub assigned: BTreeSet<ResourceKey>,
    /// Of these, the ones that nobody would be assigned to any more: they would be left to their
    /// owners and super admins.
    pub orphans: BTreeSet<ResourceKey>,
    pub pending_requests: u64,
    /// Why it can't be made.
    pub blocker: Option<PartnerRefusal>,
}

/// Who takes somebody out, and whom.
#[derive(Debug, Clone, Copy)]
pub struct Removal<'a> {
    pub agency: &'a Id,
    /// The user of the agency who asks.
    pub actor: &'a Id,
    /// The user of the agency who is to be taken out.
    pub partner_user: &'a Id,
    pub now: Timestamp,
}

/// What a removal would touch; `None`: they are no user of the client.
pub fn facts(client: &AccountGraph, removal: &Removal<'_>) -> Option<Facts> {
    let user = known_in(client, removal.agency, removal.partner_user)?;
    let principal = Principal::User(user.id.clone());
    let mut facts = Facts {
        user: user.id.clone(),
        role: user.partner.as_ref().map(|partner| partner.role),
        status: user.status,
        owned: BTreeMap::new(),
        assigned: BTreeSet::new(),
        orphans: BTreeSet::new(),
        pending_requests: 0,
        blocker: blocker(client, removal, user),
    };
    // Who has no standing in the client learns of nothing that is in it.
    if matches!(facts.blocker, Some(PartnerRefusal::NotPartnerAdmin(_))) {
        return Some(facts);
    }
    for key in client.resources_of_user(user.id.as_str()) {
        let Some(resource) = client.resource(&key) else {
            continue;
        };
        if resource.owners.contains(&user.id) {
            let of_type = facts.owned.entry(key.resource_type.clone()).or_default();
            of_type.insert(key.id.clone());
        }
        let is_theirs = |row: &&Assignment| row.principal == principal;
        if !resource.assignments.iter().any(|row| is_theirs(&row)) {
            continue;
        }
        let is_live = |row: &&Assignment| {
            row.expires_at
                .is_none_or(|expires_at| removal.now < expires_at)
        };
        let mut others = resource.assignments.iter().filter(|row| !is_theirs(row));
        if resource.partitioned && !others.any(|row| is_live(&row)) {
            facts.orphans.insert(key.clone());
        }
        facts.assigned.insert(key);
    }
    let pending = client.pending_requests_of(user.id.as_str()).count();
    facts.pending_requests = u64::try_from(pending).unwrap_or(u64::MAX);
    Some(facts)
}

fn blocker(client: &AccountGraph, removal: &Removal<'_>, user: &User) -> Option<PartnerRefusal> {
    let admin = match require_admin(client, removal.agency, removal.actor) {
        Ok(admin) => admin,
        Err(refusal) => return Some(refusal),
    };
    if user.super_admin {
        return Some(PartnerRefusal::SuperAdminNotRemovable(user.id.clone()));
    }
    if same_human(admin, user) || user.partner_admin || user.account_owner {
        return Some(PartnerRefusal::NotChangeable(user.id.clone()));
    }
    None
}

/// What takes a user out. What they own and are assigned to goes to the heir, or to nobody. The user
/// stays as a tombstone.
///
/// # Errors
/// Where the heir is no active user of the agency in the client, is the one who goes, or the partner
/// admin who asks (D4: nobody hands anything to themselves).
pub fn removed(
    client: &AccountGraph,
    removal: &Removal<'_>,
    facts: &Facts,
    heir: Option<&Id>,
) -> Result<Vec<Change>, PartnerRefusal> {
    let mut changes = Vec::new();
    if let Some(partner_user) = heir {
        let not_heir = || PartnerRefusal::NoHeir(partner_user.clone());
        if partner_user == removal.partner_user || partner_user == removal.actor {
            return Err(not_heir());
        }
        let heir = known_in(client, removal.agency, partner_user).ok_or_else(not_heir)?;
        let admin = require_admin(client, removal.agency, removal.actor)?;
        let is_protected = heir.partner_admin || heir.super_admin || heir.account_owner;
        if !is_active(client, &heir.id) || is_protected || same_human(admin, heir) {
            return Err(not_heir());
        }
        let owned = facts.owned.iter().flat_map(|(resource_type, ids)| {
            ids.iter().map(|id| ResourceKey {
                resource_type: resource_type.clone(),
                id: id.clone(),
            })
        });
        let keys: BTreeSet<ResourceKey> = owned.chain(facts.assigned.iter().cloned()).collect();
        for resource in keys.iter().filter_map(|key| client.resource(key)) {
            changes.extend(handed_on(&resource, &facts.user, &heir.id));
        }
    }
    let patch = UserPatch {
        status: Some(UserStatus::Removed),
        ..patch_of(&facts.user)
    };
    changes.push(Change::PutUser(Box::new(patch)));
    Ok(changes)
}

/// What the heir takes over of a resource: ownership, and each assignment by name with its reason and
/// its end. Those of segments come and go by their rules.
fn handed_on(resource: &Resource, user: &Id, heir: &Id) -> Vec<Change> {
    let mut changes = Vec::new();
    if resource.owners.contains(user) {
        let mut owners = resource.owners.clone();
        owners.remove(user);
        owners.insert(heir.clone());
        changes.push(Change::PutResource(ResourcePatch {
            key: resource.key.clone(),
            owners: Some(owners),
            owning_team: None,
            partitioned: None,
            attributes: None,
            creator: None,
        }));
    }
    let principal = Principal::User(user.clone());
    let theirs = resource.assignments.iter().filter(|row| {
        row.principal == principal && !matches!(row.provenance, Provenance::Segment(_))
    });
    let to = Principal::User(heir.clone());
    changes.extend(theirs.map(|row| {
        // What the heir has for longer stays so.
        let own = resource
            .assignments
            .iter()
            .find(|own| own.principal == to && own.provenance == row.provenance);
        let ends = own.map(|own| own.expires_at);
        Change::PutAssignment {
            resource: resource.key.clone(),
            principal: to.clone(),
            provenance: row.provenance.clone(),
            expires_at: match (row.expires_at, ends) {
                (Some(one), Some(Some(other))) => Some(one.max(other)),
                (one, None) => one,
                (None, _) | (_, Some(None)) => None,
            },
        }
    }));
    changes
}
