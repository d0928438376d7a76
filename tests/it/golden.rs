//! A permission matrix of each catalog, kept in `tests/golden/` and reviewed as a diff: what each
//! action of each type is, which grant opens it, and how a fixed cast of users is answered at tool
//! level on each plan. `AMBIT_BLESS=1` writes the files anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use ambit::authz::access_set;
use ambit::authz::catalog::{ActionRule, Catalog, Plan, ResourceType};
use ambit::authz::decision::{Decision, Presentation, ReasonCode, Target};
use ambit::authz::graph::{AccountGraph, GraphBuilder};
use ambit::authz::model::{
    Account, Entity, Grant, Id, Level, Partner, PartnerProgram, PartnerRole, Partnership,
    PermissionKey, Provenance, Settings, User, UserKind,
};

use crate::oracle::suite::Suite;
use crate::oracle::{Answer, World};
use crate::properties::catalogs;
use crate::properties::worlds::{CatalogCase, id, tick};

/// The columns of the matrix, by the id of a user.
const CAST: [(&str, &str); 10] = [
    ("none", "no grants, every working seat"),
    ("viewer", "TYPE.view of every type"),
    ("all", "every key of every type"),
    ("super", "super admin"),
    ("owner", "account owner"),
    (
        "padmin",
        "partner admin without grants, on the partner seat",
    ),
    ("employee", "partner employee with every key"),
    ("seatless", "every key, but no seat"),
    ("readonly", "every key, on the read-only seats alone"),
    (
        "unpaid",
        "every key, in an account without a valid payment method",
    ),
];

