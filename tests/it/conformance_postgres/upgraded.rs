//! A database that an earlier version filled is brought up by this one: nothing is lost, who followed
//! it follows on, and it does what the new schema is for.

use std::path::Path;

use ambit::authz::access_request::{
    AccessRequest, RequestEvent, RequestEventKind, RequestState, RequestTarget,
};
use ambit::authz::decision::ReasonCode;
use ambit::authz::model::{Entity, EntityKey, Timestamp};
use ambit::store::audit::Author;
use ambit::store::outbox::{DeliveryOutcome, Event, Lane, Outbox as _, Subject};
use ambit::store::{Changes, Head, Write};
use sqlx::migrate::Migrator;

use super::*;

/// The newest schema without access requests.
const BEFORE_REQUESTS: i64 = 3;

/// The newest schema whose outbox knows access requests alone.
const BEFORE_PARTNER_EVENTS: i64 = 16;

/// A request that nobody has been told of, and one of whose events a server had in hand.
const UNTOLD: &str = "
SET search_path = ambit;
BEGIN;
INSERT INTO account (account_id, catalog, plan) VALUES ('acme', 'hubspot', 'enterprise');
INSERT INTO access_request (account_id, access_request_id, user_id, resource_type, action, reason, denied_as,
        filed_at, expires_at, state)
    SELECT 'acme', id, author, 'contact', 'edit', 'why', 'NO_PERMISSION', '2026-11-22T12:00:00Z',
        '2026-12-06T12:00:00Z', 'pending' FROM (VALUES ('r1', 'u'), ('r2', 'v')) AS filed (id, author);
INSERT INTO access_request_event (account_id, access_request_id, ordinal, kind, at, actor, to_state, note,
        reason_before)
    SELECT 'acme', id, 0, 'filed', '2026-11-22T12:00:00Z', 'u', 'pending', 'why', 'NO_PERMISSION'
        FROM unnest(ARRAY['r1', 'r2']) AS id;
DELETE FROM access_request_outbox WHERE access_request_id = 'r2';
INSERT INTO access_request_delivery (account_id, access_request_id, ordinal, destination, attempts, created_at,
        next_attempt_at, leased_until)
    VALUES ('acme', 'r2', 0, 'webhook:crm', 1, '2026-11-22T12:00:00Z', '2026-11-22T12:00:30Z',
        '2026-11-22T12:00:30Z');
COMMIT;
";

/// What a writer of that time had put there.
const FILLED: &str = "
SET search_path = ambit;
BEGIN;
INSERT INTO account (account_id, catalog, plan) VALUES ('acme', 'hubspot', 'enterprise');
INSERT INTO account_setting (account_id, name, value) VALUES ('acme', 'request_limit_per_user', '7');
INSERT INTO team (account_id, team_id, parent) VALUES ('acme', 'eu', NULL), ('acme', 'de', 'eu');
INSERT INTO permission_set (account_id, permission_set_id) VALUES ('acme', 'rep');
INSERT INTO permission_set_grant (account_id, permission_set_id, resource_type, permission, level)
    VALUES ('acme', 'rep', 'contact', 'view', 'team');
INSERT INTO app_user (account_id, user_id, super_admin) VALUES ('acme', 'sa', true), ('acme', 'u', false);
INSERT INTO user_team (account_id, user_id, team_id) VALUES ('acme', 'u', 'de');
INSERT INTO user_permission_set (account_id, user_id, permission_set_id) VALUES ('acme', 'u', 'rep');
INSERT INTO resource (account_id, resource_type, resource_id, partitioned) VALUES ('acme', 'contact', 'c1', true);
INSERT INTO assignment (account_id, resource_type, resource_id, principal_kind, principal_id)
    VALUES ('acme', 'contact', 'c1', 'team', 'eu');
COMMIT;
BEGIN;
INSERT INTO app_user (account_id, user_id) VALUES ('acme', 'late');
COMMIT;
";

/// Brings an empty database to an older schema, as the version of then did.
async fn at_schema(database: &Database, schema: i64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations/postgres");
    let steps = Migrator::new(folder).await.unwrap();
    run(
        database,
        "CREATE SCHEMA ambit;
        CREATE TABLE ambit.schema_migration (version bigint PRIMARY KEY, description text NOT NULL,
            installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL,
            checksum bytea NOT NULL, execution_time bigint NOT NULL)",
    )
    .await;
    for step in steps.iter().filter(|step| step.version <= schema) {
        run(database, &format!("BEGIN; {}; COMMIT", step.sql.as_str())).await;
        sqlx::query(
            "INSERT INTO ambit.schema_migration (version, description, success, checksum, execution_time)
                VALUES ($1, $2, true, $3, -1)",
        )
        .bind(step.version)
        .bind(&*step.description)
        .bind(&*step.checksum)
        .execute(&mut connect(database.url()).await)
        .await
        .unwrap();
    }
}

async fn number(database: &Database, sql: &'static str) -> i64 {
    let mut connection = connect(database.url()).await;
    let row = sqlx::query(sql).fetch_one(&mut connection).await;
    row.unwrap().get(0)
}

