//! Undo of a batch, and of an import.

use super::*;
use AssignMode::{Add, Remove, Replace};

async fn undo(scene: &Scene, batch: &Id) -> Ran {
    scene
        .run(request(Work::UndoBatch(batch.clone())))
        .await
        .unwrap()
}

#[tokio::test]
async fn an_undo_brings_back_what_was_and_can_be_undone() {
    for (key, request) in [
        ("free", assign(&["free"], Add, &["team:fr"])),
        (
            "walled",
            assign(&["walled"], Add, &["team:fr", "group:vip"]),
        ),
        ("walled", assign(&["walled"], Remove, &["team:dach"])),
        ("walled", assign(&["walled"], Replace, &["team:fr"])),
        ("walled", unpartition(&["walled"])),
    ] {
        let scene = Scene::new().await;
        let import = assigned("walled", "user:fred", "import:j");
        scene.apply(vec![import]).await;
        let before = scene.rows(key).await;
        let done = scene.run(request).await.unwrap();
        let after = scene.rows(key).await;
        assert_ne!(before, after);
        let undone = undo(&scene, &done.batch).await;
        assert_eq!((undone.counted(), undone.refusals()), ((1, 0, 0), vec![]));
        assert_eq!(scene.rows(key).await, before);
        assert_eq!(undo(&scene, &undone.batch).await.counted(), (1, 0, 0));
        assert_eq!(scene.rows(key).await, after);
    }
}

#[tokio::test]
async fn what_was_changed_since_stays_and_is_listed() {
    let scene = Scene::new().await;
    let keys = ["free", "owned", "walled"];
    let done = scene.run(assign(&keys, Add, &["team:fr"])).await.unwrap();
    // Taken away since; given an end since; somebody else let in since.
    scene
        .apply(vec![
            Change::DeleteAssignment {
                resource: contact("free"),
                principal: principal("team:fr"),
                provenance: Provenance::Manual,
            },
            assigned("free", "team:us", "manual"),
            Change::PutAssignment {
                resource: contact("owned"),
                principal: principal("team:fr"),
                provenance: Provenance::Manual,
                expires_at: Some(Timestamp::MAX),
            },
            assigned("walled", "team:us", "manual"),
        ])
        .await;
    let free = scene.rows("free").await;
    let owned = scene.rows("owned").await;
    let undone = undo(&scene, &done.batch).await;
    let refused = ["free", "owned"].map(|key| (key.to_owned(), "CHANGED_SINCE".to_owned()));
    assert_eq!(undone.refusals(), refused);
    assert_eq!(scene.rows("free").await, free);
    assert_eq!(scene.rows("owned").await, owned);
    // Of this one only the row of the batch goes; what others did stays.
    let others = vec!["team:dach manual".to_owned(), "team:us manual".to_owned()];
    assert_eq!(scene.rows("walled").await, (true, others));
}

#[tokio::test]
async fn what_the_batch_closed_stays_closed_where_others_were_let_in_since() {
    let scene = Scene::new().await;
    let done = scene.run(assign(&["free"], Add, &["team:fr"])).await;
    scene
        .apply(vec![assigned("free", "team:us", "manual")])
        .await;
    let undone = undo(&scene, &done.unwrap().batch).await;
    assert_eq!(undone.counts.changed, 1);
    assert_eq!(
        undone.refusals(),
        [("free".to_owned(), "CHANGED_SINCE".to_owned())]
    );
    let us = (true, vec!["team:us manual".to_owned()]);
    assert_eq!(scene.rows("free").await, us);
}

#[tokio::test]
async fn an_undo_lists_what_is_gone() {
    let scene = Scene::new().await;
    let done = scene.run(assign(&["free", "owned"], Replace, &["group:vip"]));
    let batch = done.await.unwrap().batch;
    let done = scene.run(assign(&["walled"], Remove, &["team:dach"])).await;
    let removed = done.unwrap().batch;
    scene
        .apply(vec![
            Change::DeleteResource(contact("free")),
            Change::DeleteTeam(id("de")),
            Change::DeleteTeam(id("at")),
            Change::DeleteTeam(id("dach")),
        ])
        .await;
    let undone = undo(&scene, &batch).await;
    assert_eq!(
        undone.refusals(),
        [("free".to_owned(), "RESOURCE_NOT_FOUND".to_owned())]
    );
    assert_eq!(scene.rows("owned").await, (false, vec![]));
    let undone = undo(&scene, &removed).await;
    assert_eq!(
        undone.refusals(),
        [("walled".to_owned(), "UNKNOWN_REFERENCE".to_owned())]
    );
}

#[tokio::test]
async fn p8_an_undo_of_an_import_takes_its_assignments_alone() {
    let scene = Scene::new().await;
    scene
        .apply(vec![
            assigned("walled", "team:fr", "import:j"),
            assigned("walled", "team:dach", "import:j"),
            assigned("free", "team:fr", "import:j"),
            assigned("owned", "team:fr", "import:other"),
        ])
        .await;
    let undone = scene.run(request(Work::UndoImport(id("j")))).await.unwrap();
    assert_eq!(undone.counted(), (2, 0, 0));
    assert_eq!(undone.counts.orphaned, 1);
    let dach = (true, vec!["team:dach manual".to_owned()]);
    assert_eq!(scene.rows("walled").await, dach);
    // The record stays, and stays closed (3.5).
    assert_eq!(scene.rows("free").await, (true, vec![]));
    let other = (true, vec!["team:fr import:other".to_owned()]);
    assert_eq!(scene.rows("owned").await, other);
    // And that can be undone.
    undo(&scene, &undone.batch).await;
    let fr = (true, vec!["team:fr import:j".to_owned()]);
    assert_eq!(scene.rows("free").await, fr);
}
