//! How far the rules of segments are: who has an account in hand, up to where it was looked at, and
//! the jobs.

use super::*;
use ambit::authz::segment::Settled;
use ambit::store::segment_jobs::{
    FollowedAccount, JOBS_KEPT, JobCause, JobFilter, JobState, SegmentJob, SegmentJobs,
};

pub(super) fn clauses() -> Vec<Clause> {
    vec![
        jobs_clause("an account with segments is followed", followed),
        jobs_clause("one at a time has an account in hand", in_hand),
        jobs_clause("a job is kept as it is", kept_as_it_is),
        jobs_clause("a later job takes the place of earlier ones", replaced),
        jobs_clause(
            "jobs go with the account and take no revision",
            with_the_account,
        ),
    ]
}

fn jobs_clause<Run, Running>(name: &'static str, test: Run) -> Clause
where
    Run: Fn(Arc<dyn Store>, Arc<dyn SegmentJobs>) -> Running + 'static,
    Running: Future<Output = ()> + 'static,
{
    Clause {
        name,
        run: Box::new(move |fresh| Box::pin(test(fresh.store.clone(), fresh.segment_jobs.clone()))),
    }
}

const FIRST: [u8; 16] = [1; 16];
const SECOND: [u8; 16] = [2; 16];

fn at(second: u32) -> Timestamp {
    time(&format!("2026-11-30T13:00:{second:02}.000001Z"))
}

fn job(segment: &str, revision: u64, state: JobState) -> SegmentJob {
    SegmentJob {
        state,
        ..SegmentJob::new(id(segment), revision, JobCause::RuleChanged, at(0))
    }
}

async fn list(jobs: &dyn SegmentJobs, filter: JobFilter<'_>, limit: u32) -> Vec<(String, u64)> {
    let found = jobs.segment_jobs(&id("acme"), filter, limit).await.unwrap();
    found
        .into_iter()
        .map(|job| (job.segment.to_string(), job.revision))
        .collect()
}

async fn followed_only(jobs: &dyn SegmentJobs, after: Option<&str>) -> Vec<FollowedAccount> {
    let after = after.map(id);
    jobs.accounts_to_reconcile(after.as_ref(), 10)
        .await
        .unwrap()
}

async fn followed(store: Arc<dyn Store>, jobs: Arc<dyn SegmentJobs>) {
    apply(&*store, "acme", &everything()).await;
    apply(
        &*store,
        "bonbon",
        &[put(Entity::Account(account("bonbon")))],
    )
    .await;
    let head = store.head(&id("acme")).await.unwrap().unwrap();
    let acme = |reconciled| FollowedAccount {
        account: id("acme"),
        head,
        reconciled,
    };
    let waiting = async |after| followed_only(&*jobs, after).await;
    assert_eq!(waiting(None).await, [acme(None)], "none without segments");
    assert_eq!(waiting(Some("acme")).await, []);
    assert!(
        jobs.claim_reconciling(&id("acme"), FIRST, at(0), at(10))
            .await
            .unwrap()
    );
    assert!(jobs.set_reconciled(&id("acme"), FIRST, head).await.unwrap());
    assert_eq!(waiting(None).await, []);
    let pending = job("gold", head.revision, JobState::Pending);
    assert!(
        jobs.put_segment_jobs(&id("acme"), &[pending])
            .await
            .unwrap()
    );
    assert_eq!(waiting(None).await, [acme(Some(head))], "a job to do");
    let done = job("gold", head.revision, JobState::Done);
    jobs.put_segment_jobs(&id("acme"), &[done]).await.unwrap();
    assert_eq!(waiting(None).await, []);
    let changed = apply(&*store, "acme", &[user("someone-else")]).await;
    let found = waiting(None).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].head, found[0].reconciled), (changed, Some(head)));
}

async fn in_hand(store: Arc<dyn Store>, jobs: Arc<dyn SegmentJobs>) {
    let head = apply(&*store, "acme", &everything()).await;
    let claim = async |holder, now, until| {
        jobs.claim_reconciling(&id("acme"), holder, now, until)
            .await
            .unwrap()
    };
    assert!(claim(FIRST, at(0), at(10)).await);
    assert!(!claim(SECOND, at(9), at(19)).await);
    assert!(claim(FIRST, at(9), at(20)).await, "whoever has it keeps it");
    assert!(!claim(SECOND, at(15), at(25)).await);
    assert!(
        !jobs
            .set_reconciled(&id("acme"), SECOND, head)
            .await
            .unwrap()
    );
    assert!(claim(SECOND, at(21), at(31)).await, "the lease has ended");
    assert!(!jobs.set_reconciled(&id("acme"), FIRST, head).await.unwrap());
    assert!(
        jobs.set_reconciled(&id("acme"), SECOND, head)
            .await
            .unwrap()
    );
    let nowhere = id("nowhere");
    assert!(
        !jobs
            .claim_reconciling(&nowhere, FIRST, at(0), at(1))
            .await
            .unwrap()
    );
    let lost = job("gold", 1, JobState::Pending);
    assert!(!jobs.put_segment_jobs(&nowhere, &[lost]).await.unwrap());
}

