//! The conformance suite of the store: what `src/store.rs` says in prose, proved on any
//! implementation. Each test is a function of one empty store and named after its clause.

mod access_requests;
pub mod audit;
mod change_feed;
mod idempotency;
mod outbox;
mod partner_events;
mod partners;
mod revisions;
mod round_trip;
mod rules;
mod segment_jobs;
mod snapshots;
mod tokens;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ambit::authz::model::*;
use ambit::store::audit::Author;
use ambit::store::outbox::Outbox;
use ambit::store::partners::PartnerStore;
use ambit::store::segment_jobs::SegmentJobs;
use ambit::store::tokens::TokenStore;
use ambit::store::{Head, Store, StoreError, Write};

/// An empty store, and whatever must live as long as it.
pub struct Fresh {
    pub store: Arc<dyn Store>,
    pub outbox: Arc<dyn Outbox>,
    pub tokens: Arc<dyn TokenStore>,
    pub segment_jobs: Arc<dyn SegmentJobs>,
    pub partners: Arc<dyn PartnerStore>,
    pub kept: Box<dyn Any + Send>,
}

type Test = dyn Fn(&Fresh) -> Pin<Box<dyn Future<Output = ()>>>;

/// A test of one empty store.
pub struct Clause {
    name: &'static str,
    run: Box<Test>,
}

