//! From a document to the changes that write it to an account.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::part::{self, KeyGrants, ResourcePart, TeamPart, UserPart};
use super::{Document, DocumentError, reference};
use crate::authz::change::{
    AccountPatch, Change, GrantHolder, ResourcePatch, SegmentPatch, TeamPatch, UserPatch,
};
use crate::authz::model::{
    AccessGroup, Entity, Grant, Id, PermissionKey, Provenance, Resource, ResourceKey, User,
};
use crate::authz::yaml::{At, Place};

/// What the document names, added or replaced; what is referred to comes first.
pub(super) fn upserts(document: &Document) -> Result<Vec<At<Change>>, DocumentError> {
    let parts = &document.parts;
    reference::no_cycle(&parts.teams)?;
    reference::one_owner(
        parts
            .users
            .iter()
            .map(|user| (&user.id, user.account_owner)),
    )?;
    let mut changes = Changes::default();
    changes.push(document.place(), put_account(document));
    for team in parents_first(&parts.teams) {
        changes.push(
            team.id.place,
            Change::PutTeam(TeamPatch {
                id: team.id.value.clone(),
                parent: bare(&team.parent),
            }),
        );
    }
    for set in &parts.permission_sets {
        let id = &set.id.value;
        changes.push(set.id.place, Change::PutPermissionSet(id.clone()));
        let holder = GrantHolder::PermissionSet(id.clone());
        changes.grants(&holder, set.grants.as_deref());
    }
    for user in &parts.users {
        changes.push(user.id.place, put_user(user));
        changes.memberships(user);
        let holder = GrantHolder::User(user.id.value.clone());
        changes.grants(&holder, user.grants.as_deref());
    }
    for group in &parts.access_groups {
        let id = &group.id.value;
        changes.push(group.id.place, Change::PutAccessGroup(id.clone()));
        for member in group.members.iter().flatten() {
            changes.push(
                member.principal.place,
                Change::SetGroupMember {
                    group: id.clone(),
                    principal: member.principal.value.clone(),
                    actions: Some(member.actions.clone()),
                },
            );
        }
    }
    for resource in &parts.resources {
        changes.resource(resource);
    }
    for user in &parts.users {
        changes.object_grants(user);
    }
    for segment in &parts.segments {
        changes.push(
            segment.id.place,
            Change::PutSegment(SegmentPatch {
                id: segment.id.value.clone(),
                resource_type: segment.resource_type.clone(),
                when: segment.when.clone(),
                assign_to: segment
                    .assign_to
                    .as_deref()
                    .map(|targets| part::set(Some(targets))),
                enabled: segment.enabled,
                may_partition: segment.may_partition,
            }),
        );
    }
    Ok(changes.0)
}

#[derive(Default)]
struct Changes(Vec<At<Change>>);

impl Changes {
    fn push(&mut self, place: Place, value: Change) {
        self.0.push(At { value, place });
    }

    /// One change for each key and provenance that is named. A key that is listed without a grant
    /// empties what was granted by hand.
    fn grants(&mut self, holder: &GrantHolder, grants: Option<&[KeyGrants]>) {
        for of_key in grants.unwrap_or_default() {
            let mut by_provenance: BTreeMap<Provenance, Vec<Grant>> = BTreeMap::new();
            for grant in &of_key.grants {
                by_provenance
                    .entry(grant.provenance.clone())
                    .or_default()
                    .push(grant.clone());
            }
            if by_provenance.is_empty() {
                by_provenance.insert(Provenance::Manual, Vec::new());
            }
            for (provenance, grants) in by_provenance {
                self.push(
                    of_key.place,
                    Change::SetGrants {
                        holder: holder.clone(),
                        key: of_key.key.clone(),
                        provenance,
                        grants,
                    },
                );
            }
        }
    }

