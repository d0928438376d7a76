//! Catalogs that contradict themselves, or are none.

use ambit::authz::catalog::Catalog;

use super::check;

/// A catalog that is right; each bad one replaces a piece of it.
pub const CATALOG: &str = "catalog: tiny
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
