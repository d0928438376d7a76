//! The tokens of callers, as hashes.

use super::*;
use ambit::callers::{Accounts, BearerToken, Role};
use ambit::randomness::SeededRandomness;
use ambit::store::tokens::StoredToken;

pub(super) fn clauses() -> Vec<Clause> {
    vec![
        token_clause("a token is kept as it is", kept_as_it_is),
        token_clause("a token is revoked once and for good", revoked_for_good),
        token_clause("a change of tokens is a version", each_change_is_a_version),
        token_clause("a token's id is one token's", an_id_is_one_tokens),
        token_clause("tokens are no account data", no_account_data),
    ]
}

fn token(seed: u64, accounts: Accounts) -> StoredToken {
    let token = BearerToken::make(&SeededRandomness::new(seed)).unwrap();
    StoredToken {
        id: token.id().unwrap(),
        hash: token.hash(),
        name: id("crm \"backend\" é"),
        roles: [Role::Check, Role::Write].into_iter().collect(),
        accounts,
        created_at: time("2026-11-22T00:00:00.000001Z"),
        expires_at: None,
        revoked_at: None,
    }
}

fn some_accounts() -> Accounts {
    Accounts::Only(ids(["acme", "a'\"\\b", "*"]))
}

async fn all(tokens: &dyn TokenStore) -> Vec<StoredToken> {
    tokens.tokens().await.unwrap().tokens
}

fn shown(tokens: &[StoredToken]) -> Vec<String> {
    tokens.iter().map(|token| format!("{token:?}")).collect()
}

async fn kept_as_it_is(tokens: Arc<dyn TokenStore>, _store: Arc<dyn Store>) {
    assert!(all(&*tokens).await.is_empty());
    let mut put = vec![
        token(1, Accounts::All),
        token(2, some_accounts()),
        // None at all is not the same as all.
        token(3, Accounts::Only(BTreeSet::new())),
        StoredToken {
            roles: Role::ALL.iter().copied().collect(),
            expires_at: Some(time("2027-01-01T00:00:00.5Z")),
            revoked_at: Some(time("2026-12-01T00:00:00Z")),
            ..token(4, Accounts::All)
        },
    ];
    for token in &put {
        tokens.put_token(token).await.unwrap();
    }
    put.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(shown(&all(&*tokens).await), shown(&put));
}

async fn revoked_for_good(tokens: Arc<dyn TokenStore>, _store: Arc<dyn Store>) {
    let (one, other) = (token(1, Accounts::All), token(2, Accounts::All));
    tokens.put_token(&one).await.unwrap();
    tokens.put_token(&other).await.unwrap();
    let (first, second) = (time("2026-11-23T00:00:00Z"), time("2026-11-24T00:00:00Z"));
    assert!(tokens.revoke_token(&one.id, first).await.unwrap());
    assert!(tokens.revoke_token(&one.id, second).await.unwrap());
    let unknown = token(3, Accounts::All).id;
    assert!(!tokens.revoke_token(&unknown, first).await.unwrap());
    for kept in all(&*tokens).await {
        let expected = (kept.id == one.id).then_some(first);
        assert_eq!(kept.revoked_at, expected, "{kept:?}");
    }
}

async fn each_change_is_a_version(tokens: Arc<dyn TokenStore>, store: Arc<dyn Store>) {
    let version = async || tokens.tokens_version().await.unwrap();
    let begun = version().await;
    // The control: reading is no change, nor is a write of accounts.
    assert_eq!(tokens.tokens().await.unwrap().version, begun);
    apply(&*store, "acme", &everything()).await;
    assert_eq!(version().await, begun);

    let one = token(1, Accounts::All);
    tokens.put_token(&one).await.unwrap();
    let put = version().await;
    assert_ne!(put, begun);
    assert_eq!(tokens.tokens().await.unwrap().version, put);
    let now = time("2026-11-23T00:00:00Z");
    assert!(tokens.revoke_token(&one.id, now).await.unwrap());
    assert_ne!(version().await, put);
}

async fn an_id_is_one_tokens(tokens: Arc<dyn TokenStore>, _store: Arc<dyn Store>) {
    let first = token(1, some_accounts());
    tokens.put_token(&first).await.unwrap();
    let other = StoredToken {
        hash: token(2, Accounts::All).hash,
        roles: [Role::Admin].into_iter().collect(),
        accounts: Accounts::All,
        ..first.clone()
    };
    assert!(tokens.put_token(&other).await.is_err());
    assert_eq!(shown(&all(&*tokens).await), shown(&[first]));
}

async fn no_account_data(tokens: Arc<dyn TokenStore>, store: Arc<dyn Store>) {
    let head = apply(&*store, "acme", &everything()).await;
    let kept = token(1, Accounts::Only(ids(["acme"])));
    tokens.put_token(&kept).await.unwrap();
    assert_eq!(store.head(&id("acme")).await.unwrap(), Some(head));
    assert_eq!(shown(&all(&*tokens).await), shown(&[kept]));
}
