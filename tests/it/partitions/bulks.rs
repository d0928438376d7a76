//! P2-P4: modes, filters, atomicity a resource, parts that are taken up, races.

use super::*;
use AssignMode::{Add, Remove, Replace};
use ambit::directory::DirectoryError;
use ambit::partitions::bulk::PART_RESOURCES;

fn texts(rows: &[&str]) -> Vec<String> {
    rows.iter().map(|row| (*row).to_owned()).collect()
}

#[tokio::test]
async fn p2_add_is_the_default_and_takes_nothing_away() {
    assert_eq!(AssignMode::default(), Add);
    let scene = Scene::new().await;
    let added = scene.run(assign(&["walled", "free"], Add, &["team:fr"]));
    assert_eq!(added.await.unwrap().counted(), (2, 0, 0));
    let both = texts(&["team:dach manual", "team:fr manual"]);
    assert_eq!(scene.rows("walled").await, (true, both.clone()));
    assert_eq!(scene.rows("free").await, (true, texts(&["team:fr manual"])));
    let again = scene.run(assign(&["walled"], Add, &["team:fr"]));
    assert_eq!(again.await.unwrap().counted(), (0, 1, 0));
    // What is there never ends sooner by adding.
    let mut sooner = assign(&["walled"], Add, &["team:fr"]);
    if let Work::Order {
        order: Order::Assign { expires_at, .. },
        ..
    } = &mut sooner.work
    {
        *expires_at = Timestamp::from_unix_micros(7);
    }
    assert_eq!(scene.run(sooner).await.unwrap().counted(), (0, 1, 0));
}

#[tokio::test]
async fn p2_replace_leaves_the_targets_alone() {
    let scene = Scene::new().await;
    scene
        .apply(vec![assigned("walled", "user:fred", "import:j")])
        .await;
    let replaced = scene.run(assign(&["walled"], Replace, &["team:fr"]));
    assert_eq!(replaced.await.unwrap().counted(), (1, 0, 0));
    let left = texts(&["team:fr manual"]);
    assert_eq!(scene.rows("walled").await, (true, left));
}

#[tokio::test]
async fn p4_removing_by_hand_takes_what_no_rule_made_and_tells_the_rule() {
    let scene = Scene::new().await;
    scene
        .apply(vec![
            Change::PutSegment(ambit::authz::change::SegmentPatch {
                id: id("gold"),
                resource_type: Some(id("contact")),
                when: Some("\"gold\" in resource.tags".to_owned()),
                assign_to: Some([principal("team:fr")].into()),
                enabled: Some(false),
                may_partition: None,
            }),
            assigned("walled", "team:dach", "import:j"),
            assigned("walled", "team:dach", "form:f"),
            assigned("walled", "team:dach", "default"),
            assigned("walled", "team:dach", "request:r"),
            assigned("walled", "team:dach", "segment:gold"),
            assigned("walled", "team:fr", "manual"),
        ])
        .await;
    let removed = scene.run(assign(&["walled"], Remove, &["team:dach"])).await;
    let removed = removed.unwrap();
    assert_eq!(removed.counted(), (1, 0, 0));
    let still = removed.entries[0].effect.as_ref().unwrap();
    let gold = (principal("team:dach"), id("gold"));
    assert_eq!(still.still_assigned, [gold].into());
    let left = texts(&["team:dach segment:gold", "team:fr manual"]);
    assert_eq!(scene.rows("walled").await, (true, left));
}

#[tokio::test]
async fn rule_3_5_the_last_one_removed_leaves_the_resource_closed_and_is_counted() {
    let scene = Scene::new().await;
    let removed = scene.run(assign(&["walled"], Remove, &["team:dach"])).await;
    let removed = removed.unwrap();
    assert_eq!((removed.counts.changed, removed.counts.orphaned), (1, 1));
    assert_eq!(scene.rows("walled").await, (true, vec![]));
    let opened = scene.run(unpartition(&["walled"])).await.unwrap();
    assert_eq!((opened.counts.changed, opened.counts.orphaned), (1, 0));
    assert_eq!(scene.rows("walled").await, (false, vec![]));
}

