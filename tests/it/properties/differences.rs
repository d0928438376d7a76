//! What changes do to access, found by comparing, equals checking everything before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use ambit::authz::access_set::Narrowing;
use ambit::authz::decision::Target;
use ambit::authz::difference::{Halted, Standpoint, Work};
use ambit::authz::graph::AccountGraph;
use ambit::authz::model::{
    DEFAULT_KEY, Entity, EntityChange, Level, PartitionMode, Resource, Timestamp,
};
use ambit::authz::preview::{Preview, SAMPLE_MAX, UserAndType, WORK_MAX, preview};
use ambit::authz::visibility::{self, Question};

use super::worlds::{CatalogCase, Maker, USERS, changed, id};
use super::{build, for_each_account};
use crate::oracle::World;

/// An account before and after changes: as entities for the oracle, as graphs for the core.
struct Changed {
    first: Vec<Entity>,
    then: Vec<Entity>,
    before: AccountGraph,
    after: AccountGraph,
}

impl Changed {
    fn of(maker: &mut Maker<'_>) -> Self {
        let first = maker.account();
        let changes: Vec<EntityChange> = match maker.dice.below(3) {
            // Resources alone, so that users stand where they stood.
            0 => (0..maker.dice.below(6) + 1)
                .map(|_| {
                    loop {
                        let change = maker.change();
                        let key = match &change {
                            EntityChange::Put(entity) => entity.key(),
                            EntityChange::Delete(key) => key.clone(),
                        };
                        if matches!(key, ambit::authz::model::EntityKey::Resource(_)) {
                            break change;
                        }
                    }
                })
                .collect(),
            _ => (0..maker.dice.below(6) + 1)
                .map(|_| maker.change())
                .collect(),
        };
        let then = changed(&first, &changes);
        let before = build(&first, &mut maker.dice);
        let after = match maker.dice.below(3) {
            // As after a reload: ordinals and numbers are others.
            0 => build(&then, &mut maker.dice),
            _ => before.apply(&changes).expect("a graph"),
        };
        Self {
            first,
            then,
            before,
            after,
        }
    }
}

fn unbounded<T>(work: impl FnOnce(&mut Work<'_>) -> Result<T, Halted>) -> T {
    let mut go_on = || ControlFlow::Continue(());
    work(&mut Work::new(WORK_MAX, &mut go_on)).expect("small accounts are compared in no time")
}

type Lists<'w> = BTreeMap<(&'w str, String, String), BTreeSet<&'w str>>;

/// Every list of every user, type and action.
fn lists<'w>(world: &'w World<'w>, types: &[String], at: Timestamp, tools_too: bool) -> Lists<'w> {
    let mut lists = Lists::new();
    for of in types {
        let kind = &world.suite.types[of];
        for action in &kind.actions {
            if kind.tool_level.contains(kind.canonical(action)) && !tools_too {
                continue;
            }
            for user in USERS {
                let list = world.list(user, of, action, Narrowing::default(), at);
                let key = (user, of.clone(), action.clone());
                lists.insert(key, list.into_iter().collect());
            }
        }
    }
    lists
}

fn check_differences(found: &Preview, before: &Lists<'_>, after: &Lists<'_>) {
    let mut expected = BTreeMap::new();
    for (key, was) in before {
        let is = &after[key];
        let gained: Vec<&str> = is.difference(was).copied().collect();
        let lost: Vec<&str> = was.difference(is).copied().collect();
        if !(gained.is_empty() && lost.is_empty()) {
            expected.insert(key.clone(), (gained, lost));
        }
    }
    let keys: Vec<_> = found
        .differences
        .iter()
        .map(|one| {
            let of = one.resource_type.to_string();
            (one.user.as_str(), of, one.action.to_string())
        })
        .collect();
    assert!(keys.is_sorted(), "{keys:?}");
    assert!(
        keys.iter().eq(expected.keys()),
        "{keys:?} is not {:?}",
        expected.keys()
    );
    for (one, (gained, lost)) in found.differences.iter().zip(expected.values()) {
        assert_eq!(one.gained, gained.len() as u64, "gained: {one:?}");
        assert_eq!(one.lost, lost.len() as u64, "lost: {one:?}");
        for (sample, all) in [(&one.gained_sample, gained), (&one.lost_sample, lost)] {
            assert_eq!(sample.len(), all.len().min(SAMPLE_MAX), "{one:?}");
            assert!(sample.is_sorted(), "{one:?}");
            assert!(
                sample.iter().all(|id| all.contains(&id.as_str())),
                "{sample:?} is no sample of {all:?}"
            );
        }
    }
    for totals in &found.totals {
        let of: Vec<_> = found
            .differences
            .iter()
            .filter(|one| one.resource_type == totals.resource_type && one.action == totals.action)
            .collect();
        let count = |some: &dyn Fn(u64, u64) -> u64| -> u64 {
            of.iter().map(|one| some(one.gained, one.lost)).sum()
        };
        assert_eq!(totals.gained, count(&|gained, _| gained));
        assert_eq!(totals.lost, count(&|_, lost| lost));
        assert_eq!(
            totals.users_gaining,
            count(&|gained, _| u64::from(gained > 0))
        );
        assert_eq!(totals.users_losing, count(&|_, lost| u64::from(lost > 0)));
    }
}

