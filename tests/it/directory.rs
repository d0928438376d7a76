//! The use cases on the real embedded store: a write is whole or not at all, carried out once, and
//! seen at once by whoever holds its token.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ambit::authz::access_set::check;
use ambit::authz::change::{
    AccountPatch, Change, ChangeProblem, GrantHolder, ResourcePatch, TeamPatch, UserPatch,
};
use ambit::authz::decision::{Decision, Target};
use ambit::authz::graph::{AccountGraph, GraphBuilder};
use ambit::authz::model::*;
use ambit::clock::{Clock, SystemClock};
use ambit::directory::{Applied, ApplyChanges, Directory, DirectoryError, Idempotency, WatchEvent};
use ambit::graph_cache::{CacheLimits, Consistency, GraphCache, ReadError};
use ambit::revision::{RevisionError, RevisionToken};
use ambit::store::audit::Author;
use ambit::store::{Head, Store};

use crate::database::Database;

/// One process's view of a database: a store, a cache, the use cases. Several of the same database
/// are replicas of each other.
pub struct Replica {
    pub store: Arc<dyn Store>,
    pub graphs: GraphCache,
    pub directory: Directory,
}

pub const LIMITS: CacheLimits = CacheLimits {
    bytes_max: 1 << 30,
    staleness_bound: Duration::from_secs(2),
    load_timeout: Duration::from_secs(30),
};

impl Replica {
    pub async fn open(database: &Database) -> Self {
        Self::with(database, Arc::new(SystemClock::new()), LIMITS).await
    }

    pub async fn with(database: &Database, clock: Arc<dyn Clock>, limits: CacheLimits) -> Self {
        let store = database.open().await;
        let graphs = GraphCache::new(Arc::clone(&store), Arc::clone(&clock), limits);
        let directory = Directory::new(Arc::clone(&store), graphs.clone(), clock);
        Self {
            store,
            graphs,
            directory,
        }
    }

    /// An Enterprise account with a user `u` and a few resources.
    pub async fn make_account(&self, account: &str) -> Head {
        let made = self
            .directory
            .create_account(
                id(account),
                enterprise(),
                None,
                Author::anyone("CreateAccount"),
            )
            .await
            .unwrap();
        assert!(!made.replayed);
        let mut changes = vec![put_user("u"), put_team("de", None)];
        changes.extend((0..5).map(|n| put_contact(&format!("c{n}"), &["u"])));
        self.apply(account, changes).await.unwrap().head.unwrap()
    }

    pub async fn apply(
        &self,
        account: &str,
        changes: Vec<Change>,
    ) -> Result<Applied, DirectoryError> {
        self.directory
            .apply_changes(request(account, changes))
            .await
    }

    pub fn token(&self, account: &str, head: Head) -> RevisionToken {
        self.graphs.token(&id(account), head)
    }
}

pub fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

pub fn enterprise() -> AccountPatch {
    AccountPatch {
        catalog: Some(CatalogRef::BuiltIn(id("hubspot"))),
        plan: Some(id("enterprise")),
        ..AccountPatch::default()
    }
}

pub fn request(account: &str, changes: Vec<Change>) -> ApplyChanges {
    ApplyChanges {
        account: id(account),
        changes,
        expected: None,
        idempotency: None,
        dry_run: false,
        actor: None,
        author: Author::anyone("ApplyChanges"),
    }
}

pub fn put_user(user: &str) -> Change {
    Change::PutUser(Box::new(UserPatch {
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
        email: None,
        partner: None,
        permission_sets: None,
    }))
}

pub fn put_team(team: &str, parent: Option<&str>) -> Change {
    Change::PutTeam(TeamPatch {
        id: id(team),
        parent: Some(parent.map(id)),
    })
}

pub fn contact(resource: &str) -> ResourceKey {
    ResourceKey {
        resource_type: id("contact"),
        id: id(resource),
    }
}

