//! Signed tokens (JWT) of an issuer: its keys, and what its tokens must say.
//!
//! Issuer, audience and expiry are required. The clock is the server's own argument, so times are
//! judged here and not by the library. Each token is verified whole at each call.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Refusal;
use crate::authz::model::{Id, Timestamp};
use crate::callers::{Accounts, Caller, Role, Roles};
use crate::clock::Clock;
use crate::config::{IssuerSettings, JwtAlgorithm, KeySource};

/// Longest token, and largest set of keys, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1_024;
const KEYS_BYTES_MAX: usize = 1_024 * 1_024;

const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// A key that nobody has heard of has the keys asked for anew, this often and no oftener: tokens that
/// are made up must not become a flood for the issuer.
const ANEW_INTERVAL: Duration = Duration::from_secs(2);

/// Keys that could not be asked for anew are trusted for so many intervals.
const TRUSTED_INTERVALS: u32 = 3;

pub(super) struct Issuer {
    settings: IssuerSettings,
    client: reqwest::Client,
    keys: ArcSwap<HashMap<String, Key>>,
    /// When the last look that succeeded began, in nanoseconds of the monotonic clock; 0: none did.
    verified_at: AtomicU64,
    attempted_at: Mutex<Option<Duration>>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

struct Key {
    key: DecodingKey,
    /// Where the key is for one algorithm alone.
    algorithm: Option<String>,
}

/// A signed token that was found good, until when, and by which key.
#[derive(Debug, Clone)]
pub(super) struct Vouched {
    pub(super) caller: Caller,
    pub(super) expires_at: Timestamp,
    pub(super) key: Arc<str>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("they can't be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("they can't be fetched: {0}")]
    Fetch(String),
    #[error("they are no JSON Web Key Set with a public key that has a `kid`")]
    Form,
}

impl Issuer {
    pub(super) fn new(settings: IssuerSettings) -> Result<Self, KeysError> {
        let client = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| KeysError::Fetch(error.to_string()))?;
        let issuer = Self {
            settings,
            client,
            keys: ArcSwap::default(),
            verified_at: AtomicU64::new(0),
            attempted_at: Mutex::new(None),
            looking: tokio::sync::Mutex::new(()),
        };
        if let KeySource::File(path) = &issuer.settings.keys {
            issuer.take(&std::fs::read(path)?)?;
        }
        Ok(issuer)
    }

    pub(super) fn name(&self) -> &Id {
        &self.settings.name
    }

    pub(super) fn is_of(&self, issuer: &str) -> bool {
        self.settings.issuer == issuer
    }

