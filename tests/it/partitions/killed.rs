//! A server that is killed in the middle of a bulk, again and again: what is taken up by the same
//! call does each resource once.

use super::*;
use ambit::grpc::wire as messages;
use ambit::grpc::wire::partition_service_client::PartitionServiceClient;
use ambit::partitions::bulk::PART_RESOURCES;

use super::bulks::many;
use crate::served::Served;

fn assign_all() -> messages::AssignResourcesRequest {
    messages::AssignResourcesRequest {
        account_id: "acme".to_owned(),
        resources: Some(messages::ResourceSelection {
            resource_type: "contact".to_owned(),
            selection: Some(messages::resource_selection::Selection::Filter(
                messages::ResourceFilter {
                    everything: true,
                    ..messages::ResourceFilter::default()
                },
            )),
        }),
        targets: vec![messages::Principal {
            principal: Some(messages::principal::Principal::TeamId("fr".to_owned())),
        }],
        idempotency_key: "big".to_owned(),
        ..messages::AssignResourcesRequest::default()
    }
}

/// Kills the server after so many parts of each call, until a call comes to its end.
async fn assert_survives(count: usize, parts_each: usize) {
    let scene = Scene::new().await;
    many(&scene, count).await;
    let before = scene.revision().await;
    let mut kills = 0;
    let mut kill_at = 0;
    let counts = 'bulk: loop {
        let server = Served::start(&scene.database, &[], &[]).await;
        let mut partitions = PartitionServiceClient::new(server.channel.clone());
        let answers = partitions.assign_resources(assign_all()).await.unwrap();
        let mut answers = answers.into_inner();
        kill_at += (parts_each * PART_RESOURCES) as u64;
        while let Some(answer) = answers.message().await.unwrap() {
            let report = answer.report.unwrap();
            let counts = report.counts.unwrap();
            if report.done {
                break 'bulk counts;
            }
            if counts.changed >= kill_at {
                break;
            }
        }
        // By SIGKILL, wherever the next part stands.
        drop(server);
        kills += 1;
    };
    assert!(kills >= 2, "{kills} kills");
    let total = count + 4;
    assert_eq!(
        (counts.changed, counts.unchanged, counts.refused),
        (total as u64, 0, 0)
    );
    let parts = (total / PART_RESOURCES + 1) as u64;
    assert_eq!(scene.revision().await - before, parts, "none written twice");
    let account = id("acme");
    let graphs = &scene.replica.graphs;
    let read = graphs.read(&account, &Consistency::FullyConsistent);
    let read = read.await.unwrap();
    assert_eq!(read.graph.resources_of_team("fr").len(), total);
    // And what is kept of it takes back each of them.
    let undone = scene.run(request(Work::UndoBatch(id("big")))).await;
    assert_eq!(undone.unwrap().counted(), (total as u64, 0, 0));
    let read = graphs.read(&account, &Consistency::FullyConsistent);
    let read = read.await.unwrap();
    assert_eq!(read.graph.resources_of_team("fr").len(), 0);
}

#[tokio::test]
async fn p3_a_server_that_is_killed_in_a_bulk_loses_nothing_and_doubles_nothing() {
    assert_survives(4 * PART_RESOURCES + 77, 1).await;
}

#[tokio::test]
async fn p3_a_bulk_of_a_hundred_thousand_survives_the_server_being_killed() {
    if std::env::var_os("AMBIT_SOAK").is_some() {
        assert_survives(100_000, 20).await;
    }
}