fn clause<Run, Running>(name: &'static str, test: Run) -> Clause
where
    Run: Fn(Arc<dyn Store>) -> Running + 'static,
    Running: Future<Output = ()> + 'static,
{
    Clause {
        name,
        run: Box::new(move |fresh| Box::pin(test(fresh.store.clone()))),
    }
}

/// One that looks at the outbox of the store too.
fn outbox_clause<Run, Running>(name: &'static str, test: Run) -> Clause
where
    Run: Fn(Arc<dyn Store>, Arc<dyn Outbox>) -> Running + 'static,
    Running: Future<Output = ()> + 'static,
{
    Clause {
        name,
        run: Box::new(move |fresh| Box::pin(test(fresh.store.clone(), fresh.outbox.clone()))),
    }
}

/// One that is about the tokens of callers.
fn token_clause<Run, Running>(name: &'static str, test: Run) -> Clause
where
    Run: Fn(Arc<dyn TokenStore>, Arc<dyn Store>) -> Running + 'static,
    Running: Future<Output = ()> + 'static,
{
    Clause {
        name,
        run: Box::new(move |fresh| Box::pin(test(fresh.tokens.clone(), fresh.store.clone()))),
    }
}

/// Runs every clause on a store of its own.
pub async fn run_all<Make, Made>(make_store: Make)
where
    Make: Fn() -> Made,
    Made: Future<Output = Fresh>,
{
    let clauses = [
        round_trip::clauses(),
        revisions::clauses(),
        change_feed::clauses(),
        rules::clauses(),
        idempotency::clauses(),
        snapshots::clauses(),
        access_requests::clauses(),
        outbox::clauses(),
        audit::clauses(),
        tokens::clauses(),
        segment_jobs::clauses(),
        partners::clauses(),
        partner_events::clauses(),
    ];
    for clause in clauses.into_iter().flatten() {
        let fresh = make_store().await;
        println!("store contract: {}", clause.name);
        (clause.run)(&fresh).await;
        drop(fresh.kept);
    }
}

pub fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

pub fn ids<const N: usize>(texts: [&str; N]) -> BTreeSet<Id> {
    texts.into_iter().map(id).collect()
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn key(resource_type: &str, resource: &str) -> ResourceKey {
    ResourceKey {
        resource_type: id(resource_type),
        id: id(resource),
    }
}

pub fn account(name: &str) -> Account {
    Account {
        id: id(name),
        catalog: CatalogRef::BuiltIn(id("hubspot")),
        plan: id("enterprise"),
        partner_program: PartnerProgram::None,
        payment_method_valid: true,
        settings: Settings::default(),
    }
}

fn put(entity: Entity) -> EntityChange {
    EntityChange::Put(entity)
}

fn team(name: &str, parent: Option<&str>) -> EntityChange {
    put(Entity::Team(Team {
        id: id(name),
        parent: parent.map(id),
    }))
}

pub fn user(name: &str) -> EntityChange {
    put(Entity::User(User::new(id(name))))
}

fn resource(name: &str) -> Resource {
    Resource {
        key: key("contact", name),
        owners: BTreeSet::new(),
        owning_team: None,
        partitioned: false,
        assignments: BTreeSet::new(),
    }
}

fn put_resource(resource: Resource) -> EntityChange {
    put(Entity::Resource(resource, None))
}

/// Writes on top of what is there.
pub async fn apply(store: &dyn Store, name: &str, changes: &[EntityChange]) -> Head {
    try_apply(store, name, changes).await.unwrap()
}

pub async fn try_apply(
    store: &dyn Store,
    name: &str,
    changes: &[EntityChange],
) -> Result<Head, StoreError> {
    let account = id(name);
    let expected = store.head(&account).await.unwrap();
    store
        .apply(Write {
            account: &account,
            expected,
            changes,
            events: &[],
            batch: None,
            idempotency: None,
            author: &Author::anyone("ApplyChanges"),
        })
        .await
}

/// The snapshot's entities in its order, with the head that it names.
pub async fn load(store: &dyn Store, name: &str, attributes: bool) -> (Head, Vec<Entity>) {
    let mut snapshot = store
        .snapshot(&id(name), attributes)
        .await
        .unwrap()
        .expect("the account is there");
    let mut entities = Vec::new();
    while let Some(chunk) = snapshot.chunks.recv().await {
        let chunk = chunk.unwrap();
        assert!(!chunk.is_empty(), "chunks are never empty");
        entities.extend(chunk.into_entities());
    }
    (snapshot.head, entities)
}

/// An account with at least one of everything, and every field set to something but its default.
pub fn everything() -> Vec<EntityChange> {
    vec![
        put(Entity::Account(full_account())),
        // Children before their parents: the store finds its own order.
        team("de", Some("eu")),
        team("eu", None),
        team("us", None),
        put(Entity::PermissionSet(PermissionSet {
            id: id("rep"),
            grants: [timed_grant("email", "send", Level::None)].into(),
        })),
        put(Entity::PermissionSet(PermissionSet {
            id: id("empty"),
            grants: BTreeSet::new(),
        })),
        put(Entity::User(full_user())),
        user("us1"),
        put(Entity::AccessGroup(AccessGroup {
            id: id("vip"),
            members: [
                (Principal::User(id("us1")), ids(["view", "edit"])),
                (Principal::Team(id("de")), BTreeSet::new()),
            ]
            .into(),
        })),
        full_resource(),
        put_resource(resource("c2")),
        put_resource(Resource {
            key: key("account.billing", "c1"),
            partitioned: true,
            ..resource("x")
        }),
        put(Entity::Segment(Segment {
            id: id("gold"),
            resource_type: id("contact"),
            when: "'gold' in resource.tags\n".to_owned(),
            assign_to: [Principal::Group(id("vip")), Principal::Team(id("us"))].into(),
            enabled: false,
            may_partition: false,
        })),
    ]
}

fn timed_grant(resource_type: &str, permission: &str, level: Level) -> Grant {
    Grant {
        key: PermissionKey {
            resource_type: id(resource_type),
            permission: id(permission),
        },
        level,
        include_unassigned: level == Level::Team,
        not_before: Some(time("2026-01-01T00:00:00Z")),
        expires_at: Some(time("2027-01-01T00:00:00.000001Z")),
        provenance: Provenance::Request(id("7:x")),
        granted_by: Some(id("long-gone")),
    }
}

fn full_account() -> Account {
    Account {
        catalog: CatalogRef::Custom("# \"quoted\" \\ and\nlines\n".into()),
        partner_program: PartnerProgram::Solutions,
        payment_method_valid: false,
        settings: Settings {
            partition_mode: [
                (id("default"), PartitionMode::Wall),
                (id("contact"), PartitionMode::Share),
            ]
            .into(),
            unpartitioned: [
                (id("contact"), UnpartitionedDefault::NoOne),
                (id("default"), UnpartitionedDefault::CreatorAndTeam),
            ]
            .into(),
            request_ttl_seconds: Some(u64::MAX),
            request_cool_down_seconds: Some(0),
            request_limit_per_user: Some(u32::MAX),
        },
        ..account("acme")
    }
}

fn full_user() -> User {
    User {
        status: UserStatus::Deactivated,
        kind: UserKind::Contractor,
        account_owner: true,
        super_admin: true,
        partner_admin: true,
        main_team: Some(id("de")),
        teams: ids(["eu", "us"]),
        seats: ids(["sales", "view_only"]),
        person: Some(id("p-17")),
        email: Some("Pa@Büro.example".to_owned()),
        partner: Some(Partner {
            account: id("agency"),
            user: id("u1"),
            role: PartnerRole::Employee,
            partnership: Partnership::Ended,
        }),
        permission_sets: ids(["rep", "empty"]),
        set_givers: [(id("rep"), id("sa"))].into(),
        memberships: memberships(),
        grants: [
            timed_grant("contact", "view", Level::Team),
            timed_grant("contact", "view", Level::Everything),
            Grant {
                not_before: None,
                expires_at: None,
                granted_by: None,
                provenance: Provenance::Manual,
                ..timed_grant("account.billing", "view", Level::Owned)
            },
        ]
        .into(),
        object_grants: [ObjectGrant {
            resource: key("contact", "c1"),
            action: id("edit"),
            not_before: Some(Timestamp::MIN),
            expires_at: Some(Timestamp::MAX),
            provenance: Provenance::Form(id("f")),
            granted_by: Some(id("sa")),
        }]
        .into(),
        ..User::new(id("pa"))
    }
}

/// Two of one team and of one set, which differ in their provenance.
fn memberships() -> BTreeSet<Membership> {
    let team = |name| MembershipOf::Team(id(name));
    let set = |name| MembershipOf::PermissionSet(id(name));
    let held = |of, provenance, expires_at, granted_by| Membership {
        of,
        provenance,
        expires_at,
        granted_by,
    };
    let request = || Provenance::Request(id("r 7"));
    let end = time("2027-02-03T04:05:06.789012Z");
    [
        held(team("de"), Provenance::Manual, None, None),
        held(team("de"), request(), Some(end), Some(id("sa"))),
        held(set("rep"), request(), Some(Timestamp::MIN), None),
        held(set("rep"), Provenance::Default, Some(Timestamp::MAX), None),
        held(set("empty"), Provenance::Manual, None, Some(id("gone"))),
    ]
    .into()
}

fn full_resource() -> EntityChange {
    let attributes: Attributes = serde_json::from_str(
        r#"{"tags":["gold","\u0000"],"score":40.5,"big":12345678901234567890,"deep":{"a":[null]}}"#,
    )
    .unwrap();
    let assignment = |principal, provenance, expires_at| Assignment {
        principal,
        provenance,
        expires_at,
    };
    let assignments = [
        assignment(Principal::Team(id("de")), Provenance::Manual, None),
        assignment(
            Principal::Team(id("de")),
            Provenance::Import(id("j")),
            Some(time("2027-01-01T00:00:00Z")),
        ),
        assignment(Principal::User(id("us1")), Provenance::Default, None),
        assignment(
            Principal::Group(id("vip")),
            Provenance::Segment(id("gold")),
            None,
        ),
    ];
    let resource = Resource {
        owners: ids(["pa", "us1"]),
        owning_team: Some(id("us")),
        partitioned: true,
        assignments: assignments.into(),
        ..resource("c1")
    };
    put(Entity::Resource(resource, Some(attributes)))
}

/// The state that a list of changes to an empty account comes to, by key; no attributes.
pub fn by_key<'a>(entities: impl IntoIterator<Item = &'a Entity>) -> BTreeMap<EntityKey, Entity> {
    entities
        .into_iter()
        .map(|entity| {
            let entity = match entity {
                Entity::Resource(resource, _) => Entity::Resource(resource.clone(), None),
                other => other.clone(),
            };
            (entity.key(), entity)
        })
        .collect()
}

fn puts(changes: &[EntityChange]) -> impl Iterator<Item = &Entity> {
    changes.iter().filter_map(|change| match change {
        EntityChange::Put(entity) => Some(entity),
        EntityChange::Delete(_) => None,
    })
}

/// A small generator of numbers with a seed, so that a failure can be run again.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self(seed)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }
}

/// The rule that a refused write names; it must hold no SQL.
fn refused_by(result: Result<Head, StoreError>) -> String {
    let Err(StoreError::Constraint { rule }) = result else {
        panic!("expected a broken rule, got {result:?}");
    };
    for word in ["SELECT", "INSERT", "WHERE", "json_each"] {
        assert!(!rule.contains(word), "the rule holds SQL: {rule}");
    }
    rule
}
