//! Bulk import. The use case on the real store, then over the wire, then as the command.

mod broken_off;
mod program;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ambit::authz::change::{Change, ChangeProblem, ResourcePatch};
use ambit::authz::model::*;
use ambit::directory::DirectoryError;
use ambit::graph_cache::{Consistency, ReadError};
use ambit::imports::{
    Assigned, Import, ImportError, ImportRequest, LineProblem, Mode, Progress, Row, RowContent,
    RowProblem,
};
use ambit::store::audit::Author;

use tokio::time::MissedTickBehavior;

use crate::database::Database;
use crate::directory::{
    Replica, contact, enterprise, entities, fresh_graph, id, put_contact, put_team, put_user, view,
};

fn request(key: &str) -> ImportRequest {
    ImportRequest {
        account: id("acme"),
        key: id(key),
        job: id("job"),
        mode: Mode::Merge,
        targets: Vec::new(),
        actor: None,
        batch_rows: 0,
        errors_max: 0,
        dry_run: false,
        author: Author::anyone("ImportResources"),
    }
}

fn content(resource: &str) -> RowContent {
    RowContent {
        resource: ResourcePatch {
            key: contact(resource),
            owners: None,
            owning_team: None,
            partitioned: None,
            attributes: None,
            creator: None,
        },
        assigned_to: Vec::new(),
    }
}

/// A contact that `u` owns and that is assigned to the team `de`.
fn owned(resource: &str) -> RowContent {
    let mut content = assigned(resource, &["team:de"]);
    content.resource.owners = Some([id("u")].into());
    content
}

fn assigned(resource: &str, to: &[&str]) -> RowContent {
    RowContent {
        assigned_to: to
            .iter()
            .map(|to| Assigned {
                principal: to.parse().unwrap(),
                expires_at: None,
            })
            .collect(),
        ..content(resource)
    }
}

/// With the lines that they have in a file without header.
fn rows(contents: Vec<RowContent>) -> Vec<Row> {
    (1..)
        .zip(contents)
        .map(|(line, content)| Row::new(line, Ok(content)))
        .collect()
}

fn many(count: usize) -> Vec<RowContent> {
    (0..count)
        .map(|number| owned(&format!("contact-{number:06}")))
        .collect()
}

#[derive(Debug)]
struct Imported {
    progress: Progress,
    problems: Vec<LineProblem>,
    /// The most rows were refused.
    stopped: bool,
}

impl Imported {
    fn lines(&self) -> Vec<u64> {
        self.problems.iter().map(|problem| problem.line).collect()
    }
}

async fn import(
    replica: &Replica,
    request: ImportRequest,
    contents: Vec<RowContent>,
) -> Result<Imported, ImportError> {
    import_rows(replica, request, rows(contents)).await
}

async fn import_rows(
    replica: &Replica,
    request: ImportRequest,
    rows: Vec<Row>,
) -> Result<Imported, ImportError> {
    let mut import = Import::begin(replica.directory.clone(), request).await?;
    let mut problems = Vec::new();
    for row in rows {
        if let Some(batch) = import.add(row) {
            problems.extend(import.write(batch).await?);
            if import.has_too_many_errors() {
                return Ok(Imported {
                    progress: import.progress(),
                    problems,
                    stopped: true,
                });
            }
        }
    }
    if let Some(batch) = import.rest() {
        problems.extend(import.write(batch).await?);
    }
    Ok(Imported {
        progress: import.progress(),
        problems,
        stopped: import.has_too_many_errors(),
    })
}

async fn acme() -> (Database, Replica) {
    let database = Database::new();
    let replica = Replica::open(&database).await;
    replica.make_account("acme").await;
    (database, replica)
}

async fn resource(replica: &Replica, key: &ResourceKey) -> Option<Resource> {
    fresh_graph(&replica.store, "acme").await.0.resource(key)
}

async fn count(replica: &Replica) -> usize {
    let (graph, _) = fresh_graph(&replica.store, "acme").await;
    graph.resource_page("contact", None, usize::MAX).len()
}

