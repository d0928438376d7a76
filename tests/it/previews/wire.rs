//! `PreviewChanges` and `ListPreviewedAccess` on a running server.

use std::collections::BTreeSet;

use ambit::authz::document::parse_file;
use ambit::grpc::convert::change_to_wire;
use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use tonic::Status;

use crate::grpc::server::{TestServer, at_least, change, list, put_contact};
use crate::grpc::{collect, names, refused};

async fn served() -> (TestServer, String) {
    let server = TestServer::start().await;
    let documents = parse_file(super::ACCOUNT, &mut super::none).unwrap();
    let revision = server.write(documents).await.remove(0).1;
    (server, revision)
}

fn moved() -> Vec<wire::Change> {
    let document = "teams: [{id: de, parent: us}]";
    super::changes(document)
        .iter()
        .map(change_to_wire)
        .collect()
}

fn header(changes: Vec<wire::Change>) -> wire::PreviewChangesRequest {
    wire::PreviewChangesRequest {
        account_id: "acme".to_owned(),
        changes,
        ..wire::PreviewChangesRequest::default()
    }
}

async fn previewed(
    server: &TestServer,
    messages: Vec<wire::PreviewChangesRequest>,
) -> Result<Vec<wire::PreviewChangesResponse>, Status> {
    let mut client = server.partitions();
    let parts = client.preview_changes(tokio_stream::iter(messages)).await?;
    collect(parts.into_inner()).await
}

fn listing(user: &str, changes: Vec<wire::Change>) -> wire::ListPreviewedAccessRequest {
    wire::ListPreviewedAccessRequest {
        account_id: "acme".to_owned(),
        user_id: user.to_owned(),
        resource_type: "contact".to_owned(),
        action: "view".to_owned(),
        changes,
        ..wire::ListPreviewedAccessRequest::default()
    }
}

async fn listed(
    server: &TestServer,
    messages: Vec<wire::ListPreviewedAccessRequest>,
) -> Result<Vec<wire::ListPreviewedAccessResponse>, Status> {
    let mut client = server.partitions();
    let parts = client.list_previewed_access(tokio_stream::iter(messages));
    collect(parts.await?.into_inner()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_8_a_preview_is_what_comes_and_changes_nothing() {
    let (server, revision) = served().await;
    let parts = previewed(&server, vec![header(moved())]).await.unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].revision, revision);
    let preview = parts[0].preview.clone().unwrap();
    let summary = preview.summary.unwrap();
    assert_eq!(summary.differences_total, 4);
    assert_eq!((summary.locked_out_total, summary.locked_in_total), (2, 0));
    assert!(summary.at.is_some());
    let us1 = &preview.differences[2];
    assert_eq!((us1.user_id.as_str(), us1.gained, us1.lost), ("us1", 2, 0));
    assert_eq!(us1.gained_sample_ids, ["c1", "c2"]);
    let access = listed(&server, vec![listing("us1", moved())])
        .await
        .unwrap();
    assert_eq!(access[0].gained_total, Some(2));
    assert_eq!(access[0].gained_ids, ["c1", "c2"]);
    assert_eq!(access[0].lost_ids, [""; 0]);
    // The account stands where it stood.
    let again = previewed(&server, vec![header(Vec::new())]).await.unwrap();
    assert_eq!(again[0].revision, revision);
    assert_eq!(again[0].preview.clone().unwrap().differences.len(), 0);
    server.stop().await;
}

