//! Random accounts, every question of each put to the core and to the oracle (`oracle.rs`).
//!
//! `AMBIT_PROPERTY_ROUNDS` sets how many accounts a property looks at; `AMBIT_PROPERTY_SEED`
//! replays the one account of a seed that a failure printed.

use std::sync::Arc;

use ambit::authz::access_set::{self, AccessSet, Narrowing};
use ambit::authz::decision::{Decision, ReasonCode, ResourceFacts, Target};
use ambit::authz::explain::{self, Step};
use ambit::authz::graph::{AccountGraph, GraphBuilder};
use ambit::authz::model::{CatalogRef, Entity, EntityChange, PrincipalKind, Timestamp};

use crate::oracle::suite::Suite;
use crate::oracle::{Answer, World};

mod crowd;
mod differences;
mod storable;
mod theorems;
mod watched;
mod widths;
mod wire;
pub mod worlds;

use worlds::{
    CatalogCase, Dice, Maker, RESOURCES, TICKS, USERS, catalog_of, changed, id, principals, tick,
};

/// The catalogs that random accounts use, each with the types that meet in one account.
pub fn catalogs() -> Vec<CatalogCase> {
    let tiny_path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/tiny-catalog.yaml");
    let tiny = std::fs::read_to_string(tiny_path).expect("the tiny catalog");
    let built_in = |name: &'static str, focus| CatalogCase {
        name,
        reference: CatalogRef::BuiltIn(id(name)),
        suite: Suite::built_in(name),
        focus,
    };
    vec![
        built_in(
            "hubspot",
            &[
                &["email", "contact"],
                &["playbook", "email", "blog_post"],
                &["contact", "payment_tools", "account.billing"],
                &["sensitive_property", "payment_connection", "partner_staff"],
            ],
        ),
        built_in(
            "brevo",
            &[
                &["email_campaign", "contact"],
                &["sender_settings", "template", "test_list", "contact"],
                &["facebook_ad", "user_management", "account.billing"],
                &["landing_page", "api_key", "sms_campaign"],
            ],
        ),
        built_in("ipresso", &[&["contact"], &["contact", "email_campaign"]]),
        CatalogCase {
            name: "tiny",
            suite: Suite::read(&tiny),
            reference: CatalogRef::Custom(Arc::from(tiny)),
            focus: &[
                &["deal"],
                &["deal", "doc"],
                &["note", "board", "deal", "vault"],
            ],
        },
    ]
}

/// The seeds of a property: fixed ones, or the one to replay.
pub fn seeds(base: u64, usual: u64) -> std::ops::Range<u64> {
    let variable = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match variable("AMBIT_PROPERTY_SEED") {
        Some(seed) => seed..seed + 1,
        None => base..base + variable("AMBIT_PROPERTY_ROUNDS").unwrap_or(usual),
    };
    println!("seeds {seeds:?}");
    seeds
}

/// Runs a property on accounts of fixed seeds; a failure names the seed that replays it.
pub fn for_each_account(base: u64, usual: u64, property: impl Fn(u64, &CatalogCase)) {
    let catalogs = catalogs();
    for seed in seeds(base, usual) {
        let catalog = catalog_of(seed, &catalogs);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            property(seed, catalog);
        }));
        if let Err(panic) = outcome {
            eprintln!(
                "catalog {}; replay with AMBIT_PROPERTY_SEED={seed}",
                catalog.name
            );
            std::panic::resume_unwind(panic);
        }
    }
}

pub fn build(entities: &[Entity], dice: &mut Dice) -> AccountGraph {
    let mut shuffled = entities.to_vec();
    dice.shuffle(&mut shuffled);
    let mut builder = GraphBuilder::default();
    for entity in shuffled {
        builder.push(entity);
    }
    builder.finish().expect("a graph")
}

/// The whole comparison of one account at one moment.
struct Comparison<'c> {
    graph: &'c AccountGraph,
    world: &'c World<'c>,
    types: &'c [String],
    at: Timestamp,
}

