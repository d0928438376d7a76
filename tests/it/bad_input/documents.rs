//! Account documents with one thing wrong.

use ambit::authz::document::{Document, DocumentError, parse_file};

use super::catalogs::CATALOG;
use super::check;

/// A document that is right; each bad one replaces a piece of it.
pub const DOCUMENT: &str = "account: acme
catalog: hubspot
plan: enterprise
settings: {partition_mode: {contact: share}, request_ttl: 14d}
teams: [{id: eu}, {id: de, parent: eu}]
permission_sets: [{id: rep, grants: {contact.view: team+unassigned}}]
users:
  - {id: sa, super_admin: true, account_owner: true}
  - id: u
    status: active
    main_team: de
    seats: [sales]
    permission_sets: [rep]
    grants: {contact.edit: {level: team, not_before: 2026-01-01T00:00:00Z, expires_at: 2027-01-01T00:00:00Z, provenance: request:7}}
    object_grants: [{resource: contact/c1, action: view}]
access_groups: [{id: vip, members: [{team: de, actions: [view]}]}]
resources:
  - {type: contact, id: c1, owners: [u], owning_team: de, assigned_to: [team:de, {to: group:vip, provenance: manual}]}
segments: [{id: gold, type: contact, when: 'true', assign_to: [group:vip]}]
cases:
  - {name: a, user: u, check: contact.view c1, at: 2026-11-22T00:00:00Z, expect: {decision: allow}}
  - {name: b, user: u, list: contact.view, expect: [c1]}
";

/// The whole way of `ambit test`: parse, judge references, and the first error of either.
pub fn read(text: &str) -> Result<Vec<Document>, DocumentError> {
    let mut load = |path: &str| match path {
        "broken.yaml" => Ok(CATALOG.replace("version: 1", "version: x")),
        "tiny.yaml" => Ok(CATALOG.to_owned()),
        _ => Err("no such file".to_owned()),
    };
    let documents = parse_file(text, &mut load)?;
    for document in &documents {
        document.to_account()?;
    }
    Ok(documents)
}

