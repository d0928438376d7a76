//! The new enemy: whoever lost access must not see what was written after the loss.

use std::time::Duration;

use ambit::grpc::wire;
use tonic::Code;

use super::by_soak;
use super::replica::until;
use super::scene::{ACCOUNT, BOUND, Scene, follow, view};
use crate::grpc::server::{at_least, grant};
use crate::postgres::proxy::{Flow, Which};

/// How late the second replica's network is. Nothing of a comparison that takes so long is past the
/// bound.
const LATE: Duration = Duration::from_millis(25);

/// How the revocation and the content are written.
#[derive(Debug, Clone, Copy)]
enum By {
    Api,
    Sql,
}

/// reliability.md case 13: a user is revoked, then content is written to a contact that the user
/// could see; a check of the content asks with the content's token. The control asks without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_13_with_the_contents_token_the_new_enemy_is_never_let_in() {
    let scene = Scene::new().await;
    scene.reader.until_listening().await;
    scene.proxy.set(Which::All, Flow::Delay(LATE));
    let mut sql = scene.sql().await;
    let mut let_in = 0;
    let rounds = by_soak(20, 1_000);
    for round in 0..rounds {
        let by = if round % 2 == 0 { By::Api } else { By::Sql };
        // Both replicas know that the user may.
        until("the user may", async || {
            scene
                .reader
                .check(view())
                .await
                .is_ok_and(|allowed| allowed)
        })
        .await;
        let token = match by {
            By::Api => {
                let revoked = vec![grant("u", "contact", "view", wire::Level::None)];
                scene.writer.apply(ACCOUNT, revoked).await.unwrap();
                scene
                    .writer
                    .apply(ACCOUNT, vec![content(round)])
                    .await
                    .unwrap()
            }
            By::Sql => {
                sql.run("DELETE FROM ambit.user_grant WHERE account_id = 'acme' AND user_id = 'u'")
                    .await;
                sql.run("BEGIN").await;
                sql.run(&format!(
                    "INSERT INTO ambit.resource_attributes VALUES ('acme', 'contact', 'c', '{{\"text\": {round}}}')
                        ON CONFLICT (account_id, resource_type, resource_id)
                        DO UPDATE SET attributes = excluded.attributes"
                ))
                .await;
                let token = sql.text("SELECT ambit.transaction_token('acme')").await;
                sql.run("COMMIT").await;
                token
            }
        };
        let with = wire::CheckRequest {
            consistency: at_least(&token),
            ..view()
        };
        // Both at once, so that the one gains nothing from what the other one fetched.
        let (with, without) = tokio::join!(scene.reader.check(with), scene.reader.check(view()));
        match with {
            Ok(allowed) => assert!(!allowed, "{by:?}: the new enemy was let in"),
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
        if without.is_ok_and(|allowed| allowed) {
            let_in += 1;
        }
        // And again.
        sql.run("DELETE FROM ambit.user_grant WHERE account_id = 'acme' AND user_id = 'u'")
            .await;
        sql.set(true).await;
    }
    println!("{rounds} rounds, without the token let in {let_in} times");
    assert!(let_in > 0, "the control was never let in: it tells nothing");
    scene.proxy.set(Which::All, Flow::Pass);
    let committed = ambit::clock::SystemClock::new();
    let took = follow(&scene.reader, true, &committed).await;
    assert!(took <= BOUND, "{took:?}");
}

fn content(round: u32) -> wire::Change {
    crate::grpc::server::change(wire::change::Change::PutResource(wire::ResourcePatch {
        resource_type: "contact".to_owned(),
        id: "c".to_owned(),
        attributes_json: Some(format!("{{\"text\": {round}}}")),
        ..wire::ResourcePatch::default()
    }))
}
