//! Row 11 of `reliability.md`, section 2: every method of every service asks who calls, streams and
//! reflection included; found by reflection, so that no method can be forgotten.

use ambit::callers::{Role, Roles};
use ambit::grpc::methods::{Needs, needs};
use ambit::grpc::status::Reason;
use tonic::{Code, Status};

use super::wire::{Method, call, methods};
use super::{MINE, Made, Scene, make, seconds_from_now};

fn is_health(method: &Method) -> bool {
    method.path.starts_with("/grpc.health.v1.Health/")
}

fn is_refused(status: &Status) -> bool {
    status.code() == Code::Unauthenticated && Reason::of(status) == Some(Reason::Unauthenticated)
}

/// Another token of the same form, with the same id.
fn with_another_secret(token: &Made) -> String {
    let other = make(&[Role::Admin], &[]);
    other
        .text
        .replace(other.kept.id.as_str(), token.kept.id.as_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_40_every_method_but_health_refuses_whoever_is_not_known() {
    let good = make(&[Role::Admin], &[]);
    let mut expired = make(&[Role::Admin], &[]);
    expired.kept.expires_at = Some(seconds_from_now(-1));
    let mut revoked = make(&[Role::Admin], &[]);
    revoked.kept.revoked_at = Some(seconds_from_now(-1));
    let mut later = make(&[Role::Admin], &[]);
    later.kept.expires_at = Some(seconds_from_now(3_600));
    let scene = Scene::with(&[&good, &expired, &revoked, &later]).await;
    let channel = &scene.server.channel;

    let methods = methods(channel, Some(&good.text)).await.unwrap();
    assert!(methods.len() >= 40, "only {} methods", methods.len());
    let unknown = make(&[Role::Admin], &[]).text;
    let forged = with_another_secret(&good);
    let wrong: [(&str, Option<&str>); 7] = [
        ("none", None),
        ("unknown", Some(&unknown)),
        ("of another secret", Some(&forged)),
        ("expired", Some(&expired.text)),
        ("revoked", Some(&revoked.text)),
        ("garbage", Some("garbage")),
        ("empty", Some("")),
    ];
    let mut texts = std::collections::BTreeSet::new();
    for method in methods.iter().filter(|method| !is_health(method)) {
        let message = method.message(&[("account_id", MINE)]);
        for (kind, token) in wrong {
            match call(channel, &method.path, &message, token).await {
                Err(status) if is_refused(&status) => {
                    texts.insert(status.message().to_owned());
                }
                other => panic!("{}: a token that is {kind}: {other:?}", method.path),
            }
        }
        // The control: with a good one the call gets past the door.
        for token in [&good.text, &later.text] {
            if let Err(status) = call(channel, &method.path, &message, Some(token)).await {
                assert!(!is_refused(&status), "{}: {status:?}", method.path);
            }
        }
    }
    assert_eq!(texts.len(), 1, "the texts tell what is wrong: {texts:?}");
    for method in methods.iter().filter(|method| is_health(method)) {
        let answered = call(channel, &method.path, &[], None).await;
        assert!(answered.is_ok(), "{}: {answered:?}", method.path);
    }
    // What is not there is not told to strangers either.
    for path in [
        "/ambit.v1.DecisionService/NoSuch",
        "/no.such.Service/Method",
    ] {
        assert!(is_refused(
            &call(channel, path, &[], None).await.unwrap_err()
        ));
        let known = call(channel, path, &[], Some(&good.text))
            .await
            .unwrap_err();
        assert_eq!(Reason::of(&known), Some(Reason::UnknownMethod), "{path}");
    }
}

/// The table of roles, method by method: who has the role is let in, who has all the others is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_needs_the_role_that_the_table_says() {
    let of_role: Vec<(Role, Made)> = Role::ALL
        .iter()
        .map(|role| (*role, make(&[*role], &[])))
        .collect();
    let of_none = make(&[], &[]);
    let mut tokens: Vec<&Made> = of_role.iter().map(|(_, token)| token).collect();
    tokens.push(&of_none);
    let scene = Scene::with(&tokens).await;
    let channel = &scene.server.channel;
    // Reflection is for any caller.
    let methods = methods(channel, Some(&of_none.text)).await.unwrap();
    for method in &methods {
        let Some(Needs::Role(needed)) = needs(&method.path) else {
            continue;
        };
        let message = method.message(&[("account_id", super::UNKNOWN)]);
        for (role, token) in &of_role {
            let answer = call(channel, &method.path, &message, Some(&token.text)).await;
            let is_missing = matches!(&answer,
                Err(status) if Reason::of(status) == Some(Reason::RoleMissing));
            let roles: Roles = [*role].into_iter().collect();
            assert_eq!(
                is_missing,
                !roles.allow(needed),
                "{} as {role}: {answer:?}",
                method.path
            );
        }
        let status = call(channel, &method.path, &message, Some(&of_none.text)).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{}", method.path);
    }
}
