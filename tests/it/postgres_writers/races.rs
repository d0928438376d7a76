//! Two writers at a time can't break together what each of them keeps alone.

use super::*;

/// Two transactions that write first and commit then, one after the other.
async fn together(beside: &Beside, level: &str, writes: [&str; 2]) -> [Result<(), Refusal>; 2] {
    let mut connections = [beside.another().await, beside.another().await];
    for (connection, write) in connections.iter_mut().zip(writes) {
        let sql = format!("BEGIN ISOLATION LEVEL {level}; SELECT FROM ambit.account; {write}");
        run(connection, &sql).await.unwrap();
    }
    let [first, second] = &mut connections;
    [run(first, "COMMIT").await, run(second, "COMMIT").await]
}

const REPARENT: [&str; 2] = [
    "UPDATE ambit.team SET parent = 'us' WHERE account_id = 'acme' AND team_id = 'eu'",
    "UPDATE ambit.team SET parent = 'eu' WHERE account_id = 'acme' AND team_id = 'us'",
];

const DEMOTE: [&str; 2] = [
    "UPDATE ambit.app_user SET super_admin = false WHERE user_id = 'sa'",
    "UPDATE ambit.app_user SET status = 'deactivated' WHERE user_id = 'us1'",
];

const CYCLE: &str = "ambit.team AS up JOIN ambit.team AS down
    ON up.account_id = down.account_id AND up.team_id = down.parent AND down.team_id = up.parent";
const SUPER_ADMINS: &str =
    "ambit.app_user WHERE account_id = 'acme' AND super_admin AND status = 'active'";

#[tokio::test]
async fn case_31_of_two_moves_that_together_form_a_cycle_one_is_refused() {
    for (level, code) in [
        ("READ COMMITTED", "23514"),
        ("REPEATABLE READ", "40001"),
        ("SERIALIZABLE", "40001"),
    ] {
        let mut beside = beside().await;
        let [first, second] = together(&beside, level, REPARENT).await;
        first.unwrap();
        let refusal = second.expect_err(level);
        assert_eq!(refusal.code, code, "{level}: {refusal:?}");
        if code == "23514" {
            assert_eq!(refusal.said, "P11: a team cannot be its own ancestor");
        }
        assert_eq!(beside.count(CYCLE).await, 0, "{level}");
        assert_eq!(beside.revision("acme").await, 2);
    }
}

/// The control: a check by the statement sees what is committed before it, and no more.
#[tokio::test]
async fn case_31_control_a_check_by_the_statement_lets_the_cycle_in() {
    let mut beside = beside().await;
    beside
        .run(
            "CREATE OR REPLACE FUNCTION ambit.check_teams(of_account text, kinds text[])
                 RETURNS void LANGUAGE sql AS '';
             CREATE FUNCTION public.check_statement() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF EXISTS (SELECT FROM ambit.team AS up JOIN ambit.team AS down
                     ON up.account_id = down.account_id AND up.team_id = down.parent
                         AND down.team_id = up.parent) THEN
                     RAISE 'a cycle';
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER check_statement AFTER UPDATE ON ambit.team
                 FOR EACH STATEMENT EXECUTE FUNCTION public.check_statement()",
        )
        .await
        .unwrap();
    for result in together(&beside, "READ COMMITTED", REPARENT).await {
        result.unwrap();
    }
    assert_eq!(beside.count(CYCLE).await, 2);
}

#[tokio::test]
async fn case_38_of_the_last_two_super_admins_one_stays() {
    for (level, code) in [("READ COMMITTED", "23514"), ("REPEATABLE READ", "40001")] {
        let mut beside = beside().await;
        beside
            .run("UPDATE ambit.app_user SET super_admin = true WHERE user_id = 'us1'")
            .await
            .unwrap();
        let [first, second] = together(&beside, level, DEMOTE).await;
        first.unwrap();
        let refusal = second.expect_err(level);
        assert_eq!(refusal.code, code, "{level}: {refusal:?}");
        if code == "23514" {
            assert!(refusal.said.starts_with("D9: "), "{refusal:?}");
        }
        assert_eq!(beside.count(SUPER_ADMINS).await, 1);
    }
}

