//! Case 38: of the last two super admins one stays, whoever demotes, disables and deletes them at
//! once, on the store that the tests run on.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_38_64_at_once_on_the_last_two_super_admins_leave_one() {
    for round in 0..4 {
        let scene = Scene::new().await;
        let paths = |user: &str| -> Vec<Vec<wire::Change>> {
            vec![
                changes(&format!("users: [{{id: {user}, super_admin: false}}]")),
                changes(&format!("users: [{{id: {user}, status: deactivated}}]")),
                changes(&format!("users: [{{id: {user}, status: removed}}]")),
                changes(&format!("users: [{{id: {user}, status: invited}}]")),
                delete_user(user),
            ]
        };
        let of = [paths("sa"), paths("sa2")];
        let calls = (0..64usize).map(|number| {
            let list = of[number % 2][(number / 2 + round) % 5].clone();
            // Each other's, one's own, and an operator's.
            let actor = ["sa", "sa2", ""][number % 3];
            scene.write(actor, list)
        });
        let answers = together(calls).await;
        let made = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!(made > 0, "{answers:?}");
        for answer in answers {
            if answer.is_err() {
                let (reason, _) = refused(answer);
                assert!(
                    matches!(
                        reason,
                        Reason::LastSuperAdmin
                            | Reason::ActorMayNot
                            | Reason::OwnRights
                            | Reason::ProtectedUser
                            | Reason::WriteConflict
                            | Reason::UnknownReference
                    ),
                    "{reason:?}"
                );
            }
        }
        let request = wire::ListUsersRequest {
            account_id: "acme".to_owned(),
            consistency: crate::grpc::server::fully_consistent(),
            ..wire::ListUsersRequest::default()
        };
        let users = scene.server.directory().list_users(request).await.unwrap();
        let active = wire::UserStatus::Active;
        let left: Vec<String> = users
            .into_inner()
            .users
            .into_iter()
            .filter(|user| user.super_admin && user.status() == active)
            .map(|user| user.id)
            .collect();
        assert!(!left.is_empty(), "round {round}");
        scene.stop().await;
    }
}

/// All of them at once, in their order.
async fn together<T>(calls: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    use std::task::Poll;
    let mut calls: Vec<_> = calls.map(|call| (Box::pin(call), None)).collect();
    std::future::poll_fn(|context| {
        for (call, answer) in &mut calls {
            if answer.is_none()
                && let Poll::Ready(ready) = call.as_mut().poll(context)
            {
                *answer = Some(ready);
            }
        }
        match calls.iter().all(|(_, answer)| answer.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    calls.into_iter().filter_map(|(_, answer)| answer).collect()
}

/// D9 holds at each step of one list too, where another one takes over in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_the_last_super_admin_hands_over_in_one_list() {
    let scene = Scene::new().await;
    scene.write("", delete_user("sa2")).await.unwrap();
    let hand_over = "users: [{id: sa, super_admin: false}, {id: so, super_admin: true}]";
    scene.write("sa", changes(hand_over)).await.unwrap();
    let replace = "users: [{id: so, status: deactivated}, {id: zoe, super_admin: true}]";
    scene.write("so", changes(replace)).await.unwrap();
    assert!(scene.user("zoe").await.super_admin);
    let gone = scene.write("", delete_user("zoe")).await;
    assert_eq!(refused(gone).0, Reason::LastSuperAdmin);
    scene.stop().await;
}
