//! The account entity, its catalog, plan and settings; limits.
#![cfg(test)]

use std::collections::BTreeSet;

use super::super::super::model::{Attributes, CatalogRef, Id, Level, UnpartitionedDefault};
use super::super::{
    ASSIGNMENTS_MAX, ATTRIBUTES_BYTES_MAX, AccountPatch, CHANGES_MAX, Change, ChangeProblem,
    OWNERS_MAX, TEAMS_OF_USER_MAX,
};
use super::{
    account, account_plan, after, assign_from, grants, group, hubspot, id, ids, member,
    object_grant, planned, refused, resource, resource_key, resource_with, set_grants, team,
    unchanged, user, user_with,
};

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
            unpartitioned: vec![(id(key), Some(UnpartitionedDefault::NoOne))],
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
    let owners = resource_with("email/e1", |patch| {
        patch.owners = Some(many(OWNERS_MAX + 1))
    });
    assert_eq!(too_many(owners), (0, OWNERS_MAX));
    let teams = user_with("u", |patch| patch.teams = Some(many(TEAMS_OF_USER_MAX + 1)));
    assert_eq!(too_many(teams), (0, TEAMS_OF_USER_MAX));
    let attributes = resource_with("email/e1", |patch| {
        let mut attributes = Attributes::new();
        attributes.insert("text".to_owned(), "x".repeat(ATTRIBUTES_BYTES_MAX).into());
        patch.attributes = Some(attributes);
    });
    assert_eq!(too_many(attributes), (0, ATTRIBUTES_BYTES_MAX));
    let assignments: Vec<Change> = (0..1_001)
        .map(|n| assign_from("email/e1", "user:u", &format!("import:{n}"), None))
        .collect();
    assert_eq!(refused(&graph, &assignments).0, ASSIGNMENTS_MAX);
    let changes: Vec<Change> = (0..=CHANGES_MAX).map(|_| user("u")).collect();
    assert_eq!(refused(&graph, &changes).0, CHANGES_MAX);
}