pub fn put_contact(resource: &str, owners: &[&str]) -> Change {
    Change::PutResource(ResourcePatch {
        key: contact(resource),
        owners: Some(owners.iter().map(|owner| id(owner)).collect()),
        owning_team: None,
        partitioned: None,
        attributes: None,
        creator: None,
    })
}

/// `contact.view` for a user at a level, or not at all.
pub fn grant(user: &str, level: Option<Level>) -> Change {
    let key = PermissionKey {
        resource_type: id("contact"),
        permission: id("view"),
    };
    Change::SetGrants {
        holder: GrantHolder::User(id(user)),
        key: key.clone(),
        provenance: Provenance::Manual,
        grants: level
            .map(|level| Grant {
                key,
                level,
                include_unassigned: false,
                not_before: None,
                expires_at: None,
                provenance: Provenance::Manual,
                granted_by: None,
            })
            .into_iter()
            .collect(),
    }
}

pub fn view(graph: &AccountGraph, user: &str, resource: &str) -> Decision {
    let target = Target::Resource(resource);
    check(
        graph,
        user,
        "contact",
        "view",
        target,
        SystemClock::new().now(),
    )
    .unwrap()
}

/// Everything that a graph holds, in the vocabulary of the store.
pub fn entities(graph: &AccountGraph) -> Vec<Entity> {
    let mut all = vec![Entity::Account(graph.account().clone())];
    all.extend(graph.teams().cloned().map(Entity::Team));
    all.extend(graph.permission_sets().cloned().map(Entity::PermissionSet));
    all.extend(graph.users().cloned().map(Entity::User));
    all.extend(graph.access_groups().cloned().map(Entity::AccessGroup));
    all.extend(graph.segments().cloned().map(Entity::Segment));
    for resource_type in &graph.catalog().types {
        let name = &resource_type.name;
        for resource in graph.resource_page(name.as_str(), None, usize::MAX) {
            let key = ResourceKey {
                resource_type: name.clone(),
                id: resource,
            };
            all.push(Entity::Resource(graph.resource(&key).unwrap(), None));
        }
    }
    all
}

/// A graph built from the store alone, by no cache.
pub async fn fresh_graph(store: &Arc<dyn Store>, account: &str) -> (AccountGraph, Head) {
    let mut snapshot = store.snapshot(&id(account), false).await.unwrap().unwrap();
    let mut builder = GraphBuilder::default();
    while let Some(chunk) = snapshot.chunks.recv().await {
        for entity in chunk.unwrap().into_entities() {
            builder.push(entity);
        }
    }
    (builder.finish().unwrap(), snapshot.head)
}

fn idempotent(mut request: ApplyChanges, key: &str, digest: u8) -> ApplyChanges {
    request.idempotency = Some(Idempotency {
        key: id(key),
        request_digest: [digest; 32],
    });
    request
}

async fn replica() -> (Database, Replica) {
    let database = Database::new();
    let replica = Replica::open(&database).await;
    (database, replica)
}

#[tokio::test]
async fn an_account_is_created_once_read_listed_and_deleted() {
    let (_database, replica) = replica().await;
    let account = id("acme");
    let missing = replica
        .graphs
        .read(&account, &Consistency::MinimizeLatency)
        .await;
    assert!(matches!(missing, Err(ReadError::UnknownAccount(_))));

    let head = replica.make_account("acme").await;
    let again = replica
        .directory
        .create_account(
            account.clone(),
            enterprise(),
            None,
            Author::anyone("CreateAccount"),
        )
        .await;
    assert!(matches!(again, Err(DirectoryError::AlreadyExists(_))));
    let listed = replica.directory.accounts(None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].id, listed[0].head), (&account, head));
    assert!(
        replica
            .directory
            .accounts(Some(&account), 10)
            .await
            .unwrap()
            .is_empty()
    );

    let stale = replica.token(
        "acme",
        Head {
            revision: 1,
            nonce: [0; 8],
        },
    );
    let refused = replica
        .directory
        .delete_account(&account, Some(stale), &Author::anyone("DeleteAccount"))
        .await;
    assert!(
        matches!(refused, Err(DirectoryError::ExpectedRevision)),
        "{refused:?}"
    );
    let token = replica.token("acme", head);
    replica
        .directory
        .delete_account(&account, Some(token), &Author::anyone("DeleteAccount"))
        .await
        .unwrap();
    let gone = replica
        .graphs
        .read(&account, &Consistency::MinimizeLatency)
        .await;
    assert!(matches!(gone, Err(ReadError::UnknownAccount(_))));
    let gone = replica
        .directory
        .delete_account(&account, None, &Author::anyone("DeleteAccount"))
        .await;
    assert!(matches!(
        gone,
        Err(DirectoryError::Read(ReadError::UnknownAccount(_)))
    ));
}

