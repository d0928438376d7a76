//! From entities to an account document that makes the same account again.
//!
//! The order is fixed, so that two exports can be compared line by line: kinds in the order of the
//! format, entities by id, fields in the order of the format, defaults left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::authz::catalog::{Catalog, CatalogError};
use crate::authz::model::{
    AccessGroup, Account, Assignment, Attributes, CatalogRef, Entity, Grant, Id, Level, Membership,
    ObjectGrant, PartnerProgram, PermissionKey, PermissionSet, Principal, Provenance, Resource,
    ResourceKey, Segment, Settings, Team, User,
};
use text::{flow_list, flow_map, json_map, plain_or_quoted, text_block_or_quoted};

mod text;

/// Why entities can't be written as a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    #[error("there is no account entity to export")]
    NoAccount,
    #[error("the account's catalog can't be used: {0}")]
    Catalog(#[from] CatalogError),
}

/// The entities of one account, sorted.
#[derive(Default)]
struct Sorted<'e> {
    account: Option<&'e Account>,
    teams: BTreeMap<&'e Id, &'e Team>,
    permission_sets: BTreeMap<&'e Id, &'e PermissionSet>,
    users: BTreeMap<&'e Id, &'e User>,
    access_groups: BTreeMap<&'e Id, &'e AccessGroup>,
    resources: BTreeMap<&'e ResourceKey, (&'e Resource, Option<&'e Attributes>)>,
    segments: BTreeMap<&'e Id, &'e Segment>,
}

/// Writes the entities of one account as YAML.
///
/// An account that has walls which its plan would not let it raise (C12) becomes two documents: the
/// first has a plan that allows them all, the second takes the present one.
///
/// # Errors
/// No account entity, or a catalog that can't be read.
pub fn export(entities: &[Entity]) -> Result<String, ExportError> {
    let mut sorted = Sorted::default();
    for entity in entities {
        match entity {
            Entity::Account(account) => sorted.account = Some(account),
            Entity::Team(team) => drop(sorted.teams.insert(&team.id, team)),
            Entity::PermissionSet(set) => drop(sorted.permission_sets.insert(&set.id, set)),
            Entity::User(user) => drop(sorted.users.insert(&user.id, user)),
            Entity::AccessGroup(group) => drop(sorted.access_groups.insert(&group.id, group)),
            Entity::Resource(resource, attributes) => {
                let value = (resource, attributes.as_ref());
                sorted.resources.insert(&resource.key, value);
            }
            Entity::Segment(segment) => drop(sorted.segments.insert(&segment.id, segment)),
            // No part of documents, which say how an account is to be.
            Entity::AccessRequest(_) => {}
        }
    }
    let account = sorted.account.ok_or(ExportError::NoAccount)?;
    let catalog = Catalog::resolve_ref(&account.catalog)?;
    let plan = entitling_plan(&catalog, account, &sorted);
    let mut out = String::new();
    write_head(&mut out, account, &plan);
    write_terms(&mut out, account);
    write_entities(&mut out, &sorted);
    if plan != account.plan {
        out.push_str("---\n# The present plan; the walls above were raised under a larger one.\n");
        write_head(&mut out, account, &account.plan);
    }
    Ok(out)
}

/// The present plan, or the first one that allows every wall where the present one doesn't.
fn entitling_plan(catalog: &Catalog, account: &Account, sorted: &Sorted<'_>) -> Id {
    let walled: BTreeSet<usize> = sorted
        .resources
        .values()
        .filter(|(resource, _)| resource.partitioned)
        .filter_map(|(resource, _)| catalog.type_ix(resource.key.resource_type.as_str()))
        .map(|ix| usize::from(ix.0))
        .collect();
    let present = catalog.plan(account.plan.as_str());
    present
        .into_iter()
        .chain(&catalog.plans)
        .find(|plan| {
            walled
                .iter()
                .all(|ix| plan.partitionable.get(*ix) == Some(&true))
        })
        .map_or_else(|| account.plan.clone(), |plan| plan.name.clone())
}