fn check_locked(found: &Preview, types: &[String], before: &Lists<'_>, after: &Lists<'_>) {
    let reaches = |lists: &Lists<'_>, user: &str, of: &String| {
        lists
            .iter()
            .any(|((who, what, _), list)| *who == user && what == of && !list.is_empty())
    };
    let (mut locked_in, mut locked_out) = (BTreeSet::new(), BTreeSet::new());
    for of in types {
        for user in USERS {
            let pair = UserAndType {
                user: id(user),
                resource_type: id(of),
            };
            match (reaches(before, user, of), reaches(after, user, of)) {
                (false, true) => drop(locked_in.insert(pair)),
                (true, false) => drop(locked_out.insert(pair)),
                _ => {}
            }
        }
    }
    assert!(
        found.locked_in.iter().eq(&locked_in),
        "{:?} is not {locked_in:?}",
        found.locked_in
    );
    assert!(
        found.locked_out.iter().eq(&locked_out),
        "{:?} is not {locked_out:?}",
        found.locked_out
    );
}

/// Every tool of every type, also of those that nothing was made for.
fn check_tools(found: &Preview, before: &World<'_>, after: &World<'_>, at: Timestamp) {
    let mut expected = Vec::new();
    for user in USERS {
        for (of, kind) in &before.suite.types {
            let mut actions: Vec<&String> = kind.actions.iter().collect();
            actions.sort();
            for action in actions {
                let reach = |world: &World<'_>| {
                    let answer = world.check(user, of, action, Target::Tool, at);
                    let level = answer.allows().then_some(answer.level);
                    (level.unwrap_or(Level::None), answer.include_unassigned)
                };
                let (was, is) = (reach(before), reach(after));
                if was != is {
                    expected.push((user.to_owned(), of.clone(), action.clone(), was, is));
                }
            }
        }
    }
    expected.sort();
    let told: Vec<_> = found
        .tools
        .iter()
        .map(|tool| {
            let reach = |decision: Option<ambit::authz::decision::Decision>| {
                decision.map_or((Level::None, false), |decision| {
                    (decision.level, decision.include_unassigned)
                })
            };
            let names = (tool.user.to_string(), tool.resource_type.to_string());
            let action = tool.action.to_string();
            (
                names.0,
                names.1,
                action,
                reach(tool.before),
                reach(tool.after),
            )
        })
        .collect();
    assert_eq!(told, expected);
}

/// 3.5: behind a wall, and no live assignment left.
fn orphans<'e>(
    entities: &'e [Entity],
    world: &World<'_>,
    at: Timestamp,
) -> BTreeSet<(&'e str, &'e str)> {
    let shares = |resource: &Resource| {
        let modes = &world.account.settings.partition_mode;
        let of = &resource.key.resource_type;
        let mode = modes.get(of).or_else(|| modes.get(DEFAULT_KEY));
        mode == Some(&PartitionMode::Share)
    };
    let is_live = |expires_at: Option<Timestamp>| expires_at.is_none_or(|end| at < end);
    entities
        .iter()
        .filter_map(|entity| match entity {
            Entity::Resource(resource, _) => Some(resource),
            _ => None,
        })
        .filter(|resource| resource.partitioned || !resource.assignments.is_empty())
        .filter(|resource| {
            !resource
                .assignments
                .iter()
                .any(|one| is_live(one.expires_at))
        })
        .filter(|resource| !shares(resource))
        .map(|resource| {
            (
                resource.key.resource_type.as_str(),
                resource.key.id.as_str(),
            )
        })
        .collect()
}

fn check_orphans(
    found: &Preview,
    account: &Changed,
    worlds: (&World<'_>, &World<'_>),
    at: Timestamp,
) {
    let before = orphans(&account.first, worlds.0, at);
    let after = orphans(&account.then, worlds.1, at);
    let expected: BTreeSet<_> = after.difference(&before).copied().collect();
    let told: BTreeSet<(&str, &str)> = found
        .orphans(&account.after)
        .map(|orphan| (orphan.resource_type.as_str(), orphan.id))
        .collect();
    assert_eq!(told, expected);
    assert_eq!(found.orphaned_total(), expected.len() as u64);
    for orphan in found.orphans(&account.after) {
        let resource = worlds.1.resources[&(orphan.resource_type.as_str(), orphan.id)];
        let owners: BTreeSet<_> = orphan.owners.into_iter().collect();
        assert!(owners.into_iter().eq(&resource.owners), "{resource:?}");
    }
}

