//! Case 40 and row 17 of `reliability.md`: signed tokens of an issuer, good and forged, and keys that
//! change while the server runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use ambit::grpc::status::Reason;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::wire::{methods, with};
use super::{FOREIGN, MINE, Scene, now};
use crate::grpc::reason;
use crate::grpc::server::check;

const ISSUER: &str = "https://login.example.com";
const AUDIENCE: &str = "ambit";

/// A key pair of an issuer.
struct Pair {
    kid: &'static str,
    private: EncodingKey,
    public: Value,
}

impl Pair {
    fn make(kid: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        // A point of P-256 that is not compressed: 4, x, y.
        let point = pair.public_key_raw();
        assert_eq!((point.len(), point[0]), (65, 4));
        let part = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
        Self {
            kid,
            private: EncodingKey::from_ec_der(&pair.serialize_der()),
            public: json!({
                "kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "use": "sig",
                "x": part(1), "y": part(33),
            }),
        }
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.to_owned());
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

fn set(pairs: &[&Pair]) -> String {
    let keys: Vec<&Value> = pairs.iter().map(|pair| &pair.public).collect();
    json!({ "keys": keys }).to_string()
}

fn seconds() -> i64 {
    now().unix_micros() / 1_000_000
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "crm", "exp": seconds() + 3_600,
        "ambit_roles": ["check", "somebody-elses"], "ambit_accounts": [MINE],
    })
}

fn changed(change: impl Fn(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims);
    claims
}

async fn ask(channel: &Channel, token: &str) -> Result<(), Status> {
    methods(channel, Some(token)).await.map(|_| ())
}

fn is_refused(answer: &Result<(), Status>) -> bool {
    matches!(answer, Err(status) if status.code() == Code::Unauthenticated)
}

struct Issued {
    folder: tempfile::TempDir,
}