fn write_head(out: &mut String, account: &Account, plan: &Id) {
    let catalog = match &account.catalog {
        CatalogRef::BuiltIn(name) => plain_or_quoted(name.as_str()),
        CatalogRef::Custom(text) => text_block_or_quoted(text),
    };
    let _ = writeln!(out, "account: {}", plain_or_quoted(account.id.as_str()));
    let _ = writeln!(out, "catalog: {}", catalog.trim_end_matches('\n'));
    let _ = writeln!(out, "plan: {}", plain_or_quoted(plan.as_str()));
}

fn write_terms(out: &mut String, account: &Account) {
    if account.partner_program != PartnerProgram::None {
        let _ = writeln!(out, "partner_program: {}", account.partner_program);
    }
    if !account.payment_method_valid {
        out.push_str("payment_method_valid: false\n");
    }
    let Settings {
        partition_mode,
        unpartitioned,
        request_ttl_seconds,
        request_cool_down_seconds,
        request_limit_per_user,
    } = &account.settings;
    if account.settings == Settings::default() {
        return;
    }
    out.push_str("settings:\n");
    let per_type = |entries: Vec<(&Id, &'static str)>| {
        flow_map(
            entries
                .into_iter()
                .map(|(key, word)| (plain_or_quoted(key.as_str()), word.to_owned())),
        )
    };
    if !partition_mode.is_empty() {
        let entries = partition_mode
            .iter()
            .map(|(key, mode)| (key, mode.as_str()));
        let _ = writeln!(out, "  partition_mode: {}", per_type(entries.collect()));
    }
    if !unpartitioned.is_empty() {
        let entries = unpartitioned.iter().map(|(key, who)| (key, who.as_str()));
        let _ = writeln!(out, "  unpartitioned: {}", per_type(entries.collect()));
    }
    if let Some(seconds) = request_ttl_seconds {
        let _ = writeln!(out, "  request_ttl: {}", duration(*seconds));
    }
    if let Some(seconds) = request_cool_down_seconds {
        let _ = writeln!(out, "  request_cool_down: {}", duration(*seconds));
    }
    if let Some(limit) = request_limit_per_user {
        let _ = writeln!(out, "  request_limit_per_user: {limit}");
    }
}

/// In the largest unit that divides it.
fn duration(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let unit = units
        .iter()
        .find(|(size, _)| seconds > 0 && seconds.is_multiple_of(*size));
    match unit {
        Some((size, unit)) => format!("{}{unit}", seconds / size),
        None => format!("{seconds}s"),
    }
}

fn write_entities(out: &mut String, sorted: &Sorted<'_>) {
    section(out, "teams", sorted.teams.values(), |out, team| {
        let mut fields = vec![("id", plain_or_quoted(team.id.as_str()))];
        fields.extend(
            team.parent
                .iter()
                .map(|id| ("parent", plain_or_quoted(id.as_str()))),
        );
        let _ = writeln!(out, "  - {}", flow_map(fields));
    });
    let sets = sorted.permission_sets.values();
    section(out, "permission_sets", sets, |out, set| {
        let _ = writeln!(out, "  - id: {}", plain_or_quoted(set.id.as_str()));
        write_grants(out, &set.grants);
    });
    section(out, "users", sorted.users.values(), |out, user| {
        write_user(out, user);
    });
    let groups = sorted.access_groups.values();
    section(out, "access_groups", groups, |out, group| {
        let _ = writeln!(out, "  - id: {}", plain_or_quoted(group.id.as_str()));
        if !group.members.is_empty() {
            out.push_str("    members:\n");
        }
        for (principal, actions) in &group.members {
            let fields = [
                (
                    principal.kind().as_str(),
                    plain_or_quoted(principal.id().as_str()),
                ),
                ("actions", ids(actions)),
            ];
            let _ = writeln!(out, "      - {}", flow_map(fields));
        }
    });
    let resources = sorted.resources.values();
    section(
        out,
        "resources",
        resources,
        |out, (resource, attributes)| {
            write_resource(out, resource, *attributes);
        },
    );
    section(out, "segments", sorted.segments.values(), |out, segment| {
        let mut fields = vec![
            ("id", plain_or_quoted(segment.id.as_str())),
            ("type", plain_or_quoted(segment.resource_type.as_str())),
            ("when", plain_or_quoted(&segment.when)),
        ];
        if !segment.assign_to.is_empty() {
            let targets = segment.assign_to.iter().map(principal_text);
            fields.push(("assign_to", flow_list(targets)));
        }
        if !segment.enabled {
            fields.push(("enabled", "false".to_owned()));
        }
        if !segment.may_partition {
            fields.push(("may_partition", "false".to_owned()));
        }
        let _ = writeln!(out, "  - {}", flow_map(fields));
    });
}

