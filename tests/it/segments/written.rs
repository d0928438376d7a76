//! Records written by plain SQL, judged by their rules within the staleness bound.

use super::*;

/// `docs/sql-writers.md`: what a shell writes is followed, whatever it writes of a record.
#[tokio::test]
async fn p6_a_record_that_sql_changes_is_judged_by_its_rules() {
    let database = Database::new();
    let working = Working::acme(&database).await;
    working
        .apply(vec![
            rule("gold", "'gold' in resource.tags", &["group:pr"]),
            record("a", r#"{"tags": ["gold"]}"#),
            record("b", r#"{"tags": []}"#),
        ])
        .await;
    working.settle().await;
    assert_eq!(working.rows("a").await, ["group:pr segment:gold"]);
    let set = |resource: &str, json: &str| {
        format!(
            "UPDATE resource_attributes SET attributes = '{json}' WHERE account_id = 'acme' AND resource_id = '{resource}'"
        )
    };
    database.execute(set("a", r#"{"tags": []}"#)).await;
    database.execute(set("b", r#"{"tags": ["gold"]}"#)).await;
    working.settle().await;
    assert!(working.rows("a").await.is_empty());
    assert_eq!(working.rows("b").await, ["group:pr segment:gold"]);

    // Rows of a rule that are written or taken away by hand are as the rule says in the end.
    database
        .execute("DELETE FROM assignment WHERE account_id = 'acme'".to_owned())
        .await;
    database
        .execute(
            "INSERT INTO assignment (account_id, resource_type, resource_id, principal_kind, principal_id, provenance)
                VALUES ('acme', 'contact', 'a', 'group', 'sales', 'segment:gold')"
                .to_owned(),
        )
        .await;
    working.settle().await;
    working.assert_is_as_evaluated_afresh().await;
    assert!(working.rows("a").await.is_empty());
    assert_eq!(working.rows("b").await, ["group:pr segment:gold"]);
}

#[tokio::test]
async fn p6_a_rule_that_sql_changes_or_deletes_is_run() {
    let database = Database::new();
    let working = Working::acme(&database).await;
    working
        .apply(vec![
            rule("gold", "'gold' in resource.tags", &["group:pr"]),
            record("a", r#"{"tags": ["gold"]}"#),
            record("b", r#"{"tags": ["silver"]}"#),
        ])
        .await;
    working.settle().await;
    database
        .execute(
            "UPDATE segment SET criteria = '''silver'' in resource.tags' WHERE segment_id = 'gold'"
                .to_owned(),
        )
        .await;
    working.settle().await;
    assert!(working.rows("a").await.is_empty());
    assert_eq!(working.rows("b").await, ["group:pr segment:gold"]);
    database
        .execute("DELETE FROM segment WHERE account_id = 'acme'".to_owned())
        .await;
    working.settle().await;
    assert!(working.rows("b").await.is_empty());
}

/// The control: an account without segments is not looked at at all, and one that was settled is not
/// looked at again.
#[tokio::test]
async fn an_account_without_anything_to_do_is_left_alone() {
    let database = Database::new();
    let working = Working::acme(&database).await;
    working.apply(vec![record("a", "{}")]).await;
    let waiting = async || {
        working
            .jobs
            .accounts_to_reconcile(None, 10)
            .await
            .unwrap()
            .len()
    };
    assert_eq!(waiting().await, 0);
    working
        .apply(vec![rule("all", "true", &["group:pr"])])
        .await;
    assert_eq!(waiting().await, 1);
    working.settle().await;
    assert_eq!(waiting().await, 0);
    let revision = working.revision().await;
    working.reconciler.round().await.unwrap();
    assert_eq!(working.revision().await, revision);
}
