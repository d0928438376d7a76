//! An access request that is approved while its user is deactivated (R7).

use super::*;
use crate::access_requests::scene::{approval, object_grant, view};
use crate::grpc::reason;
use ambit::grpc::status::Reason;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_request_is_approved_before_its_user_is_deactivated_or_is_cancelled() {
    let pair = Pair::new().await;
    pair.operate(
        "acme",
        "resources: [{type: contact, id: walled, assigned_to: ['team:us']}]",
    )
    .await;
    let mut orders = Orders::default();
    for round in 0..rounds() {
        let user = format!("u{round}");
        pair.operate(
            "acme",
            &format!("users: [{{id: {user}, grants: {{contact.view: owned}}}}]"),
        )
        .await;
        let asked = view(&user, "walled");
        let id = pair.at(0).filed(asked.clone()).await;
        let off = changes(
            "acme",
            &format!("users: [{{id: {user}, status: deactivated}}]"),
        );
        let (deactivated, approved) = meet(
            round,
            pair.at(0).apply("acme", off),
            pair.at(1).approve(approval(&id, "sa", object_grant())),
        )
        .await;
        deactivated.unwrap();
        let granted = pair.user("acme", &user).await.object_grants.len();
        let deactivated_first = approved.is_err();
        if deactivated_first {
            let why = reason(approved);
            assert!(
                matches!(why, Reason::RequestNotPending | Reason::RequesterInactive),
                "round {round}: {why:?}"
            );
            assert_eq!(granted, 0, "round {round}");
            // Whoever looks first notes it: the keeper, or the next who asks.
            crate::faults::replica::until("the request is cancelled", async || {
                pair.at(round).state(&id).await == wire::AccessRequestState::Cancelled
            })
            .await;
        } else {
            let state = pair.at(round).state(&id).await;
            assert_eq!(state, wire::AccessRequestState::Approved, "round {round}");
            assert_eq!(granted, 1, "round {round}");
        }
        orders.saw(deactivated_first);
        // Either way they may do nothing now, and after they are back what they were given.
        assert!(!pair.at(1).allows(&asked, "").await, "round {round}");
        pair.operate("acme", &format!("users: [{{id: {user}, status: active}}]"))
            .await;
        let allowed = pair.at(1).allows(&asked, "").await;
        assert_eq!(allowed, !deactivated_first, "round {round}");
        let gone = change(wire::change::Change::DeleteUser(user));
        pair.at(0).apply("acme", vec![gone]).await.unwrap();
    }
    orders.settle("an approval against the user's deactivation");
    pair.stop().await;
}