fn section<'e, T: 'e>(
    out: &mut String,
    name: &str,
    items: impl ExactSizeIterator<Item = &'e T>,
    write: impl Fn(&mut String, &'e T),
) {
    if items.len() > 0 {
        let _ = writeln!(out, "{name}:");
    }
    for item in items {
        write(out, item);
    }
}

fn ids<'e>(ids: impl IntoIterator<Item = &'e Id>) -> String {
    flow_list(ids.into_iter().map(|id| plain_or_quoted(id.as_str())))
}

fn principal_text(principal: &Principal) -> String {
    plain_or_quoted(&principal.to_string())
}

fn write_user(out: &mut String, user: &User) {
    let new = User::new(user.id.clone());
    let _ = writeln!(out, "  - id: {}", plain_or_quoted(user.id.as_str()));
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "    {name}: {value}");
    };
    if user.status != new.status {
        field("status", user.status.as_str());
    }
    if user.kind != new.kind {
        field("kind", user.kind.as_str());
    }
    let flags = [
        ("account_owner", user.account_owner),
        ("super_admin", user.super_admin),
        ("partner_admin", user.partner_admin),
    ];
    for (name, _) in flags.iter().filter(|(_, set)| *set) {
        field(name, "true");
    }
    if let Some(team) = &user.main_team {
        field("main_team", &plain_or_quoted(team.as_str()));
    }
    if !user.teams.is_empty() {
        field("teams", &ids(&user.teams));
    }
    if !user.seats.is_empty() {
        field("seats", &ids(&user.seats));
    }
    if let Some(person) = &user.person {
        field("person", &plain_or_quoted(person.as_str()));
    }
    if let Some(email) = &user.email {
        field("email", &plain_or_quoted(email));
    }
    if let Some(partner) = &user.partner {
        let fields = [
            ("account", plain_or_quoted(partner.account.as_str())),
            ("user", plain_or_quoted(partner.user.as_str())),
            ("role", partner.role.to_string()),
            ("partnership", partner.partnership.to_string()),
        ];
        field("partner", &flow_map(fields));
    }
    if !user.permission_sets.is_empty() {
        field("permission_sets", &ids(&user.permission_sets));
    }
    if !user.memberships.is_empty() {
        out.push_str("    memberships:\n");
    }
    for held in &user.memberships {
        let _ = writeln!(out, "      - {}", membership(held));
    }
    write_grants(out, &user.grants);
    if !user.object_grants.is_empty() {
        out.push_str("    object_grants:\n");
    }
    for grant in &user.object_grants {
        let _ = writeln!(out, "      - {}", object_grant(grant));
    }
}

fn membership(held: &Membership) -> String {
    let mut fields = vec![(held.of.kind(), plain_or_quoted(held.of.id().as_str()))];
    fields.extend(held.expires_at.map(|time| ("expires_at", time.to_string())));
    fields.extend(provenance_field(&held.provenance));
    let granted_by = held.granted_by.iter();
    fields.extend(granted_by.map(|by| ("granted_by", plain_or_quoted(by.as_str()))));
    flow_map(fields)
}

