//! What holds of every account, said without the oracle.

use ambit::authz::access_set;
use ambit::authz::decision::{Decision, Effect, ReasonCode, Target};
use ambit::authz::graph::AccountGraph;
use ambit::authz::model::{Entity, MembershipOf, UserStatus};

use super::worlds::{Maker, USERS, tick};
use super::{build, for_each_account, targets};
use crate::oracle::suite::Suite;
use crate::oracle::{Answer, World};

/// Every decision of the account's types, for users that exist.
fn all_answers(graph: &AccountGraph, suite: &Suite, types: &[String]) -> Vec<(String, Decision)> {
    let mut answers = Vec::new();
    for of in types {
        for action in &suite.types[of].actions {
            for user in USERS {
                for target in targets(&[]) {
                    let decision = access_set::check(graph, user, of, action, target, tick(0))
                        .expect("type and action are known");
                    answers.push((format!("{user} {of}.{action} {target:?}"), decision));
                }
            }
        }
    }
    answers
}

#[test]
fn without_grant_role_or_open_action_everything_is_denied() {
    for_each_account(5_000, 12, |seed, catalog| {
        let mut maker = Maker::new(seed, catalog);
        let mut entities = maker.account();
        for entity in &mut entities {
            if let Entity::User(user) = entity {
                user.account_owner = false;
                user.super_admin = false;
                user.partner_admin = false;
                user.grants.clear();
                user.object_grants.clear();
                user.permission_sets.clear();
                user.memberships
                    .retain(|held| matches!(held.of, MembershipOf::Team(_)));
            }
        }
        let graph = build(&entities, &mut maker.dice);
        for (question, decision) in all_answers(&graph, &catalog.suite, &maker.types) {
            assert!(
                !decision.is_allow() || decision.reason == ReasonCode::Always,
                "default deny: {question}: {decision:?}"
            );
        }
    });
}

#[test]
fn a_user_who_is_not_active_is_denied_whatever_else_holds() {
    for_each_account(6_000, 12, |seed, catalog| {
        let mut maker = Maker::new(seed, catalog);
        let mut entities = maker.account();
        let statuses = [
            UserStatus::Invited,
            UserStatus::Deactivated,
            UserStatus::Removed,
        ];
        for entity in &mut entities {
            if let Entity::User(user) = entity {
                user.status = *maker.dice.pick(&statuses);
            }
        }
        let graph = build(&entities, &mut maker.dice);
        for (question, decision) in all_answers(&graph, &catalog.suite, &maker.types) {
            assert_eq!(decision.effect, Effect::Deny, "{question}: {decision:?}");
        }
    });
}

#[test]
fn one_more_grant_never_takes_access_away() {
    for_each_account(7_000, 12, |seed, catalog| {
        let mut maker = Maker::new(seed, catalog);
        let mut entities = maker.account();
        let before = build(&entities, &mut maker.dice);
        let before = all_answers(&before, &catalog.suite, &maker.types);
        let more: Vec<_> = (0..8).filter_map(|_| maker.grant()).collect();
        let mut unused = more.into_iter();
        for entity in &mut entities {
            if let Entity::User(user) = entity {
                user.grants.extend(unused.next());
            }
        }
        let after = build(&entities, &mut maker.dice);
        let after = all_answers(&after, &catalog.suite, &maker.types);
        for ((question, before), (_, after)) in before.iter().zip(&after) {
            assert!(
                !before.is_allow() || after.is_allow(),
                "{question}: {before:?}, with one more grant {after:?}"
            );
        }
    });
}

/// Reliability, advisory 16: no id means more than itself.
#[test]
fn ids_with_separators_and_stars_are_ids_like_others() {
    for_each_account(8_000, 8, |seed, catalog| {
        let mut maker = Maker::new(seed, catalog);
        let entities = maker.account();
        let graph = build(&entities, &mut maker.dice);
        let world = World::new(&catalog.suite, &entities);
        let of = maker.types[0].as_str();
        for user in ["*", "", "a:b", "user:a", "a/b", "a\0", "%"] {
            assert_eq!(
                access_set::check(&graph, user, of, "view", Target::Tool, tick(0))
                    .map(|decision| decision.reason),
                Ok(ReasonCode::UserUnknown),
            );
        }
        for user in world.users.keys() {
            for resource in ["", "b/a", "b:a", "**", "%", "a/*"] {
                let target = Target::Resource(resource);
                let decision = access_set::check(&graph, user, of, "view", target, tick(0))
                    .expect("type and action are known");
                assert_eq!(
                    Answer::from(decision),
                    world.check(user, of, "view", target, tick(0)),
                    "{user} {resource:?}"
                );
                assert!(decision.reason != ReasonCode::Everything);
            }
        }
        let unknown = access_set::check(&graph, "a", "no_such_type", "view", Target::Tool, tick(0));
        assert!(unknown.is_err(), "an unknown type is an error");
        let unknown = access_set::check(&graph, "a", of, "*", Target::Tool, tick(0));
        assert!(unknown.is_err(), "an unknown action is an error");
    });
}