/// P2: a list of thousands comes whole, in parts, and so do the ids behind the samples.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_of_many_comes_whole_in_parts() {
    let server = TestServer::start().await;
    let contacts = names("c", 20_000);
    server.make_account("acme", &contacts).await;
    let drop_grant = || {
        vec![change(wire::change::Change::SetGrants(wire::SetGrants {
            holder: Some(wire::set_grants::Holder::UserId("u".to_owned())),
            resource_type: "contact".to_owned(),
            permission: "view".to_owned(),
            ..wire::SetGrants::default()
        }))]
    };
    let access = listed(&server, vec![listing("u", drop_grant())])
        .await
        .unwrap();
    assert!(access.len() > 1, "one part of 20,000 ids");
    assert_eq!(access[0].lost_total, Some(20_000));
    let ids: BTreeSet<&String> = access.iter().flat_map(|part| &part.lost_ids).collect();
    assert!(ids.into_iter().eq(&contacts));
    // Every contact that is made is one more, told by a sample and counted.
    let more = names("d", 3_000);
    let made = more.iter().map(|id| put_contact(id));
    let parts = previewed(&server, vec![header(made.collect())])
        .await
        .unwrap();
    let preview = parts[0].preview.clone().unwrap();
    let of_u = preview
        .differences
        .iter()
        .find(|one| one.user_id == "u")
        .unwrap();
    assert_eq!((of_u.gained, of_u.gained_sample_ids.len()), (3_000, 5));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_what_a_write_refuses_a_preview_refuses_with_the_same_words() {
    let (server, _) = served().await;
    let demote = vec![change(wire::change::Change::DeleteUser("sa".to_owned()))];
    let written = server.apply("acme", demote.clone()).await;
    let (reason, field) = refused(written);
    assert_eq!(reason, Reason::LastSuperAdmin);
    let looked_at = previewed(&server, vec![header(demote.clone())]).await;
    assert_eq!(refused(looked_at), (reason, field.clone()));
    let list = listed(&server, vec![listing("us1", demote)]).await;
    assert_eq!(refused(list), (reason, field));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_is_checked_field_by_field() {
    let (server, revision) = served().await;
    let stands = wire::PreviewChangesRequest {
        expected_revision: revision,
        ..header(moved())
    };
    assert!(previewed(&server, vec![stands.clone()]).await.is_ok());
    server.apply("acme", vec![put_contact("c9")]).await.unwrap();
    let cases = [
        (vec![stands], Reason::RevisionMismatch, "expected_revision"),
        (
            vec![wire::PreviewChangesRequest {
                actor_user_id: "nobody".to_owned(),
                ..header(moved())
            }],
            Reason::ActorMayNot,
            "actor_user_id",
        ),
        (
            vec![header(moved()), header(moved())],
            Reason::InvalidField,
            "account_id",
        ),
        (
            vec![wire::PreviewChangesRequest {
                account_id: "other".to_owned(),
                ..header(vec![put_contact("c9")])
            }],
            Reason::AccountNotFound,
            "account_id",
        ),
        (Vec::new(), Reason::InvalidField, "account_id"),
    ];
    for (messages, reason, field) in cases {
        let told = refused(previewed(&server, messages).await);
        assert_eq!(told, (reason, Some(field.to_owned())));
    }
    let unknown = wire::ListPreviewedAccessRequest {
        action: "wave".to_owned(),
        ..listing("us1", moved())
    };
    let told = refused(listed(&server, vec![unknown]).await);
    assert_eq!(told, (Reason::UnknownAction, Some("action".to_owned())));
    // The control, and a later message with changes alone.
    let more = wire::PreviewChangesRequest {
        changes: vec![put_contact("c10")],
        ..wire::PreviewChangesRequest::default()
    };
    let parts = previewed(&server, vec![header(moved()), more])
        .await
        .unwrap();
    let differences = parts[0].preview.clone().unwrap().differences;
    assert!(
        differences
            .iter()
            .any(|one| one.gained_sample_ids.contains(&"c1".to_owned()))
    );
    server.stop().await;
}

/// P2: the dry run of a write has a preview, and the write has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_tells_what_it_would_do_to_access() {
    let (server, _) = served().await;
    let write = |dry_run: bool| {
        vec![wire::ApplyChangesRequest {
            account_id: "acme".to_owned(),
            dry_run,
            changes: moved(),
            ..wire::ApplyChangesRequest::default()
        }]
    };
    let dry = server.send(write(true)).await.unwrap();
    let summary = dry.preview.clone().unwrap().summary.unwrap();
    assert_eq!(summary.differences_total, 4);
    assert_eq!(dry.preview_refused, "");
    let made = server.send(write(false)).await.unwrap();
    assert_eq!((made.preview, made.summary), (None, dry.summary));
    // What was told has come.
    let seen = server
        .decisions()
        .list_accessible(wire::ListAccessibleRequest {
            user_id: "us1".to_owned(),
            consistency: at_least(&made.revision),
            ..list("acme")
        })
        .await
        .unwrap();
    let seen = collect(seen.into_inner()).await.unwrap();
    let seen: BTreeSet<&str> = seen
        .iter()
        .flat_map(|part| part.ids.iter().map(String::as_str))
        .collect();
    assert_eq!(seen, BTreeSet::from(["c1", "c2", "c3"]));
    server.stop().await;
}

/// P2: the preview of a bulk comes whole before the bulk is done, whatever its size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_a_dry_run_of_a_bulk_tells_a_whole_preview_before_it_is_done() {
    let server = TestServer::start().await;
    let contacts = names("c", 5_000);
    server.make_account("acme", &contacts).await;
    let mut client = server.partitions();
    let request = |mode: wire::AssignMode, dry_run| wire::AssignResourcesRequest {
        account_id: "acme".to_owned(),
        resources: Some(wire::ResourceSelection {
            resource_type: "contact".to_owned(),
            selection: Some(wire::resource_selection::Selection::Filter(
                wire::ResourceFilter {
                    everything: true,
                    ..wire::ResourceFilter::default()
                },
            )),
        }),
        mode: mode.into(),
        targets: vec![wire::Principal {
            principal: Some(wire::principal::Principal::UserId("u".to_owned())),
        }],
        dry_run,
        ..wire::AssignResourcesRequest::default()
    };
    let mut told = async |mode, dry_run| {
        let answers = client.assign_resources(request(mode, dry_run)).await;
        let answers = collect(answers.unwrap().into_inner()).await.unwrap();
        let reports = answers.into_iter().map(|answer| answer.report.unwrap());
        reports.collect::<Vec<_>>()
    };
    // The control: what is done tells no preview.
    let done = told(wire::AssignMode::Add, false).await;
    assert!(done.iter().all(|report| report.preview.is_none()));
    let tried = told(wire::AssignMode::Remove, true).await;
    let (last, before) = tried.split_last().unwrap();
    assert!(last.done && last.preview.is_none() && last.preview_refused.is_empty());
    assert!(before.iter().all(|report| !report.done));
    assert_eq!(last.counts.unwrap().orphaned, 5_000);
    let parts: Vec<_> = before
        .iter()
        .filter_map(|report| report.preview.as_ref())
        .collect();
    assert!(parts.len() > 1, "5,000 orphans in one part");
    let summary = parts[0].summary.as_ref().unwrap();
    assert_eq!(summary.orphaned_total, 5_000);
    assert!(parts[1..].iter().all(|part| part.summary.is_none()));
    let orphans: BTreeSet<&String> = parts
        .iter()
        .flat_map(|part| &part.orphaned)
        .map(|orphan| &orphan.resource_id)
        .collect();
    assert!(orphans.into_iter().eq(&contacts));
    server.stop().await;
}
