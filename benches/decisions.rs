//! What the core costs in process, on the data set of `ambit bench`: decisions on a small and on a
//! large account, lists, loading and applying changes.
//!
//! `cargo bench --bench decisions`; `AMBIT_BENCH_CONTACTS` sets the size of the large account
//! (1,000,000 by default). Compare figures of one run only: shared machines drift.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark that can't be set up has to stop"
)]

use std::hint::black_box;
use std::time::Duration;

use ambit::authz::access_set::{AccessSet, Narrowing, check};
use ambit::authz::decision::{Decision, Target};
use ambit::authz::graph::{AccountGraph, GraphBuilder};
use ambit::authz::model::{Entity, EntityChange, Id, Timestamp};
use ambit::cli::bench::data_set::{ACTIONS, DataSet, Numbers, RESOURCE_TYPE};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const USERS: u32 = 1_000;
const SEED: u64 = 7;

struct Question {
    user: String,
    action: &'static str,
    contact: String,
}

struct World {
    data_set: DataSet,
    graph: AccountGraph,
    questions: Vec<Question>,
    at: Timestamp,
}

impl World {
    fn of(contacts: u32) -> Self {
        let data_set = DataSet {
            users: USERS,
            contacts,
            seed: SEED,
        };
        let mut builder = GraphBuilder::default();
        for change in data_set.directory().expect("the data set's ids are valid") {
            push(&mut builder, change);
        }
        for index in 0..contacts {
            push(
                &mut builder,
                data_set
                    .make_contact(index)
                    .expect("the data set's ids are valid"),
            );
        }
        let graph = builder.finish().expect("the data set is a valid account");
        let mut numbers = Numbers::from_seed(SEED);
        let questions = (0..65_536)
            .map(|_| Question {
                user: data_set.user(numbers.below(USERS)),
                action: ACTIONS[numbers.below(2) as usize],
                contact: data_set.contact(numbers.below(contacts)),
            })
            .collect();
        let at = Timestamp::from_unix_micros(1_795_000_000_000_000).expect("a time in range");
        Self {
            data_set,
            graph,
            questions,
            at,
        }
    }

    fn decide(&self, question: &Question) -> Decision {
        let target = Target::Resource(&question.contact);
        check(
            &self.graph,
            &question.user,
            RESOURCE_TYPE,
            question.action,
            target,
            self.at,
        )
        .expect("the catalog has the action")
    }
}

fn push(builder: &mut GraphBuilder, change: EntityChange) {
    if let EntityChange::Put(entity) = change {
        builder.push(entity);
    }
}

fn large() -> u32 {
    std::env::var("AMBIT_BENCH_CONTACTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000)
}

fn decisions(criterion: &mut Criterion) {
    for contacts in [1_000, large()] {
        let world = World::of(contacts);
        let mut group = criterion.benchmark_group(format!("decide/{contacts}"));
        // Each question is known only when the one before is answered.
        group.bench_function("alone", |bencher| {
            let mut at = 0usize;
            bencher.iter(|| {
                let decision = world.decide(&world.questions[at % world.questions.len()]);
                at = at
                    .wrapping_mul(31)
                    .wrapping_add(17 + decision.reason as usize);
            });
        });
        // Questions one after the other, as the processor overlaps them.
        group.bench_function("overlapping", |bencher| {
            let mut at = 0usize;
            bencher.iter(|| {
                at = (at + 1) % world.questions.len();
                black_box(world.decide(&world.questions[at]).reason)
            });
        });
        // A hundred contacts for one user: the access set is built once.
        group.throughput(Throughput::Elements(100));
        group.bench_function("filter_100", |bencher| {
            let mut at = 0usize;
            bencher.iter(|| {
                at = (at + 100) % (world.questions.len() - 100);
                let questions = &world.questions[at..at + 100];
                let set = AccessSet::new(
                    &world.graph,
                    &questions[0].user,
                    RESOURCE_TYPE,
                    "view",
                    world.at,
                )
                .expect("the catalog has the action");
                questions
                    .iter()
                    .filter(|question| set.decide(Target::Resource(&question.contact)).is_allow())
                    .count()
            });
        });
        group.finish();
    }
}

fn lists(criterion: &mut Criterion) {
    let world = World::of(large());
    let list = |user: &str| {
        let set = AccessSet::new(&world.graph, user, RESOURCE_TYPE, "view", world.at)
            .expect("a known action");
        set.accessible(Narrowing::default())
    };
    let widest = (1..USERS)
        .map(|user| world.data_set.user(user))
        .max_by_key(|user| list(user).total())
        .expect("there are users");
    let mut group = criterion.benchmark_group("list");
    group.sample_size(20);
    for (name, user) in [
        ("super_admin", world.data_set.user(0)),
        ("widest_other", widest),
    ] {
        group.throughput(Throughput::Elements(list(&user).total()));
        group.bench_function(format!("{name}/bitmap"), |bencher| {
            bencher.iter(|| list(&user).total())
        });
        group.bench_function(format!("{name}/ids"), |bencher| {
            bencher.iter(|| list(&user).ids().map(str::len).sum::<usize>());
        });
    }
    group.finish();
}

fn changes(criterion: &mut Criterion) {
    let world = World::of(large());
    let moved = |index: u32| {
        let change = world
            .data_set
            .make_contact(index)
            .expect("the data set's ids are valid");
        let EntityChange::Put(Entity::Resource(mut contact, _)) = change else {
            panic!("a contact is a resource");
        };
        let owner = world.data_set.user(index.wrapping_mul(7) % USERS);
        contact.owners = [Id::parse(&owner).expect("a valid id")]
            .into_iter()
            .collect();
        EntityChange::Put(Entity::Resource(contact, None))
    };
    let mut group = criterion.benchmark_group("apply");
    group.sample_size(20);
    for count in [1u32, 1_000] {
        let batch: Vec<EntityChange> = (0..count)
            .map(|at| moved(at * 911 % world.data_set.contacts))
            .collect();
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(format!("{count}_changes"), |bencher| {
            bencher.iter_batched(
                || world.graph.clone(),
                |graph| graph.apply(&batch),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn builds(criterion: &mut Criterion) {
    const CONTACTS: u32 = 100_000;
    let data_set = DataSet {
        users: USERS,
        contacts: CONTACTS,
        seed: SEED,
    };
    let contacts = (0..CONTACTS).map(|index| {
        data_set
            .make_contact(index)
            .expect("the data set's ids are valid")
    });
    let mut changes = data_set.directory().expect("the data set's ids are valid");
    changes.extend(contacts);
    // In the order of a load.
    changes.sort_by_key(|change| match change {
        EntityChange::Put(Entity::Resource(resource, _)) => Some(resource.key.clone()),
        _ => None,
    });
    let mut group = criterion.benchmark_group("build");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Elements(u64::from(CONTACTS)));
    group.bench_function("100000_contacts", |bencher| {
        bencher.iter_batched(
            || changes.clone(),
            |changes| {
                let mut builder = GraphBuilder::default();
                changes
                    .into_iter()
                    .for_each(|change| push(&mut builder, change));
                builder.finish()
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, decisions, lists, changes, builds);
criterion_main!(benches);
