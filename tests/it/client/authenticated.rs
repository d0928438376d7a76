//! The client at a server that asks who calls.

use ambit::callers::Role;
use ambit::client::{Client, ClientError, Code, FileToken, Narrowing, Question, Write};

use super::reason;
use crate::callers::{FOREIGN, MINE, Scene, make};

fn view(account: &str) -> Question {
    Question::new(account, "u", "contact", "view")
}

#[tokio::test]
async fn a_token_of_the_server_opens_its_accounts_and_no_others() {
    let (mine, other) = (make(&[Role::Check], &[MINE]), make(&[Role::Check], &[MINE]));
    let scene = Scene::with(&[&mine]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, &mine.text).unwrap();
    let url = scene.server.url();
    let client = Client::builder(&url)
        .token(FileToken::new(&file))
        .build()
        .unwrap();
    let question = view(MINE).on("c");
    assert!(client.check(&question).await.unwrap().is_allow());
    let listing = client
        .list(&view(MINE), &Narrowing::default())
        .await
        .unwrap();
    assert_eq!(listing.all().await.unwrap(), ["c"]);
    assert_eq!(
        reason(client.check(&view(FOREIGN).on("c")).await),
        "ACCOUNT_NOT_FOUND"
    );
    // A role that it does not have is an answer, and no reason to come again.
    let error = client
        .apply(&Write::of(MINE, Vec::new()))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused(refusal) if refusal.code == Code::PermissionDenied),
        "{error:?}"
    );

    // The control: with no token, or one that the server never gave, nothing is told.
    let nobody = Client::builder(&url).build().unwrap();
    assert_eq!(reason(nobody.check(&question).await), "UNAUTHENTICATED");
    std::fs::write(&file, &other.text).unwrap();
    let stranger = Client::builder(&url)
        .token(FileToken::new(&file))
        .build()
        .unwrap();
    assert_eq!(reason(stranger.check(&question).await), "UNAUTHENTICATED");
    // It holds a token that is refused; what is in the file by now is read at once.
    std::fs::write(&file, &mine.text).unwrap();
    assert!(stranger.check(&question).await.unwrap().is_allow());
}