impl Comparison<'_> {
    fn check(&self, user: &str, of: &str, action: &str, target: Target<'_>) -> Decision {
        access_set::check(self.graph, user, of, action, target, self.at)
            .expect("type and action are known")
    }

    /// Every (user, type.action, target): check, and with `thorough` the explanation too.
    fn checks(&self, described: &[(&str, ResourceFacts)], thorough: bool) {
        for of in self.types {
            let targets = targets(described);
            for action in &self.world.suite.types[of].actions {
                for user in USERS {
                    for target in &targets {
                        let expected = self.world.check(user, of, action, *target, self.at);
                        let decision = self.check(user, of, action, *target);
                        assert_eq!(
                            Answer::from(decision),
                            expected,
                            "core (left) and oracle (right): {}",
                            self.told(user, of, action, *target)
                        );
                        if thorough {
                            self.explained(user, of, action, *target, decision);
                        }
                    }
                }
            }
        }
    }

    fn explained(&self, user: &str, of: &str, action: &str, target: Target<'_>, known: Decision) {
        let told = || self.told(user, of, action, target);
        let explanation = explain::explain(self.graph, user, of, action, target, self.at)
            .expect("type and action are known");
        assert_eq!(explanation.decision, known, "explain: {}", told());
        assert!(!explanation.summary.is_empty(), "explain: {}", told());
        if let Some(step) = step_of(known.reason) {
            assert_eq!(explanation.step, step, "{}: {}", known.reason, told());
        }
        if known.is_allow() {
            assert_eq!(explanation.remedy, None, "explain: {}", told());
            assert!(!explanation.path.is_empty(), "explain: {}", told());
        }
    }

    /// Lists are exactly the single checks, whole and by pages of every size.
    fn lists(&self) {
        for of in self.types {
            for action in &self.world.suite.types[of].actions {
                for user in USERS {
                    let set = AccessSet::new(self.graph, user, of, action, self.at)
                        .expect("type and action are known");
                    let plain = Narrowing::default();
                    let expected = self.world.list(user, of, action, plain, self.at);
                    self.listed(&set, plain, &expected, user, of, action);
                    if expected.is_empty() {
                        continue;
                    }
                    for narrow in narrowings() {
                        let expected = self.world.list(user, of, action, narrow, self.at);
                        self.listed(&set, narrow, &expected, user, of, action);
                    }
                }
            }
        }
    }

    fn listed(
        &self,
        set: &AccessSet<'_>,
        narrow: Narrowing<'_>,
        expected: &[&str],
        user: &str,
        of: &str,
        action: &str,
    ) {
        let told = || format!("{narrow:?}: {}", self.told(user, of, action, Target::Tool));
        let accessible = set.accessible(narrow);
        assert_eq!(
            accessible.total(),
            expected.len() as u64,
            "total, {}",
            told()
        );
        let mut ids: Vec<&str> = accessible.ids().collect();
        ids.sort_unstable();
        assert_eq!(ids, expected, "ids, {}", told());
        for size in 1..=expected.len() + 1 {
            let mut pages: Vec<&str> = Vec::new();
            loop {
                let (page, more) = accessible.page(pages.last().copied(), size);
                assert!(page.len() <= size, "page of {size}, {}", told());
                assert!(!more || page.len() == size, "page of {size}, {}", told());
                pages.extend(page);
                if !more {
                    break;
                }
            }
            assert_eq!(pages, expected, "pages of {size}, {}", told());
        }
    }

    /// Who can, and what one can: the inverses of the single check.
    fn inverses(&self, described: &[(&str, ResourceFacts)]) {
        for of in self.types {
            for target in targets(described) {
                for action in &self.world.suite.types[of].actions {
                    let who =
                        access_set::users_with_access(self.graph, of, action, target, self.at)
                            .expect("type and action are known");
                    let who: Vec<(&str, Answer)> = who
                        .iter()
                        .map(|(user, decision)| (user.as_str(), Answer::from(*decision)))
                        .collect();
                    let expected = self.world.who(of, action, target, self.at);
                    assert_eq!(who, expected, "who, {}", self.told("", of, action, target));
                }
                for user in USERS {
                    self.actions(user, of, target);
                }
            }
        }
    }

    fn actions(&self, user: &str, of: &str, target: Target<'_>) {
        let allowed = access_set::actions_allowed(self.graph, user, of, target, self.at)
            .expect("the type is known");
        let told = || self.told(user, of, "any", target);
        let catalog = self.graph.catalog();
        let order: Vec<_> = allowed
            .iter()
            .map(|(action, _)| catalog.action_ix(action.as_str()))
            .collect();
        assert!(order.is_sorted(), "catalog order, {}", told());
        let mut allowed: Vec<(&str, Answer)> = allowed
            .iter()
            .map(|(action, decision)| (action.as_str(), Answer::from(*decision)))
            .collect();
        allowed.sort_unstable_by_key(|(action, _)| *action);
        let expected: Vec<_> = self
            .world
            .actions(user, of, target, self.at)
            .into_iter()
            .collect();
        assert_eq!(allowed, expected, "actions, {}", told());
    }

    /// Until `valid_until` nothing changes, and nothing at all where it is absent.
    fn valid_until(&self, described: &[(&str, ResourceFacts)]) {
        let from = TICKS.into_iter().find(|at| tick(*at) >= self.at);
        let Some(from) = from else { return };
        for of in self.types {
            for action in &self.world.suite.types[of].actions {
                for user in USERS {
                    for target in targets(described) {
                        let told = || self.told(user, of, action, target);
                        let first = self.check(user, of, action, target);
                        let until = first.valid_until.unwrap_or(tick(*TICKS.end() + 2));
                        assert!(until > self.at, "valid_until not ahead, {}", told());
                        let moments = (from..=TICKS.end() + 1).map(tick);
                        for moment in moments.filter(|moment| *moment < until) {
                            let later = self.world.check(user, of, action, target, moment);
                            assert_eq!(
                                (later.effect, later.reason),
                                (first.effect, first.reason),
                                "changed at {moment}, before {until}, {}",
                                told()
                            );
                        }
                        if self.at > tick(*TICKS.end()) {
                            assert_eq!(first.valid_until, None, "no boundary, {}", told());
                        }
                    }
                }
            }
        }
    }

    fn told(&self, user: &str, of: &str, action: &str, target: Target<'_>) -> String {
        let id = match target {
            Target::Tool => None,
            Target::Resource(id) | Target::Described(id, _) => Some(id),
        };
        let resource = id.and_then(|id| self.world.resources.get(&(of, id)));
        format!(
            "{user} {of}.{action} {target:?} at {}\n  account {:?}\n  user {:?}\n  resource {resource:?}\n  sets {:?}\n  teams {:?}\n  groups {:?}",
            self.at,
            self.world.account,
            self.world.users.get(user),
            self.world.sets.values().collect::<Vec<_>>(),
            self.world.teams.values().collect::<Vec<_>>(),
            self.world.groups.values().collect::<Vec<_>>(),
        )
    }
}

