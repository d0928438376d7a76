//! The rules of a list of changes, one test a rule.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::graph::{AccountGraph, GraphBuilder};
use super::super::model::{
    Attributes, CatalogRef, Entity, EntityChange, EntityKey, Grant, Id, Level, ObjectGrant,
    PermissionKey, Principal, Provenance, ResourceKey, Timestamp, User, UserStatus,
};
use super::{
    AccountPatch, Change, ChangeError, ChangeProblem, ChangeSet, GrantHolder, ResourcePatch,
    SegmentPatch, TeamPatch, UserPatch, plan,
};

pub(super) fn id(text: &str) -> Id {
    Id::parse(text).expect("an id")
}

fn ids(text: &str) -> BTreeSet<Id> {
    text.split_whitespace().map(id).collect()
}

fn principal(text: &str) -> Principal {
    text.parse().expect("a principal")
}

fn provenance(text: &str) -> Provenance {
    text.parse().expect("a provenance")
}

pub(super) fn resource_key(text: &str) -> ResourceKey {
    let (resource_type, resource) = text.split_once('/').expect("TYPE/ID");
    ResourceKey {
        resource_type: id(resource_type),
        id: id(resource),
    }
}

fn permission(text: &str) -> PermissionKey {
    let (resource_type, permission) = text.rsplit_once('.').expect("TYPE.ACTION");
    PermissionKey {
        resource_type: id(resource_type),
        permission: id(permission),
    }
}

pub(super) fn account(catalog: &str, plan: &str) -> Change {
    Change::PutAccount(AccountPatch {
        catalog: Some(CatalogRef::BuiltIn(id(catalog))),
        plan: Some(id(plan)),
        ..AccountPatch::default()
    })
}

fn account_plan(plan: &str) -> Change {
    Change::PutAccount(AccountPatch {
        plan: Some(id(plan)),
        ..AccountPatch::default()
    })
}

pub(super) fn team(team: &str, parent: Option<&str>) -> Change {
    Change::PutTeam(TeamPatch {
        id: id(team),
        parent: Some(parent.map(id)),
    })
}

pub(super) fn user_patch(user: &str) -> UserPatch {
    UserPatch {
        id: id(user),
        status: None,
        kind: None,
        account_owner: None,
        super_admin: None,
        partner_admin: None,
        main_team: None,
        teams: None,
        seats: None,
        person: None,
        partner: None,
        permission_sets: None,
    }
}

fn user(user: &str) -> Change {
    Change::PutUser(Box::new(user_patch(user)))
}

fn user_with(user: &str, set: impl FnOnce(&mut UserPatch)) -> Change {
    let mut patch = user_patch(user);
    set(&mut patch);
    Change::PutUser(Box::new(patch))
}

fn super_admin(user: &str) -> Change {
    user_with(user, |patch| patch.super_admin = Some(true))
}

pub(super) fn resource_patch(key: &str) -> ResourcePatch {
    ResourcePatch {
        key: resource_key(key),
        owners: None,
        owning_team: None,
        partitioned: None,
        attributes: None,
    }
}

fn resource(key: &str) -> Change {
    Change::PutResource(resource_patch(key))
}

fn resource_with(key: &str, set: impl FnOnce(&mut ResourcePatch)) -> Change {
    let mut patch = resource_patch(key);
    set(&mut patch);
    Change::PutResource(patch)
}

fn partitioned(key: &str, partitioned: bool) -> Change {
    resource_with(key, |patch| patch.partitioned = Some(partitioned))
}

fn assign_from(key: &str, to: &str, from: &str, expires_at: Option<i64>) -> Change {
    Change::PutAssignment {
        resource: resource_key(key),
        principal: principal(to),
        provenance: provenance(from),
        expires_at: expires_at.map(|micros| Timestamp::from_unix_micros(micros).expect("a time")),
    }
}

pub(super) fn assign(key: &str, to: &str) -> Change {
    assign_from(key, to, "manual", None)
}

fn unassign(key: &str, to: &str) -> Change {
    Change::DeleteAssignment {
        resource: resource_key(key),
        principal: principal(to),
        provenance: Provenance::Manual,
    }
}

fn grant(key: &str, level: Level) -> Grant {
    Grant {
        key: permission(key),
        level,
        include_unassigned: false,
        not_before: None,
        expires_at: None,
        provenance: Provenance::Manual,
        granted_by: None,
    }
}

fn set_grants(user: &str, key: &str, grants: Vec<Grant>) -> Change {
    Change::SetGrants {
        holder: GrantHolder::User(id(user)),
        key: permission(key),
        provenance: Provenance::Manual,
        grants,
    }
}

fn grants(user: &str, key: &str, level: Level) -> Change {
    set_grants(user, key, vec![grant(key, level)])
}

fn object_grant(user: &str, key: &str, action: &str) -> Change {
    Change::SetObjectGrant {
        user: id(user),
        resource: resource_key(key),
        action: id(action),
        provenance: Provenance::Manual,
        grant: Some(ObjectGrant {
            resource: resource_key(key),
            action: id(action),
            not_before: None,
            expires_at: None,
            provenance: Provenance::Manual,
            granted_by: None,
        }),
    }
}

fn group(group: &str) -> Change {
    Change::PutAccessGroup(id(group))
}

fn member(group: &str, principal_text: &str, actions: &str) -> Change {
    Change::SetGroupMember {
        group: id(group),
        principal: principal(principal_text),
        actions: Some(ids(actions)),
    }
}

fn segment(name: &str, to: &str) -> Change {
    Change::PutSegment(SegmentPatch {
        id: id(name),
        resource_type: Some(id("contact")),
        when: Some("resource.score > 1".to_owned()),
        assign_to: Some(to.split_whitespace().map(principal).collect()),
        enabled: None,
    })
}

pub(super) fn planned(
    graph: Option<&AccountGraph>,
    changes: &[Change],
) -> Result<ChangeSet, ChangeError> {
    plan(&id("acme"), graph, changes)
}

/// The account after the changes; they must be possible.
pub(super) fn after(graph: Option<&AccountGraph>, changes: &[Change]) -> AccountGraph {
    let set = planned(graph, changes).expect("changes that can be made");
    match graph {
        Some(graph) => graph.apply(&set.changes).expect("a graph"),
        None => {
            let mut builder = GraphBuilder::default();
            for change in set.changes {
                match change {
                    EntityChange::Put(entity) => builder.push(entity),
                    EntityChange::Delete(key) => panic!("a new account deletes {key:?}"),
                }
            }
            builder.finish().expect("a graph")
        }
    }
}

