//! One account of 70,000 contacts, more than one 16-bit container holds: lists are exactly the
//! single checks, before and after changes.

use std::collections::BTreeSet;

use ambit::authz::access_set::{AccessSet, Narrowing};
use ambit::authz::decision::Target;
use ambit::authz::graph::AccountGraph;
use ambit::authz::model::{EntityChange, EntityKey};

use super::worlds::{Maker, USERS, tick};
use super::{build, catalogs};
use crate::oracle::{Answer, World};

const CONTACTS: usize = 70_000;
const SEED: u64 = 42;

fn contact(number: usize) -> String {
    format!("c{number:05}")
}

/// Whole list, pages and single checks of one user and action; how many are accessible.
fn compare(graph: &AccountGraph, world: &World<'_>, user: &str, action: &str) -> usize {
    let at = tick(0);
    let told = format!("{user} contact.{action}");
    let set = AccessSet::new(graph, user, "contact", action, at).expect("both are known");
    let accessible = set.accessible(Narrowing::default());
    let listed: BTreeSet<&str> = accessible.ids().collect();
    assert_eq!(accessible.ids().count(), listed.len(), "twice: {told}");
    assert_eq!(accessible.total(), listed.len() as u64, "{told}");
    let mut paged: Vec<&str> = Vec::new();
    loop {
        let (page, more) = accessible.page(paged.last().copied(), 9_999);
        paged.extend(page);
        if !more {
            break;
        }
    }
    assert!(paged.iter().eq(&listed), "pages: {told}");
    let mut checked = 0;
    for (position, (_, id)) in world.resources.keys().enumerate() {
        let decision = set.decide(Target::Resource(id));
        assert_eq!(decision.is_allow(), listed.contains(id), "{told} {id}");
        checked += usize::from(decision.is_allow());
        if position % 97 == 0 {
            let expected = world.check(user, "contact", action, Target::Resource(id), at);
            assert_eq!(Answer::from(decision), expected, "{told} {id}");
        }
    }
    assert_eq!(checked, listed.len(), "listed but not stored: {told}");
    checked
}

#[test]
fn a_list_of_70_000_contacts_is_exactly_the_single_checks() {
    let catalogs = catalogs();
    let catalog = catalogs
        .iter()
        .find(|catalog| catalog.name == "ipresso")
        .expect("a catalog");
    println!("seed {SEED}");
    let mut maker = Maker::new(SEED, catalog);
    maker.types = vec!["contact".to_owned()];
    let mut entities = maker.account();
    entities.extend((0..CONTACTS).map(|number| maker.resource("contact", &contact(number))));
    let graph = build(&entities, &mut maker.dice);
    let world = World::new(&catalog.suite, &entities);
    let reached: usize = USERS
        .iter()
        .map(|user| compare(&graph, &world, user, "view"))
        .sum();
    assert!(
        reached > CONTACTS / 10,
        "the account of the seed says little"
    );

    // Some go, some change, some are new.
    let changes: Vec<EntityChange> = (0..CONTACTS)
        .step_by(61)
        .chain(CONTACTS..CONTACTS + 600)
        .map(|number| {
            let entity = maker.resource("contact", &contact(number));
            if number < CONTACTS && number.is_multiple_of(2) {
                EntityChange::Delete(entity.key())
            } else {
                EntityChange::Put(entity)
            }
        })
        .collect();
    let changed = graph.apply(&changes).expect("a graph");
    let touched: BTreeSet<EntityKey> = changes
        .iter()
        .map(|change| match change {
            EntityChange::Put(entity) => entity.key(),
            EntityChange::Delete(key) => key.clone(),
        })
        .collect();
    entities.retain(|entity| !touched.contains(&entity.key()));
    entities.extend(changes.into_iter().filter_map(|change| match change {
        EntityChange::Put(entity) => Some(entity),
        EntityChange::Delete(_) => None,
    }));
    let world = World::new(&catalog.suite, &entities);
    for user in USERS {
        compare(&changed, &world, user, "communicate");
    }
}
