//! Case 40: who made a change is told by the credential that made it, and read by whoever may.

use ambit::authz::model::Id;
use ambit::callers::Role;
use ambit::grpc::status::Reason;
use ambit::grpc::wire as messages;
use tonic::Status;

use super::wire::with;
use super::{FOREIGN, MINE, Made, Scene, UNKNOWN, make, some_changes};
use crate::grpc::server::{delete_contact, put_contact, put_user};
use crate::grpc::{reason, refused};

fn named(name: &str, accounts: &[&str]) -> Made {
    let mut made = make(&[Role::Admin], accounts);
    made.kept.name = Id::parse(name).unwrap();
    made
}

fn asked(account: &str) -> messages::ListAuditRecordsRequest {
    messages::ListAuditRecordsRequest {
        account_id: account.to_owned(),
        ..messages::ListAuditRecordsRequest::default()
    }
}

impl Scene {
    async fn page(
        &self,
        request: messages::ListAuditRecordsRequest,
        token: &Made,
    ) -> Result<messages::ListAuditRecordsResponse, Status> {
        let mut directory = self.server.directory();
        let answer = directory
            .list_audit_records(with(request, Some(&token.text)))
            .await?;
        Ok(answer.into_inner())
    }

    async fn records(
        &self,
        request: messages::ListAuditRecordsRequest,
        token: &Made,
    ) -> Vec<messages::AuditRecord> {
        let page = self.page(request, token).await.unwrap();
        assert_eq!(page.next_page_token, "");
        page.records
    }

