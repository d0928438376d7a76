//! Reliability case 40 on SQLite: other writers are recorded too, a record a changed row.

use ambit::store::audit::AuditEffect;

use super::*;
use crate::store_contract::audit::{assert_one_each, records};

#[tokio::test]
async fn every_revision_of_any_writer_has_one_record() {
    let mut beside = beside().await;
    for sql in [
        "INSERT INTO team VALUES ('acme', 'fr', 'eu')",
        "UPDATE account SET plan = 'free'",
        "INSERT OR REPLACE INTO team VALUES ('acme', 'fr', NULL)",
        "INSERT INTO app_user (account_id, user_id) VALUES ('acme', 'new1'), ('acme', 'new2')",
        "DELETE FROM access_group WHERE access_group_id = 'vip'",
        "DELETE FROM app_user WHERE user_id = 'new1'",
        "BEGIN; DELETE FROM team WHERE team_id = 'fr'; ROLLBACK",
    ] {
        beside.run(sql).await.unwrap();
    }
    apply(
        &*beside.store,
        "acme",
        &[crate::store_contract::user("ours")],
    )
    .await;
    let kept = records(&*beside.store).await;
    assert_one_each(&kept, beside.head().await.revision);
    let [first, others @ .., last] = kept.as_slice() else {
        panic!("{kept:?}");
    };
    assert_eq!(first.effect, AuditEffect::Created);
    assert_eq!((&first.caller, &last.caller), (&None, &None));
    for record in others {
        assert_eq!(record.caller.as_deref(), Some("sql"), "{record:?}");
        assert_eq!(record.entities.len(), 1, "{record:?}");
    }
    let gone = others.last().unwrap();
    assert_eq!(gone.entities[0].key, EntityKey::User(id("new1")));
    assert!(gone.entities[0].is_deleted);
}

#[tokio::test]
async fn an_account_that_goes_leaves_its_records() {
    let mut beside = beside().await;
    beside.run("DELETE FROM account").await.unwrap();
    beside
        .run("INSERT INTO account (account_id, catalog, plan) VALUES ('acme', 'hubspot', 'free')")
        .await
        .unwrap();
    let kept = records(&*beside.store).await;
    let told: Vec<_> = kept
        .iter()
        .map(|record| (record.effect, record.revision, record.caller.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            (AuditEffect::Created, 1, None),
            (AuditEffect::Deleted, 0, Some("sql")),
            (AuditEffect::Created, 1, Some("sql")),
        ]
    );
}

#[tokio::test]
async fn records_are_only_added_to_and_go_by_their_age() {
    let mut beside = beside().await;
    beside
        .run("UPDATE account SET plan = 'free'")
        .await
        .unwrap();
    for (rule, sql) in [
        ("never changes", "UPDATE audit_record SET caller = 'me'"),
        (
            "never changes",
            "INSERT OR REPLACE INTO audit_record SELECT * FROM audit_record",
        ),
        ("by its age only", "DELETE FROM audit_record"),
        (
            "by its age only",
            "BEGIN; INSERT INTO audit_trim VALUES (9223372036854775807); DELETE FROM audit_record",
        ),
    ] {
        beside.refuses(rule, sql).await;
        let _none_open = beside.run("ROLLBACK").await;
    }
    let trigger: String =
        sqlx::query_scalar("SELECT sql FROM sqlite_schema WHERE name = 'audit_record_fixed'")
            .fetch_one(&mut beside.connection)
            .await
            .unwrap();
    beside
        .run(&format!(
            "DROP TRIGGER audit_record_fixed;
             UPDATE audit_record SET at = at - 259200000000 WHERE revision = 1; {trigger}"
        ))
        .await
        .unwrap();
    let store = &beside.store;
    let early = Timestamp::parse("2020-01-01T00:00:00Z").unwrap();
    assert_eq!(store.trim_audit(early, 10).await.unwrap(), 0);
    assert_eq!(store.trim_audit(Timestamp::MAX, 10).await.unwrap(), 1);
    assert_eq!(store.trim_audit(Timestamp::MAX, 10).await.unwrap(), 0);
    let left = records(&**store).await;
    assert_eq!(left.iter().map(|one| one.revision).collect::<Vec<_>>(), [2]);
}