/// A HubSpot account on Enterprise with these changes.
fn hubspot(changes: &[Change]) -> AccountGraph {
    let mut all = vec![account("hubspot", "enterprise")];
    all.extend_from_slice(changes);
    after(None, &all)
}

fn refused(graph: &AccountGraph, changes: &[Change]) -> (usize, String, ChangeProblem) {
    let error = planned(Some(graph), changes).expect_err("changes that can't be made");
    assert!(
        error.to_string().contains(&error.field),
        "an error names its field: {error}"
    );
    (error.index, error.field, error.problem)
}

fn dangling(what: &'static str, id: &str) -> ChangeProblem {
    ChangeProblem::Dangling {
        what,
        id: id.to_owned(),
    }
}

fn unchanged(graph: &AccountGraph, changes: &[Change]) {
    let set = planned(Some(graph), changes).expect("changes that can be made");
    assert_eq!(set, ChangeSet::default());
}

fn the_user<'g>(graph: &'g AccountGraph, user: &str) -> &'g User {
    graph.user(user).expect("the user")
}

// The account.

#[test]
fn no_account_and_none_made_is_an_error() {
    let error = planned(None, &[team("de", None)]).expect_err("no account");
    assert_eq!(error.problem, ChangeProblem::NoAccount);
    assert_eq!(
        planned(None, &[]).expect_err("no account").problem,
        ChangeProblem::NoAccount
    );
}

#[test]
fn a_new_account_needs_a_catalog_and_a_plan_of_it() {
    let only_plan = planned(None, &[team("de", None), account_plan("enterprise")]);
    let error = only_plan.expect_err("no catalog");
    assert_eq!((error.index, error.field.as_str()), (1, "account.catalog"));
    let without_plan = Change::PutAccount(AccountPatch {
        catalog: Some(CatalogRef::BuiltIn(id("hubspot"))),
        ..AccountPatch::default()
    });
    let error = planned(None, &[without_plan]).expect_err("no plan");
    assert_eq!((error.index, error.field.as_str()), (0, "account.plan"));
    let error = planned(None, &[account("hubspot", "gold")]).expect_err("no such plan");
    assert_eq!((error.index, error.field.as_str()), (0, "account.plan"));
    let error = planned(None, &[account("hubsport", "gold")]).expect_err("no such catalog");
    assert_eq!((error.index, error.field.as_str()), (0, "account.catalog"));
}

#[test]
fn a_catalog_that_does_not_parse_is_refused() {
    let put = Change::PutAccount(AccountPatch {
        catalog: Some(CatalogRef::Custom("types: [".into())),
        plan: Some(id("gold")),
        ..AccountPatch::default()
    });
    let error = planned(None, &[put]).expect_err("no catalog");
    assert_eq!(error.field, "account.catalog");
}

#[test]
fn settings_name_types_of_the_catalog_or_the_default() {
    let setting = |key: &str| {
        Change::PutAccount(AccountPatch {
            unpartitioned: vec![(id(key), Some(super::UnpartitionedDefault::NoOne))],
            ..AccountPatch::default()
        })
    };
    let graph = hubspot(&[setting("default"), setting("email")]);
    assert_eq!(graph.account().settings.unpartitioned.len(), 2);
    let (index, field, _) = refused(&graph, &[setting("contact"), setting("spaceship")]);
    assert_eq!(
        (index, field.as_str()),
        (1, "account.settings.unpartitioned")
    );
    unchanged(&graph, &[setting("email")]);
}

#[test]
fn an_impossible_request_time_is_refused() {
    let ttl = |seconds| {
        Change::PutAccount(AccountPatch {
            request_ttl_seconds: Some(seconds),
            ..AccountPatch::default()
        })
    };
    let graph = hubspot(&[ttl(Some(60))]);
    assert_eq!(graph.account().settings.request_ttl_seconds, Some(60));
    for seconds in [0, u64::MAX] {
        let (_, field, _) = refused(&graph, &[ttl(Some(seconds))]);
        assert_eq!(field, "account.settings.request_ttl");
    }
    let graph = after(Some(&graph), &[ttl(None)]);
    assert_eq!(graph.account().settings.request_ttl_seconds, None);
}

#[test]
fn another_catalog_must_fit_what_is_stored() {
    let to = |catalog: &str, plan: &str| account(catalog, plan);
    let fits = after(None, &[to("ipresso", "standard"), resource("contact/c1")]);
    after(Some(&fits), &[to("hubspot", "enterprise")]);

    let seat = hubspot(&[user_with("u", |patch| patch.seats = Some(ids("sales")))]);
    let granted = hubspot(&[user("u"), grants("u", "email.edit", Level::Team)]);
    let walled = hubspot(&[resource("deal/d1")]);
    let masked = hubspot(&[group("g"), user("u"), member("g", "user:u", "bulk_delete")]);
    let of_object = hubspot(&[
        user("u"),
        resource("contact/c"),
        object_grant("u", "contact/c", "assign"),
    ]);
    for graph in [&seat, &granted, &walled, &masked, &of_object] {
        let (index, field, _) = refused(graph, &[team("t", None), to("ipresso", "standard")]);
        assert_eq!((index, field.as_str()), (1, "account.catalog"));
    }
    // What doesn't fit may be taken back in the same list.
    let delete = Change::DeleteResource(resource_key("deal/d1"));
    let moved = after(Some(&walled), &[to("ipresso", "standard"), delete]);
    assert_eq!(moved.catalog().name.as_str(), "ipresso");
    let revoke = set_grants("u", "email.edit", vec![]);
    after(Some(&granted), &[revoke, to("ipresso", "standard")]);
}

// References.

#[test]
fn a_reference_may_come_before_what_it_refers_to() {
    let graph = after(
        None,
        &[
            resource_with("email/e1", |patch| patch.owners = Some(ids("u"))),
            grants("u", "email.edit", Level::Team),
            user_with("u", |patch| patch.main_team = Some(Some(id("de")))),
            team("de", Some("eu")),
            team("eu", None),
            account("hubspot", "enterprise"),
        ],
    );
    assert_eq!(the_user(&graph, "u").grants.len(), 1);
    assert_eq!(graph.team("de").expect("the team").parent, Some(id("eu")));
}