fn request() -> (AccessRequest, RequestEvent) {
    let at = |text: &str| Timestamp::parse(text).unwrap();
    let request = AccessRequest {
        id: id("r1"),
        user: id("u"),
        target: RequestTarget {
            resource_type: id("contact"),
            action: id("edit"),
            resource_id: None,
        },
        reason: "why".to_owned(),
        denied_as: ReasonCode::NoPermission,
        wanted_seconds: None,
        origin_url: None,
        filed_at: at("2026-11-22T12:00:00Z"),
        expires_at: at("2026-12-06T12:00:00Z"),
        state: RequestState::Pending,
        closing: None,
    };
    let event = RequestEvent {
        request: id("r1"),
        ordinal: 0,
        kind: RequestEventKind::Filed,
        at: request.filed_at,
        actor: Some(id("u")),
        from: None,
        to: RequestState::Pending,
        note: Some("why".to_owned()),
        approval: None,
        before: ReasonCode::NoPermission,
        after: None,
    };
    (request, event)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_still_to_be_told_of_requests_goes_out_after_the_outbox_knows_partnerships() {
    let database = Database::empty();
    at_schema(&database, BEFORE_PARTNER_EVENTS).await;
    run(&database, UNTOLD).await;
    let store = open(&database).await;
    let (_, event) = request();
    let expected = vec![(id("acme"), Event::Request(event))];
    assert_eq!(store.unsent_events(10).await.unwrap(), expected);
    let at = |text: &str| Timestamp::parse(text).unwrap();
    let (now, until) = (at("2026-11-22T12:01:00Z"), at("2026-11-22T12:02:00Z"));
    let lane = Lane::Destination("webhook:crm");
    let claimed = store.claim_deliveries(lane, now, until, 10).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].delivery.key.subject, Subject::Request(id("r2")));
    assert_eq!(claimed[0].delivery.attempts, 2);
    let settled = store.settle_delivery(&claimed[0], DeliveryOutcome::Delivered, now);
    assert!(settled.await.unwrap());
    assert_eq!(store.depth().await.unwrap(), 1, "the other one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_before_access_requests_is_brought_up_and_followed_on() {
    let database = Database::empty();
    at_schema(&database, BEFORE_REQUESTS).await;
    run(&database, FILLED).await;
    // What this is about: it is of that time, and this version does not work on it as it is.
    let schema = "SELECT schema_version::int8 FROM ambit.store_identity";
    assert_eq!(number(&database, schema).await, BEFORE_REQUESTS);
    let no_requests = "SELECT (to_regclass('ambit.access_request') IS NULL)::int4::int8";
    assert_eq!(number(&database, no_requests).await, 1);
    let as_it_is = OpenOptions {
        migrate: false,
        ..OPEN
    };
    let error = refused(database.url(), as_it_is).await;
    assert!(error.to_string().contains("schema 3"), "{error}");
    let epoch = "SELECT ('x' || encode(substring(epoch FROM 1 FOR 7), 'hex'))::bit(56)::int8
        FROM ambit.store_identity";
    let epoch_before = number(&database, epoch).await;
    let heads = sqlx::query("SELECT revision, nonce FROM ambit.revision_log ORDER BY revision")
        .fetch_all(&mut connect(database.url()).await)
        .await
        .unwrap();
    let heads: Vec<Head> = heads
        .iter()
        .map(|row| Head {
            revision: row.get::<i64, _>(0).try_into().unwrap(),
            nonce: row.get::<Vec<u8>, _>(1).try_into().unwrap(),
        })
        .collect();
    assert_eq!(heads.len(), 2);

    let store = open(&database).await;
    assert_eq!(
        number(&database, epoch).await,
        epoch_before,
        "tokens stay good"
    );
    let (head, entities) = load(&store, "acme", true).await;
    assert_eq!(head, heads[1]);
    let of = |key: &EntityKey| entities.iter().find(|entity| entity.key() == *key);
    let Some(Entity::User(user)) = of(&EntityKey::User(id("u"))) else {
        panic!("no user: {entities:?}");
    };
    assert_eq!(user.teams, [id("de")].into());
    assert_eq!(user.permission_sets, [id("rep")].into());
    assert!(user.memberships.is_empty() && user.email.is_none());
    let Some(Entity::Account(account)) = of(&EntityKey::Account) else {
        panic!("no account: {entities:?}");
    };
    assert_eq!(account.settings.request_limit_per_user, Some(7));
    assert_eq!(entities.len(), 8, "{entities:?}");
    // Who stood at the first revision is told the second one in steps.
    let told = store.changes_since(&id("acme"), heads[0]).await.unwrap();
    let Changes::Delta { changes, .. } = told else {
        panic!("the log is kept: {told:?}");
    };
    assert_eq!(changes, [super::user("late")]);

    // What the new schema is for: a request is filed, logged, told and kept.
    let (request, event) = request();
    let put = EntityChange::Put(Entity::AccessRequest(request.clone()));
    let write = Write {
        account: &id("acme"),
        expected: Some(head),
        changes: std::slice::from_ref(&put),
        events: &[event],
        batch: None,
        idempotency: None,
        author: &Author::anyone("FileAccessRequest"),
    };
    let filed = store.apply(write).await.unwrap();
    assert_eq!(filed.revision, head.revision + 1);
    let told = store.changes_since(&id("acme"), head).await.unwrap();
    assert!(
        matches!(&told, Changes::Delta { changes, .. } if *changes == [put]),
        "{told:?}"
    );
    assert_eq!(store.unsent_events(10).await.unwrap().len(), 1);
    let pending = store.accounts_with_pending(None, 10).await.unwrap();
    assert_eq!(pending.len(), 1);
    let found = store.access_request(&id("acme"), &id("r1")).await.unwrap();
    assert_eq!(found, Some(request));
    // Brought up again it stays as it is.
    PostgresStore::migrate(database.url()).await.unwrap();
    assert_eq!(load(&store, "acme", true).await.0, filed);
    // With its account goes what was there before and what came since.
    assert!(
        store
            .delete_account(&id("acme"), None, &Author::anyone("DeleteAccount"))
            .await
            .unwrap()
    );
    let left = "SELECT (SELECT count(*) FROM ambit.access_request_event) + (SELECT count(*) FROM ambit.app_user)";
    assert_eq!(number(&database, left).await, 0);
}
