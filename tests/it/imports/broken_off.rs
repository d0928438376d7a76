//! Imports that end before their end, and are taken up.

use super::*;

async fn begin(replica: &Replica, key: &str) -> Import {
    let in_tens = ImportRequest {
        batch_rows: 10,
        ..request(key)
    };
    Import::begin(replica.directory.clone(), in_tens)
        .await
        .unwrap()
}

fn in_tens(key: &str) -> ImportRequest {
    ImportRequest {
        batch_rows: 10,
        ..request(key)
    }
}

/// Writes the batches that so many rows fill, and goes away.
async fn break_off_after(replica: &Replica, contents: &[RowContent], count: usize) {
    let mut import = begin(replica, "k").await;
    for row in rows(contents[..count].to_vec()) {
        if let Some(batch) = import.add(row) {
            assert_eq!(import.write(batch).await.unwrap(), []);
        }
    }
}

#[tokio::test]
async fn what_was_written_is_not_written_again_and_nothing_is_lost() {
    let (_database, replica) = acme().await;
    let contents = many(95);
    let expected = as_one_write(&contents).await;
    let before = revision(&replica).await;
    break_off_after(&replica, &contents, 45).await;
    assert_eq!(count(&replica).await, 5 + 40, "whole batches alone");
    assert_eq!(revision(&replica).await, before + 4);

    let taken_up = import(&replica, in_tens("k"), contents.clone())
        .await
        .unwrap();
    assert_eq!(
        (taken_up.progress.skipped, taken_up.progress.written),
        (40, 55)
    );
    assert_eq!(revision(&replica).await, before + 10);
    assert_eq!(stored(&replica).await, expected);

    let again = import(&replica, in_tens("k"), contents).await.unwrap();
    assert_eq!(again.progress.skipped, 95);
    assert_eq!(revision(&replica).await, before + 10);
}

#[tokio::test]
async fn an_edit_made_since_is_not_undone_by_taking_an_import_up() {
    let (_database, replica) = acme().await;
    let contents = many(20);
    break_off_after(&replica, &contents, 15).await;
    let edit = put_contact("contact-000001", &[]);
    replica.apply("acme", vec![edit]).await.unwrap();
    import(&replica, in_tens("k"), contents.clone())
        .await
        .unwrap();
    let edited = resource(&replica, &contact("contact-000001"))
        .await
        .unwrap();
    assert_eq!(edited.owners, BTreeSet::new());
    // Under another key it is another import, which sets it anew.
    import(&replica, in_tens("k2"), contents).await.unwrap();
    let set = resource(&replica, &contact("contact-000001"))
        .await
        .unwrap();
    assert_eq!(set.owners, [id("u")].into());
}

#[tokio::test]
async fn a_changed_file_under_the_same_key_is_told() {
    let (_database, replica) = acme().await;
    let contents = many(30);
    break_off_after(&replica, &contents, 25).await;
    let before = stored(&replica).await;
    let refused = |contents: Vec<RowContent>, request: ImportRequest| {
        let replica = &replica;
        async move {
            match import(replica, request, contents).await {
                Err(ImportError::KeyReused { key, first, last }) => (key, first, last),
                other => panic!("{other:?}"),
            }
        }
    };
    let mut changed = contents.clone();
    changed[14].resource.owners = Some(BTreeSet::new());
    assert_eq!(
        refused(changed, in_tens("k")).await,
        ("k".to_owned(), 11, 20)
    );
    let mut shorter = contents.clone();
    shorter.remove(0);
    assert_eq!(refused(shorter, in_tens("k")).await.1, 1);
    let replacing = ImportRequest {
        mode: Mode::Replace,
        ..in_tens("k")
    };
    assert_eq!(refused(contents.clone(), replacing).await.1, 1);
    let other_job = ImportRequest {
        job: id("other"),
        ..in_tens("k")
    };
    assert_eq!(refused(contents.clone(), other_job).await.1, 1);
    assert_eq!(stored(&replica).await, before, "nothing was written");
    // A change in what was not written yet is none.
    let mut longer = contents;
    longer[29].resource.owners = Some(BTreeSet::new());
    longer.extend(vec![owned("one-more")]);
    let imported = import(&replica, in_tens("k"), longer).await.unwrap();
    assert_eq!(
        (imported.progress.skipped, imported.progress.written),
        (20, 11)
    );
}

/// The negative control of taking up: without the key every row is looked at again.
#[tokio::test]
async fn another_key_writes_everything_anew_and_changes_nothing() {
    let (_database, replica) = acme().await;
    let contents = many(25);
    import(&replica, in_tens("k"), contents.clone())
        .await
        .unwrap();
    let before = revision(&replica).await;
    let again = import(&replica, in_tens("k2"), contents).await.unwrap();
    assert_eq!((again.progress.skipped, again.progress.unchanged), (0, 25));
    assert_eq!(revision(&replica).await, before);
}