#[test]
fn each_dangling_reference_names_its_change_and_field() {
    let graph = hubspot(&[
        user("u"),
        group("g"),
        resource("email/e1"),
        team("de", None),
    ]);
    let cases: Vec<(Change, &str, &'static str, &str)> = vec![
        (team("a", Some("x")), "team.parent", "team", "x"),
        (
            user_with("u", |patch| patch.main_team = Some(Some(id("x")))),
            "user.main_team",
            "team",
            "x",
        ),
        (
            user_with("u", |patch| patch.teams = Some(ids("de x"))),
            "user.teams",
            "team",
            "x",
        ),
        (
            user_with("u", |patch| patch.permission_sets = Some(ids("x"))),
            "user.permission_sets",
            "permission set",
            "x",
        ),
        (
            grants("x", "email.edit", Level::Team),
            "grants.user",
            "user",
            "x",
        ),
        (
            object_grant("u", "email/x", "edit"),
            "object_grant.resource",
            "resource",
            "email/x",
        ),
        (
            object_grant("x", "email/e1", "edit"),
            "object_grant.user",
            "user",
            "x",
        ),
        (
            member("x", "user:u", "view"),
            "group_member.group",
            "access group",
            "x",
        ),
        (
            member("g", "user:x", "view"),
            "group_member.principal",
            "user",
            "x",
        ),
        (
            resource_with("email/e1", |patch| patch.owners = Some(ids("u x"))),
            "resource.owners",
            "user",
            "x",
        ),
        (
            resource_with("email/e1", |patch| patch.owning_team = Some(Some(id("x")))),
            "resource.owning_team",
            "team",
            "x",
        ),
        (
            assign("email/x", "user:u"),
            "assignment.resource",
            "resource",
            "email/x",
        ),
        (
            unassign("email/x", "user:u"),
            "assignment.resource",
            "resource",
            "email/x",
        ),
        (
            assign("email/e1", "group:x"),
            "assignment.principal",
            "access group",
            "x",
        ),
        (
            segment("s", "user:u team:x"),
            "segment.assign_to",
            "team",
            "x",
        ),
    ];
    for (change, field, what, missing) in cases {
        let refusal = refused(&graph, &[team("eu", None), change]);
        assert_eq!(refusal, (1, field.to_owned(), dangling(what, missing)));
    }
}

#[test]
fn a_reference_that_a_later_change_takes_back_is_no_error() {
    let graph = hubspot(&[]);
    let graph = after(
        Some(&graph),
        &[
            user_with("u", |patch| patch.main_team = Some(Some(id("x")))),
            user_with("u", |patch| patch.main_team = Some(None)),
        ],
    );
    assert_eq!(the_user(&graph, "u").main_team, None);
    let refusal = refused(
        &graph,
        &[
            user_with("u", |patch| patch.main_team = Some(Some(id("x")))),
            user_with("u", |patch| {
                patch.main_team = Some(None);
                patch.teams = Some(ids("x"));
            }),
        ],
    );
    assert_eq!(refusal, (1, "user.teams".to_owned(), dangling("team", "x")));
}

#[test]
fn a_reference_to_what_the_list_deletes_later_is_dropped_and_one_made_after_is_refused() {
    let graph = hubspot(&[team("de", None)]);
    let refer = || user_with("u", |patch| patch.teams = Some(ids("de")));
    let delete = || Change::DeleteTeam(id("de"));
    let dropped = after(Some(&graph), &[refer(), delete()]);
    assert!(the_user(&dropped, "u").teams.is_empty());
    let refusal = refused(&graph, &[delete(), refer()]);
    assert_eq!(
        refusal,
        (1, "user.teams".to_owned(), dangling("team", "de"))
    );
    let again = after(Some(&graph), &[delete(), refer(), team("de", None)]);
    assert_eq!(the_user(&again, "u").teams, ids("de"));
}

// Twice is once.

#[test]
fn what_comes_out_as_it_was_is_left_out() {
    let changes = [
        team("eu", None),
        team("de", Some("eu")),
        user_with("u", |patch| patch.main_team = Some(Some(id("de")))),
        grants("u", "email.edit", Level::Team),
        group("g"),
        member("g", "team:de", "view edit"),
        resource_with("email/e1", |patch| patch.owners = Some(ids("u"))),
        assign("email/e1", "team:de"),
        object_grant("u", "email/e1", "edit"),
        segment("s", "group:g"),
    ];
    let graph = hubspot(&changes);
    unchanged(&graph, &changes);
    unchanged(
        &graph,
        &[
            Change::DeleteTeam(id("nobody")),
            Change::DeleteUser(id("nobody")),
            Change::DeletePermissionSet(id("nobody")),
            Change::DeleteAccessGroup(id("nobody")),
            Change::DeleteSegment(id("nobody")),
            Change::DeleteResource(resource_key("email/nothing")),
            unassign("email/e1", "user:u"),
        ],
    );
    // Made and deleted in one list is nothing.
    unchanged(&graph, &[team("x", None), Change::DeleteTeam(id("x"))]);
    // Put away and back is nothing either.
    unchanged(&graph, &[team("de", None), team("de", Some("eu"))]);
}

#[test]
fn later_changes_win() {
    let graph = hubspot(&[
        user("u"),
        grants("u", "email.edit", Level::Everything),
        grants("u", "email.edit", Level::Owned),
    ]);
    let held: Vec<Level> = the_user(&graph, "u")
        .grants
        .iter()
        .map(|grant| grant.level)
        .collect();
    assert_eq!(held, [Level::Owned]);
}

#[test]
fn the_summary_names_what_changes() {
    let graph = hubspot(&[team("de", None), user("u"), user("v")]);
    let set = planned(
        Some(&graph),
        &[
            user_with("u", |patch| patch.main_team = Some(Some(id("de")))),
            Change::DeleteUser(id("v")),
            resource("email/e1"),
        ],
    )
    .expect("changes");
    let lines: Vec<(&str, EntityKey, Vec<&str>)> = set
        .summary
        .into_iter()
        .map(|line| (line.verb, line.entity, line.fields))
        .collect();
    assert_eq!(
        lines,
        [
            ("update", EntityKey::User(id("u")), vec!["main_team"]),
            (
                "create",
                EntityKey::Resource(resource_key("email/e1")),
                vec![]
            ),
            ("delete", EntityKey::User(id("v")), vec![]),
        ]
    );
}