    /// Verifies a token whole.
    pub(super) fn verify(&self, token: &str, clock: &dyn Clock) -> Result<Vouched, Refusal> {
        let unknown = Refusal::Unknown;
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| unknown("the header of the signed token is wrong"))?;
        let word = self
            .settings
            .algorithms
            .iter()
            .find(|allowed| library(**allowed) == header.alg)
            .ok_or(unknown("the algorithm of the signed token is not allowed"))?;
        let kid = header
            .kid
            .ok_or(unknown("the signed token does not name its key"))?;
        if !self.is_trusted(clock) {
            return Err(Refusal::Unsure);
        }
        let keys = self.keys.load();
        let key = keys.get(&kid).ok_or(Refusal::UnknownKey)?;
        if key
            .algorithm
            .as_ref()
            .is_some_and(|algorithm| algorithm != word.as_str())
        {
            return Err(unknown("the key is for another algorithm"));
        }
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&[&self.settings.audience]);
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation)
            .map_err(|_| unknown("signature, issuer or audience of the signed token is wrong"))?
            .claims;
        let expires_at = self.in_time(&claims, clock.now())?;
        Ok(Vouched {
            caller: self.caller(&claims)?,
            expires_at,
            key: Arc::from(kid),
        })
    }

    /// Whether a token that was verified is good still.
    pub(super) fn look_again(&self, vouched: &Vouched, clock: &dyn Clock) -> Result<(), Refusal> {
        if clock.now() >= vouched.expires_at {
            return Err(Refusal::Unknown("the signed token has expired"));
        }
        if !self.is_trusted(clock) {
            return Err(Refusal::Unsure);
        }
        match self.keys.load().contains_key(&*vouched.key) {
            true => Ok(()),
            false => Err(Refusal::Unknown("the key of the signed token is withdrawn")),
        }
    }

    /// The end of a token's time, leeway included.
    fn in_time(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Timestamp, Refusal> {
        let leeway = i64::try_from(self.settings.leeway.as_micros()).unwrap_or(i64::MAX);
        let moment = |claim: &Value| -> Option<i64> {
            // Seconds, which may have a fraction; of no use are those beyond all calendars.
            let seconds = claim.as_f64()?;
            let is_near = (-1e11..1e11).contains(&seconds);
            is_near.then(|| micros(seconds))
        };
        let wrong = Refusal::Unknown("a time of the signed token is wrong");
        let ends = claims.get("exp").and_then(moment).ok_or(wrong)?;
        let ends = ends.saturating_add(leeway);
        if now.unix_micros() >= ends {
            return Err(Refusal::Unknown("the signed token has expired"));
        }
        if let Some(begins) = claims.get("nbf") {
            let begins = moment(begins).ok_or(wrong)?.saturating_sub(leeway);
            if now.unix_micros() < begins {
                return Err(Refusal::Unknown("the signed token is not good yet"));
            }
        }
        Ok(Timestamp::from_unix_micros(ends).unwrap_or(Timestamp::MAX))
    }

    fn caller(&self, claims: &Map<String, Value>) -> Result<Caller, Refusal> {
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .and_then(|subject| Id::parse(subject).ok())
            .ok_or(Refusal::Unknown("the signed token has no subject"))?;
        let words = claim(claims, &self.settings.roles_claim).map(words);
        // Words that mean something to others are none of ours.
        let roles: Roles = words
            .unwrap_or_default()
            .into_iter()
            .filter_map(Role::from_word)
            .collect();
        let accounts = if self.settings.all_accounts {
            Accounts::All
        } else {
            let list = match claim(claims, &self.settings.accounts_claim) {
                None => Vec::new(),
                Some(Value::String(one)) => vec![one.as_str()],
                Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
                Some(_) => {
                    return Err(Refusal::Unknown(
                        "the accounts of the signed token are no list",
                    ));
                }
            };
            Accounts::Only(
                list.into_iter()
                    .filter_map(|id| Id::parse(id).ok())
                    .collect(),
            )
        };
        Ok(Caller {
            name: Arc::from(format!("{}:{subject}", self.settings.name)),
            roles,
            accounts: Arc::new(accounts),
        })
    }

    fn is_trusted(&self, clock: &dyn Clock) -> bool {
        let bound = self.settings.refresh * TRUSTED_INTERVALS + FETCH_TIMEOUT;
        match self.verified_at.load(Ordering::SeqCst) {
            0 => false,
            nanos => {
                clock
                    .monotonic()
                    .saturating_sub(Duration::from_nanos(nanos))
                    <= bound
            }
        }
    }

    /// Asks for the keys where it is time to.
    pub(super) async fn look(&self, clock: &dyn Clock, interval: Duration) {
        let _one = self.looking.lock().await;
        let begun_at = clock.monotonic();
        {
            // A time is whole whatever happened to a thread that held the lock.
            let mut attempted = self
                .attempted_at
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if attempted.is_some_and(|at| begun_at.saturating_sub(at) < interval) {
                return;
            }
            *attempted = Some(begun_at);
        }
        let looked = match self.fetch().await {
            Ok(bytes) => self.take(&bytes),
            Err(error) => Err(error),
        };
        match looked {
            Ok(()) => {
                let nanos = u64::try_from(begun_at.as_nanos()).unwrap_or(u64::MAX);
                self.verified_at.store(nanos.max(1), Ordering::SeqCst);
            }
            Err(error) => {
                tracing::warn!(issuer = %self.name(), error = %error, "the keys of an issuer");
            }
        }
    }

    /// The regular look.
    pub(super) async fn refresh(&self, clock: &dyn Clock) {
        self.look(clock, self.settings.refresh).await;
    }

    /// The look for a key that is not known.
    pub(super) async fn look_anew(&self, clock: &dyn Clock) {
        self.look(clock, ANEW_INTERVAL.min(self.settings.refresh))
            .await;
    }

    /// How many keys there are at the moment.
    pub(super) async fn examine(&self) -> Result<usize, KeysError> {
        let bytes = self.fetch().await?;
        keys_of(&bytes)
            .map(|keys| keys.len())
            .ok_or(KeysError::Form)
    }

    async fn fetch(&self) -> Result<Vec<u8>, KeysError> {
        let url = match &self.settings.keys {
            KeySource::File(path) => return Ok(tokio::fs::read(path).await?),
            KeySource::Url(url) => url.clone(),
        };
        // Without the URL, which is the operator's to know.
        let failed = |error: reqwest::Error| KeysError::Fetch(error.without_url().to_string());
        let answer = self.client.get(url).send().await.map_err(failed)?;
        let mut answer = answer.error_for_status().map_err(failed)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > KEYS_BYTES_MAX {
                return Err(KeysError::Form);
            }
        }
        Ok(bytes)
    }

    fn take(&self, bytes: &[u8]) -> Result<(), KeysError> {
        let keys = keys_of(bytes).ok_or(KeysError::Form)?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }
}