#[test]
fn a_bad_document_names_the_place() {
    let long = format!("{{id: {}}}", "x".repeat(257));
    let rows = [
        // Shape.
        (
            "main_team: de",
            "maim_team: de",
            "line 11, column 5: unknown key `maim_team`; the keys here are id, status, kind, account_owner, super_admin, partner_admin, main_team, teams, seats, person, email, partner, permission_sets, memberships, grants, object_grants",
        ),
        (
            "main_team: de",
            "main_team: de\n    main_team: eu",
            "line 12, column 5: the key `main_team` is there twice",
        ),
        (
            "{contact.view: team+unassigned}",
            "{contact.view: team, contact.view: owned}",
            "line 6, column 58: the key `contact.view` is there twice",
        ),
        (
            "status: active",
            "status: busy",
            "line 10, column 13: `busy` is not one of invited, active, deactivated, removed",
        ),
        (
            "super_admin: true",
            "super_admin: yes",
            "line 8, column 27: this must be true or false",
        ),
        (
            "{id: sa,",
            "{",
            "line 8, column 26: the key `id` is missing",
        ),
        (
            "{id: sa,",
            "{id: null,",
            "line 8, column 10: a text is missing here; put the word in quotes if it is meant as one",
        ),
        (
            "owners: [u]",
            "owners: {u: 1}",
            "line 18, column 37: a list is expected here",
        ),
        (
            "teams: [{id: eu}",
            "teams: [{id: eu}}",
            "line 5, column 8: mismatched bracket '[' closed by '}'",
        ),
        // Ids.
        (
            "account: acme",
            "account: ''",
            "line 1, column 10: account: an id must not be empty",
        ),
        (
            "{id: eu}",
            long.as_str(),
            "line 5, column 14: team id: an id must be at most 256 bytes, this one has 257",
        ),
        (
            "id: c1",
            "id: \"c\\u0001\"",
            "line 18, column 25: resource id: an id must not contain control characters, this one has '\\u{1}' at byte 1",
        ),
        (
            "{id: de, parent: eu}",
            "{id: eu}",
            "line 5, column 24: the team `eu` is there twice",
        ),
        (
            "  - id: u\n",
            "  - id: sa\n",
            "line 9, column 9: the user `sa` is there twice",
        ),
        (
            "segments: [",
            "segments: [{id: gold, type: deal, when: 'a', assign_to: [group:vip]}, ",
            "line 19, column 76: the segment `gold` is there twice",
        ),
        // Names of the catalog.
        (
            "catalog: hubspot",
            "catalog: nowhere.yaml",
            "line 2, column 10: the catalog `nowhere.yaml` is not built in (brevo, hubspot, ipresso), and as a file: no such file",
        ),
        (
            "catalog: hubspot",
            "catalog: broken.yaml",
            "line 2, column 10: the catalog `broken.yaml`, at its line 2, column 10: this is not a valid u32",
        ),
        (
            "catalog: hubspot\n",
            "",
            "line 1, column 10: the key `catalog` is missing",
        ),
        (
            "plan: enterprise\n",
            "",
            "line 1, column 10: the key `plan` is missing; the catalog has free, starter, professional, enterprise, sales_enterprise",
        ),
        (
            "plan: enterprise",
            "plan: huge",
            "line 3, column 7: the catalog `hubspot` has no plan `huge`; it has free, starter, professional, enterprise, sales_enterprise",
        ),
        (
            "seats: [sales]",
            "seats: [sale]",
            "line 12, column 13: the catalog `hubspot` has no seat `sale`",
        ),
        (
            "{contact: share}",
            "{contacts: share}",
            "line 4, column 29: the catalog `hubspot` has no resource type `contacts`",
        ),
        (
            "{contact: share}",
            "{contact: fence}",
            "line 4, column 38: `fence` is not one of wall, share",
        ),
        (
            "type: contact, id: c1",
            "type: contract, id: c1",
            "line 18, column 12: the catalog `hubspot` has no resource type `contract`",
        ),
        (
            "{contact.view: team+unassigned}",
            "{contact.vew: team}",
            "line 6, column 38: the resource type `contact` has no action or permission `vew`",
        ),
        (
            "{contact.view: team+unassigned}",
            "{contact: team}",
            "line 6, column 38: `contact` must be TYPE.ACTION or TYPE.PERMISSION",
        ),
        (
            "{contact.view: team+unassigned}",
            "{contact.bulk_delete: team}",
            "line 6, column 38: `contact.bulk_delete` cannot be granted: it is the same as `delete`, grant that",
        ),
        (
            "{contact.view: team+unassigned}",
            "{contact.view: teams}",
            "line 6, column 52: `teams` is not a level: none, owned, team or everything, the middle ones also with +unassigned",
        ),
        (
            "{contact.view: team+unassigned}",
            "{contact.view: [team, [owned]]}",
            "line 6, column 59: a list of grants holds levels and maps, this is a list",
        ),
        (
            "{contact.view: team+unassigned}",
            "{contact.view: 3}",
            "line 6, column 38: integer `3` is not a text, a map or a list",
        ),
        (
            "contact/c1, action: view",
            "contact/c1, action: bulk_delete",
            "line 15, column 52: `contact.bulk_delete` cannot be granted: it is the same as `delete`, grant that",
        ),
        (
            "contact/c1, action: view",
            "contact/c1, action: fly",
            "line 15, column 52: the resource type `contact` has no action `fly`",
        ),
        (
            "contact/c1, action: view",
            "contact:c1, action: view",
            "line 15, column 32: a resource is written TYPE/ID, this is `contact:c1`",
        ),
        (
            "actions: [view]",
            "actions: [viev]",
            "line 16, column 58: the catalog `hubspot` has no action `viev`",
        ),
        // Times, provenance, principals.
        (
            "request_ttl: 14d",
            "request_ttl: 14 days",
            "line 4, column 59: `14 days` is not a duration of at most ten thousand years, as 14d, 24h, 30m or 90s",
        ),
        (
            "request_ttl: 14d",
            "request_ttl: 99999999999999999999d",
            "line 4, column 59: `99999999999999999999d` is not a duration of at most ten thousand years, as 14d, 24h, 30m or 90s",
        ),
        (
            "request_ttl: 14d",
            "request_ttl: -1d",
            "line 4, column 59: `-1d` is not a duration of at most ten thousand years, as 14d, 24h, 30m or 90s",
        ),
        (
            "not_before: 2026-01-01T00:00:00Z",
            "not_before: 2026-01-01",
            "line 14, column 54: not_before: `2026-01-01` is not a time of RFC 3339 between the years 1 and 9999, in steps of a microsecond, as 2026-11-22T00:00:00Z",
        ),
        (
            "expires_at: 2027-01-01T00:00:00Z",
            "expires_at: 2026-01-01T00:00:00Z",
            "line 14, column 88: the grant would end at 2026-01-01T00:00:00Z, before it begins at 2026-01-01T00:00:00Z",
        ),
        (
            "provenance: request:7",
            "provenance: requested:7",
            "line 14, column 122: provenance: a provenance is manual, default, segment:ID, import:ID, form:ID or request:ID, this is `requested:7`",
        ),
        (
            "[team:de, ",
            "[teams:de, ",
            "line 18, column 73: assigned_to: a principal is written user:ID, team:ID or group:ID, this is `teams:de`",
        ),
        (
            "provenance: manual}]",
            "provenance: manual}, team:de, {to: team:de, expires_at: 2027-01-01T00:00:00Z}]",
            "line 18, column 128: the assignment of `contact/c1` to `team:de` with provenance manual is there twice, with different expiries",
        ),
        (
            "{team: de, actions",
            "{team: de, user: u, actions",
            "line 16, column 37: a member is either a `user` or a `team`",
        ),
        // What doesn't go together.
        (
            "owning_team: de",
            "partitioned: false",
            "line 18, column 25: the resource `contact/c1` has `partitioned: false` together with assignments; leave one out",
        ),
        (
            "status: active",
            "account_owner: true",
            "line 9, column 9: `u` is a second account owner beside `sa`; an account has at most one",
        ),
        (
            "{id: eu}",
            "{id: eu, parent: de}",
            "line 5, column 48: the team `de` would be its own ancestor",
        ),
        (
            "{id: eu}",
            "{id: eu, parent: eu}",
            "line 5, column 26: the team `eu` would be its own ancestor",
        ),
        (
            "type: contact, id: c1",
            "type: user_management, id: c1",
            "line 15, column 32: there is no resource `contact/c1` in the document",
        ),
        (
            "when: 'true'",
            "when: ''",
            "line 19, column 17: the `when` of the segment `gold`: an expression has 1 to 4096 bytes, this one 0",
        ),
        // Dangling ids.
        (
            "parent: eu",
            "parent: eux",
            "line 5, column 36: there is no team `eux` in the document",
        ),
        (
            "main_team: de",
            "main_team: dee",
            "line 11, column 16: there is no team `dee` in the document",
        ),
        (
            "permission_sets: [rep]",
            "permission_sets: [rap]",
            "line 13, column 23: there is no permission set `rap` in the document",
        ),
        (
            "seats: [sales]",
            "seats: [sales]\n    memberships: [{team: x}]",
            "line 13, column 26: there is no team `x` in the document",
        ),
        (
            "seats: [sales]",
            "seats: [sales]\n    memberships: [{permission_set: de}]",
            "line 13, column 36: there is no permission set `de` in the document",
        ),
        (
            "seats: [sales]",
            "seats: [sales]\n    memberships: [{provenance: request:7}]",
            "line 13, column 19: a membership is either of a `team` or of a `permission_set`",
        ),
        (
            "seats: [sales]",
            "seats: [sales]\n    memberships: [{team: de, permission_set: rep}]",
            "line 13, column 19: a membership is either of a `team` or of a `permission_set`",
        ),
        (
            "seats: [sales]",
            "seats: [sales]\n    memberships: [{team: de}, {team: de, expires_at: 2027-01-01T00:00:00Z}]",
            "line 13, column 38: the membership of the team `de` with provenance manual is there twice",
        ),
        (
            "seats: [sales]",
            "seats: [sales]\n    email: u@@x",
            "line 13, column 12: email: a mail address is NAME@HOST with one `@`, without spaces and control characters",
        ),
        (
            "resource: contact/c1",
            "resource: contact/c2",
            "line 15, column 32: there is no resource `contact/c2` in the document",
        ),
        (
            "{team: de, actions",
            "{user: de, actions",
            "line 16, column 44: there is no user `de` in the document",
        ),
        (
            "owners: [u]",
            "owners: [u, v]",
            "line 18, column 41: there is no user `v` in the document",
        ),
        (
            "owning_team: de",
            "owning_team: d",
            "line 18, column 55: there is no team `d` in the document",
        ),
        (
            "[team:de, ",
            "[team:d, ",
            "line 18, column 73: there is no team `d` in the document",
        ),
        (
            "to: group:vip",
            "to: group:vap",
            "line 18, column 82: there is no access group `vap` in the document",
        ),
        (
            "assign_to: [group:vip]}]\n",
            "assign_to: [user:vip]}]\n",
            "line 19, column 64: there is no user `vip` in the document",
        ),
        // Cases.
        (
            "check: contact.view c1",
            "check: contact.viev c1",
            "line 21, column 31: the resource type `contact` has no action `viev`",
        ),
        (
            "check: contact.view c1",
            "check: contract.view c1",
            "line 21, column 31: the catalog has no resource type `contract`",
        ),
        (
            "check: contact.view c1",
            "check: view c1",
            "line 21, column 31: `view` must be TYPE.ACTION or TYPE.PERMISSION",
        ),
        (
            "check: contact.view c1",
            "who: contact.view c1",
            "line 21, column 21: a `who` asks for users, so it takes no `user`",
        ),
        (
            "check: contact.view c1",
            "list: contact.view",
            "line 21, column 78: a list and a who expect a list of ids",
        ),
        (
            "check: contact.view c1",
            "check: contact.view c1, who: contact.view",
            "line 21, column 12: the case `a` must have exactly one of `check`, `list` and `who`",
        ),
        (
            "user: u, check",
            "check",
            "line 21, column 12: the case `a` has no `user`",
        ),
        (
            "list: contact.view,",
            "list: contact.view c1,",
            "line 22, column 30: a list names a type and an action, and no resource",
        ),
        (
            "expect: [c1]",
            "expect: {decision: allow}",
            "line 22, column 52: a list and a who expect a list of ids",
        ),
        (
            "{decision: allow}",
            "{}",
            "line 21, column 82: `expect` names nothing, so the case could not fail",
        ),
        (
            "{decision: allow}",
            "{decision: maybe}",
            "line 21, column 93: `maybe` is not one of allow, deny",
        ),
        (
            "{decision: allow}",
            "[c1]",
            "line 21, column 82: a check expects a map of decision, reason, requestable and presentation",
        ),
        (
            "{decision: allow}}",
            "{decision: allow}, given: {users: [{id: u, main_team: x}]}}",
            "line 21, column 136: there is no team `x` in the document",
        ),
        (
            "{decision: allow}}",
            "{decision: allow}, given: {teams: [{id: eu, parent: de}]}}",
            "line 21, column 134: the team `eu` would be its own ancestor",
        ),
        (
            "{decision: allow}}",
            "{decision: allow}, given: {users: [{id: v, account_owner: true}]}}",
            "line 21, column 122: `v` is a second account owner beside `sa`; an account has at most one",
        ),
        (
            "{decision: allow}}",
            "{decision: allow}, given: {segments: []}}",
            "line 21, column 109: unknown key `segments`; the keys here are plan, partner_program, payment_method_valid, settings, teams, permission_sets, users, access_groups, resources",
        ),
    ];
    check(DOCUMENT, &rows, |text| {
        read(text).map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn brevo_grants_nothing_between_none_and_everything() {
    for (key, level, error) in [
        (
            "contact.view",
            "team",
            "line 1, column 83: `contact.view` is given at everything or none, not at `team`: the type `contact` has no levels between",
        ),
        (
            "account.billing.view",
            "everything",
            "line 1, column 69: `account.billing.view` cannot be granted: the catalog lets nobody be given it",
        ),
        (
            "sender_settings.manage",
            "everything",
            "line 1, column 69: `sender_settings.manage` cannot be granted: it follows from other permissions, grant one of those",
        ),
    ] {
        let text = format!(
            "{{account: a, catalog: brevo, plan: free, users: [{{id: u, grants:   {{{key}: {level}}}}}]}}"
        );
        assert_eq!(read(&text).unwrap_err().to_string(), error);
    }
    // A permission is no action of an object grant.
    let text = "{account: a, catalog: brevo, plan: free, resources: [{type: template, id: t}], users: [{id: u, object_grants: [{resource: template/t, action: create_edit_delete}]}]}";
    assert_eq!(
        read(text).unwrap_err().to_string(),
        "line 1, column 143: the resource type `template` has no action `create_edit_delete`"
    );
}

#[test]
fn a_type_that_no_plan_partitions_is_not_partitioned() {
    let text = "{account: a, catalog: hubspot, plan: enterprise, resources: [{type: user_management, id: m, partitioned: true}]}";
    assert_eq!(
        read(text).unwrap_err().to_string(),
        "line 1, column 90: the resource `user_management/m` is partitioned, but no plan of the catalog `hubspot` lets its type be"
    );
}

#[test]
fn the_line_is_counted_in_the_file_not_in_the_document() {
    let text = format!(
        "{DOCUMENT}---\n{}",
        DOCUMENT.replace("seats: [sales]", "seats: [sale]")
    );
    assert_eq!(
        read(&text).unwrap_err().to_string(),
        "line 35, column 13: the catalog `hubspot` has no seat `sale`"
    );
}