#[test]
fn attributes_that_are_stored_so_are_no_change() {
    let attributes = |score: i64| {
        let mut attributes = Attributes::new();
        attributes.insert("score".to_owned(), score.into());
        attributes
    };
    let put = |key: &str, score: i64| {
        resource_with(key, |patch| patch.attributes = Some(attributes(score)))
    };
    let graph = hubspot(&[put("contact/a", 1), put("contact/b", 1)]);
    let changes = [
        put("contact/a", 1),
        put("contact/b", 2),
        put("contact/c", 3),
    ];
    let mut set = planned(Some(&graph), &changes).expect("changes");
    let stored = [resource_key("contact/a"), resource_key("contact/b")];
    assert_eq!(set.attribute_keys(), stored);
    set.settle_attributes(
        stored
            .iter()
            .map(|key| (key.clone(), attributes(1)))
            .collect(),
    );
    let left: Vec<EntityKey> = set.summary.iter().map(|line| line.entity.clone()).collect();
    assert_eq!(
        left,
        ["contact/b", "contact/c"].map(|key| EntityKey::Resource(resource_key(key)))
    );
    assert_eq!(set.changes.len(), 2);
    // A resource that is deleted and made again doesn't find its old attributes.
    let again = [
        Change::DeleteResource(resource_key("contact/a")),
        resource("contact/a"),
    ];
    let mut set = planned(Some(&graph), &again).expect("changes");
    set.settle_attributes(vec![(resource_key("contact/a"), attributes(1))]);
    let EntityChange::Put(Entity::Resource(_, stored)) = &set.changes[0] else {
        panic!("the resource is put: {set:?}");
    };
    assert_eq!(*stored, Some(Attributes::new()));
}

// Teams.

#[test]
fn p11_a_team_never_becomes_its_own_ancestor() {
    let graph = hubspot(&[team("a", None), team("b", Some("a")), team("c", Some("b"))]);
    let cycle = |index, team: &str| {
        (
            index,
            "team.parent".to_owned(),
            ChangeProblem::TeamCycle(team.to_owned()),
        )
    };
    assert_eq!(refused(&graph, &[team("a", Some("a"))]), cycle(0, "a"));
    assert_eq!(refused(&graph, &[team("a", Some("b"))]), cycle(0, "a"));
    assert_eq!(
        refused(&graph, &[team("x", None), team("a", Some("c"))]),
        cycle(1, "a")
    );
    let two_new = [team("x", Some("y")), team("y", Some("x"))];
    assert_eq!(refused(&graph, &two_new), cycle(1, "y"));
    // Turned round in one list: no cycle at its end.
    let turned = after(Some(&graph), &[team("a", Some("c")), team("b", None)]);
    assert_eq!(turned.team("a").expect("the team").parent, Some(id("c")));
    // Deleting a team in the middle of a cycle that the list made leaves a cycle of the others.
    let left = [team("a", Some("c")), Change::DeleteTeam(id("b"))];
    let (_, _, problem) = refused(&graph, &left);
    assert!(
        matches!(problem, ChangeProblem::TeamCycle(_)),
        "{problem:?}"
    );
}

#[test]
fn p11_a_cycle_of_1000_teams_is_found() {
    let mut changes: Vec<Change> = (0..1_000)
        .map(|n| team(&format!("t{n}"), Some(&format!("t{}", (n + 1) % 1_000))))
        .collect();
    let graph = hubspot(&[]);
    let (index, _, problem) = refused(&graph, &changes);
    assert_eq!(index, 999);
    assert_eq!(problem, ChangeProblem::TeamCycle("t999".to_owned()));
    changes.push(team("t500", None));
    after(Some(&graph), &changes);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test bounds how long a long chain takes"
)]
fn a_chain_of_99_999_teams_is_planned_in_either_order_and_deleted_again() {
    let name = |n: usize| format!("t{n:05}");
    let link = |n: usize| team(&name(n), (n > 0).then(|| name(n - 1)).as_deref());
    let started = Instant::now();
    for backwards in [false, true] {
        let mut changes: Vec<Change> = (0..99_999).map(link).collect();
        if backwards {
            changes.reverse();
        }
        changes.insert(0, account("hubspot", "enterprise"));
        let set = planned(None, &changes).expect("a chain");
        // The account, then each team after its parent.
        let order: Vec<EntityKey> = set
            .summary
            .into_iter()
            .map(|line| line.entity)
            .skip(1)
            .collect();
        let expected: Vec<EntityKey> = (0..99_999).map(|n| EntityKey::Team(id(&name(n)))).collect();
        assert!(order == expected, "parents come first");
        changes.extend((0..1).map(|_| team(&name(0), Some(&name(99_998)))));
        changes.remove(1);
        planned(None, &changes).expect_err("a cycle, or a chain without its head");
    }
    // A guard against quadratic time, not a benchmark: a debug build on a busy machine needs a few
    // seconds, and a quadratic walk of the chain would need hours.
    assert!(started.elapsed() < Duration::from_secs(120));
}

#[test]
fn p11_deleting_a_team_moves_its_children_and_drops_what_names_it() {
    let graph = hubspot(&[
        team("eu", None),
        team("de", Some("eu")),
        team("nrw", Some("de")),
        user_with("main", |patch| patch.main_team = Some(Some(id("de")))),
        user_with("extra", |patch| patch.teams = Some(ids("de eu"))),
        group("g"),
        member("g", "team:de", "view"),
        member("g", "user:main", "view"),
        resource_with("email/stamped", |patch| {
            patch.owning_team = Some(Some(id("de")))
        }),
        resource("email/only"),
        assign("email/only", "team:de"),
        resource("email/both"),
        assign("email/both", "team:de"),
        assign("email/both", "team:eu"),
        assign_from("email/both", "team:de", "import:j", Some(1)),
        segment("s", "team:de team:eu"),
        segment("alone", "team:de"),
    ]);
    let graph = after(Some(&graph), &[Change::DeleteTeam(id("de"))]);
    assert!(graph.team("de").is_none());
    assert_eq!(graph.team("nrw").expect("the child").parent, Some(id("eu")));
    assert_eq!(the_user(&graph, "main").main_team, None);
    assert_eq!(the_user(&graph, "extra").teams, ids("eu"));
    let group = graph.access_group("g").expect("the group");
    assert_eq!(
        group.members.keys().collect::<Vec<_>>(),
        [&principal("user:main")]
    );
    let the = |key: &str| graph.resource(&resource_key(key)).expect("the resource");
    assert_eq!(the("email/stamped").owning_team, None);
    assert!(!the("email/stamped").partitioned);
    assert!(the("email/only").assignments.is_empty());
    assert!(
        the("email/only").partitioned,
        "3.5: it doesn't open to everyone"
    );
    let left: Vec<Principal> = the("email/both")
        .assignments
        .into_iter()
        .map(|one| one.principal)
        .collect();
    assert_eq!(left, [principal("team:eu")]);
    let segment = graph.segment("s").expect("the segment");
    assert_eq!(segment.assign_to, BTreeSet::from([principal("team:eu")]));
    assert!(segment.enabled);
    assert!(
        !graph.segment("alone").expect("the segment").enabled,
        "it assigns to nobody"
    );
}