fn keys(suite: &Suite) -> Vec<(String, String)> {
    suite
        .types
        .iter()
        .flat_map(|(of, kind)| {
            kind.grant_keys()
                .into_iter()
                .map(|key| (of.clone(), key.to_owned()))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn grant(of: &str, key: &str) -> Grant {
    Grant {
        key: PermissionKey {
            resource_type: id(of),
            permission: id(key),
        },
        level: Level::Everything,
        include_unassigned: false,
        not_before: None,
        expires_at: None,
        provenance: Provenance::Manual,
        granted_by: None,
    }
}

fn partner(role: PartnerRole) -> Option<Partner> {
    Some(Partner {
        account: id("agency"),
        user: id("u1"),
        role,
        partnership: Partnership::Active,
    })
}

/// The cast, and a user `TYPE.KEY` for each key, who holds it alone.
fn users(suite: &Suite) -> Vec<User> {
    let seats = |read_only: bool| -> BTreeSet<Id> {
        let of_kind = |seat: &&String| suite.read_only_seats.contains(*seat) == read_only;
        suite
            .seats
            .iter()
            .filter(of_kind)
            .map(|seat| id(seat))
            .collect()
    };
    let partner_seat: BTreeSet<Id> = suite
        .seats
        .get("partner")
        .map(|seat| id(seat))
        .into_iter()
        .collect();
    let all: BTreeSet<Grant> = keys(suite).iter().map(|(of, key)| grant(of, key)).collect();
    let seated = |name: &str| User {
        seats: seats(false),
        ..User::new(id(name))
    };
    let mut users = vec![
        seated("none"),
        User {
            grants: all
                .iter()
                .filter(|grant| grant.key.permission.as_str() == "view")
                .cloned()
                .collect(),
            ..seated("viewer")
        },
        User {
            grants: all.clone(),
            ..seated("all")
        },
        User {
            super_admin: true,
            ..seated("super")
        },
        User {
            account_owner: true,
            ..seated("owner")
        },
        User {
            kind: UserKind::PartnerEmployee,
            partner_admin: true,
            partner: partner(PartnerRole::Admin),
            seats: partner_seat,
            ..User::new(id("padmin"))
        },
        User {
            kind: UserKind::PartnerEmployee,
            partner: partner(PartnerRole::Employee),
            grants: all.clone(),
            ..seated("employee")
        },
        User {
            grants: all.clone(),
            ..User::new(id("seatless"))
        },
        User {
            grants: all.clone(),
            seats: seats(true),
            ..User::new(id("readonly"))
        },
        User {
            grants: all.clone(),
            ..seated("unpaid")
        },
    ];
    users.extend(keys(suite).iter().map(|(of, key)| User {
        grants: BTreeSet::from([grant(of, key)]),
        ..seated(&format!("{of}.{key}"))
    }));
    users
}

/// One plan with a valid payment method, and the same without.
struct Accounts {
    paid: Vec<Entity>,
    unpaid: Vec<Entity>,
    paid_graph: AccountGraph,
    unpaid_graph: AccountGraph,
}

impl Accounts {
    fn new(case: &CatalogCase, plan: &str) -> Self {
        let entities = |payment_method_valid| -> Vec<Entity> {
            let account = Account {
                id: id("golden"),
                catalog: case.reference.clone(),
                plan: id(plan),
                partner_program: PartnerProgram::None,
                payment_method_valid,
                settings: Settings::default(),
            };
            let users = users(&case.suite).into_iter().map(Entity::User);
            std::iter::once(Entity::Account(account))
                .chain(users)
                .collect()
        };
        let graph = |entities: &[Entity]| {
            let mut builder = GraphBuilder::default();
            for entity in entities {
                builder.push(entity.clone());
            }
            builder.finish().expect("a graph")
        };
        let (paid, unpaid) = (entities(true), entities(false));
        Self {
            paid_graph: graph(&paid),
            unpaid_graph: graph(&unpaid),
            paid,
            unpaid,
        }
    }

    /// The core's decision at tool level.
    fn decide(&self, user: &str, of: &str, action: &str) -> Decision {
        let graph = match user {
            "unpaid" => &self.unpaid_graph,
            _ => &self.paid_graph,
        };
        access_set::check(graph, user, of, action, Target::Tool, tick(0))
            .expect("type and action are known")
    }

    /// The cast's answers are the oracle's too.
    fn compare(&self, suite: &Suite) {
        for (entities, unpaid) in [(&self.paid, false), (&self.unpaid, true)] {
            let world = World::new(suite, entities);
            for (user, _) in CAST {
                if (user == "unpaid") != unpaid {
                    continue;
                }
                for (of, kind) in &suite.types {
                    for action in &kind.actions {
                        let expected = world.check(user, of, action, Target::Tool, tick(0));
                        let decision = self.decide(user, of, action);
                        assert_eq!(Answer::from(decision), expected, "{user} {of}.{action}");
                    }
                }
            }
        }
    }
}

fn cell(decision: Decision) -> String {
    let shown = match (decision.reason, decision.presentation) {
        (ReasonCode::NoPermission | ReasonCode::MissingPrerequisite, Presentation::Lock) => "+lock",
        (ReasonCode::NoPermission | ReasonCode::MissingPrerequisite, Presentation::TooltipLink) => {
            "+link"
        }
        (ReasonCode::NoPermission | ReasonCode::MissingPrerequisite, Presentation::BlockedPage) => {
            "+page"
        }
        (_, Presentation::None | Presentation::Lock) => "",
        other => panic!("an unexpected presentation at tool level: {other:?}"),
    };
    format!("{}{shown}", decision.reason)
}

/// What kind of action it is, in words.
fn facts(catalog: &Catalog, kind: &ResourceType, name: &str, rule: &ActionRule) -> String {
    let mut facts: Vec<String> = Vec::new();
    let canonical = catalog
        .resolve(kind.name.as_str(), name)
        .ok()
        .and_then(|(_, action)| catalog.action_name(action));
    if let Some(canonical) = canonical.filter(|canonical| canonical.as_str() != name) {
        facts.push(format!("same_as {canonical}"));
    }
    for (holds, word) in [
        (rule.tool_level, "tool_level"),
        (rule.read_only, "read_only"),
        (rule.needs_payment_method, "payment"),
        (rule.always, "always"),
        (rule.derived, "derived"),
    ] {
        if holds {
            facts.push(word.to_owned());
        }
    }
    if let Some(reserved) = rule.reserved {
        let holders: Vec<&str> = [
            (reserved.account_owner, "account_owner"),
            (reserved.super_admin, "super_admin"),
            (reserved.partner_admin, "partner_admin"),
            (reserved.explicit_grant, "explicit_grant"),
            (reserved.except_partner_users, "except_partner_users"),
        ]
        .into_iter()
        .filter_map(|(holds, word)| holds.then_some(word))
        .collect();
        facts.push(format!("reserved to {}", holders.join("|")));
    }
    or_dash(&facts.join(", "))
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// Plans by name for which something holds: `all`, `none`, or their names.
fn plans_where(catalog: &Catalog, holds: impl Fn(&Plan) -> bool) -> String {
    let names: Vec<&str> = catalog
        .plans
        .iter()
        .filter(|plan| holds(plan))
        .map(|plan| plan.name.as_str())
        .collect();
    match names.len() {
        0 => "none".to_owned(),
        count if count == catalog.plans.len() => "all".to_owned(),
        _ => names.join(" "),
    }
}

fn render(case: &CatalogCase, catalog: &Catalog) -> String {
    let mut out = String::new();
    let accounts: BTreeMap<&str, Accounts> = catalog
        .plans
        .iter()
        .map(|plan| (plan.name.as_str(), Accounts::new(case, plan.name.as_str())))
        .collect();
    for accounts in accounts.values() {
        accounts.compare(&case.suite);
    }
    writeln!(out, "catalog {} version {}", catalog.name, catalog.version).expect("a string");
    for (user, meaning) in CAST {
        writeln!(out, "  {user:<9} {meaning}").expect("a string");
    }
    writeln!(
        out,
        "nested_teams           {}",
        plans_where(catalog, |plan| plan.nested_teams)
    )
    .expect("a string");
    writeln!(
        out,
        "object_access_requests {}",
        plans_where(catalog, |plan| plan.object_access_requests)
    )
    .expect("a string");
    writeln!(
        out,
        "owner_may_stand_alone  {}",
        catalog.owner_may_stand_alone
    )
    .expect("a string");
    for (position, kind) in catalog.types.iter().enumerate() {
        render_type(&mut out, case, catalog, kind, position, &accounts);
    }
    out
}

fn render_type(
    out: &mut String,
    case: &CatalogCase,
    catalog: &Catalog,
    kind: &ResourceType,
    position: usize,
    accounts: &BTreeMap<&str, Accounts>,
) {
    let of = kind.name.as_str();
    let seats: Vec<&str> = case.suite.types[of]
        .seats
        .iter()
        .map(String::as_str)
        .collect();
    writeln!(out, "\n== {of}").expect("a string");
    writeln!(
        out,
        "   levels {}; seats {}; no_view {}; requestable {}",
        if kind.flag { "flag" } else { "all" },
        or_dash(&seats.join("|")),
        kind.no_view,
        kind.requestable
    )
    .expect("a string");
    writeln!(
        out,
        "   in plans: {}; partitionable: {}",
        plans_where(catalog, |plan| !plan.entitled[position].is_empty()),
        plans_where(catalog, |plan| plan.partitionable[position])
    )
    .expect("a string");
    writeln!(
        out,
        "   keys: {}",
        or_dash(&case.suite.types[of].grant_keys().join(" "))
    )
    .expect("a string");
    let actions: Vec<&str> = kind
        .actions
        .iter()
        .filter_map(|action| catalog.action_name(action))
        .map(Id::as_str)
        .collect();
    for action in &actions {
        let (_, canonical) = catalog.resolve(of, action).expect("an action of the type");
        let rule = kind.rule(canonical).expect("a canonical action has a rule");
        writeln!(
            out,
            "   {action:<18} {}",
            facts(catalog, kind, action, rule)
        )
        .expect("a string");
    }
    // Plans that answer alike share a block.
    let mut blocks: Vec<(Vec<&str>, String)> = Vec::new();
    for plan in &catalog.plans {
        let block = answers(case, &accounts[plan.name.as_str()], of, &actions);
        match blocks.iter_mut().find(|(_, known)| *known == block) {
            Some((plans, _)) => plans.push(plan.name.as_str()),
            None => blocks.push((vec![plan.name.as_str()], block)),
        }
    }
    for (plans, block) in blocks {
        writeln!(out, "   -- on {}", plans.join(" ")).expect("a string");
        out.push_str(&block);
    }
}

/// The answers on one plan: a line an action, with the keys that open it by themselves.
fn answers(case: &CatalogCase, accounts: &Accounts, of: &str, actions: &[&str]) -> String {
    let keys = keys(&case.suite);
    let mut rows = vec![{
        let mut head = vec!["action".to_owned()];
        head.extend(CAST.iter().map(|(user, _)| (*user).to_owned()));
        head.push("opened by".to_owned());
        head
    }];
    for action in actions {
        let mut row = vec![(*action).to_owned()];
        row.extend(
            CAST.iter()
                .map(|(user, _)| cell(accounts.decide(user, of, action))),
        );
        // What is open or reserved to everyone alike says nothing about a key.
        let without = accounts.decide("none", of, action);
        let opened: Vec<String> = keys
            .iter()
            .filter(|(key_of, key)| {
                let holder = format!("{key_of}.{key}");
                let decision = accounts.decide(&holder, of, action);
                decision.is_allow() && decision.reason != without.reason
            })
            .map(|(key_of, key)| {
                if key_of == of {
                    key.clone()
                } else {
                    format!("{key_of}.{key}")
                }
            })
            .collect();
        row.push(or_dash(&opened.join(" ")));
        rows.push(row);
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "   {}", cells.join("  ").trim_end()).expect("a string");
    }
    out
}

/// Lines that went and came, each with its number; the equal start and end left out.
fn difference(golden: &str, present: &str) -> String {
    let (golden, present): (Vec<&str>, Vec<&str>) =
        (golden.lines().collect(), present.lines().collect());
    let start = golden
        .iter()
        .zip(&present)
        .take_while(|(old, new)| old == new)
        .count();
    let end = golden[start..]
        .iter()
        .rev()
        .zip(present[start..].iter().rev())
        .take_while(|(old, new)| old == new)
        .count();
    let old = golden[start..golden.len() - end]
        .iter()
        .map(|line| format!("-{line}"));
    let new = present[start..present.len() - end]
        .iter()
        .map(|line| format!("+{line}"));
    let lines: Vec<String> = old.chain(new).collect();
    format!("from line {}:\n{}", start + 1, lines.join("\n"))
}

#[test]
fn the_catalogs_decide_as_their_golden_matrices_say() {
    let bless = std::env::var_os("AMBIT_BLESS").is_some();
    let mut failures = Vec::new();
    for case in catalogs() {
        let account = Accounts::new(&case, case.suite.plans.keys().next().expect("a plan"));
        let catalog = account.paid_graph.catalog();
        let present = render(&case, catalog);
        // What the catalog's own text names must be there, whatever the compiler made of it.
        for (of, kind) in &case.suite.types {
            let section = present
                .split("\n== ")
                .find(|section| section.lines().next() == Some(of))
                .unwrap_or_else(|| panic!("{}: the type {of} is missing", case.name));
            for action in &kind.actions {
                assert!(
                    section
                        .lines()
                        .any(|line| line.split_whitespace().next() == Some(action)),
                    "{}: {of}.{action} is missing",
                    case.name
                );
            }
        }
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(format!("{}.txt", case.name));
        if bless {
            std::fs::write(&path, &present).expect("the golden file is written");
            continue;
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        if golden != present {
            failures.push(format!(
                "{}, {}",
                path.display(),
                difference(&golden, &present)
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "the matrices have changed; review, then AMBIT_BLESS=1 writes them\n{}",
        failures.join("\n")
    );
}