async fn revision(replica: &Replica) -> u64 {
    fresh_graph(&replica.store, "acme").await.1.revision
}

/// What the same rows come to as one list of changes.
async fn as_one_write(contents: &[RowContent]) -> Vec<Entity> {
    let (_database, replica) = acme().await;
    let mut changes = Vec::new();
    for content in contents {
        changes.push(Change::PutResource(content.resource.clone()));
        for assigned in &content.assigned_to {
            changes.push(Change::PutAssignment {
                resource: content.resource.key.clone(),
                principal: assigned.principal.clone(),
                provenance: Provenance::Import(id("job")),
                expires_at: assigned.expires_at,
            });
        }
    }
    replica.apply("acme", changes).await.unwrap();
    entities(&fresh_graph(&replica.store, "acme").await.0)
}

async fn stored(replica: &Replica) -> Vec<Entity> {
    entities(&fresh_graph(&replica.store, "acme").await.0)
}

fn provenances(resource: &Resource) -> BTreeSet<(String, String)> {
    let of = |assignment: &Assignment| {
        (
            assignment.principal.to_string(),
            assignment.provenance.to_string(),
        )
    };
    resource.assignments.iter().map(of).collect()
}

fn pairs(of: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    of.iter()
        .map(|(principal, provenance)| ((*principal).to_owned(), (*provenance).to_owned()))
        .collect()
}

#[tokio::test]
async fn p8_every_created_and_updated_resource_gets_the_rows_of_the_job() {
    let (_database, replica) = acme().await;
    let by_hand = Change::PutAssignment {
        resource: contact("c0"),
        principal: "user:u".parse().unwrap(),
        provenance: Provenance::Manual,
        expires_at: None,
    };
    replica.apply("acme", vec![by_hand]).await.unwrap();
    let contents = vec![assigned("c0", &["team:de"]), assigned("new", &["team:de"])];
    let imported = import(&replica, request("k"), contents).await.unwrap();
    assert_eq!(imported.problems, []);
    assert_eq!((imported.progress.read, imported.progress.written), (2, 2));

    let updated = resource(&replica, &contact("c0")).await.unwrap();
    assert_eq!(
        provenances(&updated),
        pairs(&[("user:u", "manual"), ("team:de", "import:job")])
    );
    assert_eq!(updated.owners, [id("u")].into(), "what no row names stays");
    let created = resource(&replica, &contact("new")).await.unwrap();
    assert_eq!(provenances(&created), pairs(&[("team:de", "import:job")]));
    assert!(created.partitioned, "3.5: the first assignment partitions");

    let other = ImportRequest {
        job: id("other"),
        ..request("k2")
    };
    let again = import(&replica, other, vec![assigned("new", &["user:u"])]).await;
    assert_eq!(again.unwrap().problems, []);
    let both = resource(&replica, &contact("new")).await.unwrap();
    assert_eq!(
        provenances(&both),
        pairs(&[("team:de", "import:job"), ("user:u", "import:other")])
    );
}

#[tokio::test]
async fn a_replacing_row_is_all_that_its_job_says_and_never_opens_a_wall() {
    let (_database, replica) = acme().await;
    let by_hand = Change::PutAssignment {
        resource: contact("c0"),
        principal: "user:u".parse().unwrap(),
        provenance: Provenance::Manual,
        expires_at: None,
    };
    replica.apply("acme", vec![by_hand]).await.unwrap();
    let first = vec![
        owned("c0"),
        assigned("c1", &["team:de", "user:u"]),
        assigned("c2", &["team:de"]),
    ];
    import(&replica, request("k"), first).await.unwrap();

    let replacing = ImportRequest {
        mode: Mode::Replace,
        ..request("k2")
    };
    let contents = vec![content("c0"), assigned("c1", &["user:u"]), content("c2")];
    let imported = import(&replica, replacing.clone(), contents.clone()).await;
    assert_eq!(imported.unwrap().problems, []);
    let c0 = resource(&replica, &contact("c0")).await.unwrap();
    assert_eq!(c0.owners, BTreeSet::new());
    assert_eq!(provenances(&c0), pairs(&[("user:u", "manual")]));
    let c1 = resource(&replica, &contact("c1")).await.unwrap();
    assert_eq!(provenances(&c1), pairs(&[("user:u", "import:job")]));
    let c2 = resource(&replica, &contact("c2")).await.unwrap();
    assert_eq!(provenances(&c2), pairs(&[]));
    assert!(c2.partitioned, "3.5: sticky");

    let before = revision(&replica).await;
    let again = ImportRequest {
        key: id("k3"),
        ..replacing
    };
    let imported = import(&replica, again, contents).await.unwrap();
    assert_eq!(imported.progress.unchanged, 3, "{imported:?}");
    assert_eq!(revision(&replica).await, before);
}