/// The public keys of a set; kinds that are not known here are passed over, and a set without any key
/// is none.
fn keys_of(bytes: &[u8]) -> Option<HashMap<String, Key>> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(bytes).ok()?;
    let mut keys = HashMap::new();
    for value in set.keys {
        // A shared secret is no public key, and a token "signed" with one is anybody's.
        if value.get("kty").and_then(Value::as_str) == Some("oct") {
            continue;
        }
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else {
            continue;
        };
        let is_to_sign = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
        if let (true, Some(kid), Ok(key)) = (
            is_to_sign,
            jwk.common.key_id.clone(),
            DecodingKey::from_jwk(&jwk),
        ) {
            let algorithm = jwk
                .common
                .key_algorithm
                .map(|algorithm| algorithm.to_string());
            keys.insert(kid, Key { key, algorithm });
        }
    }
    (!keys.is_empty()).then_some(keys)
}

/// What an unverified token says its issuer is: good to choose whose keys to verify it by, and for
/// nothing else.
pub(super) fn claimed_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claimed {
        iss: String,
    }
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claimed: Claimed = serde_json::from_slice(&payload).ok()?;
    parts.next().is_none().then_some(claimed.iss)
}

fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    match name.strip_prefix('/') {
        None => claims.get(name),
        Some(path) => {
            let (first, rest) = path.split_once('/').unwrap_or((path, ""));
            let unescaped = first.replace("~1", "/").replace("~0", "~");
            let found = claims.get(&unescaped)?;
            match rest {
                "" => Some(found),
                rest => found.pointer(&format!("/{rest}")),
            }
        }
    }
}

/// The words of a list, or of a text as `scope` has them.
fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => text.split_whitespace().collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "seconds within some thousand years fit"
)]
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}

fn library(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::Es384 => Algorithm::ES384,
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Rs384 => Algorithm::RS384,
        JwtAlgorithm::Rs512 => Algorithm::RS512,
        JwtAlgorithm::Ps256 => Algorithm::PS256,
        JwtAlgorithm::Ps384 => Algorithm::PS384,
        JwtAlgorithm::Ps512 => Algorithm::PS512,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

#[cfg(test)]
mod tests;
