//! What `ambit doctor` finds in a PostgreSQL database.

use crate::app::{self, PostgresExamination};
use crate::clock::{Clock as _, SystemClock};
use crate::config::DatabaseUrl;

use super::{Finding, causes};

/// Difference of the clocks that is worth a word: entries of the log are aged by the database's.
const CLOCK_SKEW_MILLIS_MAX: i64 = 1_000;
/// A queue that is fuller than this has a reader that takes nothing.
const QUEUE_USAGE_MAX: f64 = 0.1;

pub(super) async fn findings(url: &DatabaseUrl) -> Vec<Finding> {
    let asked_at = SystemClock::new().now();
    let examined = match app::examine_postgres(url).await {
        Ok(examined) => examined,
        Err(error) => {
            return vec![Finding::problem(
                "database",
                format!("{error}{}", causes(&error)),
                "mend what it says; docs/postgres.md tells how a database is set up",
            )];
        }
    };
    let skew_millis = examined
        .now
        .unix_micros()
        .saturating_sub(asked_at.unix_micros())
        / 1_000;
    vec![
        Finding::ok(
            "database server",
            format!("PostgreSQL {} answers", examined.server_version),
        ),
        schema(&examined),
        rights(&examined),
        notifications(&examined),
        clock(skew_millis),
    ]
}

fn schema(examined: &PostgresExamination) -> Finding {
    const CHECK: &str = "database";
    let newest = examined.schema_newest;
    match examined.schema {
        None if examined.may_create_schema => Finding::ok(
            CHECK,
            "empty, a server makes its schema at its first start, or `ambit migrate`",
        ),
        None => Finding::problem(
            CHECK,
            format!(
                "empty, and the role `{}` may not make a schema",
                examined.role
            ),
            "run `ambit migrate` once as the owner of the database",
        ),
        Some(schema) if schema < newest => Finding::warning(
            CHECK,
            format!("it has schema {schema}, this version needs schema {newest}"),
            "run `ambit migrate`, or start a server without --no-migrate",
        ),
        Some(schema) if examined.compatible_from > newest => Finding::problem(
            CHECK,
            format!("it has schema {schema}, this version knows schemas up to {newest}"),
            "use a newer version of ambit",
        ),
        Some(schema) => Finding::ok(
            CHECK,
            format!("schema {schema} and {} accounts", examined.accounts),
        ),
    }
}

fn rights(examined: &PostgresExamination) -> Finding {
    const CHECK: &str = "database role";
    let role = &examined.role;
    if !examined.rights_missing.is_empty() {
        return Finding::problem(
            CHECK,
            format!("`{role}` lacks {}", examined.rights_missing.join(", ")),
            format!("GRANT ambit_server TO {role}"),
        );
    }
    if examined.is_superuser {
        return Finding::warning(
            CHECK,
            format!("`{role}` is a superuser"),
            "let the server come in as a role that is granted ambit_server and no more",
        );
    }
    Finding::ok(CHECK, format!("`{role}` may do what a server needs"))
}

fn notifications(examined: &PostgresExamination) -> Finding {
    const CHECK: &str = "notifications";
    if !examined.notifications_arrive {
        return Finding::warning(
            CHECK,
            "none comes back: a pooler stands in between",
            "nothing, where polling is fast enough; else connect the server to the database itself",
        );
    }
    if examined.notification_queue_usage > QUEUE_USAGE_MAX {
        return Finding::warning(
            CHECK,
            format!(
                "they arrive, but the queue is {:.0} % full",
                examined.notification_queue_usage * 100.0
            ),
            "look for a session that listens and sits in a transaction (pg_stat_activity), and end it",
        );
    }
    Finding::ok(CHECK, "they arrive")
}

fn clock(ahead_millis: i64) -> Finding {
    const CHECK: &str = "database clock";
    if ahead_millis.abs() <= CLOCK_SKEW_MILLIS_MAX {
        return Finding::ok(CHECK, "the database's clock agrees with this machine's");
    }
    let direction = if ahead_millis > 0 {
        "ahead of"
    } else {
        "behind"
    };
    Finding::warning(
        CHECK,
        format!(
            "the database's clock is {} ms {direction} this machine's",
            ahead_millis.abs()
        ),
        "set both by NTP: the history is trimmed by both",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::authz::model::Timestamp;

    fn sound() -> PostgresExamination {
        PostgresExamination {
            server_version: "15.20".to_owned(),
            role: "app".to_owned(),
            is_superuser: false,
            schema: Some(3),
            schema_newest: 3,
            compatible_from: 3,
            may_create_schema: false,
            rights_missing: Vec::new(),
            accounts: 2,
            now: Timestamp::MIN,
            notifications_arrive: true,
            notification_queue_usage: 0.0,
        }
    }

    #[test]
    fn each_finding_has_its_verdict_and_says_what_to_do() {
        let verdict = |find: fn(&PostgresExamination) -> Finding,
                       change: fn(&mut PostgresExamination)| {
            let mut examined = sound();
            change(&mut examined);
            let finding = find(&examined);
            assert_eq!(finding.remedy.is_none(), finding.verdict == Verdict::Ok);
            finding.verdict
        };
        assert_eq!(verdict(schema, |_| ()), Verdict::Ok);
        assert_eq!(
            verdict(schema, |found| found.schema = None),
            Verdict::Problem
        );
        assert_eq!(
            verdict(schema, |found| found.schema = Some(2)),
            Verdict::Warning
        );
        assert_eq!(verdict(schema, |found| found.schema = Some(9)), Verdict::Ok);
        assert_eq!(
            verdict(schema, |found| found.compatible_from = 9),
            Verdict::Problem
        );
        assert_eq!(verdict(rights, |_| ()), Verdict::Ok);
        assert_eq!(
            verdict(rights, |found| found.is_superuser = true),
            Verdict::Warning
        );
        assert_eq!(
            verdict(rights, |found| found
                .rights_missing
                .push("SELECT".to_owned())),
            Verdict::Problem
        );
        assert_eq!(verdict(notifications, |_| ()), Verdict::Ok);
        assert_eq!(
            verdict(notifications, |found| found.notifications_arrive = false),
            Verdict::Warning
        );
        assert_eq!(
            verdict(notifications, |found| found.notification_queue_usage = 0.4),
            Verdict::Warning
        );
        assert_eq!(clock(1_000).verdict, Verdict::Ok);
        assert!(clock(2_000).found.contains("2000 ms ahead of"));
        assert!(clock(-2_000).found.contains("2000 ms behind"));
    }
}