#[tokio::test]
async fn case_38_control_without_the_lock_both_go() {
    let mut beside = beside().await;
    beside
        .run("UPDATE ambit.app_user SET super_admin = true WHERE user_id = 'us1'")
        .await
        .unwrap();
    beside
        .run(
            "CREATE OR REPLACE FUNCTION ambit.check_super_admins(of_account text, kinds text[], had_one boolean)
                 RETURNS boolean LANGUAGE sql AS 'SELECT had_one';
             CREATE FUNCTION public.check_statement() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF NOT EXISTS (SELECT FROM ambit.app_user WHERE super_admin AND status = 'active') THEN
                     RAISE 'none left';
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER check_statement AFTER UPDATE ON ambit.app_user
                 FOR EACH STATEMENT EXECUTE FUNCTION public.check_statement()",
        )
        .await
        .unwrap();
    for result in together(&beside, "READ COMMITTED", DEMOTE).await {
        result.unwrap();
    }
    assert_eq!(beside.count(SUPER_ADMINS).await, 0);
}

/// Who refers to what, and what is deleted meanwhile.
const REFERENCES: &[(&str, &str, &str)] = &[
    (
        "INSERT INTO ambit.assignment (account_id, resource_type, resource_id, principal_kind, principal_id)
            VALUES ('acme', 'contact', 'c2', 'team', 'us')",
        "DELETE FROM ambit.team WHERE account_id = 'acme' AND team_id = 'us'",
        "ambit.assignment WHERE principal_id = 'us'",
    ),
    (
        "INSERT INTO ambit.assignment (account_id, resource_type, resource_id, principal_kind, principal_id)
            VALUES ('acme', 'contact', 'c2', 'user', 'us1')",
        "DELETE FROM ambit.app_user WHERE user_id = 'us1'",
        "ambit.assignment WHERE principal_id = 'us1'",
    ),
    (
        "INSERT INTO ambit.segment_target VALUES ('acme', 'gold', 'user', 'us1')",
        "DELETE FROM ambit.app_user WHERE user_id = 'us1'",
        "ambit.segment_target WHERE principal_id = 'us1'",
    ),
    (
        "INSERT INTO ambit.access_group_member VALUES ('acme', 'vip', 'team', 'us', '{}')",
        "DELETE FROM ambit.team WHERE account_id = 'acme' AND team_id = 'us'",
        "ambit.access_group_member WHERE principal_id = 'us'",
    ),
    (
        "INSERT INTO ambit.team VALUES ('acme', 'fr', 'us')",
        "DELETE FROM ambit.team WHERE account_id = 'acme' AND team_id = 'us'",
        "ambit.team WHERE parent = 'us'",
    ),
    (
        "INSERT INTO ambit.resource_owner VALUES ('acme', 'contact', 'c2', 'us1')",
        "DELETE FROM ambit.app_user WHERE user_id = 'us1'",
        "ambit.resource_owner WHERE user_id = 'us1'",
    ),
];

#[tokio::test]
async fn what_is_deleted_meanwhile_is_referred_to_by_nobody() {
    for (refer, delete, left) in REFERENCES {
        // The reference is first: the deletion waits for it and takes it along.
        let mut beside = beside().await;
        let mut first = beside.another().await;
        run(&mut first, &format!("BEGIN; {refer}")).await.unwrap();
        let second = beside.another().await;
        let deletion = blocked(&mut beside, second, delete).await;
        run(&mut first, "COMMIT").await.unwrap();
        deletion.await.unwrap().1.unwrap();
        assert_eq!(beside.count(left).await, 0, "{refer}");

        // The deletion is first: the reference waits for it and is refused.
        let mut beside = self::beside().await;
        let mut first = beside.another().await;
        run(&mut first, &format!("BEGIN; {delete}")).await.unwrap();
        let second = beside.another().await;
        let reference = blocked(&mut beside, second, refer).await;
        run(&mut first, "COMMIT").await.unwrap();
        let refusal = reference.await.unwrap().1.expect_err(refer);
        assert_eq!(refusal.code, "23503", "{refer}: {refusal:?}");
        assert_eq!(beside.count(left).await, 0, "{refer}");
    }
}