#[test]
fn p11_children_climb_over_several_deleted_teams() {
    let graph = hubspot(&[
        team("a", None),
        team("b", Some("a")),
        team("c", Some("b")),
        team("d", Some("c")),
    ]);
    for order in [["b", "c"], ["c", "b"]] {
        let deletes = order.map(|name| Change::DeleteTeam(id(name)));
        let graph = after(Some(&graph), &deletes);
        assert_eq!(graph.team("d").expect("the team").parent, Some(id("a")));
        let set = planned(Some(&graph), &[Change::DeleteTeam(id("a"))]).expect("changes");
        assert_eq!(set.changes.len(), 2);
    }
    let deletes = ["a", "b", "c", "d"].map(|name| Change::DeleteTeam(id(name)));
    let set = planned(Some(&graph), &deletes).expect("changes");
    let order: Vec<EntityKey> = set.summary.into_iter().map(|line| line.entity).collect();
    assert_eq!(
        order,
        ["d", "c", "b", "a"].map(|name| EntityKey::Team(id(name)))
    );
}

// Users and sets.

#[test]
fn p11_deleting_a_user_drops_ownership_memberships_and_assignments() {
    let graph = hubspot(&[
        user("u"),
        user("v"),
        group("g"),
        member("g", "user:u", "view"),
        resource_with("email/e1", |patch| patch.owners = Some(ids("u v"))),
        assign("email/e1", "user:u"),
        segment("s", "user:u user:v"),
        object_grant("u", "email/e1", "edit"),
    ]);
    let graph = after(Some(&graph), &[Change::DeleteUser(id("u"))]);
    assert!(graph.user("u").is_none());
    assert!(
        graph
            .access_group("g")
            .expect("the group")
            .members
            .is_empty()
    );
    let resource = graph
        .resource(&resource_key("email/e1"))
        .expect("the resource");
    assert_eq!(resource.owners, ids("v"));
    assert!(resource.assignments.is_empty() && resource.partitioned);
    assert_eq!(graph.segment("s").expect("the segment").assign_to.len(), 1);
    // Made anew, the user has nothing of the old one.
    let again = after(Some(&graph), &[user("u")]);
    assert!(the_user(&again, "u").object_grants.is_empty());
}

#[test]
fn c11_deactivation_keeps_what_a_user_has_and_removal_clears_it() {
    let changes = [
        team("de", None),
        user_with("u", |patch| {
            patch.main_team = Some(Some(id("de")));
            patch.person = Some(Some(id("p")));
        }),
        grants("u", "email.edit", Level::Team),
        resource_with("email/e1", |patch| patch.owners = Some(ids("u"))),
        assign("email/e1", "user:u"),
    ];
    let graph = hubspot(&changes);
    let status = |status| user_with("u", |patch| patch.status = Some(status));
    let off = after(Some(&graph), &[status(UserStatus::Deactivated)]);
    assert_eq!(the_user(&off, "u").grants.len(), 1);
    assert_eq!(
        off.resource(&resource_key("email/e1"))
            .expect("the resource")
            .owners,
        ids("u")
    );
    let removed = after(Some(&graph), &[status(UserStatus::Removed)]);
    let user = the_user(&removed, "u");
    assert!(user.grants.is_empty() && user.main_team.is_none());
    assert_eq!(user.person, Some(id("p")));
    let resource = removed
        .resource(&resource_key("email/e1"))
        .expect("the resource");
    assert!(resource.owners.is_empty() && resource.assignments.is_empty() && resource.partitioned);
}

#[test]
fn deleting_a_set_takes_it_from_its_holders() {
    let graph = hubspot(&[
        Change::PutPermissionSet(id("reader")),
        Change::SetGrants {
            holder: GrantHolder::PermissionSet(id("reader")),
            key: permission("email.view"),
            provenance: Provenance::Manual,
            grants: vec![grant("email.view", Level::Everything)],
        },
        user_with("u", |patch| patch.permission_sets = Some(ids("reader"))),
    ]);
    let graph = after(Some(&graph), &[Change::DeletePermissionSet(id("reader"))]);
    assert!(the_user(&graph, "u").permission_sets.is_empty());
}

#[test]
fn seats_are_those_of_the_catalog() {
    let graph = hubspot(&[user_with("u", |patch| patch.seats = Some(ids("sales")))]);
    let (_, field, _) = refused(
        &graph,
        &[user_with("u", |patch| patch.seats = Some(ids("window")))],
    );
    assert_eq!(field, "user.seats");
}

#[test]
fn an_account_has_at_most_one_owner() {
    let owner = |name: &str, owns| user_with(name, |patch| patch.account_owner = Some(owns));
    let graph = hubspot(&[owner("a", true), user("b")]);
    let (index, field, _) = refused(&graph, &[user("c"), owner("b", true)]);
    assert_eq!((index, field.as_str()), (1, "user.account_owner"));
    let graph = after(Some(&graph), &[owner("b", true), owner("a", false)]);
    assert!(the_user(&graph, "b").account_owner);
    // A store that checks each row meets never two: the old one goes first.
    let set = planned(
        Some(&graph),
        &[owner("a", true), Change::DeleteUser(id("b"))],
    )
    .expect("changes");
    let order: Vec<EntityKey> = set.summary.into_iter().map(|line| line.entity).collect();
    assert_eq!(order, ["b", "a"].map(|name| EntityKey::User(id(name))));
}