    fn resource(&mut self, resource: &ResourcePart) {
        self.push(
            resource.place,
            Change::PutResource(ResourcePatch {
                key: resource.key.clone(),
                owners: resource
                    .owners
                    .as_deref()
                    .map(|owners| part::set(Some(owners))),
                owning_team: bare(&resource.owning_team),
                partitioned: resource.partitioned,
                attributes: resource.attributes.clone(),
                creator: None,
            }),
        );
        for At { value: row, place } in resource.assigned_to.iter().flatten() {
            self.push(
                *place,
                Change::PutAssignment {
                    resource: resource.key.clone(),
                    principal: row.principal.clone(),
                    provenance: row.provenance.clone(),
                    expires_at: row.expires_at,
                },
            );
        }
    }

    fn memberships(&mut self, user: &UserPart) {
        for At { value, place } in user.memberships.iter().flatten() {
            self.push(
                *place,
                Change::PutMembership {
                    user: user.id.value.clone(),
                    membership: value.clone(),
                },
            );
        }
    }

    fn object_grants(&mut self, user: &UserPart) {
        for At {
            value: grant,
            place,
        } in user.object_grants.iter().flatten()
        {
            self.push(
                *place,
                Change::SetObjectGrant {
                    user: user.id.value.clone(),
                    resource: grant.resource.clone(),
                    action: grant.action.clone(),
                    provenance: grant.provenance.clone(),
                    grant: Some(grant.clone()),
                },
            );
        }
    }
}

fn put_account(document: &Document) -> Change {
    let about = &document.parts.account;
    Change::PutAccount(AccountPatch {
        catalog: document
            .catalog
            .as_ref()
            .map(|(reference, _)| reference.clone()),
        plan: about.plan.clone(),
        partner_program: about.partner_program,
        payment_method_valid: about.payment_method_valid,
        partition_mode: about.settings.partition_mode.clone(),
        unpartitioned: about.settings.unpartitioned.clone(),
        request_ttl_seconds: about.settings.request_ttl_seconds,
        request_cool_down_seconds: about.settings.request_cool_down_seconds,
        request_limit_per_user: about.settings.request_limit_per_user,
    })
}

fn put_user(user: &UserPart) -> Change {
    Change::PutUser(Box::new(UserPatch {
        id: user.id.value.clone(),
        status: user.status,
        kind: user.kind,
        account_owner: user.account_owner,
        super_admin: user.super_admin,
        partner_admin: user.partner_admin,
        main_team: bare(&user.main_team),
        teams: user.teams.as_deref().map(|teams| part::set(Some(teams))),
        seats: user.seats.clone(),
        person: user.person.clone(),
        email: user.email.clone(),
        partner: user.partner.clone(),
        permission_sets: user
            .permission_sets
            .as_deref()
            .map(|sets| part::set(Some(sets))),
    }))
}

fn bare(field: &Option<Option<At<Id>>>) -> Option<Option<Id>> {
    field
        .as_ref()
        .map(|inner| inner.as_ref().map(|at| at.value.clone()))
}

/// Teams of the document, each behind its parent. The document has no cycle.
fn parents_first(teams: &[TeamPart]) -> Vec<&TeamPart> {
    let by_id: HashMap<&Id, &TeamPart> = teams.iter().map(|team| (&team.id.value, team)).collect();
    let mut placed: HashSet<&Id> = HashSet::new();
    let mut ordered = Vec::with_capacity(teams.len());
    for team in teams {
        let mut chain = Vec::new();
        let mut next = Some(team);
        while let Some(link) = next.filter(|link| !placed.contains(&link.id.value)) {
            placed.insert(&link.id.value);
            chain.push(link);
            let parent = link.parent.iter().flatten().next();
            next = parent.and_then(|parent| by_id.get(&parent.value).copied());
        }
        ordered.extend(chain.into_iter().rev());
    }
    ordered
}

/// What a document removes beside what it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// Inside the entities that it names, what a list that it gives as empty still holds.
    Emptied,
    /// All that it doesn't name: inside the entities that it names, then whole entities.
    Unnamed,
}

impl Removal {
    /// Whether a list of a named entity loses what it doesn't name.
    fn covers<T>(self, listed: Option<&[T]>) -> bool {
        self == Self::Unnamed || listed.is_some_and(<[T]>::is_empty)
    }
}