fn previewed(account: &Changed, types: &[String], catalog: &CatalogCase, at: Timestamp) -> usize {
    let worlds = (
        World::new(&catalog.suite, &account.first),
        World::new(&catalog.suite, &account.then),
    );
    let found = unbounded(|work| preview(Some(&account.before), &account.after, at, work));
    let before = lists(&worlds.0, types, at, false);
    let after = lists(&worlds.1, types, at, false);
    check_differences(&found, &before, &after);
    check_locked(&found, types, &before, &after);
    check_tools(&found, &worlds.0, &worlds.1, at);
    check_orphans(&found, account, (&worlds.0, &worlds.1), at);
    found.differences.len()
}

#[test]
fn p2_a_preview_equals_checking_everything_before_and_after() {
    let differences = std::sync::atomic::AtomicUsize::new(0);
    for_each_account(21_000, 240, |seed, catalog| {
        let mut maker = Maker::new(seed, catalog);
        let account = Changed::of(&mut maker);
        let at = maker.dice.moment(1);
        let types = maker.types.clone();
        let found = previewed(&account, &types, catalog, at);
        differences.fetch_add(found, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(differences.into_inner() > 100, "the accounts say little");
}

#[test]
fn p2_a_preview_of_a_new_account_is_all_that_it_gives() {
    for_each_account(22_000, 16, |seed, catalog| {
        let mut maker = Maker::new(seed, catalog);
        let entities = maker.account();
        let graph = build(&entities, &mut maker.dice);
        let at = maker.dice.moment(1);
        let world = World::new(&catalog.suite, &entities);
        let after = lists(&world, &maker.types, at, false);
        let before = after
            .keys()
            .map(|key| (key.clone(), BTreeSet::new()))
            .collect();
        let found = unbounded(|work| preview(None, &graph, at, work));
        check_differences(&found, &before, &after);
    });
}

/// Between two states at two moments: what a watch tells.
#[test]
fn p2_what_becomes_visible_is_how_two_lists_differ() {
    for_each_account(23_000, 160, |seed, catalog| {
        let mut maker = Maker::new(seed, catalog);
        let account = if maker.dice.chance(30) {
            let first = maker.account();
            let before = build(&first, &mut maker.dice);
            let after = before.clone();
            let then = first.clone();
            Changed {
                first,
                then,
                before,
                after,
            }
        } else {
            Changed::of(&mut maker)
        };
        let (one, other) = (maker.dice.moment(1), maker.dice.moment(1));
        let (from, to) = (one.min(other), one.max(other));
        let worlds = (
            World::new(&catalog.suite, &account.first),
            World::new(&catalog.suite, &account.then),
        );
        let was = lists(&worlds.0, &maker.types, from, true);
        let is = lists(&worlds.1, &maker.types, to, true);
        let before = Standpoint {
            graph: Some(&account.before),
            at: from,
        };
        let after = Standpoint {
            graph: Some(&account.after),
            at: to,
        };
        for of in &maker.types {
            for action in &catalog.suite.types[of].actions {
                let everybody = Question {
                    user: None,
                    resource_type: id(of),
                    action: id(action),
                };
                let one_user = *maker.dice.pick(&USERS);
                let one = Question {
                    user: Some(id(one_user)),
                    ..everybody.clone()
                };
                for question in [everybody, one] {
                    let mut told: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> =
                        BTreeMap::new();
                    let mut tell = |change: &visibility::Change<'_>| {
                        let gained: BTreeSet<String> = change.gained().map(str::to_owned).collect();
                        let lost: BTreeSet<String> = change.lost().map(str::to_owned).collect();
                        assert_eq!(gained.len() as u64, change.gained_total());
                        assert_eq!(lost.len() as u64, change.lost_total());
                        let twice = told.insert(change.user.to_string(), (gained, lost));
                        assert_eq!(twice, None, "a user is told of twice");
                        Ok(())
                    };
                    unbounded(|work| {
                        visibility::compare(before, after, &question, work, &mut tell)
                    });
                    for user in USERS {
                        let key = (user, of.clone(), action.clone());
                        let only = question.user.as_ref();
                        let counts = only.is_none_or(|only| only.as_str() == user);
                        let difference =
                            |one: &BTreeSet<&str>, other: &BTreeSet<&str>| -> BTreeSet<String> {
                                let some = one.difference(other).filter(|_| counts);
                                some.map(|id| (*id).to_owned()).collect()
                            };
                        let expected = (
                            difference(&is[&key], &was[&key]),
                            difference(&was[&key], &is[&key]),
                        );
                        let found = told.remove(user).unwrap_or_default();
                        assert_eq!(found, expected, "{user} {of}.{action} from {from} to {to}");
                    }
                }
            }
        }
    });
}