pub fn targets<'t>(described: &'t [(&'t str, ResourceFacts)]) -> Vec<Target<'t>> {
    let stored = RESOURCES.iter().map(|id| Target::Resource(id));
    let inline = described
        .iter()
        .map(|(id, facts)| Target::Described(id, facts));
    std::iter::once(Target::Tool)
        .chain(stored)
        .chain(inline)
        .collect()
}

fn narrowings() -> Vec<Narrowing<'static>> {
    let none = Narrowing::default();
    let owners = principals(PrincipalKind::User)
        .iter()
        .map(|owner| Narrowing {
            owner: Some(owner),
            ..none
        });
    let teams = principals(PrincipalKind::Team)
        .iter()
        .map(|team| Narrowing {
            team: Some(team),
            ..none
        });
    let groups = principals(PrincipalKind::Group)
        .iter()
        .map(|group| Narrowing {
            group: Some(group),
            ..none
        });
    let both = Narrowing {
        owner: Some("a"),
        team: Some("a"),
        group: None,
    };
    owners
        .chain(teams)
        .chain(groups)
        .chain(std::iter::once(both))
        .collect()
}

/// The step of 3.2 that gives a code, where it is one alone.
fn step_of(reason: ReasonCode) -> Option<Step> {
    use ReasonCode as R;
    Some(match reason {
        R::UserUnknown | R::UserPending | R::UserDeactivated | R::PartnershipInactive => {
            Step::UserStatus
        }
        R::NotEntitled | R::SeatRequired | R::SeatReadOnly | R::PaymentMethodInvalid => {
            Step::Entitlement
        }
        R::ReservedHolder | R::OwnerOnly | R::PartnerForbidden | R::Reserved => Step::Reserved,
        R::ResourceNotFound => Step::Resource,
        R::AccountOwner | R::SuperAdmin => Step::OwnerOrSuperAdmin,
        R::NoPermission | R::GrantExpired | R::MissingPrerequisite => Step::Grants,
        R::Tool => Step::Tool,
        R::NotInPartition | R::Orphaned | R::UnpartitionedRestricted | R::ActionNotInGroup => {
            Step::Wall
        }
        R::NotOwner | R::NotInTeam | R::UnassignedNotIncluded => Step::Level,
        _ => return None,
    })
}

pub fn described(maker: &mut Maker<'_>) -> Vec<(&'static str, ResourceFacts)> {
    ["a", "B", "ghost"]
        .into_iter()
        .map(|id| (id, maker.facts()))
        .collect()
}

#[test]
fn every_question_is_answered_as_the_rule_book_says() {
    for_each_account(1_000, 48, |seed, catalog| {
        let mut maker = Maker::new(seed, catalog);
        let entities = maker.account();
        let described = described(&mut maker);
        let graph = build(&entities, &mut maker.dice);
        let world = World::new(&catalog.suite, &entities);
        let at = maker.dice.moment(1);
        let comparison = Comparison {
            graph: &graph,
            world: &world,
            types: &maker.types,
            at,
        };
        comparison.checks(&described, true);
        comparison.lists();
        comparison.inverses(&described);
    });
}

#[test]
fn valid_until_is_never_later_than_a_change() {
    for_each_account(2_000, 16, |seed, catalog| {
        let mut maker = Maker::new(seed, catalog);
        let entities = maker.account();
        let described = described(&mut maker);
        let graph = build(&entities, &mut maker.dice);
        let world = World::new(&catalog.suite, &entities);
        for at in [tick(-4), maker.dice.moment(0), tick(4)] {
            let comparison = Comparison {
                graph: &graph,
                world: &world,
                types: &maker.types,
                at,
            };
            comparison.valid_until(&described);
        }
    });
}

#[test]
fn changes_applied_one_by_one_equal_a_fresh_account() {
    for_each_account(3_000, 24, |seed, catalog| {
        let mut maker = Maker::new(seed, catalog);
        let mut entities = maker.account();
        let first = entities.clone();
        let original = build(&entities, &mut maker.dice);
        let mut graph = original.clone();
        for _ in 0..maker.dice.below(6) + 1 {
            let changes: Vec<EntityChange> = (0..maker.dice.below(8) + 1)
                .map(|_| maker.change())
                .collect();
            entities = changed(&entities, &changes);
            graph = graph.apply(&changes).expect("a graph");
        }
        let at = maker.dice.moment(1);
        let compare = |graph: &AccountGraph, entities: &[Entity]| {
            let world = World::new(&catalog.suite, entities);
            let comparison = Comparison {
                graph,
                world: &world,
                types: &maker.types,
                at,
            };
            comparison.checks(&[], false);
            comparison.lists();
        };
        compare(&graph, &entities);
        // The snapshot that the changes were applied to stays as it was.
        compare(&original, &first);
    });
}

#[test]
fn order_and_repetition_of_what_is_loaded_change_nothing() {
    for_each_account(4_000, 12, |seed, catalog| {
        let mut maker = Maker::new(seed, catalog);
        let entities = maker.account();
        let described = described(&mut maker);
        let twice: Vec<Entity> = entities.iter().chain(&entities).cloned().collect();
        let at = tick(0);
        let graphs = [
            build(&entities, &mut maker.dice),
            build(&entities, &mut maker.dice),
            build(&twice, &mut maker.dice),
        ];
        let answers = graphs.each_ref().map(|graph| {
            let mut answers = Vec::new();
            for of in &maker.types {
                for action in &catalog.suite.types[of].actions {
                    for user in USERS {
                        for target in targets(&described) {
                            answers.push(
                                access_set::check(graph, user, of, action, target, at)
                                    .expect("type and action are known"),
                            );
                        }
                    }
                }
            }
            answers
        });
        assert_eq!(answers[0], answers[1], "shuffled");
        assert_eq!(answers[0], answers[2], "repeated");
    });
}