    async fn write(
        &self,
        changes: Vec<messages::Change>,
        key: &str,
        token: &Made,
    ) -> Result<String, Status> {
        let message = messages::ApplyChangesRequest {
            account_id: MINE.to_owned(),
            idempotency_key: key.to_owned(),
            changes,
            ..messages::ApplyChangesRequest::default()
        };
        let mut request = with(tokio_stream::once(message), Some(&token.text));
        let metadata = request.metadata_mut();
        metadata.insert("x-request-id", "request-17".parse().unwrap());
        // What a caller says of itself elsewhere counts for nothing.
        metadata.insert("caller", "token:someone-else".parse().unwrap());
        let answer = self.server.directory().apply_changes(request).await?;
        Ok(answer.into_inner().revision)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_40_a_record_names_the_token_that_made_the_change() {
    let (crm, billing) = (named("crm", &[MINE]), named("billing", &[]));
    let reader = make(&[Role::Check, Role::Request, Role::Write], &[MINE]);
    let scene = Scene::with(&[&crm, &billing, &reader]).await;
    scene.write(some_changes(), "k-1", &crm).await.unwrap();
    let again = scene.write(some_changes(), "k-1", &crm).await;
    assert!(again.is_ok());
    let deletion = scene
        .write(vec![delete_contact("more")], "", &billing)
        .await;
    assert!(deletion.is_ok());
    // The control: what is refused, and what is no credential, leaves nothing.
    let role = scene.write(vec![put_contact("x")], "", &reader).await;
    assert_eq!(reason(role), Reason::ActorRequired);
    let unknown = named("crm", &[]);
    let stranger = scene.write(vec![put_contact("x")], "", &unknown).await;
    assert_eq!(reason(stranger), Reason::Unauthenticated);

    let [last, first, made] = scene.records(asked(MINE), &crm).await.try_into().unwrap();
    // From before anybody was asked who they were.
    assert_eq!((made.caller.as_str(), made.revision_number), ("", 1));
    assert_eq!(made.effect(), messages::AuditEffect::Created);
    assert_eq!(first.caller, "token:crm");
    assert_eq!(first.method, "ApplyChanges");
    assert_eq!(first.idempotency_key, "k-1");
    assert_eq!(first.request_id, "request-17");
    assert_eq!(first.revision_number, 2);
    assert!(first.at.is_some() && !first.partial);
    let counts: Vec<(&str, u64)> = first
        .counts
        .iter()
        .map(|(kind, count)| (kind.as_str(), *count))
        .collect();
    assert_eq!(counts, [("resource", 1), ("user", 1)]);
    assert_eq!(last.caller, "token:billing");
    let gone = messages::AuditedEntity {
        key: Some(messages::EntityKey {
            kind: messages::EntityKind::Resource.into(),
            id: "more".to_owned(),
            resource_type: "contact".to_owned(),
        }),
        deleted: true,
    };
    assert_eq!(last.entities, [gone]);
    let shown = format!("{first:?}{last:?}");
    assert!(!shown.contains(&crm.text) && !shown.contains(&billing.text));

    // Who may not is told so, and of a foreign account nothing.
    let role = scene.page(asked(MINE), &reader).await;
    assert_eq!(reason(role), Reason::RoleMissing);
    let (foreign, unknown) = (
        scene.page(asked(FOREIGN), &crm).await,
        scene.page(asked(UNKNOWN), &billing).await,
    );
    assert_eq!(reason(foreign), Reason::AccountNotFound);
    assert_eq!(reason(unknown), Reason::AccountNotFound);
    let control = scene.records(asked(FOREIGN), &billing).await;
    assert_eq!(control.len(), 1);

    // The records outlive the account, for whoever may name it.
    let delete = messages::DeleteAccountRequest {
        account_id: MINE.to_owned(),
        ..messages::DeleteAccountRequest::default()
    };
    let mut directory = scene.server.directory();
    let deleted = directory.delete_account(with(delete, Some(&crm.text)));
    assert!(deleted.await.is_ok());
    let kept = scene.records(asked(MINE), &crm).await;
    assert_eq!(kept.len(), 4);
    assert_eq!(kept[0].effect(), messages::AuditEffect::Deleted);
    assert_eq!(kept[0].caller, "token:crm");
    assert_eq!(kept[0].revision_number, 0);
    let none = messages::ListAuditRecordsRequest {
        caller: "token:nobody".to_owned(),
        ..asked(MINE)
    };
    assert_eq!(scene.records(none, &crm).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_filtered_and_paged_and_bad_filters_name_their_field() {
    let (crm, billing) = (named("crm", &[]), named("billing", &[]));
    let scene = Scene::with(&[&crm, &billing]).await;
    for number in 0..7 {
        let by = if number % 2 == 0 { &crm } else { &billing };
        let changes = vec![put_contact(&format!("c{number}"))];
        scene.write(changes, "", by).await.unwrap();
    }
    scene
        .write(vec![put_user("more", None)], "", &crm)
        .await
        .unwrap();
    let revisions = |records: &[messages::AuditRecord]| -> Vec<u64> {
        records
            .iter()
            .map(|record| record.revision_number)
            .collect()
    };

    // Both orders, in pages; the token is good for the same question only.
    for (order, expected) in [
        (
            messages::AuditOrder::Unspecified,
            (1..=9).rev().collect::<Vec<_>>(),
        ),
        (messages::AuditOrder::OldestFirst, (1..=9).collect()),
    ] {
        let mut request = messages::ListAuditRecordsRequest {
            page_size: 4,
            order: order.into(),
            ..asked(MINE)
        };
        let mut seen = Vec::new();
        loop {
            let page = scene.page(request.clone(), &crm).await.unwrap();
            assert!(page.records.len() <= 4);
            seen.extend(revisions(&page.records));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            for other in [
                messages::ListAuditRecordsRequest {
                    caller: "token:crm".to_owned(),
                    ..request.clone()
                },
                messages::ListAuditRecordsRequest {
                    account_id: FOREIGN.to_owned(),
                    ..request.clone()
                },
                messages::ListAuditRecordsRequest {
                    page_token: format!("{}A", request.page_token),
                    ..request.clone()
                },
            ] {
                let (reason, field) = refused(scene.page(other, &crm).await);
                assert_eq!(reason, Reason::PageTokenInvalid);
                assert_eq!(field.as_deref(), Some("page_token"));
            }
        }
        assert_eq!(seen, expected, "{order:?}");
    }

    let found = async |request| revisions(&scene.records(request, &crm).await);
    let by_billing = messages::ListAuditRecordsRequest {
        caller: "token:billing".to_owned(),
        ..asked(MINE)
    };
    assert_eq!(found(by_billing).await, [7, 5, 3]);
    let of_users = messages::ListAuditRecordsRequest {
        kind: messages::EntityKind::User.into(),
        ..asked(MINE)
    };
    assert_eq!(found(of_users).await, [9, 1]);
    let entity = |kind: messages::EntityKind, id: &str, resource_type: &str| {
        messages::ListAuditRecordsRequest {
            entity: Some(messages::EntityKey {
                kind: kind.into(),
                id: id.to_owned(),
                resource_type: resource_type.to_owned(),
            }),
            ..asked(MINE)
        }
    };
    let resource = messages::EntityKind::Resource;
    assert_eq!(found(entity(resource, "c3", "contact")).await, [5]);
    assert_eq!(found(entity(resource, "c3", "deal")).await, [0; 0]);
    let all = scene.records(asked(MINE), &crm).await;
    let since = messages::ListAuditRecordsRequest {
        since: all[0].at,
        ..asked(MINE)
    };
    assert_eq!(found(since).await.first(), Some(&9));
    let until = messages::ListAuditRecordsRequest {
        until: all[8].at,
        ..asked(MINE)
    };
    assert_eq!(found(until).await, [0; 0]);

    let beyond = Some(prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: 0,
    });
    for (field, request) in [
        ("entity.id", entity(resource, "", "contact")),
        (
            "entity.kind",
            entity(messages::EntityKind::Unspecified, "c3", ""),
        ),
        (
            "kind",
            messages::ListAuditRecordsRequest {
                kind: 99,
                ..asked(MINE)
            },
        ),
        (
            "order",
            messages::ListAuditRecordsRequest {
                order: 99,
                ..asked(MINE)
            },
        ),
        (
            "actor_user_id",
            messages::ListAuditRecordsRequest {
                actor_user_id: "a\nb".to_owned(),
                ..asked(MINE)
            },
        ),
        (
            "caller",
            messages::ListAuditRecordsRequest {
                caller: "x".repeat(257),
                ..asked(MINE)
            },
        ),
        (
            "since",
            messages::ListAuditRecordsRequest {
                since: beyond,
                ..asked(MINE)
            },
        ),
        (
            "until",
            messages::ListAuditRecordsRequest {
                until: beyond,
                ..asked(MINE)
            },
        ),
    ] {
        let (reason, blamed) = refused(scene.page(request, &crm).await);
        assert_eq!(reason, Reason::InvalidField, "{field}");
        assert_eq!(blamed.as_deref(), Some(field));
    }
}