#[tokio::test]
async fn p3_a_filter_names_owner_team_assignment_and_attributes() {
    let scene = Scene::new().await;
    let stamped = Change::PutResource(ResourcePatch {
        key: contact("free"),
        owners: None,
        owning_team: Some(Some(id("us"))),
        partitioned: None,
        attributes: None,
        creator: None,
    });
    scene.apply(vec![stamped]).await;
    let filter = |change: &dyn Fn(&mut ResourceFilter)| {
        let mut filter = all_contacts();
        change(&mut filter);
        BulkRequest {
            dry_run: true,
            ..request(Work::Order {
                order: order(Add, &["team:at"]),
                on: Selection::Filter(filter),
            })
        }
    };
    let json = |text: &str| -> Attributes { serde_json::from_str(text).unwrap() };
    type Case<'a> = (&'a dyn Fn(&mut ResourceFilter), u64);
    let cases: [Case<'_>; 8] = [
        (&|_| {}, 4),
        (&|filter| filter.owner = Some(id("owner")), 1),
        (&|filter| filter.owning_team = Some(id("us")), 1),
        (
            &|filter| filter.assigned_to = Some(principal("team:dach")),
            1,
        ),
        (&|filter| filter.assigned_to = Some(principal("team:de")), 0),
        (&|filter| filter.attributes = json(r#"{"country":"DE"}"#), 2),
        (
            &|filter| filter.attributes = json(r#"{"country":"DE","score":40}"#),
            1,
        ),
        (
            &|filter| {
                filter.attributes = json(r#"{"country":"DE"}"#);
                filter.owner = Some(id("owner"));
            },
            1,
        ),
    ];
    for (index, (change, expected)) in cases.iter().enumerate() {
        let ran = scene.run(filter(change)).await.unwrap();
        assert_eq!(ran.counted(), (*expected, 0, 0), "case {index}");
    }
    // An expired assignment is none.
    let expired = Change::PutAssignment {
        resource: contact("free"),
        principal: principal("team:fr"),
        provenance: Provenance::Manual,
        expires_at: Timestamp::from_unix_micros(1),
    };
    scene.apply(vec![expired]).await;
    let of_fr = filter(&|filter| filter.assigned_to = Some(principal("team:fr")));
    assert_eq!(scene.run(of_fr).await.unwrap().counted(), (0, 0, 0));
}

#[tokio::test]
async fn p2_a_dry_run_judges_everything_and_writes_nothing() {
    let scene = Scene::new().await;
    let before = scene.revision().await;
    let tried = BulkRequest {
        dry_run: true,
        ..keyed("k", assign(&["free", "unknown"], Add, &["team:fr"]))
    };
    let ran = scene.run(tried).await.unwrap();
    assert_eq!(ran.counted(), (1, 0, 1));
    assert_eq!(scene.revision().await, before);
    assert_eq!(scene.rows("free").await, (false, vec![]));
    // Nor is its key taken.
    let written = scene.run(keyed("k", assign(&["free"], Add, &["team:fr"])));
    assert_eq!(written.await.unwrap().counted(), (1, 0, 0));
}

#[tokio::test]
async fn s2_4_what_the_plan_does_not_let_be_partitioned_is_refused_with_its_reason() {
    let scene = Scene::new().await;
    let email = ResourceKey {
        resource_type: id("email"),
        id: id("e"),
    };
    scene
        .apply(vec![
            Change::PutResource(ResourcePatch {
                key: email.clone(),
                owners: None,
                owning_team: None,
                partitioned: None,
                attributes: None,
                creator: None,
            }),
            Change::PutAccount(ambit::authz::change::AccountPatch {
                plan: Some(id("professional")),
                ..Default::default()
            }),
        ])
        .await;
    let asked = request(Work::Order {
        order: order(Add, &["team:de"]),
        on: Selection::Keys(vec![email, contact("free")]),
    });
    let ran = scene.run(asked).await.unwrap();
    assert_eq!(ran.counted(), (1, 0, 1));
    assert_eq!(
        ran.entries[0].refusal.as_ref().unwrap().reason,
        "NOT_ENTITLED"
    );
}

#[tokio::test]
async fn what_a_request_names_must_be_there() {
    let scene = Scene::new().await;
    for (target, field) in [("team:x", "targets[0]"), ("user:x", "targets[0]")] {
        let refused = scene.run(assign(&["free"], Add, &[target])).await;
        assert!(
            matches!(&refused, Err(BulkError::Unknown { field: named, .. }) if named == field),
            "{refused:?}"
        );
    }
    let nothing = request(Work::UndoBatch(id("nothing")));
    let refused = scene.run(nothing).await;
    assert!(
        matches!(refused, Err(BulkError::NoSuchBatch(_))),
        "{refused:?}"
    );
}

/// So many contacts that a bulk over them has several parts.
pub async fn many(scene: &Scene, count: usize) {
    for from in (0..count).step_by(10_000) {
        let until = (from + 10_000).min(count);
        let puts = (from..until).map(|number| put(&format!("m{number:06}"), &[], None));
        scene.apply(puts.collect()).await;
    }
}

/// A bulk over all of them that is dropped after a few parts and taken up by the same call does each
/// resource once: none twice, none not at all, and the counts are those of the whole.
async fn assert_taken_up(count: usize) {
    let scene = Scene::new().await;
    many(&scene, count).await;
    let asked = || {
        let all = request(Work::Order {
            order: order(Add, &["team:fr"]),
            on: Selection::Filter(all_contacts()),
        });
        // `idle` is refused by nobody: the operator asks. One id that is refused is named below.
        keyed("big", all)
    };
    let before = scene.revision().await;
    let mut bulk = scene.partitions.begin(asked()).await.unwrap();
    let parts = count / PART_RESOURCES / 2;
    for _ in 0..parts {
        assert!(!bulk.next().await.unwrap().unwrap().is_done);
    }
    drop(bulk);
    let undo = scene.run(request(Work::UndoBatch(id("big")))).await;
    assert!(matches!(undo, Err(BulkError::Unfinished(_))), "{undo:?}");
    let written = scene.revision().await - before;
    assert_eq!(written, parts as u64, "a revision a part");
    // An edit meanwhile, which the rest of the bulk must not undo.
    let first = format!("m{:06}", 0);
    scene
        .run(assign(&[&first], Remove, &["team:fr"]))
        .await
        .unwrap();

    let ran = scene.run(asked()).await.unwrap();
    let total = count as u64 + 4;
    assert_eq!(ran.counted(), (total, 0, 0));
    assert_eq!(scene.rows(&first).await, (true, vec![]), "done once");
    let graphs = &scene.replica.graphs;
    let account = id("acme");
    let read = graphs.read(&account, &Consistency::FullyConsistent);
    let read = read.await.unwrap();
    let of_fr = read.graph.resources_of_team("fr").len();
    assert_eq!(of_fr, count + 4 - 1);

    // Again: nothing is done, and the answer is the same.
    let before = scene.revision().await;
    let again = scene.run(asked()).await.unwrap();
    assert_eq!(again.counted(), (total, 0, 0));
    assert_eq!(scene.revision().await, before);
}

#[tokio::test]
async fn p3_a_bulk_that_broke_off_is_taken_up_and_does_each_resource_once() {
    assert_taken_up(2 * PART_RESOURCES + 77).await;
}

/// The same of a hundred thousand.
#[tokio::test]
async fn p3_a_bulk_of_a_hundred_thousand_is_taken_up_where_it_broke_off() {
    if std::env::var_os("AMBIT_SOAK").is_some() {
        assert_taken_up(100_000).await;
    }
}

#[tokio::test]
async fn p3_two_callers_of_one_key_do_each_resource_once() {
    let scene = Scene::new().await;
    many(&scene, 3 * PART_RESOURCES).await;
    let asked = || {
        keyed(
            "both",
            request(Work::Order {
                order: order(Add, &["team:fr"]),
                on: Selection::Filter(all_contacts()),
            }),
        )
    };
    let before = scene.revision().await;
    let (one, other) = tokio::join!(scene.run(asked()), scene.run(asked()));
    let total = 3 * PART_RESOURCES as u64 + 4;
    assert_eq!(one.unwrap().counted(), (total, 0, 0));
    assert_eq!(other.unwrap().counted(), (total, 0, 0));
    assert_eq!(scene.revision().await - before, 4, "a revision a part");
}

#[tokio::test]
async fn p3_a_key_is_for_one_order_and_tells_again_what_it_refused() {
    let scene = Scene::new().await;
    let asked = || keyed("k", assign(&["free", "unknown"], Add, &["team:fr"]));
    let first = scene.run(asked()).await.unwrap();
    assert_eq!(first.batch, id("k"));
    let again = scene.run(asked()).await.unwrap();
    assert_eq!(again.refusals(), first.refusals());
    assert_eq!(again.counts, first.counts);
    let other = BulkRequest {
        request_digest: [8; 32],
        ..keyed("k", assign(&["owned"], Add, &["team:fr"]))
    };
    let refused = scene.run(other).await;
    assert!(
        matches!(
            &refused,
            Err(BulkError::Directory(DirectoryError::IdempotencyKeyReused(
                _
            )))
        ),
        "{refused:?}"
    );
    assert_eq!(scene.rows("owned").await, (false, vec![]));
}

#[tokio::test]
async fn p3_a_bulk_that_is_repeated_tells_nothing_where_nothing_was_refused() {
    let scene = Scene::new().await;
    let asked = |key| keyed(key, assign(&["free"], Add, &["team:fr"]));
    scene.run(asked("k")).await.unwrap();
    let mut again = scene.partitions.begin(asked("k")).await.unwrap();
    let told = again.next().await.unwrap().unwrap();
    assert!(told.is_done, "an empty report before the last: {told:?}");
    // The control: a refusal is told again before it is done.
    let asked = || keyed("l", assign(&["free", "unknown"], Add, &["team:us"]));
    scene.run(asked()).await.unwrap();
    let mut again = scene.partitions.begin(asked()).await.unwrap();
    let told = again.next().await.unwrap().unwrap();
    assert!(!told.is_done && told.entries.len() == 1, "{told:?}");
}

/// Whatever the order of the two, the resource ends as one after the other leaves it.
#[tokio::test]
async fn p2_replace_and_add_on_one_asset_at_once_are_one_after_the_other() {
    let scene = Scene::new().await;
    for round in 0..20 {
        scene
            .run(assign(&["free"], Replace, &["team:us"]))
            .await
            .unwrap();
        let replacing = scene.run(assign(&["free"], Replace, &["team:fr"]));
        let adding = scene.run(assign(&["free"], Add, &["team:at"]));
        let (replaced, added) = tokio::join!(replacing, adding);
        assert_eq!(replaced.unwrap().counted(), (1, 0, 0));
        assert_eq!(added.unwrap().counted(), (1, 0, 0));
        let (_, rows) = scene.rows("free").await;
        let add_last = texts(&["team:at manual", "team:fr manual"]);
        let replace_last = texts(&["team:fr manual"]);
        assert!(
            rows == add_last || rows == replace_last,
            "round {round}: {rows:?}"
        );
    }
}

#[tokio::test]
async fn a_bulk_is_kept_with_its_account_and_goes_by_its_age() {
    let scene = Scene::new().await;
    let batches = scene.database.open_batches().await;
    let account = id("acme");
    scene
        .run(keyed("k", assign(&["free", "unknown"], Add, &["team:fr"])))
        .await
        .unwrap();
    let (batch, _) = batches.batch(&account, &id("k")).await.unwrap().unwrap();
    assert!(batch.is_done);
    let entries = || batches.batch_entries(&account, &batch.id, None, 10);
    assert_eq!(entries().await.unwrap().len(), 2);
    assert_eq!(batches.trim_batches(batch.begun_at, 10).await.unwrap(), 0);
    let later = Timestamp::from_unix_micros(batch.begun_at.unix_micros() + 1).unwrap();
    assert_eq!(batches.trim_batches(later, 1).await.unwrap(), 1, "by steps");
    assert_eq!(batches.trim_batches(later, 10).await.unwrap(), 2);
    assert!(batches.batch(&account, &id("k")).await.unwrap().is_none());

    scene
        .run(keyed("l", assign(&["owned", "unknown"], Add, &["team:fr"])))
        .await
        .unwrap();
    let author = Author::anyone("DeleteAccount");
    let directory = &scene.replica.directory;
    directory
        .delete_account(&account, None, &author)
        .await
        .unwrap();
    assert!(batches.batch(&account, &id("l")).await.unwrap().is_none());
    let left = batches.batch_entries(&account, &id("l"), None, 10).await;
    assert_eq!(left.unwrap(), []);
}
