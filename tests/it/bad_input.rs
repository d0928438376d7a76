//! Bad input for catalogs and account documents: one clear error that names the place, and never
//! a panic.

use ambit::authz::catalog::Catalog;
use ambit::authz::document::{Cases, Document, DocumentError, parse_file};
use ambit::authz::model::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// A catalog that is right; each bad one replaces a piece of it.
const CATALOG: &str = "catalog: tiny
version: 1
implications: {edit: [view]}
tool_level_actions: [create]
seats: {full: {}, look: {read_only: true}}
plans:
  base: {partitions: [doc]}
  more: {extends: base, without: [bill]}
types:
  - names: [doc]
    actions: [view, create, edit, purge, share, peek]
    same_as: {purge: edit}
    permissions: {change: [create, edit]}
    always: [peek]
    derived: {share: {any_of: [doc.change]}}
    seats: [full]
  - names: [bill]
    levels: flag
    actions: [view, pay]
    reserved: {holders: [account_owner]}
    grantable: false
";

/// For each row: replaces one piece of the right text, and demands exactly this error. All rows
/// that differ are shown at once.
fn check(right: &str, rows: &[(&str, &str, &str)], read: impl Fn(&str) -> Result<(), String>) {
    assert_eq!(read(right), Ok(()));
    let mut differ = Vec::new();
    for (piece, wrong, error) in rows {
        assert!(right.contains(piece), "no piece `{piece}`");
        let actual = match read(&right.replacen(piece, wrong, 1)) {
            Ok(()) => "taken".to_owned(),
            Err(actual) => actual,
        };
        if actual != *error {
            differ.push(format!(
                "`{wrong}`\n  expected {error}\n  actual   {actual}"
            ));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn a_catalog_that_contradicts_itself_names_the_place() {
    let rows = [
        // Shape.
        (
            "version: 1",
            "verion: 1",
            "line 2, column 1: unknown key `verion`; the keys here are catalog, version, description, implications, tool_level_actions, read_only_actions, owner_may_stand_alone, no_view, seats, plans, types",
        ),
        (
            "version: 1",
            "version: one",
            "line 2, column 10: this is not a valid u32",
        ),
        (
            "version: 1",
            "version: 0",
            "line 2, column 10: versions count from 1",
        ),
        (
            "version: 1\n",
            "",
            "line 8, column 1: the key `version` is missing",
        ),
        (
            "version: 1",
            "version: 1\nversion: 2",
            "line 3, column 1: the key `version` is there twice",
        ),
        (
            "{read_only: true}",
            "{read_only: yes}",
            "line 5, column 37: this must be true or false",
        ),
        (
            "levels: flag",
            "levels: some",
            "line 18, column 13: `some` is not one of all, flag",
        ),
        (
            "[account_owner]",
            "[boss]",
            "line 20, column 26: `boss` is not one of account_owner, super_admin, partner_admin, explicit_grant",
        ),
        (
            "names: [doc]",
            "names: doc",
            "line 10, column 12: a list is expected here",
        ),
        // Names.
        (
            "catalog: tiny",
            "catalog: Tiny",
            "line 1, column 10: the catalog name `Tiny` must be lower_snake without a dot, at most 256 bytes",
        ),
        (
            "names: [bill]",
            "names: [bill.a.b]",
            "line 17, column 13: the type name `bill.a.b` must be lower_snake with at most one dot, at most 256 bytes",
        ),
        (
            "names: [bill]",
            "names: [doc]",
            "line 17, column 13: the type `doc` is there twice",
        ),
        (
            "names: [bill]",
            "names: [default]",
            "line 17, column 13: no type can be named `default`, settings use the word for all types",
        ),
        (
            "names: [bill]",
            "names: []",
            "line 17, column 5: the entry of `types` names no type",
        ),
        (
            "[view, pay]",
            "[view, pay.now]",
            "line 19, column 21: the action name `pay.now` must be lower_snake without a dot, at most 256 bytes",
        ),
        (
            "[view, pay]",
            "[view, pay, view]",
            "line 19, column 26: the action `view` is there twice",
        ),
        (
            "[view, pay]",
            "[pay]",
            "line 17, column 13: the type `bill` has no action `view`, which every type has",
        ),
        (
            "{full: {}",
            "{Full: {}",
            "line 5, column 9: the seat name `Full` must be lower_snake without a dot, at most 256 bytes",
        ),
        (
            "  base: {partitions: [doc]}",
            "  Base: {partitions: [doc]}",
            "line 7, column 3: the plan name `Base` must be lower_snake without a dot, at most 256 bytes",
        ),
        (
            "{change: [create, edit]}",
            "{Change: [create, edit]}",
            "line 13, column 19: the permission name `Change` must be lower_snake without a dot, at most 256 bytes",
        ),
        // Names that nothing defines.
        (
            "{edit: [view]}",
            "{edit: [see]}",
            "line 3, column 23: no type has an action `see`",
        ),
        (
            "{edit: [view]}",
            "{ed: [view]}",
            "line 3, column 16: no type has an action `ed`",
        ),
        (
            "tool_level_actions: [create]",
            "tool_level_actions: [make]",
            "line 4, column 22: no type has an action `make`",
        ),
        (
            "tool_level_actions: [create]",
            "read_only_actions: [read]",
            "line 4, column 21: no type has an action `read`",
        ),
        (
            "partitions: [doc]",
            "partitions: [docs]",
            "line 7, column 23: the catalog has no type `docs`",
        ),
        (
            "without: [bill]",
            "without: [bills]",
            "line 8, column 35: the catalog has no type `bills`",
        ),
        (
            "without: [bill]",
            "without: [bill.fly]",
            "line 8, column 35: the type `bill` has no action `fly`",
        ),
        (
            "without: [bill]",
            "without: [doc.purge]",
            "line 8, column 35: the action `purge` of the type `doc` is the same as another one, name that",
        ),
        (
            "extends: base",
            "extends: best",
            "line 8, column 19: the plan `more` extends `best`, which is no plan above it",
        ),
        (
            "extends: base",
            "extends: more",
            "line 8, column 19: the plan `more` extends `more`, which is no plan above it",
        ),
        (
            "seats: [full]",
            "seats: [half]",
            "line 16, column 13: the catalog has no seat `half`",
        ),
        (
            "always: [peek]",
            "always: [pay]",
            "line 14, column 14: the type `doc` has no action `pay`",
        ),
        (
            "[create, edit]}",
            "[create, pay]}",
            "line 13, column 36: the type `doc` has no action `pay`",
        ),
        (
            "{purge: edit}",
            "{purge: wipe}",
            "line 12, column 22: the type `doc` has no action `wipe`",
        ),
        (
            "[doc.change]",
            "[doc.changes]",
            "line 15, column 32: `doc.changes` is not a permission that can be granted; an any_of can't name derived actions",
        ),
        (
            "[doc.change]",
            "[dog.change]",
            "line 15, column 32: the catalog has no type `dog`",
        ),
        (
            "[doc.change]",
            "[change]",
            "line 15, column 32: an any_of names TYPE.ACTION, TYPE.PERMISSION or TYPE.*, this is `change`",
        ),
        (
            "[doc.change]",
            "[bill.*]",
            "line 15, column 32: the type `bill` has nothing to grant",
        ),
        (
            "[doc.change]",
            "[doc.share]",
            "line 15, column 32: `doc.share` is not a permission that can be granted; an any_of can't name derived actions",
        ),
        (
            "[doc.change]",
            "[]",
            "line 15, column 15: the derived action `share` has an empty any_of",
        ),
        // Contradictions.
        (
            "[create, edit]}",
            "[create, share]}",
            "line 13, column 36: the action `share` is both derived and granted by the permission `change`",
        ),
        (
            "[create, edit]}",
            "[create, purge]}",
            "line 13, column 36: the action `purge` of the type `doc` is the same as another one, name that",
        ),
        (
            "[create, edit]}",
            "[]}",
            "line 13, column 19: the permission `change` grants no action",
        ),
        (
            "{change: [create, edit]}",
            "{view: [create, edit]}",
            "line 13, column 19: the permission `view` is named as an action that it does not grant",
        ),
        (
            "always: [peek]",
            "always: [share]",
            "line 14, column 14: the action `share` is both always allowed and derived",
        ),
        (
            "{purge: edit}",
            "{purge: purge}",
            "line 12, column 15: the action `purge` can't be the same as itself",
        ),
        (
            "{purge: edit}",
            "{view: edit}",
            "line 12, column 15: `view` can't be the same as another action",
        ),
        (
            "{purge: edit}",
            "{purge: edit, edit: view}",
            "line 12, column 22: the action `edit` is itself the same as another one, name that",
        ),
        (
            "{purge: edit}",
            "{purge: create}",
            "line 12, column 15: one of `purge` and `create` is in tool_level_actions, so they are not the same",
        ),
        (
            "grantable: false",
            "permissions: {all: [pay]}\n    grantable: false",
            "line 21, column 19: the type `bill` has the permission `all`, but is not grantable",
        ),
        (
            "holders: [account_owner]",
            "holders: [explicit_grant]",
            "line 20, column 15: the type `bill`: it is reserved to an explicit grant, but is not grantable",
        ),
        (
            "holders: [account_owner]",
            "holders: []",
            "line 20, column 15: the type `bill`: `reserved` names no holders",
        ),
        (
            "holders: [account_owner]",
            "holders: [account_owner], except_partner_users: true",
            "line 20, column 15: the type `bill`: except_partner_users narrows the holder explicit_grant, which is not there",
        ),
        (
            "grantable: false",
            "always: [pay]",
            "line 20, column 15: the type `bill`: a reserved action can't be always allowed or derived too",
        ),
        (
            "without: [bill]",
            "without: [bill], partitions: [bill]",
            "line 8, column 55: the plan `more` partitions the type `bill`, which it is without",
        ),
    ];
    check(CATALOG, &rows, |text| {
        Catalog::parse(text)
            .map(drop)
            .map_err(|error| error.to_string())
    });
}

#[test]
fn a_catalog_that_is_none_says_so() {
    let cut = |from: &str| CATALOG.split(from).next().unwrap().to_owned();
    for (text, error) in [
        (String::new(), "there is no catalog in the text"),
        (
            "- a\n".to_owned(),
            "line 1, column 1: a map is expected here",
        ),
        (
            format!("{CATALOG}---\n{CATALOG}"),
            "a file holds one catalog, this one has several YAML documents",
        ),
        (
            format!("{}types: []\n", cut("types:")),
            "line 1, column 10: the catalog has no types",
        ),
        (
            CATALOG.replace(
                "plans:\n  base: {partitions: [doc]}\n  more: {extends: base, without: [bill]}",
                "plans: {}",
            ),
            "line 1, column 10: the catalog has no plans",
        ),
        (
            format!("{CATALOG}{}", " ".repeat(1 << 20)),
            "a catalog has at most 1048576 bytes, this one has 1049129",
        ),
        (
            format!("catalog: {}1{}\n", "[".repeat(100), "]".repeat(100)),
            "line 1, column 10: a text is expected here",
        ),
    ] {
        let actual = Catalog::parse(&text).unwrap_err().to_string();
        assert_eq!(
            actual,
            error,
            "for {}",
            text.chars().take(200).collect::<String>()
        );
    }
}

#[test]
fn a_catalog_has_limits() {
    let many = |what: &str, count: usize| {
        (0..count)
            .map(|n| format!("{what}{n}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    for (piece, wrong, error) in [
        (
            "[view, pay]",
            format!("[view, {}]", many("a", 128)),
            "a catalog has at most 128 action names",
        ),
        (
            "names: [bill]",
            format!("names: [{}]", many("t", 1_000)),
            "a catalog has at most 1000 types",
        ),
        (
            "{full: {}",
            format!(
                "{{full: {{}}, {}: {{}}",
                many("s", 70).replace(',', ": {},")
            ),
            "a catalog has at most 64 seats",
        ),
    ] {
        let text = CATALOG.replacen(piece, &wrong, 1);
        let actual = Catalog::parse(&text).unwrap_err().to_string();
        assert!(
            actual.starts_with("line ") && actual.ends_with(error),
            "{actual}"
        );
    }
}

/// A document that is right; each bad one replaces a piece of it.
const DOCUMENT: &str = "account: acme
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
fn read(text: &str) -> Result<Vec<Document>, DocumentError> {
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
            "line 11, column 5: unknown key `maim_team`; the keys here are id, status, kind, account_owner, super_admin, partner_admin, main_team, teams, seats, person, partner, permission_sets, grants, object_grants",
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
            "line 19, column 17: the segment `gold` needs a `when` of 1 to 4096 bytes",
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

#[test]
fn bombs_are_refused_in_no_time() {
    let began = std::time::Instant::now();
    let mut bomb = String::from(
        "account: a\ncatalog: hubspot\nplan: free\nresources:\n- type: contact\n  id: c\n  attributes:\n    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n",
    );
    for n in 1..12 {
        let previous = format!("*a{}", n - 1);
        let items = vec![previous.as_str(); 10].join(", ");
        bomb.push_str(&format!("    a{n}: &a{n} [{items}]\n"));
    }
    let error = read(&bomb).unwrap_err().to_string();
    assert!(error.starts_with("line 1"), "{error}");
    for deep in [
        format!(
            "account: a\nresources: {}{}\n",
            "[".repeat(100_000),
            "]".repeat(100_000)
        ),
        format!("account: a\nresources: {}\n", "{a: ".repeat(100_000)),
        (0..5_000)
            .map(|depth| format!("{}a:\n", " ".repeat(depth)))
            .collect(),
        format!("account: {}\n", "&a ".repeat(100_000)),
        "--- {account: a, catalog: hubspot, plan: free}\n".repeat(2_000),
    ] {
        let error = read(&deep).unwrap_err().to_string();
        assert!(!error.contains('\n') && error.len() < 500, "{error}");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn a_file_without_documents_says_so() {
    for text in ["", "# nothing\n", "---\n---\n", "null\n"] {
        assert_eq!(
            read(text).unwrap_err().to_string(),
            "there is no account document in the file"
        );
    }
}

/// Whatever comes out of a text, it is a value or one line; what parses can be run.
fn survives(text: &str) {
    let one_line = |error: &str| assert!(!error.chars().any(char::is_control), "{error:?}");
    if let Err(error) = Catalog::parse(text) {
        one_line(&error.to_string());
    }
    match read(text) {
        Err(error) => one_line(&error.to_string()),
        Ok(documents) => {
            let now = Timestamp::parse("2026-11-22T00:00:00Z").unwrap();
            for document in documents {
                document.to_changes(None, false).unwrap();
                Cases::new(&document).unwrap().run_all(now);
            }
        }
    }
}

/// Replaces a few pieces of a right text by pieces that YAML or the format could stumble over.
fn mutated(text: &'static str) -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "",
        "\n",
        " ",
        "\t",
        ":",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "*a",
        "&a ",
        "!",
        "|",
        ">",
        "'",
        "\"",
        "\\",
        "#",
        "---\n",
        "null",
        "~",
        "999999999999999999999",
        "-1",
        "1e999",
        ".nan",
        "\u{0}",
        "\u{85}",
        "\u{feff}",
        "\u{1f600}",
        "contact",
        "view",
        "team:de",
        "group:",
        "users:",
        "<<: ",
        "? ",
        "%",
        "!!binary ",
        "2026-13-01T00:00:00Z",
    ]);
    let edits =
        proptest::collection::vec((any::<proptest::sample::Index>(), 0usize..4, pieces), 1..4);
    edits.prop_map(move |edits| {
        let mut characters: Vec<char> = text.chars().collect();
        for (at, length, piece) in edits {
            let from = at.index(characters.len());
            let to = (from + length).min(characters.len());
            characters.splice(from..to, piece.chars());
        }
        characters.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        rng_seed: RngSeed::Fixed(20_261_122),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn mutated_documents_are_read_or_refused(text in mutated(DOCUMENT)) {
        survives(&text);
    }

    #[test]
    fn mutated_catalogs_are_read_or_refused(text in mutated(CATALOG)) {
        survives(&text);
    }
}