#[tokio::test]
async fn a_batch_is_written_whole_or_not_at_all_and_each_bad_line_is_told() {
    let (_database, replica) = acme().await;
    let before = count(&replica).await;
    let mut contents = many(40);
    contents[3].resource.owners = Some([id("nobody")].into());
    contents[7] = assigned("x", &["team:de", "team:nowhere"]);
    contents[8].resource.owning_team = Some(Some(id("nowhere")));
    contents[9].resource.partitioned = Some(false);
    contents[25].resource.key.resource_type = id("nosuch");
    let in_tens = ImportRequest {
        batch_rows: 10,
        ..request("k")
    };
    let imported = import(&replica, in_tens.clone(), contents.clone())
        .await
        .unwrap();
    assert_eq!(
        imported.progress,
        Progress {
            read: 40,
            written: 20,
            unchanged: 0,
            skipped: 0,
            refused: 5,
            held_back: 15,
            withheld: 0,
        }
    );
    let told: Vec<(u64, &str)> = imported
        .problems
        .iter()
        .map(|problem| (problem.line, problem.field.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (4, "owners"),
            (8, "assigned_to[1]"),
            (9, "owning_team"),
            (10, "assigned_to[0]"),
            (26, "type"),
        ]
    );
    assert!(matches!(
        &imported.problems[0].problem,
        RowProblem::Change(ChangeProblem::Dangling { what: "user", id }) if id == "nobody"
    ));
    assert_eq!(count(&replica).await, before + 20);

    // Mended in place, under the same key, only what was not written is.
    for at in [3, 7, 8, 9, 25] {
        contents[at] = owned(&format!("contact-{at:06}"));
    }
    let mended = import(&replica, in_tens, contents).await.unwrap();
    assert_eq!((mended.progress.written, mended.progress.skipped), (20, 20));
    assert_eq!(count(&replica).await, before + 40);
}

#[tokio::test]
async fn s2_4_a_type_that_the_plan_does_not_partition_gets_no_wall_by_import() {
    let (_database, replica) = acme().await;
    let starter = ambit::authz::change::AccountPatch {
        plan: Some(id("starter")),
        ..ambit::authz::change::AccountPatch::default()
    };
    let lowered = replica
        .apply("acme", vec![Change::PutAccount(starter)])
        .await;
    lowered.unwrap();
    let mut template = assigned("t1", &["team:de"]);
    template.resource.key.resource_type = id("template");
    let contents = vec![assigned("c9", &["team:de"]), template];
    let imported = import(&replica, request("k"), contents).await.unwrap();
    assert_eq!(imported.lines(), [2]);
    assert!(matches!(
        &imported.problems[0].problem,
        RowProblem::Change(ChangeProblem::NotEntitled(_))
    ));
    assert!(resource(&replica, &contact("c9")).await.is_none());
}