/// Whether the document gives a list of grants, memberships, members or assignments as empty: then what it
/// removes depends on what is there.
pub(super) fn empties(document: &Document) -> bool {
    let parts = &document.parts;
    let emptied = Removal::Emptied;
    parts
        .permission_sets
        .iter()
        .any(|set| emptied.covers(set.grants.as_deref()))
        || parts.users.iter().any(|user| {
            emptied.covers(user.grants.as_deref())
                || emptied.covers(user.memberships.as_deref())
                || emptied.covers(user.object_grants.as_deref())
        })
        || parts
            .access_groups
            .iter()
            .any(|group| emptied.covers(group.members.as_deref()))
        || parts
            .resources
            .iter()
            .any(|resource| emptied.covers(resource.assigned_to.as_deref()))
}

/// Removes what the account has and the document, as far as `removal` goes, doesn't name.
pub(super) fn remove(
    document: &Document,
    current: &[Entity],
    removal: Removal,
    changes: &mut Vec<At<Change>>,
) {
    let named = Named::new(document);
    let place = document.place();
    let mut inside = Vec::new();
    let mut whole = Vec::new();
    for entity in current {
        match entity {
            Entity::Account(_) => {}
            Entity::Team(team) => {
                if !named.teams.contains(&team.id) {
                    whole.push(Change::DeleteTeam(team.id.clone()));
                }
            }
            Entity::PermissionSet(set) => match named.permission_sets.get(&set.id) {
                None => whole.push(Change::DeletePermissionSet(set.id.clone())),
                Some(listed) => prune_grants(
                    &GrantHolder::PermissionSet(set.id.clone()),
                    &set.grants,
                    listed.grants.as_deref(),
                    removal,
                    &mut inside,
                ),
            },
            Entity::User(user) => match named.users.get(&user.id) {
                None => whole.push(Change::DeleteUser(user.id.clone())),
                Some(listed) => prune_user(user, listed, removal, &mut inside),
            },
            Entity::AccessGroup(group) => match named.access_groups.get(&group.id) {
                None => whole.push(Change::DeleteAccessGroup(group.id.clone())),
                Some(listed) => prune_members(group, listed, removal, &mut inside),
            },
            Entity::Resource(resource, _) => match named.resources.get(&resource.key) {
                None => whole.push(Change::DeleteResource(resource.key.clone())),
                Some(listed) => prune_assignments(resource, listed, removal, &mut inside),
            },
            // No part of documents: what is asked for is not taken back by writing one.
            Entity::AccessRequest(_) => {}
            Entity::Segment(segment) => {
                if !named.segments.contains(&segment.id) {
                    whole.push(Change::DeleteSegment(segment.id.clone()));
                }
            }
        }
    }
    if removal == Removal::Emptied {
        whole.clear();
    }
    changes.extend(
        inside
            .into_iter()
            .chain(whole)
            .map(|value| At { value, place }),
    );
}

struct Named<'d> {
    teams: HashSet<&'d Id>,
    permission_sets: HashMap<&'d Id, &'d part::PermissionSetPart>,
    users: HashMap<&'d Id, &'d UserPart>,
    access_groups: HashMap<&'d Id, &'d part::AccessGroupPart>,
    resources: HashMap<&'d ResourceKey, &'d ResourcePart>,
    segments: HashSet<&'d Id>,
}

impl<'d> Named<'d> {
    fn new(document: &'d Document) -> Self {
        let parts = &document.parts;
        Self {
            teams: parts.teams.iter().map(|team| &team.id.value).collect(),
            permission_sets: parts
                .permission_sets
                .iter()
                .map(|set| (&set.id.value, set))
                .collect(),
            users: parts
                .users
                .iter()
                .map(|user| (&user.id.value, user))
                .collect(),
            access_groups: parts
                .access_groups
                .iter()
                .map(|group| (&group.id.value, group))
                .collect(),
            resources: parts
                .resources
                .iter()
                .map(|resource| (&resource.key, resource))
                .collect(),
            segments: parts
                .segments
                .iter()
                .map(|segment| &segment.id.value)
                .collect(),
        }
    }
}