impl Issued {
    fn with(pairs: &[&Pair]) -> Self {
        let issued = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(issued.path(), set(pairs)).unwrap();
        issued
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    async fn scene(&self, more: &[(&str, &str)]) -> Scene {
        let path = self.path();
        let settings = [
            &[
                ("jwt_issuer", ISSUER),
                ("jwt_audience", AUDIENCE),
                ("jwt_jwks_file", path.to_str().unwrap()),
            ],
            more,
        ]
        .concat();
        Scene::with_settings(&[], &settings).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_40_a_forged_or_stale_token_is_refused_and_a_good_one_says_who_calls() {
    let (pair, stranger) = (Pair::make("k1"), Pair::make("k1"));
    let scene = Issued::with(&[&pair]).scene(&[]).await;
    let channel = &scene.server.channel;
    let good = pair.sign(&claims());

    // The controls: what is good is let in, with its roles and accounts and no more.
    let mut decisions = scene.server.decisions();
    let own = decisions.check(with(check(MINE, "c"), Some(&good))).await;
    assert!(own.is_ok(), "{own:?}");
    let foreign = decisions
        .check(with(check(FOREIGN, "c"), Some(&good)))
        .await;
    assert_eq!(reason(foreign), Reason::AccountNotFound);
    let mut directory = scene.server.directory();
    let export = ambit::grpc::wire::ExportAccountRequest {
        account_id: MINE.to_owned(),
    };
    let export = directory.export_account(with(export, Some(&good))).await;
    assert_eq!(reason(export), Reason::RoleMissing);
    for (kind, good) in [
        (
            "audience in a list",
            changed(|claims| claims["aud"] = json!(["other", AUDIENCE])),
        ),
        (
            "expired within the leeway",
            changed(|claims| claims["exp"] = json!(seconds() - 5)),
        ),
        (
            "begins within the leeway",
            changed(|claims| claims["nbf"] = json!(seconds() + 5)),
        ),
    ] {
        let answer = ask(channel, &pair.sign(&good)).await;
        assert!(answer.is_ok(), "{kind}: {answer:?}");
    }

    let part = |token: &str, at: usize| token.split('.').nth(at).unwrap().to_owned();
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let more = changed(|claims| claims["ambit_roles"] = json!(["admin"]));
    let none = encoded(&json!({"alg": "none", "kid": "k1"}));
    let hmac = {
        // The classic: the public key as a shared secret.
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("k1".to_owned());
        let secret = pair.public.to_string();
        let secret = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&header, &more, &secret).unwrap()
    };
    let unnamed = {
        let header = Header::new(Algorithm::ES256);
        jsonwebtoken::encode(&header, &claims(), &pair.private).unwrap()
    };
    let of_kid = |kid: &str| {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(kid.to_owned());
        jsonwebtoken::encode(&header, &claims(), &pair.private).unwrap()
    };
    let without = |claim: &str| {
        pair.sign(&changed(|claims| {
            claims.as_object_mut().unwrap().remove(claim);
        }))
    };
    let cases = [
        (
            "expired",
            pair.sign(&changed(|claims| claims["exp"] = json!(seconds() - 120))),
        ),
        (
            "not good yet",
            pair.sign(&changed(|claims| claims["nbf"] = json!(seconds() + 120))),
        ),
        (
            "of another audience",
            pair.sign(&changed(|claims| claims["aud"] = json!("other"))),
        ),
        (
            "of another issuer",
            pair.sign(&changed(|claims| claims["iss"] = json!("https://x"))),
        ),
        ("without an audience", without("aud")),
        ("without an issuer", without("iss")),
        ("without an expiry", without("exp")),
        ("without a subject", without("sub")),
        (
            "with an expiry in words",
            pair.sign(&changed(|claims| claims["exp"] = json!("never"))),
        ),
        (
            "with an endless expiry",
            pair.sign(&changed(|claims| claims["exp"] = json!(1e300))),
        ),
        ("of an unknown key", of_kid("k2")),
        ("of no key", unnamed),
        (
            "of a stranger's key of the same name",
            stranger.sign(&claims()),
        ),
        (
            "tampered with",
            format!("{}.{}.{}", part(&good, 0), encoded(&more), part(&good, 2)),
        ),
        ("of no algorithm", format!("{none}.{}.", encoded(&more))),
        (
            "of no algorithm with a signature",
            format!("{none}.{}.{}", part(&good, 1), part(&good, 2)),
        ),
        ("of a shared secret", hmac),
        ("cut", good.rsplit_once('.').unwrap().0.to_owned()),
        ("with a fourth part", format!("{good}.x")),
    ];
    for (kind, token) in &cases {
        let answer = ask(channel, token).await;
        assert!(is_refused(&answer), "a token {kind}: {answer:?}");
        let status = answer.unwrap_err();
        assert!(!status.message().contains(token.as_str()));
        // Nor does a refusal spoil the good one, or the good one cover for the bad.
        assert!(ask(channel, &good).await.is_ok(), "after one {kind}");
    }
}

/// A new key is found with its first token; an old one is out within the refresh; the URL is asked no
/// oftener than it may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_40_keys_rotate_while_the_server_runs() {
    let (old, new) = (Pair::make("old"), Pair::make("new"));
    let published = Arc::new(std::sync::Mutex::new(set(&[&old])));
    let asked = Arc::new(AtomicU64::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let answers = (Arc::clone(&published), Arc::clone(&asked));
    let serving = tokio::spawn(serve(listener, answers.0, answers.1));
    let settings = [
        ("jwt_issuer", ISSUER),
        ("jwt_audience", AUDIENCE),
        ("jwt_jwks_url", url.as_str()),
        ("jwt_jwks_refresh_s", "3"),
    ];
    let scene = Scene::with_settings(&[], &settings).await;
    let channel = &scene.server.channel;
    let (of_old, of_new) = (old.sign(&claims()), new.sign(&claims()));
    assert!(ask(channel, &of_old).await.is_ok());
    assert!(is_refused(&ask(channel, &of_new).await));
    *published.lock().unwrap() = set(&[&old, &new]);
    let begun = SystemClock::new();
    while ask(channel, &of_new).await.is_err() {
        assert!(
            begun.monotonic() < Duration::from_secs(6),
            "the new key is not found"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The control: while it is published the old one is good too.
    assert!(ask(channel, &of_old).await.is_ok());
    *published.lock().unwrap() = set(&[&new]);
    let begun = SystemClock::new();
    while !is_refused(&ask(channel, &of_old).await) {
        assert!(
            begun.monotonic() < Duration::from_secs(6),
            "the old key is still taken"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(ask(channel, &of_new).await.is_ok());
    // Made-up keys are no way to make the server flood the issuer.
    let (before, begun) = (asked.load(Ordering::SeqCst), SystemClock::new());
    for _ in 0..100 {
        assert!(is_refused(&ask(channel, &of_old).await));
    }
    let looks = asked.load(Ordering::SeqCst) - before;
    let allowed = begun.monotonic().as_secs() / 2 + 2;
    assert!(looks <= allowed, "{looks} looks, {allowed} allowed");
    // An issuer that is gone: its keys are trusted for a while, and then no more.
    serving.abort();
    assert!(ask(channel, &of_new).await.is_ok());
}

/// Serves what is published to whoever asks, one connection a question.
async fn serve(
    listener: tokio::net::TcpListener,
    published: Arc<std::sync::Mutex<String>>,
    asked: Arc<AtomicU64>,
) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = [0; 2_048];
        let _ = stream.read(&mut question).await;
        asked.fetch_add(1, Ordering::SeqCst);
        let body = published.lock().unwrap().clone();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}