#[tokio::test]
async fn an_import_stops_after_the_batch_with_so_many_refused_rows() {
    let (_database, replica) = acme().await;
    let mut contents = many(50);
    for at in [1, 2, 12, 13] {
        contents[at].resource.owners = Some([id("nobody")].into());
    }
    let few = ImportRequest {
        batch_rows: 10,
        errors_max: 3,
        ..request("k")
    };
    let imported = import(&replica, few, contents).await.unwrap();
    assert!(imported.stopped);
    assert_eq!(imported.lines(), [2, 3, 13, 14]);
    assert_eq!(imported.progress.written, 0);
}

#[tokio::test]
async fn ten_thousand_bad_rows_are_each_told() {
    let (_database, replica) = acme().await;
    let contents: Vec<RowContent> = many(10_000)
        .into_iter()
        .map(|mut content| {
            content.resource.owners = Some([id("nobody")].into());
            content
        })
        .collect();
    let imported = import(&replica, request("k"), contents).await.unwrap();
    assert_eq!(imported.lines(), (1..=10_000).collect::<Vec<u64>>());
    assert_eq!(imported.progress.refused, 10_000);
}

#[tokio::test]
async fn a_dry_run_judges_and_writes_nothing() {
    let (_database, replica) = acme().await;
    let before = stored(&replica).await;
    let mut contents = many(20);
    contents[15].resource.owners = Some([id("nobody")].into());
    let dry = ImportRequest {
        batch_rows: 10,
        dry_run: true,
        ..request("k")
    };
    let imported = import(&replica, dry, contents.clone()).await.unwrap();
    assert_eq!(imported.lines(), [16]);
    assert_eq!(
        (imported.progress.written, imported.progress.held_back),
        (10, 9)
    );
    assert_eq!(stored(&replica).await, before);
    // Nothing is remembered of it either.
    contents.truncate(10);
    let imported = import(&replica, request("k"), contents).await.unwrap();
    assert_eq!(imported.progress.written, 10);
}

/// Around the number of values that one statement of a database can bind.
#[tokio::test]
async fn imports_of_65_535_to_65_537_rows_are_what_one_write_is() {
    let contents = many(65_537);
    let expected = as_one_write(&contents).await;
    let (_database, replica) = acme().await;
    for (key, size, written) in [("a", 65_535, 65_535), ("b", 65_536, 1), ("c", 65_537, 1)] {
        let part = contents[..size].to_vec();
        let imported = import(&replica, request(key), part).await.unwrap();
        assert_eq!(imported.problems, []);
        let progress = imported.progress;
        let size = size as u64;
        assert_eq!((progress.read, progress.written), (size, written));
        assert_eq!(progress.unchanged, size - written);
    }
    assert_eq!(stored(&replica).await, expected);
}

#[tokio::test]
async fn an_unknown_account_and_a_long_key_are_refused_at_once() {
    let (_database, replica) = acme().await;
    let unknown = ImportRequest {
        account: id("nobody"),
        ..request("k")
    };
    let refused = Import::begin(replica.directory.clone(), unknown).await;
    assert!(matches!(
        refused.err(),
        Some(ImportError::Directory(DirectoryError::Read(
            ReadError::UnknownAccount(_)
        )))
    ));
    let refused = Import::begin(replica.directory.clone(), request(&"k".repeat(201))).await;
    assert!(matches!(
        refused.err(),
        Some(ImportError::KeyTooLong { bytes: 201 })
    ));
}

