//! The same over the wire: fields, streams, roles of callers.

use ambit::callers::Role;
use ambit::grpc::status::Reason;
use ambit::grpc::wire as messages;
use ambit::grpc::wire::partition_service_client::PartitionServiceClient;
use tonic::transport::Channel;

use crate::callers::wire::with;
use crate::callers::{MINE, Scene, make};
use crate::grpc::reason;

fn client(scene: &Scene) -> PartitionServiceClient<Channel> {
    PartitionServiceClient::new(scene.server.channel.clone())
}

fn contacts(ids: &[&str]) -> Option<messages::ResourceSelection> {
    Some(messages::ResourceSelection {
        resource_type: "contact".to_owned(),
        selection: Some(messages::resource_selection::Selection::Ids(
            messages::ResourceIds {
                ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            },
        )),
    })
}

fn assign(actor: &str) -> messages::AssignResourcesRequest {
    messages::AssignResourcesRequest {
        account_id: MINE.to_owned(),
        resources: contacts(&["c", "unknown"]),
        targets: vec![messages::Principal {
            principal: Some(messages::principal::Principal::UserId("u".to_owned())),
        }],
        actor_user_id: actor.to_owned(),
        idempotency_key: "k".to_owned(),
        ..messages::AssignResourcesRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_is_told_part_by_part_judged_by_its_actor_and_undone() {
    let write = make(&[Role::Write], &[]);
    let admin = make(&[Role::Admin], &[]);
    let scene = Scene::with(&[&write, &admin]).await;
    let (write, admin) = (Some(write.text.as_str()), Some(admin.text.as_str()));
    let mut partitions = client(&scene);
    // A caller that only writes names whose rights it is judged by.
    let unnamed = partitions.assign_resources(with(assign(""), write)).await;
    assert_eq!(reason(unnamed), Reason::ActorRequired);
    let nobody = partitions
        .assign_resources(with(assign("nobody"), write))
        .await;
    assert_eq!(reason(nobody), Reason::NoAssignAuthority);

    let mut last = None;
    for request in [with(assign(""), admin), with(assign(""), admin)] {
        let answers = partitions.assign_resources(request).await.unwrap();
        let mut answers = answers.into_inner();
        let mut refusals = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            let report = answer.report.unwrap();
            refusals.extend(report.refusals.clone());
            last = Some(report);
        }
        // The second call is told the same.
        let report = last.as_ref().unwrap();
        assert!(report.done);
        assert_eq!(report.batch_id, "k");
        let counts = report.counts.unwrap();
        assert_eq!((counts.changed, counts.refused), (1, 1));
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].reason, "RESOURCE_NOT_FOUND");
    }
    let undo = messages::UndoBatchRequest {
        account_id: MINE.to_owned(),
        batch_id: "k".to_owned(),
        ..messages::UndoBatchRequest::default()
    };
    let answers = partitions
        .undo_batch(with(undo.clone(), admin))
        .await
        .unwrap();
    let mut answers = answers.into_inner();
    while let Some(answer) = answers.message().await.unwrap() {
        last = answer.report;
    }
    assert_eq!(last.unwrap().counts.unwrap().changed, 1);
    let unknown = messages::UndoBatchRequest {
        batch_id: "unknown".to_owned(),
        ..undo
    };
    let unknown = partitions.undo_batch(with(unknown, admin)).await;
    assert_eq!(reason(unknown), Reason::BatchNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_bulk_names_its_field() {
    let admin = make(&[Role::Admin], &[]);
    let scene = Scene::with(&[&admin]).await;
    let admin = Some(admin.text.as_str());
    let mut partitions = client(&scene);
    type Spoil = fn(&mut messages::AssignResourcesRequest);
    let filter = |request: &mut messages::AssignResourcesRequest,
                  filter: messages::ResourceFilter| {
        request.resources = Some(messages::ResourceSelection {
            resource_type: "contact".to_owned(),
            selection: Some(messages::resource_selection::Selection::Filter(filter)),
        });
    };
    let mut spoiled: Vec<(messages::AssignResourcesRequest, &str)> = Vec::new();
    let cases: [(Spoil, &str); 8] = [
        (|request| request.resources = None, "resources"),
        (
            |request| request.resources = contacts(&[]),
            "resources.ids.ids",
        ),
        (
            |request| request.resources = contacts(&[""]),
            "resources.ids.ids[0]",
        ),
        (|request| request.targets.clear(), "targets"),
        (
            |request| request.targets.push(messages::Principal::default()),
            "targets[1]",
        ),
        (|request| request.mode = 99, "mode"),
        (
            |request| request.idempotency_key = "\n".to_owned(),
            "idempotency_key",
        ),
        (
            |request| {
                request.mode = messages::AssignMode::Remove.into();
                request.expires_at = Some(prost_types::Timestamp::default());
            },
            "expires_at",
        ),
    ];
    for (spoil, field) in cases {
        let mut request = assign("");
        spoil(&mut request);
        spoiled.push((request, field));
    }
    for (found, field) in [
        (messages::ResourceFilter::default(), "resources.filter"),
        (
            messages::ResourceFilter {
                everything: true,
                owner_user_id: "u".to_owned(),
                ..messages::ResourceFilter::default()
            },
            "resources.filter",
        ),
        (
            messages::ResourceFilter {
                attributes_json: "[]".to_owned(),
                ..messages::ResourceFilter::default()
            },
            "resources.filter.attributes_json",
        ),
        (
            messages::ResourceFilter {
                owner_user_id: "nobody".to_owned(),
                ..messages::ResourceFilter::default()
            },
            "resources.filter.owner_user_id",
        ),
    ] {
        let mut request = assign("");
        filter(&mut request, found);
        spoiled.push((request, field));
    }
    for (request, field) in spoiled {
        let refused = partitions.assign_resources(with(request, admin)).await;
        let status = refused.unwrap_err();
        assert!(
            status.message().starts_with(&format!("{field}: ")),
            "{field}: {status:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_is_set_up_by_a_user_and_submitted_by_nobody_in_particular() {
    let write = make(&[Role::Write, Role::Check], &[]);
    let admin = make(&[Role::Admin], &[]);
    let scene = Scene::with(&[&write, &admin]).await;
    let (write, admin) = (Some(write.text.as_str()), Some(admin.text.as_str()));
    let mut partitions = client(&scene);
    let put = |actor: &str| messages::PutFormRequest {
        account_id: MINE.to_owned(),
        form: Some(messages::Form {
            id: "f".to_owned(),
            resource_type: "contact".to_owned(),
            targets: assign("").targets,
            ..messages::Form::default()
        }),
        actor_user_id: actor.to_owned(),
    };
    let unnamed = partitions.put_form(with(put(""), write)).await;
    assert_eq!(reason(unnamed), Reason::ActorRequired);
    let nobody = partitions.put_form(with(put("nobody"), write)).await;
    assert_eq!(reason(nobody), Reason::NoAssignAuthority);
    let mut given = put("");
    given.form.as_mut().unwrap().may_close = true;
    let given = partitions.put_form(with(given, admin)).await;
    assert_eq!(reason(given), Reason::InvalidField);
    let kept = partitions.put_form(with(put(""), admin)).await.unwrap();
    let kept = kept.into_inner().form.unwrap();
    assert!(kept.may_close && kept.author_user_id.is_empty());
    let list = messages::ListFormsRequest {
        account_id: MINE.to_owned(),
        ..messages::ListFormsRequest::default()
    };
    let listed = partitions.list_forms(with(list, write)).await.unwrap();
    assert_eq!(listed.into_inner().forms, [kept]);

    let submission = |form: &str| messages::SubmitFormRequest {
        account_id: MINE.to_owned(),
        form_id: form.to_owned(),
        resource_id: "submitted".to_owned(),
        attributes_json: "{\"country\": \"DE\"}".to_owned(),
        idempotency_key: "k".to_owned(),
    };
    let submitted = partitions.submit_form(with(submission("f"), write)).await;
    let submitted = submitted.unwrap().into_inner();
    assert!(submitted.created && submitted.withheld.is_empty());
    let again = partitions.submit_form(with(submission("f"), write)).await;
    assert_eq!(again.unwrap().into_inner().revision, submitted.revision);
    let unkeyed = messages::SubmitFormRequest {
        idempotency_key: String::new(),
        ..submission("unknown")
    };
    let unknown = partitions.submit_form(with(unkeyed, write)).await;
    assert_eq!(reason(unknown), Reason::FormNotFound);
    let delete = messages::DeleteFormRequest {
        account_id: MINE.to_owned(),
        form_id: "f".to_owned(),
        ..messages::DeleteFormRequest::default()
    };
    assert!(
        partitions
            .delete_form(with(delete.clone(), admin))
            .await
            .is_ok()
    );
    let gone = partitions.delete_form(with(delete, admin)).await;
    assert_eq!(reason(gone), Reason::FormNotFound);
}
