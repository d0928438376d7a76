//! P8: what is submitted with a form is assigned by the form's settings and its author's authority.

use super::*;
use ambit::directory::Idempotency;
use ambit::partitions::{FormError, FormSettings, Submission, Submitted};

fn settings(targets: &[&str]) -> FormSettings {
    FormSettings {
        id: id("f"),
        resource_type: id("contact"),
        targets: targets.iter().map(|text| principal(text)).collect(),
    }
}

async fn put_form(scene: &Scene, actor: Option<&str>, targets: &[&str]) -> Result<(), FormError> {
    let author = Author::anyone("PutForm");
    let settings = settings(targets);
    let account = id("acme");
    let put = scene
        .partitions
        .put_form(&account, settings, actor.map(id), &author);
    put.await.map(drop)
}

fn submission(resource: &str, attributes: Option<&str>) -> Submission {
    Submission {
        account: id("acme"),
        form: id("f"),
        resource: id(resource),
        attributes: attributes.map(|text| serde_json::from_str(text).unwrap()),
        idempotency: None,
        author: Author::anyone("SubmitForm"),
    }
}

async fn submit(scene: &Scene, resource: &str) -> Submitted {
    let submission = submission(resource, None);
    scene.partitions.submit(submission).await.unwrap()
}

fn withheld(submitted: &Submitted) -> Vec<(String, &'static str)> {
    let told = submitted.withheld.iter();
    told.map(|told| (told.target.to_string(), told.reason))
        .collect()
}

fn of_form(rows: &[&str]) -> (bool, Vec<String>) {
    (true, rows.iter().map(|row| (*row).to_owned()).collect())
}