/// Writers of the same process come in between two batches, however long an import is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_leaves_other_writers_and_readers_their_turn() {
    const BATCHES: u64 = 20;
    let (_database, replica) = acme().await;
    let directory = replica.directory.clone();
    let done = Arc::new(AtomicBool::new(false));
    let checks = Arc::new(AtomicU64::new(0));
    let writing = {
        let (done, directory) = (Arc::clone(&done), directory.clone());
        tokio::spawn(async move {
            let mut writes = 0_u64;
            while !done.load(Ordering::SeqCst) {
                let team = put_team(&format!("team-{writes}"), None);
                let request = crate::directory::request("acme", vec![team]);
                directory.apply_changes(request).await.unwrap();
                writes += 1;
            }
            writes
        })
    };
    let reading = {
        let (done, checks, graphs) = (
            Arc::clone(&done),
            Arc::clone(&checks),
            directory.graphs().clone(),
        );
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                let consistency = Consistency::MinimizeLatency;
                let read = graphs.read(&id("acme"), &consistency).await.unwrap();
                assert!(!view(&read.graph, "u", "c1").is_allow());
                checks.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        })
    };
    let in_parts = ImportRequest {
        batch_rows: 200,
        ..request("k")
    };
    let contents = many(200 * usize::try_from(BATCHES).unwrap());
    let imported = import(&replica, in_parts, contents.clone()).await.unwrap();
    done.store(true, Ordering::SeqCst);
    let writes = writing.await.unwrap();
    reading.await.unwrap();
    assert_eq!(imported.progress.written, 200 * BATCHES);
    // Each batch waits for its turn behind the writer that came before it.
    assert!(
        writes >= BATCHES / 2,
        "{writes} writes beside {BATCHES} batches"
    );
    let checks = checks.load(Ordering::SeqCst);
    assert!(
        checks >= BATCHES,
        "{checks} checks beside {BATCHES} batches"
    );
    let (graph, _) = fresh_graph(&replica.store, "acme").await;
    assert!(graph.team(&format!("team-{}", writes - 1)).is_some());
    assert_eq!(count(&replica).await, 5 + contents.len());
}

/// Writers of other processes know nothing of the turns: a batch that they keep from being written
/// is cut until it fits between them. Here some 50 writes come in a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_ends_beside_a_writer_elsewhere() {
    let (database, replica) = acme().await;
    let elsewhere = Replica::open(&database).await;
    let done = Arc::new(AtomicBool::new(false));
    let writing = {
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            let (mut writes, mut given_up) = (0_u64, 0_u64);
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !done.load(Ordering::SeqCst) {
                pace.tick().await;
                let user = put_user(&format!("user-{}", writes % 50));
                let touch = put_contact(
                    &format!("c{}", writes % 5),
                    if writes % 2 == 0 { &[] } else { &["u"] },
                );
                match elsewhere.apply("acme", vec![user, touch]).await {
                    Ok(_) => writes += 1,
                    Err(DirectoryError::Contended) => given_up += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            (writes, given_up)
        })
    };
    let contents = many(2_000);
    let imported = import(&replica, request("k"), contents.clone())
        .await
        .unwrap();
    done.store(true, Ordering::SeqCst);
    let (writes, given_up) = writing.await.unwrap();
    println!("beside the import {writes} writes, {given_up} given up");
    assert_eq!(imported.problems, []);
    assert_eq!(imported.progress.written, 2_000);
    assert!(
        writes > 10 * given_up,
        "{writes} writes, {given_up} given up"
    );
    assert_eq!(count(&replica).await, 2_005);
    let expected: BTreeSet<String> = as_one_write(&contents)
        .await
        .into_iter()
        .filter(|entity| format!("{:?}", entity.key()).contains("contact-"))
        .map(|entity| format!("{entity:?}"))
        .collect();
    let stored: BTreeSet<String> = stored(&replica)
        .await
        .into_iter()
        .filter(|entity| format!("{:?}", entity.key()).contains("contact-"))
        .map(|entity| format!("{entity:?}"))
        .collect();
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn the_entry_of_a_fresh_account_needs_no_resources() {
    let database = Database::new();
    let replica = Replica::open(&database).await;
    let account = id("acme");
    let made = replica.directory.create_account(
        account,
        enterprise(),
        None,
        Author::anyone("CreateAccount"),
    );
    let head = made.await.unwrap().head.unwrap();
    let imported = import(&replica, request("k"), Vec::new()).await.unwrap();
    assert_eq!(imported.progress, Progress::default());
    assert_eq!(revision(&replica).await, head.revision);
    let imported = import(&replica, request("k"), vec![content("a"), content("b")]).await;
    assert_eq!(imported.unwrap().progress.written, 2);
}