#[test]
fn d9_the_last_active_super_admin_stays() {
    let status = |name: &str, status| user_with(name, |patch| patch.status = Some(status));
    let demote = |name: &str| user_with(name, |patch| patch.super_admin = Some(false));
    let graph = hubspot(&[
        super_admin("sa"),
        super_admin("off"),
        status("off", UserStatus::Deactivated),
        super_admin("inv"),
        status("inv", UserStatus::Invited),
        user_with("owner", |patch| patch.account_owner = Some(true)),
    ]);
    let cases = [
        (demote("sa"), "user.super_admin"),
        (status("sa", UserStatus::Deactivated), "user.status"),
        (status("sa", UserStatus::Removed), "user.status"),
        (status("sa", UserStatus::Invited), "user.status"),
        (Change::DeleteUser(id("sa")), "user"),
    ];
    for (change, field) in cases {
        let refusal = refused(&graph, &[user("x"), change.clone()]);
        assert_eq!(
            refusal,
            (1, field.to_owned(), ChangeProblem::LastSuperAdmin)
        );
        // With another one made active in the same list, before or after, it is allowed.
        let activate = status("off", UserStatus::Active);
        after(Some(&graph), &[change.clone(), activate.clone()]);
        after(Some(&graph), &[activate, change]);
    }
    let two = hubspot(&[super_admin("a"), super_admin("b")]);
    after(Some(&two), &[demote("a")]);
    assert_eq!(refused(&two, &[demote("a"), demote("b")]).0, 1);
    // An account that had none needs none.
    after(None, &[account("hubspot", "enterprise"), user("u")]);
}

#[test]
fn d9_an_owner_stands_alone_where_the_catalog_says_so() {
    let owner = user_with("owner", |patch| patch.account_owner = Some(true));
    let graph = after(
        None,
        &[account("brevo", "enterprise"), super_admin("sa"), owner],
    );
    after(Some(&graph), &[Change::DeleteUser(id("sa"))]);
    let owner_off = user_with("owner", |patch| {
        patch.status = Some(UserStatus::Deactivated)
    });
    let both = [owner_off, Change::DeleteUser(id("sa"))];
    assert_eq!(refused(&graph, &both).2, ChangeProblem::LastSuperAdmin);
}

// Grants.

#[test]
fn grants_are_of_the_key_and_provenance_that_they_are_set_for() {
    let graph = hubspot(&[user("u")]);
    let other_key = set_grants("u", "email.edit", vec![grant("email.view", Level::Team)]);
    assert_eq!(refused(&graph, &[other_key]).1, "grants");
    let other_source = Grant {
        provenance: provenance("request:1"),
        ..grant("email.edit", Level::Team)
    };
    assert_eq!(
        refused(&graph, &[set_grants("u", "email.edit", vec![other_source])]).1,
        "grants"
    );
}

#[test]
fn grants_of_one_provenance_leave_those_of_another() {
    let of_request = |level| Change::SetGrants {
        holder: GrantHolder::User(id("u")),
        key: permission("email.edit"),
        provenance: provenance("request:1"),
        grants: vec![Grant {
            provenance: provenance("request:1"),
            ..grant("email.edit", level)
        }],
    };
    let graph = hubspot(&[
        user("u"),
        of_request(Level::Owned),
        grants("u", "email.edit", Level::Team),
        set_grants("u", "email.edit", vec![]),
    ]);
    let held: Vec<Provenance> = the_user(&graph, "u")
        .grants
        .iter()
        .map(|one| one.provenance.clone())
        .collect();
    assert_eq!(held, [provenance("request:1")]);
}

#[test]
fn a_grant_names_a_permission_that_the_catalog_lets_be_granted() {
    let graph = hubspot(&[user("u"), resource("contact/c1")]);
    for key in ["email.fly", "spaceship.view", "contact.bulk_delete"] {
        assert_eq!(
            refused(&graph, &[grants("u", key, Level::Team)]).1,
            "grants.key",
            "{key}"
        );
        assert_eq!(
            refused(&graph, &[set_grants("u", key, vec![])]).1,
            "grants.key",
            "{key}"
        );
    }
    assert_eq!(
        refused(&graph, &[object_grant("u", "contact/c1", "bulk_delete")]).1,
        "object_grant.action"
    );
    let brevo = after(
        None,
        &[
            account("brevo", "enterprise"),
            user("u"),
            resource("contact/c1"),
        ],
    );
    for key in [
        "sender_settings.manage",
        "account.billing.view",
        "test_list.manage",
    ] {
        assert_eq!(
            refused(&brevo, &[grants("u", key, Level::Everything)]).1,
            "grants.key",
            "{key}"
        );
    }
    // A permission bundles actions; an object grant gives one action.
    after(
        Some(&brevo),
        &[grants("u", "contact.create_edit_delete", Level::Everything)],
    );
    let bundle = object_grant("u", "contact/c1", "create_edit_delete");
    assert_eq!(refused(&brevo, &[bundle]).1, "object_grant.action");
    // A flag type takes a grant whole or not at all (4).
    for level in [Level::Owned, Level::Team] {
        let refusal = refused(&brevo, &[grants("u", "contact.create_edit_delete", level)]);
        assert_eq!(refusal.1, "grants.level");
    }
    after(
        Some(&brevo),
        &[grants("u", "contact.create_edit_delete", Level::None)],
    );
}

#[test]
fn include_unassigned_is_kept_only_where_it_says_something() {
    for (level, kept) in [
        (Level::None, false),
        (Level::Owned, true),
        (Level::Team, true),
        (Level::Everything, false),
    ] {
        let with_unassigned = Grant {
            include_unassigned: true,
            ..grant("email.edit", level)
        };
        let graph = hubspot(&[
            user("u"),
            set_grants("u", "email.edit", vec![with_unassigned]),
        ]);
        let stored = the_user(&graph, "u").grants.first().expect("the grant");
        assert_eq!(stored.include_unassigned, kept, "{level}");
    }
}

#[test]
fn a_grant_ends_after_it_begins() {
    let graph = hubspot(&[user("u")]);
    let at = |micros| Timestamp::from_unix_micros(micros);
    let backwards = Grant {
        not_before: at(2),
        expires_at: at(2),
        ..grant("email.edit", Level::Team)
    };
    let refusal = refused(&graph, &[set_grants("u", "email.edit", vec![backwards])]);
    assert_eq!(refusal.1, "grants.expires_at");
}

#[test]
fn deleting_a_resource_takes_the_object_grants_on_it() {
    let graph = hubspot(&[
        user("u"),
        resource("email/e1"),
        resource("email/e2"),
        object_grant("u", "email/e1", "edit"),
        object_grant("u", "email/e2", "edit"),
    ]);
    let graph = after(
        Some(&graph),
        &[Change::DeleteResource(resource_key("email/e1"))],
    );
    let left: Vec<ResourceKey> = the_user(&graph, "u")
        .object_grants
        .iter()
        .map(|one| one.resource.clone())
        .collect();
    assert_eq!(left, [resource_key("email/e2")]);
}