#[tokio::test]
async fn p8_a_submission_makes_or_updates_the_record_and_adds_the_targets_of_the_form() {
    let scene = Scene::new().await;
    put_form(&scene, Some("assigner"), &["team:fr"])
        .await
        .unwrap();
    let made = submission("new", Some(r#"{"country":"FR"}"#));
    let made = scene.partitions.submit(made).await.unwrap();
    assert!(made.created);
    assert_eq!(withheld(&made), []);
    assert_eq!(scene.rows("new").await, of_form(&["team:fr form:f"]));
    // A new submission adds, and takes nothing away: neither assignments nor fields.
    let updated = submission("walled", Some(r#"{"score":7}"#));
    assert!(!scene.partitions.submit(updated).await.unwrap().created);
    let both = of_form(&["team:dach manual", "team:fr form:f"]);
    assert_eq!(scene.rows("walled").await, both);
    let keys = [contact("walled")];
    let stored = scene.replica.store.attributes(&id("acme"), &keys).await;
    let expected = serde_json::from_str(r#"{"country":"DE","score":7}"#).unwrap();
    assert_eq!(stored.unwrap(), [(contact("walled"), expected)]);
    let before = scene.revision().await;
    submit(&scene, "walled").await;
    assert_eq!(scene.revision().await, before, "twice is once");
}

#[tokio::test]
async fn p8_a_form_or_a_target_that_is_gone_retracts_nothing() {
    let scene = Scene::new().await;
    put_form(&scene, None, &["team:fr", "team:us"])
        .await
        .unwrap();
    submit(&scene, "new").await;
    // Set anew, the form assigns what comes; what came stays.
    put_form(&scene, None, &["team:us"]).await.unwrap();
    submit(&scene, "new").await;
    let both = of_form(&["team:fr form:f", "team:us form:f"]);
    assert_eq!(scene.rows("new").await, both);
    scene.apply(vec![Change::DeleteTeam(id("us"))]).await;
    let submitted = submit(&scene, "newer").await;
    let gone = [("team:us".to_owned(), "UNKNOWN_REFERENCE")];
    assert_eq!(withheld(&submitted), gone);
    assert_eq!(scene.rows("newer").await, (false, vec![]));

    let author = Author::anyone("DeleteForm");
    let account = id("acme");
    let form = id("f");
    scene
        .partitions
        .delete_form(&account, &form, None, &author)
        .await
        .unwrap();
    assert_eq!(scene.rows("new").await, of_form(&["team:fr form:f"]));
    let missing = scene.partitions.submit(submission("new", None)).await;
    assert!(matches!(missing, Err(FormError::NoSuchForm(_))));
    let again = scene.partitions.delete_form(&account, &form, None, &author);
    assert!(matches!(again.await, Err(FormError::NoSuchForm(_))));
}

#[tokio::test]
async fn p1_a_form_names_targets_within_its_authors_teams_only() {
    let scene = Scene::new().await;
    for target in ["team:fr", "team:emea", "user:fred", "group:vip"] {
        let refused = put_form(&scene, Some("owner"), &[target]).await;
        assert!(
            matches!(&refused, Err(FormError::TargetBeyond { index: 0, .. })),
            "{target}: {refused:?}"
        );
    }
    // Without `assign` there is nothing to hand on.
    let idle = put_form(&scene, Some("idle"), &["team:de"]).await;
    assert!(matches!(idle, Err(FormError::TargetBeyond { .. })));
    let gone = put_form(&scene, Some("gone"), &["team:de"]).await;
    assert!(matches!(gone, Err(FormError::Actor(_))));
    let unknown = put_form(&scene, None, &["team:x"]).await;
    assert!(matches!(unknown, Err(FormError::UnknownTarget { .. })));
    put_form(&scene, Some("owner"), &["team:de"]).await.unwrap();
    // The form of another author is not set anew by whoever may set one up.
    let other = put_form(&scene, Some("member"), &["team:at"]).await;
    assert!(matches!(other, Err(FormError::OtherAuthor)));
    put_form(&scene, Some("assigner"), &["group:vip"])
        .await
        .unwrap();
}

#[tokio::test]
async fn p8_a_form_set_up_without_the_right_does_not_close_open_records_of_others() {
    let scene = Scene::new().await;
    put_form(&scene, Some("owner"), &["team:de"]).await.unwrap();
    let submitted = submit(&scene, "free").await;
    let refused = [("team:de".to_owned(), "NO_ASSIGN_AUTHORITY")];
    assert_eq!(withheld(&submitted), refused, "reported, not silent");
    assert_eq!(scene.rows("free").await, (false, vec![]));
    // Nor does it open what is closed to others, whoever knows its id and submits it.
    let walled_off = vec![
        put("theirs", &[], None),
        assigned("theirs", "team:fr", "manual"),
    ];
    scene.apply(walled_off).await;
    assert_eq!(withheld(&submit(&scene, "theirs").await), refused);
    assert_eq!(scene.rows("theirs").await.1, ["team:fr manual"]);
    // New records, the author's own ones, and those below whose teams they are take it.
    for key in ["new", "owned", "walled"] {
        assert_eq!(withheld(&submit(&scene, key).await), [], "{key}");
        let (_, rows) = scene.rows(key).await;
        assert!(
            rows.contains(&"team:de form:f".to_owned()),
            "{key}: {rows:?}"
        );
    }
    // The control: set up by somebody who may close it.
    put_form(&scene, Some("assigner"), &["team:de"])
        .await
        .unwrap();
    assert_eq!(withheld(&submit(&scene, "free").await), []);
    assert_eq!(scene.rows("free").await, of_form(&["team:de form:f"]));
}

#[tokio::test]
async fn a_submission_is_carried_out_once_a_key_and_forms_go_with_their_account() {
    let scene = Scene::new().await;
    put_form(&scene, None, &["team:fr"]).await.unwrap();
    let keyed = || Submission {
        idempotency: Some(Idempotency {
            key: id("k"),
            request_digest: [1; 32],
        }),
        ..submission("new", Some(r#"{"country":"FR"}"#))
    };
    let first = scene.partitions.submit(keyed()).await.unwrap();
    let edit = put("new", &[], Some("{}"));
    scene.apply(vec![edit]).await;
    let before = scene.revision().await;
    let again = scene.partitions.submit(keyed()).await.unwrap();
    assert_eq!(again.token.encode(), first.token.encode());
    assert_eq!(scene.revision().await, before);

    let account = id("acme");
    let listed = scene.partitions.forms(&account, None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    let author = Author::anyone("DeleteAccount");
    let directory = &scene.replica.directory;
    directory
        .delete_account(&account, None, &author)
        .await
        .unwrap();
    let forms = scene.database.open_forms().await;
    assert_eq!(forms.forms(&account, None, 10).await.unwrap(), []);
}
