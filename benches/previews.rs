//! How long a look before the leap takes, on the data set of `ambit bench`: a preview of changes to an
//! account of a million contacts and a thousand users, checked against lists before and after.
//!
//! `cargo bench --bench previews`; `AMBIT_BENCH_CONTACTS` sets the contacts.

#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark that can't be set up has to stop, and reads the clock itself"
)]

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ambit::authz::access_set::{AccessSet, Narrowing};
use ambit::authz::difference::Work;
use ambit::authz::graph::{AccountGraph, GraphBuilder};
use ambit::authz::model::{
    Assignment, Entity, EntityChange, Id, Principal, Provenance, Resource, Team, Timestamp,
};
use ambit::authz::preview::{Preview, WORK_MAX, preview};
use ambit::cli::bench::data_set::{ACTIONS, DataSet, RESOURCE_TYPE};

const SEED: u64 = 7;

fn id(text: &str) -> Id {
    Id::parse(text).expect("the data set is valid")
}

/// `grouped`: contacts are in access groups, as `ambit bench` has them; else they belong to teams by
/// their owners alone.
fn account(data_set: &DataSet, grouped: bool) -> AccountGraph {
    let mut builder = GraphBuilder::default();
    let directory = data_set
        .directory()
        .expect("the data set is valid")
        .into_iter();
    let contacts = (0..data_set.contacts)
        .map(|index| data_set.make_contact(index).expect("the data set is valid"));
    for change in directory.chain(contacts) {
        match change {
            EntityChange::Put(Entity::Resource(contact, _)) if !grouped => {
                let open = Resource {
                    partitioned: false,
                    assignments: BTreeSet::new(),
                    ..contact
                };
                builder.push(Entity::Resource(open, None));
            }
            EntityChange::Put(entity) => builder.push(entity),
            EntityChange::Delete(_) => {}
        }
    }
    builder.finish().expect("the data set is valid")
}

fn at() -> Timestamp {
    Timestamp::from_unix_micros(1_795_000_000_000_000).expect("the data set is valid")
}

fn timed(graph: &AccountGraph, what: &str, changes: &[EntityChange]) -> Preview {
    let began = Instant::now();
    let after = graph.apply(changes).expect("the data set is valid");
    let applied = began.elapsed();
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    let mut pauses = 0;
    let mut pause = || {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        pauses += 1;
        ControlFlow::Continue(())
    };
    let found = preview(
        Some(graph),
        &after,
        at(),
        &mut Work::new(WORK_MAX, &mut pause),
    )
    .expect("the data set is valid");
    let gained: u64 = found.totals.iter().map(|one| one.gained).sum();
    let lost: u64 = found.totals.iter().map(|one| one.lost).sum();
    println!(
        "{what}: {:?} (applied in {applied:?}); {} users and actions differ, +{gained} -{lost}; {} tools, {} orphans; {pauses} pauses, at most {longest:?} apart",
        began.elapsed(),
        found.differences.len(),
        found.tools.len(),
        found.orphaned_total(),
    );
    // Against lists of a few users, before and after.
    for user in (0..1_000)
        .step_by(97)
        .map(|index| format!("user_{index:06}"))
    {
        for action in ACTIONS {
            let list = |graph: &AccountGraph| -> u64 {
                let set = AccessSet::new(graph, &user, RESOURCE_TYPE, action, at())
                    .expect("the data set is valid");
                set.accessible(Narrowing::default()).total()
            };
            let told = found
                .differences
                .iter()
                .find(|one| one.user.as_str() == user && one.action.as_str() == action)
                .map_or((0, 0), |one| (one.gained, one.lost));
            assert_eq!(
                list(graph) + told.0,
                list(&after) + told.1,
                "{user} {action}"
            );
        }
    }
    found
}

fn put(entity: Entity) -> EntityChange {
    EntityChange::Put(entity)
}

fn main() {
    let contacts = std::env::var("AMBIT_BENCH_CONTACTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    let data_set = DataSet {
        users: 1_000,
        contacts,
        seed: SEED,
    };
    for grouped in [true, false] {
        let graph = account(&data_set, grouped);
        println!("contacts in groups: {grouped}");
        let moved = |team: &str, parent: Option<&str>| {
            put(Entity::Team(Team {
                id: id(team),
                parent: parent.map(id),
            }))
        };
        timed(
            &graph,
            "a team under another root",
            &[moved("team_005", Some("team_001"))],
        );
        timed(
            &graph,
            "a root with all below it under another",
            &[moved("team_000", Some("team_001"))],
        );
        let mut user = graph
            .user("user_000500")
            .expect("the data set is valid")
            .clone();
        user.super_admin = true;
        timed(
            &graph,
            "one user made super admin",
            &[put(Entity::User(user))],
        );
        let contact = data_set.make_contact(7).expect("the data set is valid");
        let assigned = |change: EntityChange| match change {
            EntityChange::Put(Entity::Resource(contact, _)) => put(Entity::Resource(
                Resource {
                    partitioned: true,
                    assignments: BTreeSet::from([Assignment {
                        principal: Principal::Team(id("team_003")),
                        provenance: Provenance::Manual,
                        expires_at: None,
                    }]),
                    ..contact
                },
                None,
            )),
            other => other,
        };
        timed(&graph, "one contact assigned", &[assigned(contact)]);
        let many: Vec<EntityChange> = (0..contacts / 10)
            .map(|index| {
                assigned(
                    data_set
                        .make_contact(index * 10)
                        .expect("the data set is valid"),
                )
            })
            .collect();
        timed(&graph, "a tenth of the contacts assigned", &many);
        let everybody: Vec<EntityChange> = graph
            .users()
            .map(|user| {
                let mut user = user.clone();
                user.teams.insert(id("team_000"));
                put(Entity::User(user))
            })
            .collect();
        timed(&graph, "every user in a team more", &everybody);
    }
}
