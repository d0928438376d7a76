//! The jobs over the wire: pages, reasons, the roles of callers.

use ambit::callers::Role;
use ambit::grpc::status::Reason;
use ambit::grpc::wire as messages;
use ambit::grpc::wire::change::Change as WireChange;

use crate::callers::wire::with;
use crate::callers::{MINE, Scene, make};
use crate::faults::replica::until;
use crate::grpc::reason;

fn put_segment(id: &str) -> messages::Change {
    messages::Change {
        change: Some(WireChange::PutSegment(messages::SegmentPatch {
            id: id.to_owned(),
            resource_type: Some("contact".to_owned()),
            when: Some("true".to_owned()),
            assign_to: Some(messages::PrincipalList {
                principals: vec![messages::Principal {
                    principal: Some(messages::principal::Principal::UserId("u".to_owned())),
                }],
            }),
            enabled: Some(true),
            may_partition: None,
        })),
    }
}

fn jobs(page_size: u32, page_token: &str) -> messages::ListSegmentJobsRequest {
    messages::ListSegmentJobsRequest {
        account_id: MINE.to_owned(),
        segment_id: String::new(),
        page_size,
        page_token: page_token.to_owned(),
    }
}

fn job(segment: &str, revision_number: Option<u64>) -> messages::GetSegmentJobRequest {
    messages::GetSegmentJobRequest {
        account_id: MINE.to_owned(),
        segment_id: segment.to_owned(),
        revision_number,
    }
}

fn recalculate(segment: &str, dry_run: bool) -> messages::RecalculateSegmentRequest {
    messages::RecalculateSegmentRequest {
        account_id: MINE.to_owned(),
        segment_id: segment.to_owned(),
        dry_run,
        instead: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_read_in_pages_and_what_is_not_there_has_its_reason() {
    let read = make(&[Role::Check], &[]);
    let write = make(&[Role::Write], &[]);
    let admin = make(&[Role::Admin], &[]);
    let scene = Scene::with(&[&read, &write, &admin]).await;
    let (read, write) = (Some(read.text.as_str()), Some(write.text.as_str()));
    let admin = Some(admin.text.as_str());
    let changes = messages::ApplyChangesRequest {
        account_id: MINE.to_owned(),
        changes: vec![put_segment("a"), put_segment("b"), put_segment("c")],
        ..messages::ApplyChangesRequest::default()
    };
    let changes = with(tokio_stream::iter([changes]), admin);
    scene
        .server
        .directory()
        .apply_changes(changes)
        .await
        .unwrap();
    let partitions = scene.server.partitions();
    until("all three are done", async || {
        let all = partitions
            .clone()
            .list_segment_jobs(with(jobs(0, ""), read))
            .await;
        let all = all.unwrap().into_inner().jobs;
        all.len() == 3
            && all
                .iter()
                .all(|job| job.state() == messages::SegmentJobState::Done)
    })
    .await;
    let mut partitions = partitions;
    let first = partitions.list_segment_jobs(with(jobs(2, ""), read)).await;
    let first = first.unwrap().into_inner();
    let second = jobs(2, &first.next_page_token);
    let second = partitions
        .list_segment_jobs(with(second, read))
        .await
        .unwrap();
    let second = second.into_inner();
    assert_eq!(second.next_page_token, "");
    let all: Vec<&str> = first
        .jobs
        .iter()
        .chain(&second.jobs)
        .map(|job| job.segment_id.as_str())
        .collect();
    assert_eq!(all, ["a", "b", "c"]);
    let forged = partitions
        .list_segment_jobs(with(jobs(2, "AAAA"), read))
        .await;
    assert_eq!(reason(forged), Reason::PageTokenInvalid);

    let newest = partitions
        .get_segment_job(with(job("a", None), read))
        .await
        .unwrap();
    let newest = newest.into_inner().job.unwrap();
    let named = job("a", Some(newest.revision_number));
    let named = partitions.get_segment_job(with(named, read)).await.unwrap();
    assert_eq!(named.into_inner().job, Some(newest));
    let never = partitions
        .get_segment_job(with(job("a", Some(1)), read))
        .await;
    assert_eq!(reason(never), Reason::SegmentJobNotFound);
    let unknown = partitions
        .get_segment_job(with(job("none", None), read))
        .await;
    assert_eq!(reason(unknown), Reason::SegmentNotFound);
    for dry_run in [false, true] {
        let unknown = with(recalculate("none", dry_run), write);
        let unknown = partitions.recalculate_segment(unknown).await;
        assert_eq!(reason(unknown), Reason::SegmentNotFound);
    }
    let reader = partitions
        .recalculate_segment(with(recalculate("a", true), read))
        .await;
    assert_eq!(reason(reader), Reason::RoleMissing);
    let other = messages::RecalculateSegmentRequest {
        instead: Some(messages::Segment {
            id: "b".to_owned(),
            ..messages::Segment::default()
        }),
        ..recalculate("a", true)
    };
    let other = partitions.recalculate_segment(with(other, write)).await;
    assert_eq!(reason(other), Reason::InvalidField);
}
