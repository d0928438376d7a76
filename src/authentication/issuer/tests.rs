//! For how long an issuer is trusted that can't be asked, by a clock that is set.

use std::net::SocketAddr;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::ManualClock;

const REFRESH: Duration = Duration::from_secs(60);
/// As documented: three intervals, and the time that an attempt takes.
const TRUSTED: Duration = Duration::from_secs(3 * 60 + 5);
const NANOSECOND: Duration = Duration::from_nanos(1);

/// A key of an issuer, with the set that publishes it.
fn key() -> (EncodingKey, String) {
    let pair = rcgen::KeyPair::generate().unwrap();
    let point = pair.public_key_raw();
    let part = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
    let set = json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "use": "sig",
        "x": part(1), "y": part(33),
    }] });
    let private = EncodingKey::from_ec_der(&pair.serialize_der());
    (private, set.to_string())
}

fn sign(key: &EncodingKey, clock: &ManualClock) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("k".to_owned());
    let expires = clock.now().unix_micros() / 1_000_000 + 3_600;
    let claims = json!({ "iss": "i", "aud": "a", "sub": "s", "exp": expires });
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

/// Publishes a set of keys to whoever asks, until it is aborted.
async fn publish(address: SocketAddr, set: &str) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{set}",
        set.len()
    );
    let serving = async move {
        loop {
            let (mut stream, _peer) = listener.accept().await.unwrap();
            let _asked = stream.read(&mut [0; 2_048]).await;
            let _answered = stream.write_all(answer.as_bytes()).await;
        }
    };
    (address, tokio::spawn(serving))
}

fn issuer(keys: KeySource) -> Issuer {
    Issuer::new(IssuerSettings {
        name: Id::parse("test").unwrap(),
        issuer: "i".to_owned(),
        audience: "a".to_owned(),
        keys,
        algorithms: vec![JwtAlgorithm::Es256],
        roles_claim: "roles".to_owned(),
        accounts_claim: "accounts".to_owned(),
        all_accounts: true,
        leeway: Duration::ZERO,
        refresh: REFRESH,
    })
    .unwrap()
}

/// The keys are trusted until the documented end and not a moment longer; when they can be asked for
/// again, they are trusted again.
#[tokio::test]
async fn keys_that_cant_be_asked_for_are_trusted_until_the_documented_end() {
    let (key, set) = key();
    let (address, serving) = publish(([127, 0, 0, 1], 0).into(), &set).await;
    let url = format!("http://{address}/keys").parse().unwrap();
    let clock = ManualClock::at(Timestamp::parse("2026-11-22T00:00:00Z").unwrap());
    let issuer = issuer(KeySource::Url(url));
    let token = sign(&key, &clock);
    // Before anybody has been asked.
    assert_eq!(issuer.verify(&token, &clock).unwrap_err(), Refusal::Unsure);
    issuer.refresh(&clock).await;
    let vouched = issuer.verify(&token, &clock).unwrap();

    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    for waited in [REFRESH, REFRESH, REFRESH, TRUSTED - 3 * REFRESH] {
        clock.advance(waited);
        issuer.refresh(&clock).await;
        assert!(issuer.verify(&token, &clock).is_ok());
        assert!(issuer.look_again(&vouched, &clock).is_ok());
    }
    clock.advance(NANOSECOND);
    assert_eq!(issuer.verify(&token, &clock).unwrap_err(), Refusal::Unsure);
    assert_eq!(issuer.look_again(&vouched, &clock), Err(Refusal::Unsure));
    // A token that names another key is no reason to think better of it.
    issuer.look_anew(&clock).await;
    assert_eq!(issuer.verify(&token, &clock).unwrap_err(), Refusal::Unsure);

    let _serving = publish(address, &set).await;
    clock.advance(REFRESH);
    issuer.refresh(&clock).await;
    assert!(issuer.verify(&token, &clock).is_ok());
    assert!(issuer.look_again(&vouched, &clock).is_ok());
}

/// A source that answers something else than keys is as good as one that does not answer.
#[tokio::test]
async fn a_set_without_keys_neither_replaces_keys_nor_keeps_them_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let (key, set) = key();
    std::fs::write(&file, &set).unwrap();
    let clock = ManualClock::at(Timestamp::parse("2026-11-22T00:00:00Z").unwrap());
    let issuer = issuer(KeySource::File(file.clone()));
    issuer.refresh(&clock).await;
    let token = sign(&key, &clock);
    for nothing in ["", "<html>", r#"{"keys": []}"#] {
        std::fs::write(&file, nothing).unwrap();
        clock.advance(REFRESH);
        issuer.refresh(&clock).await;
        assert!(issuer.verify(&token, &clock).is_ok(), "{nothing}");
    }
    clock.advance(REFRESH);
    issuer.refresh(&clock).await;
    assert_eq!(issuer.verify(&token, &clock).unwrap_err(), Refusal::Unsure);
}