#[test]
fn an_object_grant_is_one_of_user_resource_action_and_provenance() {
    let expiring = |expires_at: Option<Timestamp>| {
        let mut change = object_grant("u", "email/e1", "edit");
        if let Change::SetObjectGrant {
            grant: Some(grant), ..
        } = &mut change
        {
            grant.expires_at = expires_at;
        }
        change
    };
    let graph = hubspot(&[
        user("u"),
        resource("email/e1"),
        expiring(None),
        expiring(Timestamp::from_unix_micros(5)),
        object_grant("u", "email/e1", "view"),
    ]);
    assert_eq!(the_user(&graph, "u").object_grants.len(), 2);
    let revoke = Change::SetObjectGrant {
        user: id("u"),
        resource: resource_key("email/e1"),
        action: id("edit"),
        provenance: Provenance::Manual,
        grant: None,
    };
    let graph = after(Some(&graph), &[revoke]);
    assert_eq!(the_user(&graph, "u").object_grants.len(), 1);
}

// Access groups.

#[test]
fn s5_8_a_mask_names_actions_and_a_member_is_no_group() {
    let graph = hubspot(&[group("g"), user("u"), member("g", "user:u", "")]);
    assert_eq!(graph.access_group("g").expect("the group").members.len(), 1);
    assert_eq!(
        refused(&graph, &[member("g", "user:u", "view fly")]).1,
        "group_member.actions"
    );
    assert_eq!(
        refused(&graph, &[member("g", "group:g", "view")]).1,
        "group_member.principal"
    );
    let leave = Change::SetGroupMember {
        group: id("g"),
        principal: principal("user:u"),
        actions: None,
    };
    let graph = after(Some(&graph), &[leave]);
    assert!(
        graph
            .access_group("g")
            .expect("the group")
            .members
            .is_empty()
    );
}

#[test]
fn p11_deleting_a_group_drops_its_assignments() {
    let graph = hubspot(&[
        group("g"),
        resource("contact/c1"),
        assign("contact/c1", "group:g"),
        segment("s", "group:g"),
    ]);
    let graph = after(Some(&graph), &[Change::DeleteAccessGroup(id("g"))]);
    let resource = graph
        .resource(&resource_key("contact/c1"))
        .expect("the resource");
    assert!(resource.assignments.is_empty() && resource.partitioned);
    assert!(
        graph
            .segment("s")
            .expect("the segment")
            .assign_to
            .is_empty()
    );
}

// Partitions.

#[test]
fn row_3_5_the_first_assignment_partitions_and_the_last_one_gone_does_not_open() {
    let graph = hubspot(&[user("u"), resource("email/e1")]);
    let the = |graph: &AccountGraph| {
        graph
            .resource(&resource_key("email/e1"))
            .expect("the resource")
    };
    assert!(!the(&graph).partitioned);
    let graph = after(Some(&graph), &[assign("email/e1", "user:u")]);
    assert!(the(&graph).partitioned);
    let graph = after(Some(&graph), &[unassign("email/e1", "user:u")]);
    assert!(the(&graph).partitioned && the(&graph).assignments.is_empty());
    let graph = after(Some(&graph), &[assign("email/e1", "user:u")]);
    let graph = after(Some(&graph), &[partitioned("email/e1", false)]);
    assert!(!the(&graph).partitioned && the(&graph).assignments.is_empty());
    let graph = after(Some(&graph), &[partitioned("email/e1", true)]);
    assert!(the(&graph).partitioned, "closed to everyone but its owners");
}

#[test]
fn unpartitioning_together_with_an_assignment_is_refused_in_either_order() {
    let graph = hubspot(&[user("u"), resource("email/e1")]);
    let open = || partitioned("email/e1", false);
    let close = || assign("email/e1", "user:u");
    let (index, field, _) = refused(&graph, &[open(), close()]);
    assert_eq!((index, field.as_str()), (1, "assignment.resource"));
    let (index, field, _) = refused(&graph, &[close(), open()]);
    assert_eq!((index, field.as_str()), (1, "resource.partitioned"));
    after(
        Some(&graph),
        &[
            close(),
            resource("email/e2"),
            partitioned("email/e2", false),
        ],
    );
}

#[test]
fn an_assignment_is_one_of_principal_and_provenance() {
    let graph = hubspot(&[
        user("u"),
        resource("email/e1"),
        assign_from("email/e1", "user:u", "manual", Some(1)),
        assign_from("email/e1", "user:u", "manual", None),
        assign_from("email/e1", "user:u", "import:j", Some(1)),
    ]);
    let resource = graph
        .resource(&resource_key("email/e1"))
        .expect("the resource");
    let ends: Vec<Option<i64>> = resource
        .assignments
        .iter()
        .map(|one| one.expires_at.map(Timestamp::unix_micros))
        .collect();
    assert_eq!(ends, [None, Some(1)]);
}

#[test]
fn s2_4_a_type_that_the_plan_does_not_partition_gets_no_wall() {
    let not_entitled = |index, field: &str, resource_type: &str| {
        (
            index,
            field.to_owned(),
            ChangeProblem::NotEntitled(resource_type.to_owned()),
        )
    };
    let starter = after(
        None,
        &[
            account("hubspot", "starter"),
            user("u"),
            resource("email/e1"),
        ],
    );
    assert_eq!(
        refused(&starter, &[user("v"), assign("email/e1", "user:u")]),
        not_entitled(1, "assignment.principal", "email")
    );
    assert_eq!(
        refused(&starter, &[partitioned("email/e1", true)]),
        not_entitled(0, "resource.partitioned", "email")
    );
    // Entitled by the plan that stands after the list, wherever it is put.
    after(
        Some(&starter),
        &[assign("email/e1", "user:u"), account_plan("enterprise")],
    );
    // S2.3: contacts are partitioned on any plan.
    after(
        Some(&starter),
        &[resource("contact/c1"), assign("contact/c1", "user:u")],
    );
    // Types that are never partitioned.
    let enterprise = hubspot(&[user("u")]);
    let never = [
        resource("user_management/x"),
        assign("user_management/x", "user:u"),
    ];
    assert_eq!(
        refused(&enterprise, &never).2,
        ChangeProblem::NotEntitled("user_management".to_owned())
    );
}

#[test]
fn s2_5_a_blog_post_is_partitioned_only_with_a_content_product() {
    let sales = after(
        None,
        &[
            account("hubspot", "sales_enterprise"),
            user("u"),
            resource("blog_post/b1"),
        ],
    );
    let refusal = refused(&sales, &[assign("blog_post/b1", "user:u")]);
    assert_eq!(
        refusal.2,
        ChangeProblem::NotEntitled("blog_post".to_owned())
    );
}