fn object_grant(grant: &ObjectGrant) -> String {
    let mut fields = vec![
        ("resource", plain_or_quoted(&grant.resource.to_string())),
        ("action", plain_or_quoted(grant.action.as_str())),
    ];
    fields.extend(
        grant
            .not_before
            .map(|time| ("not_before", time.to_string())),
    );
    fields.extend(
        grant
            .expires_at
            .map(|time| ("expires_at", time.to_string())),
    );
    fields.extend(provenance_field(&grant.provenance));
    let granted_by = grant.granted_by.iter();
    fields.extend(granted_by.map(|by| ("granted_by", plain_or_quoted(by.as_str()))));
    flow_map(fields)
}

fn provenance_field(provenance: &Provenance) -> Option<(&'static str, String)> {
    let told = *provenance != Provenance::Manual;
    told.then(|| ("provenance", plain_or_quoted(&provenance.to_string())))
}

fn write_grants(out: &mut String, grants: &BTreeSet<Grant>) {
    if grants.is_empty() {
        return;
    }
    out.push_str("    grants:\n");
    let mut by_key: BTreeMap<&PermissionKey, Vec<&Grant>> = BTreeMap::new();
    for grant in grants {
        by_key.entry(&grant.key).or_default().push(grant);
    }
    for (key, grants) in by_key {
        let key = plain_or_quoted(&key.to_string());
        match grants.as_slice() {
            [one] => {
                let _ = writeln!(out, "      {key}: {}", grant(one));
            }
            several => {
                let _ = writeln!(out, "      {key}:");
                for one in several {
                    let _ = writeln!(out, "        - {}", grant(one));
                }
            }
        }
    }
}

fn grant(grant: &Grant) -> String {
    let plain = grant.not_before.is_none()
        && grant.expires_at.is_none()
        && grant.provenance == Provenance::Manual
        && grant.granted_by.is_none();
    let between = matches!(grant.level, Level::Owned | Level::Team);
    let unassigned = grant.include_unassigned && between;
    if plain {
        let more = if unassigned { "+unassigned" } else { "" };
        return format!("{}{more}", grant.level);
    }
    let mut fields = vec![("level", grant.level.to_string())];
    if unassigned {
        fields.push(("unassigned", "true".to_owned()));
    }
    fields.extend(
        grant
            .not_before
            .map(|time| ("not_before", time.to_string())),
    );
    fields.extend(
        grant
            .expires_at
            .map(|time| ("expires_at", time.to_string())),
    );
    fields.extend(provenance_field(&grant.provenance));
    let granted_by = grant.granted_by.iter();
    fields.extend(granted_by.map(|by| ("granted_by", plain_or_quoted(by.as_str()))));
    flow_map(fields)
}

fn write_resource(out: &mut String, resource: &Resource, attributes: Option<&Attributes>) {
    let mut fields = vec![
        ("type", plain_or_quoted(resource.key.resource_type.as_str())),
        ("id", plain_or_quoted(resource.key.id.as_str())),
    ];
    if !resource.owners.is_empty() {
        fields.push(("owners", ids(&resource.owners)));
    }
    let owning_team = resource.owning_team.iter();
    fields.extend(owning_team.map(|team| ("owning_team", plain_or_quoted(team.as_str()))));
    if resource.partitioned && resource.assignments.is_empty() {
        fields.push(("partitioned", "true".to_owned()));
    }
    if !resource.assignments.is_empty() {
        let rows = resource.assignments.iter().map(assignment);
        fields.push(("assigned_to", flow_list(rows)));
    }
    let attributes = attributes.filter(|attributes| !attributes.is_empty());
    fields.extend(attributes.map(|attributes| ("attributes", json_map(attributes))));
    let _ = writeln!(out, "  - {}", flow_map(fields));
}

fn assignment(row: &Assignment) -> String {
    if row.provenance == Provenance::Manual && row.expires_at.is_none() {
        return principal_text(&row.principal);
    }
    let mut fields = vec![("to", principal_text(&row.principal))];
    fields.extend(provenance_field(&row.provenance));
    fields.extend(row.expires_at.map(|time| ("expires_at", time.to_string())));
    flow_map(fields)
}
