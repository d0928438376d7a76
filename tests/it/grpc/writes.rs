//! Writes over the wire: atomic whatever the cut into messages, idempotent, guarded by a revision;
//! exports that make an equal account; watches that miss nothing.

use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use wire::change::Change;
use wire::watch_changes_response::Event;

use super::server::{TestServer, at_least, built_in, change, check, put_contact, put_user};
use super::{collect, names, reason, refused};

fn message(changes: Vec<wire::Change>) -> wire::ApplyChangesRequest {
    wire::ApplyChangesRequest {
        account_id: "acme".to_owned(),
        changes,
        ..wire::ApplyChangesRequest::default()
    }
}

fn following(changes: Vec<wire::Change>) -> wire::ApplyChangesRequest {
    wire::ApplyChangesRequest {
        changes,
        ..wire::ApplyChangesRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_created_once_read_and_deleted() {
    let server = TestServer::start().await;
    let request = wire::CreateAccountRequest {
        account_id: "acme".to_owned(),
        catalog: Some(built_in("brevo")),
        plan: "business".to_owned(),
        settings: Some(wire::AccountSettings {
            request_limit_per_user: Some(3),
            unpartitioned: [(
                "contact".to_owned(),
                wire::UnpartitionedDefault::NoOne.into(),
            )]
            .into(),
            ..wire::AccountSettings::default()
        }),
        idempotency_key: "create-1".to_owned(),
        ..wire::CreateAccountRequest::default()
    };
    let mut directory = server.directory();
    let created = directory
        .create_account(request.clone())
        .await
        .unwrap()
        .into_inner();
    let account = created.account.clone().unwrap();
    assert_eq!(
        (account.id.as_str(), account.plan.as_str()),
        ("acme", "business")
    );
    assert!(account.payment_method_valid);
    assert_eq!(account.settings.unwrap().request_limit_per_user, Some(3));

    // The same request again is the same answer, and another body under the key is none.
    let again = directory
        .create_account(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again, created);
    let other = wire::CreateAccountRequest {
        plan: "free".to_owned(),
        ..request.clone()
    };
    assert_eq!(
        refused(directory.create_account(other).await),
        (
            Reason::IdempotencyKeyReused,
            Some("idempotency_key".to_owned())
        )
    );
    let unkeyed = wire::CreateAccountRequest {
        idempotency_key: String::new(),
        ..request
    };
    assert_eq!(
        refused(directory.create_account(unkeyed).await),
        (Reason::AccountExists, Some("account_id".to_owned()))
    );

    let delete = wire::DeleteAccountRequest {
        account_id: "acme".to_owned(),
        ..wire::DeleteAccountRequest::default()
    };
    directory.delete_account(delete.clone()).await.unwrap();
    assert_eq!(
        reason(directory.delete_account(delete.clone()).await),
        Reason::AccountNotFound
    );
    let repeated = wire::DeleteAccountRequest {
        allow_missing: true,
        ..delete
    };
    directory.delete_account(repeated).await.unwrap();
    assert_eq!(
        reason(server.decisions().check(check("acme", "c1")).await),
        Reason::AccountNotFound
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_one_transaction_however_it_is_cut_into_messages() {
    let server = TestServer::start().await;
    let before = server.make_account("acme", &[]).await;
    // The third message refers to a team that nobody makes: nothing of the first two is written.
    let dangling = change(Change::PutUser(wire::UserPatch {
        id: "v".to_owned(),
        main_team: Some("ghosts".to_owned()),
        ..wire::UserPatch::default()
    }));
    let failed = server
        .send(vec![
            message(vec![put_contact("c1")]),
            following(vec![put_contact("c2"), put_contact("c3")]),
            following(vec![dangling]),
        ])
        .await;
    assert_eq!(
        refused(failed),
        (
            Reason::UnknownReference,
            Some("changes[3].put_user.main_team".to_owned())
        )
    );
    let unchanged = server
        .decisions()
        .check(wire::CheckRequest {
            consistency: super::server::fully_consistent(),
            ..check("acme", "c1")
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(unchanged.reason, "RESOURCE_NOT_FOUND");
    assert_eq!(unchanged.revision, before);

    let written = server
        .send(vec![
            message(vec![put_contact("c1")]),
            following(Vec::new()),
            following(vec![put_contact("c2")]),
        ])
        .await
        .unwrap();
    let lines: Vec<(&str, &str)> = written
        .summary
        .iter()
        .map(|line| {
            (
                line.verb.as_str(),
                line.entity.as_ref().unwrap().id.as_str(),
            )
        })
        .collect();
    assert_eq!(lines, [("create", "c1"), ("create", "c2")]);
    let seen = server
        .decisions()
        .check(wire::CheckRequest {
            consistency: at_least(&written.revision),
            ..check("acme", "c2")
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (seen.reason.as_str(), seen.revision),
        ("EVERYTHING", written.revision)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_comes_once_and_actors_are_refused_with_their_reason() {
    let server = TestServer::start().await;
    server.make_account("acme", &[]).await;
    for (wrong, field) in [
        (message(Vec::new()), "account_id"),
        (
            wire::ApplyChangesRequest {
                dry_run: true,
                ..following(Vec::new())
            },
            "dry_run",
        ),
        (
            wire::ApplyChangesRequest {
                idempotency_key: "k".to_owned(),
                ..following(Vec::new())
            },
            "idempotency_key",
        ),
    ] {
        let answer = server
            .send(vec![message(vec![put_contact("c1")]), wrong])
            .await;
        assert_eq!(
            refused(answer),
            (Reason::InvalidField, Some(field.to_owned()))
        );
    }
    let acting = wire::ApplyChangesRequest {
        actor_user_id: "nobody".to_owned(),
        ..message(vec![put_contact("c1")])
    };
    assert_eq!(
        refused(server.send(vec![acting]).await),
        (Reason::ActorMayNot, Some("actor_user_id".to_owned()))
    );
    assert_eq!(
        refused(server.send(Vec::new()).await),
        (Reason::InvalidField, Some("account_id".to_owned()))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_guarded_by_its_revision_and_repeated_by_its_key() {
    let server = TestServer::start().await;
    let first = server.make_account("acme", &[]).await;
    let keyed = wire::ApplyChangesRequest {
        idempotency_key: "k1".to_owned(),
        expected_revision: first.clone(),
        ..message(vec![put_contact("c1")])
    };
    let written = server.send(vec![keyed.clone()]).await.unwrap();
    // Repeated, also in other messages: the same answer, though the revision has moved on.
    let mut cut = keyed.clone();
    let changes = std::mem::take(&mut cut.changes);
    let repeated = server.send(vec![cut, following(changes)]).await.unwrap();
    assert_eq!(repeated.revision, written.revision);
    assert!(repeated.summary.is_empty());
    let other = wire::ApplyChangesRequest {
        changes: vec![put_contact("c2")],
        ..keyed
    };
    assert_eq!(
        reason(server.send(vec![other]).await),
        Reason::IdempotencyKeyReused
    );
    let late = wire::ApplyChangesRequest {
        expected_revision: first,
        ..message(vec![put_contact("c2")])
    };
    assert_eq!(
        refused(server.send(vec![late]).await),
        (
            Reason::RevisionMismatch,
            Some("expected_revision".to_owned())
        )
    );
    let dry = wire::ApplyChangesRequest {
        dry_run: true,
        ..message(vec![put_contact("c2")])
    };
    let answer = server.send(vec![dry]).await.unwrap();
    assert_eq!(answer.revision, written.revision);
    assert_eq!(answer.summary.len(), 1);
    let missing = server.decisions().check(check("acme", "c2")).await.unwrap();
    assert_eq!(missing.into_inner().reason, "RESOURCE_NOT_FOUND");
    server.stop().await;
}

async fn export(server: &TestServer, account: &str) -> Vec<wire::ExportAccountResponse> {
    let stream = server
        .directory()
        .export_account(wire::ExportAccountRequest {
            account_id: account.to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    collect(stream).await.unwrap()
}

/// The calls that an export asks for.
fn calls(chunks: &[wire::ExportAccountResponse]) -> Vec<Vec<wire::Change>> {
    let mut calls = vec![Vec::new(), Vec::new()];
    for chunk in chunks {
        calls[usize::from(chunk.in_second_call)].extend(chunk.changes.clone());
    }
    calls.retain(|changes| !changes.is_empty());
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_makes_an_equal_account_elsewhere() {
    let server = TestServer::start().await;
    let mut accounts = Vec::new();
    for file in ["northwind", "bonbon", "lumen"] {
        accounts.extend(server.load(&format!("examples/demo/{file}.yaml")).await);
    }
    let elsewhere = TestServer::start().await;
    for (account, revision) in accounts {
        let exported = export(&server, &account).await;
        assert_eq!(exported[0].revision, revision);
        let calls = calls(&exported);
        for changes in calls.clone() {
            elsewhere.apply(&account, changes).await.unwrap();
        }
        let again = export(&elsewhere, &account).await;
        assert_eq!(self::calls(&again), calls, "{account}");
    }
    server.stop().await;
    elsewhere.stop().await;
}

/// C12: a wall from before a downgrade is exported so that it can be built again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn walls_of_a_downgraded_account_are_exported_too() {
    let server = TestServer::start().await;
    server.make_account("acme", &[]).await;
    let walled = change(Change::PutResource(wire::ResourcePatch {
        resource_type: "email".to_owned(),
        id: "e1".to_owned(),
        partitioned: Some(true),
        ..wire::ResourcePatch::default()
    }));
    let downgrade = change(Change::PutAccount(wire::AccountPatch {
        plan: Some("free".to_owned()),
        ..wire::AccountPatch::default()
    }));
    server.apply("acme", vec![walled.clone()]).await.unwrap();
    server.apply("acme", vec![downgrade]).await.unwrap();
    assert_eq!(
        reason(
            server
                .apply(
                    "acme",
                    vec![change(Change::PutResource(wire::ResourcePatch {
                        resource_type: "email".to_owned(),
                        id: "e2".to_owned(),
                        partitioned: Some(true),
                        ..wire::ResourcePatch::default()
                    }))]
                )
                .await
        ),
        Reason::NotEntitled
    );
    let exported = calls(&export(&server, "acme").await);
    assert_eq!(exported.len(), 2, "two calls");
    let elsewhere = TestServer::start().await;
    for changes in exported.clone() {
        elsewhere.apply("acme", changes).await.unwrap();
    }
    assert_eq!(calls(&export(&elsewhere, "acme").await), exported);
    let account = elsewhere
        .directory()
        .get_account(wire::GetAccountRequest {
            account_id: "acme".to_owned(),
            consistency: None,
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(account.account.unwrap().plan, "free");
    server.stop().await;
    elsewhere.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_come_back_as_they_were_written() {
    let server = TestServer::start().await;
    server.make_account("acme", &[]).await;
    let text = r#"{"big":9007199254740993,"nested":{"tags":["a","ä"]},"none":null}"#;
    let contact = change(Change::PutResource(wire::ResourcePatch {
        resource_type: "contact".to_owned(),
        id: "c1".to_owned(),
        attributes_json: Some(text.to_owned()),
        ..wire::ResourcePatch::default()
    }));
    server.apply("acme", vec![contact]).await.unwrap();
    let read = server
        .directory()
        .get_resource(wire::GetResourceRequest {
            account_id: "acme".to_owned(),
            resource_type: "contact".to_owned(),
            resource_id: "c1".to_owned(),
            consistency: None,
        })
        .await
        .unwrap()
        .into_inner();
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parse(&read.resource.unwrap().attributes_json), parse(text));
    for (include_attributes, expected) in [(true, true), (false, false)] {
        let listed = server
            .directory()
            .list_resources(wire::ListResourcesRequest {
                account_id: "acme".to_owned(),
                resource_type: "contact".to_owned(),
                include_attributes,
                ..wire::ListResourcesRequest::default()
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(!listed.resources[0].attributes_json.is_empty(), expected);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_every_change_once_and_ends_with_the_account() {
    let server = TestServer::start().await;
    let start = server.make_account("acme", &[]).await;
    let mut watch = server
        .directory()
        .watch_changes(wire::WatchChangesRequest {
            account_id: "acme".to_owned(),
            after_revision: start.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.revision, start);
    assert!(matches!(first.event, Some(Event::Heartbeat(_))));

    let written = server
        .apply("acme", vec![put_user("v", None), put_contact("c1")])
        .await
        .unwrap();
    let event = watch.message().await.unwrap().unwrap();
    assert_eq!(event.revision, written.revision);
    let Some(Event::Changes(changes)) = event.event else {
        panic!("no changes: {event:?}");
    };
    let told: Vec<String> = changes
        .changes
        .iter()
        .map(|change| match change.change.as_ref().unwrap() {
            wire::entity_change::Change::User(user) => format!("user {}", user.id),
            wire::entity_change::Change::Resource(resource) => format!("resource {}", resource.id),
            other => panic!("not made: {other:?}"),
        })
        .collect();
    assert_eq!(told, ["user v", "resource c1"]);

    // A large change comes in parts, which stand at the revision before until the last.
    let contacts = names("contact-with-a-rather-long-name-", 5_000);
    let large = server
        .apply("acme", contacts.iter().map(|id| put_contact(id)).collect())
        .await
        .unwrap();
    let mut told = 0;
    loop {
        let event = watch.message().await.unwrap().unwrap();
        match event.event {
            Some(Event::Changes(changes)) => told += changes.changes.len(),
            Some(Event::Heartbeat(_)) => {}
            other => panic!("not asked for: {other:?}"),
        }
        if event.revision == large.revision {
            break;
        }
        assert_eq!(event.revision, written.revision);
    }
    assert_eq!(told, 5_000);

    server
        .directory()
        .delete_account(wire::DeleteAccountRequest {
            account_id: "acme".to_owned(),
            ..wire::DeleteAccountRequest::default()
        })
        .await
        .unwrap();
    assert_eq!(reason(collect(watch).await), Reason::AccountNotFound);
    server.stop().await;
}

/// Row 8 of section 2: more changes than a statement binds are all there, or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_write_is_whole_and_a_too_large_one_is_refused() {
    let server = TestServer::start().await;
    server.make_account("acme", &[]).await;
    let contacts = names("c", 33_000);
    let written = server
        .apply("acme", contacts.iter().map(|id| put_contact(id)).collect())
        .await
        .unwrap();
    assert_eq!(written.summary.len(), 33_000);
    let stream = server
        .decisions()
        .list_accessible(wire::ListAccessibleRequest {
            consistency: at_least(&written.revision),
            ..super::server::list("acme")
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(collect(stream).await.unwrap()[0].total, Some(33_000));

    let too_many = change(Change::PutUser(wire::UserPatch {
        id: "v".to_owned(),
        teams: Some(wire::IdList {
            ids: names("team", 10_001),
        }),
        ..wire::UserPatch::default()
    }));
    assert_eq!(
        refused(server.apply("acme", vec![too_many]).await),
        (
            Reason::TooManyChanges,
            Some("changes[0].put_user.teams".to_owned())
        )
    );
    server.stop().await;
}