/// 3.5 holds whoever commits first, and two assignments of one contact don't hinder each other
/// where it is partitioned already.
#[tokio::test]
async fn rule_3_5_a_wall_is_not_taken_down_behind_an_assignment() {
    const ASSIGN: &str = "INSERT INTO ambit.assignment
        (account_id, resource_type, resource_id, principal_kind, principal_id)
        VALUES ('acme', 'contact', 'c2', 'team', 'us')";
    const UNWALL: &str = "UPDATE ambit.resource SET partitioned = false
        WHERE account_id = 'acme' AND resource_id = 'c2'";
    const OPEN: &str =
        "ambit.assignment JOIN ambit.resource USING (account_id, resource_type, resource_id)
        WHERE NOT partitioned";
    let walled = || async {
        let mut beside = beside().await;
        beside
            .run("UPDATE ambit.resource SET partitioned = true WHERE resource_id = 'c2'")
            .await
            .unwrap();
        beside
    };

    let mut beside = walled().await;
    let mut first = beside.another().await;
    run(&mut first, &format!("BEGIN; {UNWALL}")).await.unwrap();
    let second = beside.another().await;
    let assignment = blocked(&mut beside, second, ASSIGN).await;
    run(&mut first, "COMMIT").await.unwrap();
    assignment.await.unwrap().1.unwrap();
    assert_eq!(beside.count(OPEN).await, 0);

    let mut beside = walled().await;
    let mut first = beside.another().await;
    run(&mut first, &format!("BEGIN; {ASSIGN}")).await.unwrap();
    let second = beside.another().await;
    let unwall = blocked(&mut beside, second, UNWALL).await;
    run(&mut first, "COMMIT").await.unwrap();
    let refusal = unwall.await.unwrap().1.expect_err("it is assigned");
    assert!(refusal.said.starts_with("3.5: "), "{refusal:?}");
    assert_eq!(beside.count(OPEN).await, 0);

    let mut beside = walled().await;
    let mut first = beside.another().await;
    run(&mut first, &format!("BEGIN; {ASSIGN}")).await.unwrap();
    // Nobody waits: the test would hang here.
    beside
        .run(
            "INSERT INTO ambit.assignment
                (account_id, resource_type, resource_id, principal_kind, principal_id)
                VALUES ('acme', 'contact', 'c2', 'user', 'us1')",
        )
        .await
        .unwrap();
    run(&mut first, "COMMIT").await.unwrap();
}

/// The account goes while somebody writes to it: no row, no head and no log is left of it.
#[tokio::test]
async fn an_account_that_goes_takes_a_concurrent_write_along() {
    let mut beside = beside().await;
    let mut first = beside.another().await;
    run(
        &mut first,
        "BEGIN; INSERT INTO ambit.team VALUES ('acme', 'fr', 'eu')",
    )
    .await
    .unwrap();
    let second = beside.another().await;
    let delete = "DELETE FROM ambit.account WHERE account_id = 'acme'";
    let deletion = blocked(&mut beside, second, delete).await;
    run(&mut first, "COMMIT").await.unwrap();
    deletion.await.unwrap().1.unwrap();
    for table in [
        "account",
        "team",
        "account_head",
        "revision_log",
        "change_log",
    ] {
        let left = format!("ambit.{table} WHERE account_id = 'acme'");
        assert_eq!(beside.count(&left).await, 0, "{table}");
    }
}