async fn kept_as_it_is(store: Arc<dyn Store>, jobs: Arc<dyn SegmentJobs>) {
    apply(&*store, "acme", &everything()).await;
    let whole = SegmentJob {
        segment: id("go\"ld' é\\"),
        revision: 7,
        state: JobState::Failed,
        cause: JobCause::Asked,
        position: Some(id("c'1\"\\")),
        records: 3,
        total: u64::from(u32::MAX) + 5,
        settled: Settled {
            matched: 4,
            added: 5,
            removed: 6,
            withheld: 7,
        },
        problem: Some("line 1, column 2: `x` is 'none' \\ é".to_owned()),
        created_at: at(1),
        updated_at: at(2),
        ended_at: Some(at(3)),
    };
    let bare = job("bare", 1, JobState::Pending);
    let put = [bare.clone(), whole.clone()];
    assert!(jobs.put_segment_jobs(&id("acme"), &put).await.unwrap());
    let found = jobs
        .segment_jobs(&id("acme"), JobFilter::default(), 10)
        .await;
    assert_eq!(found.unwrap(), [bare, whole.clone()]);
    let again = SegmentJob {
        records: 9,
        ..whole
    };
    jobs.put_segment_jobs(&id("acme"), std::slice::from_ref(&again))
        .await
        .unwrap();
    let filter = JobFilter {
        segment: Some(&again.segment),
        ..JobFilter::default()
    };
    let found = jobs.segment_jobs(&id("acme"), filter, 10).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&again));
}

async fn replaced(store: Arc<dyn Store>, jobs: Arc<dyn SegmentJobs>) {
    apply(&*store, "acme", &everything()).await;
    for revision in 1..=u64::from(JOBS_KEPT) + 5 {
        let put = [
            job("gold", revision, JobState::Running),
            job("old", 1, JobState::Done),
        ];
        jobs.put_segment_jobs(&id("acme"), &put).await.unwrap();
    }
    let newest = u64::from(JOBS_KEPT) + 5;
    let unfinished = JobFilter {
        unfinished: true,
        ..JobFilter::default()
    };
    let gold = |revision: u64| ("gold".to_owned(), revision);
    assert_eq!(list(&*jobs, unfinished, 10).await, [gold(newest)]);
    let all = list(&*jobs, JobFilter::default(), 100).await;
    assert_eq!(
        all.len(),
        usize::try_from(JOBS_KEPT).unwrap() + 1,
        "{all:?}"
    );
    assert_eq!(all[0], gold(newest));
    assert_eq!(all.last().unwrap(), &("old".to_owned(), 1));
    let last = id("gold");
    let after = JobFilter {
        after: Some((&last, newest - 1)),
        ..JobFilter::default()
    };
    assert_eq!(
        list(&*jobs, after, 2).await,
        [gold(newest - 2), gold(newest - 3)]
    );
}

async fn with_the_account(store: Arc<dyn Store>, jobs: Arc<dyn SegmentJobs>) {
    let head = apply(&*store, "acme", &everything()).await;
    assert!(
        jobs.claim_reconciling(&id("acme"), FIRST, at(0), at(10))
            .await
            .unwrap()
    );
    let put = [job("gold", 1, JobState::Pending)];
    jobs.put_segment_jobs(&id("acme"), &put).await.unwrap();
    assert_eq!(store.head(&id("acme")).await.unwrap(), Some(head));
    let author = Author::anyone("DeleteAccount");
    assert!(
        store
            .delete_account(&id("acme"), None, &author)
            .await
            .unwrap()
    );
    assert_eq!(jobs.accounts_to_reconcile(None, 10).await.unwrap(), []);
    apply(&*store, "acme", &everything()).await;
    assert!(list(&*jobs, JobFilter::default(), 10).await.is_empty());
    assert_eq!(
        jobs.accounts_to_reconcile(None, 10).await.unwrap()[0].reconciled,
        None
    );
}