fn prune_grants(
    holder: &GrantHolder,
    stored: &BTreeSet<Grant>,
    listed: Option<&[KeyGrants]>,
    removal: Removal,
    changes: &mut Vec<Change>,
) {
    if !removal.covers(listed) {
        return;
    }
    let named: HashSet<(&PermissionKey, &Provenance)> = listed
        .unwrap_or_default()
        .iter()
        .flat_map(|of_key| &of_key.grants)
        .map(|grant| (&grant.key, &grant.provenance))
        .collect();
    let present: BTreeSet<(&PermissionKey, &Provenance)> = stored
        .iter()
        .map(|grant| (&grant.key, &grant.provenance))
        .collect();
    for (key, provenance) in present {
        if !named.contains(&(key, provenance)) {
            changes.push(Change::SetGrants {
                holder: holder.clone(),
                key: key.clone(),
                provenance: provenance.clone(),
                grants: Vec::new(),
            });
        }
    }
}

fn prune_user(user: &User, listed: &UserPart, removal: Removal, changes: &mut Vec<Change>) {
    let holder = GrantHolder::User(user.id.clone());
    prune_grants(
        &holder,
        &user.grants,
        listed.grants.as_deref(),
        removal,
        changes,
    );
    prune_memberships(user, listed, removal, changes);
    if !removal.covers(listed.object_grants.as_deref()) {
        return;
    }
    for grant in &user.object_grants {
        let named = listed.object_grants.iter().flatten().any(|at| {
            at.value.resource == grant.resource
                && at.value.action == grant.action
                && at.value.provenance == grant.provenance
        });
        if !named {
            changes.push(Change::SetObjectGrant {
                user: user.id.clone(),
                resource: grant.resource.clone(),
                action: grant.action.clone(),
                provenance: grant.provenance.clone(),
                grant: None,
            });
        }
    }
}

fn prune_memberships(user: &User, listed: &UserPart, removal: Removal, changes: &mut Vec<Change>) {
    if !removal.covers(listed.memberships.as_deref()) {
        return;
    }
    for stored in &user.memberships {
        let mut named = listed.memberships.iter().flatten();
        if named.any(|at| at.value.is_of(&stored.of, &stored.provenance)) {
            continue;
        }
        changes.push(Change::DeleteMembership {
            user: user.id.clone(),
            of: stored.of.clone(),
            provenance: stored.provenance.clone(),
        });
    }
}

fn prune_members(
    group: &AccessGroup,
    listed: &part::AccessGroupPart,
    removal: Removal,
    changes: &mut Vec<Change>,
) {
    if !removal.covers(listed.members.as_deref()) {
        return;
    }
    let named: HashSet<_> = listed
        .members
        .iter()
        .flatten()
        .map(|member| &member.principal.value)
        .collect();
    for principal in group
        .members
        .keys()
        .filter(|member| !named.contains(member))
    {
        changes.push(Change::SetGroupMember {
            group: group.id.clone(),
            principal: principal.clone(),
            actions: None,
        });
    }
}

/// An unpartition has taken all rows already.
fn prune_assignments(
    resource: &Resource,
    listed: &ResourcePart,
    removal: Removal,
    changes: &mut Vec<Change>,
) {
    if listed.partitioned == Some(false) || !removal.covers(listed.assigned_to.as_deref()) {
        return;
    }
    let named: HashSet<_> = listed
        .assigned_to
        .iter()
        .flatten()
        .map(|at| (&at.value.principal, &at.value.provenance))
        .collect();
    for row in &resource.assignments {
        if !named.contains(&(&row.principal, &row.provenance)) {
            changes.push(Change::DeleteAssignment {
                resource: resource.key.clone(),
                principal: row.principal.clone(),
                provenance: row.provenance.clone(),
            });
        }
    }
}