#[test]
fn c12_walls_outlive_a_downgrade_and_can_only_be_narrowed() {
    let graph = hubspot(&[
        user("u"),
        user("v"),
        resource("email/e1"),
        assign("email/e1", "user:u"),
        assign_from("email/e1", "user:v", "manual", Some(10)),
    ]);
    let graph = after(Some(&graph), &[account_plan("starter")]);
    let resource_of = |graph: &AccountGraph| {
        graph
            .resource(&resource_key("email/e1"))
            .expect("the resource")
    };
    assert_eq!(resource_of(&graph).assignments.len(), 2);
    // The same again is nothing; an owner may change; less is allowed.
    unchanged(
        &graph,
        &[assign("email/e1", "user:u"), partitioned("email/e1", true)],
    );
    after(
        Some(&graph),
        &[resource_with("email/e1", |patch| {
            patch.owners = Some(ids("v"))
        })],
    );
    after(
        Some(&graph),
        &[assign_from("email/e1", "user:v", "manual", Some(5))],
    );
    after(Some(&graph), &[Change::DeleteUser(id("v"))]);
    let open = after(Some(&graph), &[partitioned("email/e1", false)]);
    assert!(!resource_of(&open).partitioned);
    // More is not, by name or by time; and what was opened stays open.
    for more in [
        assign_from("email/e1", "user:u", "import:j", None),
        assign_from("email/e1", "user:v", "manual", Some(11)),
        assign_from("email/e1", "user:v", "manual", None),
    ] {
        let (index, field, problem) = refused(&graph, &[user("w"), more]);
        assert_eq!((index, field.as_str()), (1, "assignment.principal"));
        assert_eq!(problem, ChangeProblem::NotEntitled("email".to_owned()));
    }
    assert_eq!(refused(&open, &[partitioned("email/e1", true)]).0, 0);
}

#[test]
fn a_resource_is_of_a_type_of_the_catalog() {
    let graph = hubspot(&[user("u")]);
    assert_eq!(
        refused(&graph, &[resource("spaceship/s1")]).1,
        "resource.type"
    );
    assert_eq!(
        refused(&graph, &[assign("spaceship/s1", "user:u")]).1,
        "assignment.resource"
    );
}

// Segments.

#[test]
fn p5_a_segment_has_a_type_an_expression_and_targets() {
    let graph = hubspot(&[user("u"), segment("s", "user:u")]);
    assert!(graph.segment("s").expect("the segment").enabled);
    let with = |name: &str, set: &dyn Fn(&mut SegmentPatch)| {
        let mut patch = SegmentPatch {
            id: id(name),
            resource_type: None,
            when: None,
            assign_to: None,
            enabled: None,
        };
        set(&mut patch);
        Change::PutSegment(patch)
    };
    let long = "x".repeat(super::SEGMENT_WHEN_BYTES_MAX);
    after(
        Some(&graph),
        &[with("s", &|patch| patch.when = Some(long.clone()))],
    );
    let cases: Vec<(Change, &str)> = vec![
        (
            with("s", &|patch| patch.when = Some(format!("{long}x"))),
            "segment.when",
        ),
        (
            with("s", &|patch| patch.when = Some(String::new())),
            "segment.when",
        ),
        (
            with("s", &|patch| patch.resource_type = Some(id("spaceship"))),
            "segment.type",
        ),
        (
            with("s", &|patch| patch.assign_to = Some(BTreeSet::new())),
            "segment.assign_to",
        ),
        (with("new", &|_| {}), "segment.type"),
        (
            with("new", &|patch| patch.resource_type = Some(id("contact"))),
            "segment.when",
        ),
        (segment("new", ""), "segment.assign_to"),
    ];
    for (change, field) in cases {
        assert_eq!(refused(&graph, &[change]).1, field);
    }
}

#[test]
fn p7_deleting_a_segment_drops_only_its_own_rows() {
    let graph = hubspot(&[
        user("u"),
        segment("s", "user:u"),
        resource("contact/c1"),
        assign_from("contact/c1", "user:u", "segment:s", None),
        assign_from("contact/c1", "user:u", "segment:t", None),
        resource("contact/c2"),
        assign_from("contact/c2", "user:u", "segment:s", None),
    ]);
    let graph = after(Some(&graph), &[Change::DeleteSegment(id("s"))]);
    let the = |key: &str| graph.resource(&resource_key(key)).expect("the resource");
    let left: Vec<Provenance> = the("contact/c1")
        .assignments
        .into_iter()
        .map(|one| one.provenance)
        .collect();
    assert_eq!(left, [provenance("segment:t")]);
    assert!(the("contact/c2").assignments.is_empty() && the("contact/c2").partitioned);
}

// Limits.

#[test]
fn limits_are_errors_that_say_how_many() {
    let graph = hubspot(&[user("u"), resource("email/e1")]);
    let many = |count: usize| {
        (0..count)
            .map(|n| id(&format!("x{n}")))
            .collect::<BTreeSet<Id>>()
    };
    let too_many = |change: Change| {
        let (index, _, problem) = refused(&graph, &[change]);
        let ChangeProblem::TooMany { limit, .. } = problem else {
            panic!("not a limit: {problem:?}");
        };
        (index, limit)
    };
    let owners = resource_with("email/e1", |patch| patch.owners = Some(many(1_001)));
    assert_eq!(too_many(owners), (0, super::OWNERS_MAX));
    let teams = user_with("u", |patch| patch.teams = Some(many(1_001)));
    assert_eq!(too_many(teams), (0, super::TEAMS_OF_USER_MAX));
    let attributes = resource_with("email/e1", |patch| {
        let mut attributes = Attributes::new();
        attributes.insert(
            "text".to_owned(),
            "x".repeat(super::ATTRIBUTES_BYTES_MAX).into(),
        );
        patch.attributes = Some(attributes);
    });
    assert_eq!(too_many(attributes), (0, super::ATTRIBUTES_BYTES_MAX));
    let assignments: Vec<Change> = (0..1_001)
        .map(|n| assign_from("email/e1", "user:u", &format!("import:{n}"), None))
        .collect();
    assert_eq!(refused(&graph, &assignments).0, super::ASSIGNMENTS_MAX);
    let changes: Vec<Change> = (0..=super::CHANGES_MAX).map(|_| user("u")).collect();
    assert_eq!(refused(&graph, &changes).0, super::CHANGES_MAX);
}
