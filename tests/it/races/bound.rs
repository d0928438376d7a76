//! A client that has ended the partnership is out of an agency's reach: for calls that name the
//! revision and for the agency's own calls at once, for all others within the bound of staleness.

use super::*;
use crate::grpc::reason;
use crate::grpc::server::at_least;
use ambit::grpc::status::Reason;

/// `staleness_bound_ms` is 2,000 by default; a shared machine takes its time to say so.
const BOUND: Duration = Duration::from_secs(5);

fn check(user: &str, consistency: Option<wire::Consistency>) -> wire::CheckRequest {
    wire::CheckRequest {
        account_id: "acme".to_owned(),
        user_id: user.to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        consistency,
        ..wire::CheckRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_an_ended_partnership_is_over_on_every_server_within_the_bound() {
    use ambit::clock::Clock as _;
    let pair = Pair::new().await;
    let staff = super::clients::add(pair.at(0), "anna", "readers")
        .await
        .unwrap();
    let clock = SystemClock::new();
    for round in 0..by_soak(3, 200) {
        for user in ["petra-k", &staff] {
            for at in 0..2 {
                let warm = check(user, fully_consistent());
                let answer = pair.at(at).decisions().check(warm).await.unwrap();
                assert_eq!(answer.into_inner().reason, "TOOL", "the control: {user}");
            }
        }
        let ended = super::clients::end(pair.at(round)).await.unwrap();
        let committed = clock.monotonic();
        // Whoever names the revision is answered by it, and the agency's calls read it themselves.
        for at in 0..2 {
            for user in ["petra-k", &staff] {
                let asked = check(user, at_least(&ended.revision));
                let answer = pair.at(at).decisions().check(asked).await.unwrap();
                assert_eq!(answer.into_inner().reason, "PARTNERSHIP_INACTIVE");
            }
            let added = super::clients::add(pair.at(at), "bert", "readers").await;
            assert_eq!(reason(added), Reason::NotPartnerAdmin);
            let previewed = super::clients::preview(pair.at(at), "anna").await;
            // It tells which client stands in the way, and is confirmed for none.
            let removed = match previewed {
                Ok(token) => super::clients::remove(pair.at(at), "anna", token).await,
                Err(refused) => Err(refused),
            };
            assert_eq!(reason(removed), Reason::NotPartnerAdmin);
        }
        // Without a revision, a server that is behind is so for no longer than the bound.
        for at in 0..2 {
            loop {
                let asked_at = clock.monotonic();
                let asked = check(&staff, None);
                let answer = pair.at(at).decisions().check(asked).await.unwrap();
                if answer.into_inner().reason == "PARTNERSHIP_INACTIVE" {
                    break;
                }
                assert!(asked_at < committed + BOUND, "server {at} in round {round}");
            }
        }
        pair.operate(
            "acme",
            "users:
              - {id: petra-k, partner: {account: kite, user: petra, role: admin}}
              - {id: anna-k, partner: {account: kite, user: anna, role: employee}}",
        )
        .await;
    }
    pair.stop().await;
}