#[tokio::test]
async fn a_write_is_seen_at_once_and_answers_the_revision_that_it_made() {
    let (_database, replica) = replica().await;
    let before = replica.make_account("acme").await;
    let applied = replica
        .apply("acme", vec![grant("u", Some(Level::Everything))])
        .await
        .unwrap();
    let head = applied.head.unwrap();
    assert_eq!(head.revision, before.revision + 1);
    assert_eq!(applied.lines.len(), 1);
    let read = replica
        .graphs
        .read(&id("acme"), &Consistency::MinimizeLatency)
        .await
        .unwrap();
    assert_eq!(read.head, head);
    assert!(view(&read.graph, "u", "c1").is_allow());
}

#[tokio::test]
async fn a_bad_change_writes_nothing_of_the_list() {
    let (_database, replica) = replica().await;
    let before = replica.make_account("acme").await;
    let changes = vec![put_user("new"), put_contact("c9", &["nobody"])];
    let refused = replica.apply("acme", changes).await;
    let Err(DirectoryError::Change(error)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error.index, 1);
    assert!(
        matches!(error.problem, ChangeProblem::Dangling { .. }),
        "{error}"
    );
    let (graph, head) = fresh_graph(&replica.store, "acme").await;
    assert_eq!(head, before);
    assert!(graph.user("new").is_none());
    // An account that is not there, and that the changes don't create.
    let refused = replica.apply("nowhere", vec![put_user("u")]).await;
    assert!(
        matches!(
            refused,
            Err(DirectoryError::Read(ReadError::UnknownAccount(_)))
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_dry_run_plans_and_refuses_as_the_write_would_but_writes_nothing() {
    let (_database, replica) = replica().await;
    let before = replica.make_account("acme").await;
    let mut dry = request("acme", vec![put_user("new")]);
    dry.dry_run = true;
    let applied = replica.directory.apply_changes(dry.clone()).await.unwrap();
    assert_eq!(applied.head, Some(before));
    assert_eq!(applied.lines.len(), 1);
    assert_eq!(applied.lines[0].verb, "create");
    let (graph, head) = fresh_graph(&replica.store, "acme").await;
    assert_eq!(head, before);
    assert!(graph.user("new").is_none());
    dry.changes = vec![put_contact("c9", &["nobody"])];
    assert!(replica.directory.apply_changes(dry).await.is_err());
}

#[tokio::test]
async fn the_same_key_writes_once_and_another_body_under_it_is_refused() {
    let (_database, replica) = replica().await;
    replica.make_account("acme").await;
    let first = idempotent(request("acme", vec![put_user("a")]), "key-1", 1);
    let made = replica
        .directory
        .apply_changes(first.clone())
        .await
        .unwrap();
    // Something else happens in between; the answer stays that of the first time.
    let other = replica.apply("acme", vec![put_user("b")]).await.unwrap();
    let replayed = replica
        .directory
        .apply_changes(first.clone())
        .await
        .unwrap();
    assert!(replayed.replayed);
    assert_eq!(replayed.head, made.head);
    let (_, head) = fresh_graph(&replica.store, "acme").await;
    assert_eq!(Some(head), other.head);

    let forged = idempotent(request("acme", vec![put_user("c")]), "key-1", 2);
    let refused = replica.directory.apply_changes(forged).await;
    assert!(
        matches!(refused, Err(DirectoryError::IdempotencyKeyReused(_))),
        "{refused:?}"
    );

    // A replay wins over the precondition that it has itself made false.
    let mut expecting = idempotent(request("acme", vec![put_user("d")]), "key-2", 3);
    expecting.expected = other.head.map(|head| replica.token("acme", head));
    let made = replica
        .directory
        .apply_changes(expecting.clone())
        .await
        .unwrap();
    let replayed = replica.directory.apply_changes(expecting).await.unwrap();
    assert_eq!((replayed.head, replayed.replayed), (made.head, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twins_of_one_request_at_once_are_carried_out_once() {
    let (_database, replica) = replica().await;
    let before = replica.make_account("acme").await;
    let twin = idempotent(request("acme", vec![put_user("a")]), "key", 1);
    let twins: Vec<_> = (0..8)
        .map(|_| {
            let directory = replica.directory.clone();
            let twin = twin.clone();
            tokio::spawn(async move { directory.apply_changes(twin).await.unwrap() })
        })
        .collect();
    let mut heads = BTreeSet::new();
    let mut made = 0;
    for twin in twins {
        let applied = twin.await.unwrap();
        heads.insert(applied.head.unwrap().revision);
        made += usize::from(!applied.replayed);
    }
    assert_eq!(heads, BTreeSet::from([before.revision + 1]));
    assert_eq!(made, 1);
}

#[tokio::test]
async fn an_expected_revision_that_has_passed_is_refused_and_a_foreign_one_too() {
    let (_database, replica) = replica().await;
    let head = replica.make_account("acme").await;
    let other = replica.make_account("other").await;
    let mut write = request("acme", vec![put_user("a")]);
    write.expected = Some(replica.token("acme", head));
    replica
        .directory
        .apply_changes(write.clone())
        .await
        .unwrap();
    let refused = replica.directory.apply_changes(write.clone()).await;
    assert!(
        matches!(refused, Err(DirectoryError::ExpectedRevision)),
        "{refused:?}"
    );
    write.expected = Some(replica.token("other", other));
    let refused = replica.directory.apply_changes(write).await;
    assert!(
        matches!(
            refused,
            Err(DirectoryError::Read(ReadError::Revision(
                RevisionError::OtherAccount
            )))
        ),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_11_writers_of_two_processes_at_once_lose_nothing_and_leave_no_gap() {
    let database = Database::new();
    let one = Arc::new(Replica::open(&database).await);
    let two = Arc::new(Replica::open(&database).await);
    let before = one.make_account("acme").await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let replica = Arc::clone(if writer % 2 == 0 { &one } else { &two });
        writers.spawn(async move {
            let mut revisions = Vec::new();
            for n in 0..10 {
                let user = format!("w{writer}-{n}");
                // Between processes writers compete, and one may lose each of its tries: an error
                // that says so, after which nothing was written.
                loop {
                    match replica.apply("acme", vec![put_user(&user)]).await {
                        Ok(applied) => break revisions.push(applied.head.unwrap().revision),
                        Err(DirectoryError::Contended) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            revisions
        });
    }
    let mut revisions: Vec<u64> = writers.join_all().await.concat();
    revisions.sort_unstable();
    let expected: Vec<u64> = (before.revision + 1..=before.revision + 80).collect();
    assert_eq!(revisions, expected);
    let (graph, head) = fresh_graph(&one.store, "acme").await;
    assert_eq!(head.revision, before.revision + 80);
    assert_eq!(graph.users().count(), 81);
}

#[tokio::test]
async fn an_export_is_the_account_whole() {
    let (_database, replica) = replica().await;
    let head = replica.make_account("acme").await;
    let mut snapshot = replica.directory.export(&id("acme")).await.unwrap();
    assert_eq!(snapshot.head, head);
    let mut count = 0;
    while let Some(chunk) = snapshot.chunks.recv().await {
        count += chunk.unwrap().into_entities().len();
    }
    assert_eq!(count, 1 + 1 + 1 + 5);
    let missing = replica.directory.export(&id("nowhere")).await;
    assert!(matches!(
        missing.err(),
        Some(DirectoryError::Read(ReadError::UnknownAccount(_)))
    ));
}

#[tokio::test]
async fn a_watch_gives_every_change_after_its_revision_and_heartbeats_in_between() {
    let (_database, replica) = replica().await;
    let from = replica.make_account("acme").await;
    replica.apply("acme", vec![put_user("a")]).await.unwrap();
    let after = Some(replica.token("acme", from));
    let beat = Duration::from_millis(20);
    let mut watch = replica
        .directory
        .watch(&id("acme"), after, beat)
        .await
        .unwrap();

    let mut seen = Vec::new();
    let mut at = from;
    let mut heartbeats = 0;
    let mut written = false;
    while seen.len() < 2 || heartbeats == 0 {
        match watch.next().await.unwrap() {
            WatchEvent::Changes { from, to, changes } => {
                assert_eq!(from, at);
                at = to;
                seen.extend(changes);
            }
            WatchEvent::Heartbeat { at: beat } => {
                assert_eq!(beat, at);
                heartbeats += 1;
            }
            WatchEvent::Reload { .. } => panic!("the log has it all"),
        }
        if !std::mem::replace(&mut written, true) {
            replica.apply("acme", vec![put_user("b")]).await.unwrap();
        }
    }
    let users: Vec<EntityChange> = ["a", "b"]
        .map(|user| EntityChange::Put(Entity::User(User::new(id(user)))))
        .into();
    assert_eq!(seen, users);

    replica
        .directory
        .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
        .await
        .unwrap();
    let end = loop {
        match watch.next().await {
            Ok(WatchEvent::Heartbeat { .. }) => {}
            other => break other,
        }
    };
    assert!(
        matches!(end, Err(DirectoryError::Read(ReadError::UnknownAccount(_)))),
        "{end:?}"
    );
}

/// A plain SQL change of catalog may hide resources of types that the new one lacks. The change
/// back, which a graph can't do in steps, must not be refused for that.
#[tokio::test]
async fn a_catalog_that_brings_back_a_type_of_stored_resources_is_taken() {
    let (database, replica) = replica().await;
    replica.make_account("acme").await;
    let email = ResourceKey {
        resource_type: id("email"),
        id: id("e1"),
    };
    let put_email = Change::PutResource(ResourcePatch {
        key: email.clone(),
        owners: None,
        owning_team: None,
        partitioned: None,
        attributes: None,
        creator: None,
    });
    replica.apply("acme", vec![put_email]).await.unwrap();
    let catalog = |catalog: &str, plan: &str| {
        Change::PutAccount(AccountPatch {
            catalog: Some(CatalogRef::BuiltIn(id(catalog))),
            plan: Some(id(plan)),
            ..AccountPatch::default()
        })
    };
    let other = "UPDATE account SET catalog = 'ipresso', plan = 'standard'";
    assert_eq!(database.execute(other.to_owned()).await, 1);
    let account = id("acme");
    let consistency = Consistency::FullyConsistent;
    let read = replica.graphs.read(&account, &consistency).await.unwrap();
    assert!(read.graph.resource(&email).is_none());

    replica
        .apply("acme", vec![catalog("hubspot", "enterprise")])
        .await
        .unwrap();
    let consistency = Consistency::MinimizeLatency;
    let read = replica.graphs.read(&account, &consistency).await.unwrap();
    let (fresh, head) = fresh_graph(&replica.store, "acme").await;
    assert_eq!(read.head, head);
    assert_eq!(entities(&read.graph), entities(&fresh));
    assert!(read.graph.resource(&email).is_some());
}
