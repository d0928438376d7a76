//! Webhooks as Standard Webhooks has them: a POST whose id, time and body are signed.
//!
//! What a receiver answers is looked at for its status and `Retry-After` and then dropped. The
//! address of a webhook often holds a secret, so it is in no error and in no log.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use ipnet::IpNet;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, StatusCode, redirect};
use sha2::Sha256;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::guard::{ForbiddenAddress, Guard};
use super::{Attempt, NotificationsError};
use crate::authz::model::Timestamp;
use crate::config::{WebhookSecret, WebhookSettings};

const CONTENT: &str = "application/cloudevents+json; charset=utf-8";
const USER_AGENT: &str = concat!("ambit/", env!("CARGO_PKG_VERSION"));

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Of a whole attempt, from the name to the status.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A connection was judged when it was made, so none is kept for long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Blocks of SHA-256: a longer key would be hashed first. The settings allow none.
const KEY_BLOCK_BYTES: usize = 64;

/// Sends to any webhook.
pub struct Webhooks {
    encrypted: Channel,
    plain: Channel,
}

struct Channel {
    client: Client,
    guard: Guard,
}

/// What is sent: the same id at each attempt, so that a receiver knows it again.
pub struct Message {
    pub id: String,
    pub body: Vec<u8>,
}

impl Webhooks {
    /// `authorities`: certificates in PEM that are trusted besides those of the system.
    pub fn new(allowed: &[IpNet], authorities: Option<&str>) -> Result<Self, NotificationsError> {
        let allowed: Arc<[IpNet]> = allowed.into();
        let authorities = authorities.map_or(Ok(Vec::new()), certificates)?;
        let encrypted = Guard::public_and(Arc::clone(&allowed));
        Ok(Self {
            encrypted: Channel::new(encrypted, true, authorities)?,
            plain: Channel::new(Guard::only(allowed), false, Vec::new())?,
        })
    }

    pub async fn send(
        &self,
        webhook: &WebhookSettings,
        message: Message,
        now: Timestamp,
    ) -> Attempt {
        let channel = match webhook.url.scheme() {
            "https" => &self.encrypted,
            _ => &self.plain,
        };
        let permitted = webhook
            .url
            .host()
            .is_some_and(|host| channel.guard.permits_host(&host));
        if !permitted {
            return Attempt::failed(ForbiddenAddress.to_string());
        }
        let timestamp = now.unix_micros().div_euclid(1_000_000);
        let signatures = signatures(&webhook.secrets, &message, timestamp);
        let answer = channel
            .client
            .post(webhook.url.clone())
            .header(CONTENT_TYPE, CONTENT)
            .header("webhook-id", message.id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signatures)
            .body(message.body)
            .send()
            .await;
        match answer {
            Ok(answer) => judge(answer.status(), answer.headers(), now),
            Err(error) => Attempt::failed(problem_of(&error, &webhook.name)),
        }
    }
}

impl Channel {
    fn new(
        guard: Guard,
        is_encrypted: bool,
        authorities: Vec<Certificate>,
    ) -> Result<Self, NotificationsError> {
        let client = Client::builder()
            .tls_certs_merge(authorities)
            .user_agent(USER_AGENT)
            .https_only(is_encrypted)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .dns_resolver(guard.clone())
            .build()
            .map_err(|error| NotificationsError::Client(error.without_url()))?;
        Ok(Self { client, guard })
    }
}

/// Tried alone, so that what is wrong with them is told as just that.
fn certificates(pem: &str) -> Result<Vec<Certificate>, NotificationsError> {
    let unreadable = |_hidden: reqwest::Error| NotificationsError::Authorities;
    let certificates = Certificate::from_pem_bundle(pem.as_bytes()).map_err(unreadable)?;
    let alone = Client::builder().tls_certs_only(certificates.clone());
    alone.build().map_err(unreadable)?;
    Ok(certificates)
}

/// One for each secret, the present one first.
fn signatures(secrets: &[WebhookSecret], message: &Message, timestamp: i64) -> String {
    let of_one = |secret| format!("v1,{}", signature(secret, message, timestamp));
    let all: Vec<String> = secrets.iter().map(of_one).collect();
    all.join(" ")
}

fn signature(secret: &WebhookSecret, message: &Message, timestamp: i64) -> String {
    // HMAC fills a key up to its block with zeros; done here, it can't fail.
    let mut block = [0_u8; KEY_BLOCK_BYTES];
    for (to, from) in block.iter_mut().zip(secret.reveal()) {
        *to = *from;
    }
    let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into());
    mac.update(message.id.as_bytes());
    mac.update(b".");
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(&message.body);
    STANDARD.encode(mac.finalize().into_bytes())
}

fn judge(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Attempt {
    if status.is_success() {
        return Attempt::Delivered;
    }
    let problem = format!("the receiver answered {}", status.as_u16());
    if status == StatusCode::GONE {
        return Attempt::GivenUp { problem };
    }
    Attempt::Failed {
        problem,
        retry_after: headers
            .get(RETRY_AFTER)
            .and_then(|value| retry_after(value.to_str().ok()?, now)),
    }
}

/// Seconds, or a date.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    let seconds = date.unix_timestamp() - now.unix_micros().div_euclid(1_000_000);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// In words of ours: those of libraries name the address, and mean little to who reads a list.
fn problem_of(error: &reqwest::Error, webhook: &str) -> String {
    let mut cause = error.source();
    let mut innermost = None;
    while let Some(inner) = cause {
        if inner.downcast_ref::<ForbiddenAddress>().is_some() {
            return ForbiddenAddress.to_string();
        }
        innermost = Some(inner);
        cause = inner.source();
    }
    if let Some(innermost) = innermost {
        tracing::debug!(webhook, cause = %innermost, "an attempt failed");
    }
    let problem = if error.is_timeout() {
        "the receiver did not answer in time"
    } else if error.is_dns() {
        "the name of the receiver's host can't be resolved"
    } else if error.is_connect() {
        "no connection to the receiver can be made"
    } else {
        "the connection to the receiver broke off"
    };
    problem.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-22T12:00:00Z").unwrap()
    }

    /// The example of the Standard Webhooks specification.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let message = Message {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            body: br#"{"test": 2432232314}"#.to_vec(),
        };
        let signed = signatures(&[secret], &message, 1_614_265_330);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// Who begins with a certificate that is none would trust fewer than they think.
    #[test]
    fn authorities_that_cannot_be_read_are_told_at_the_start() {
        let good = rcgen::generate_simple_self_signed(["ca.example.com".to_owned()]);
        let good = good.unwrap().cert.pem();
        assert!(Webhooks::new(&[], None).is_ok());
        assert!(Webhooks::new(&[], Some(&good)).is_ok());
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in [bad, &format!("{good}{bad}"), &good.replace("MII", "MIJ")] {
            let refused = Webhooks::new(&[], Some(pem)).err().unwrap();
            assert_eq!(
                refused.to_string(),
                "webhook_ca_file has a certificate that can't be read"
            );
        }
    }

    #[test]
    fn while_a_secret_is_rotated_both_sign() {
        let secret = |byte| {
            let text = format!("whsec_{}", STANDARD.encode([byte; 32]));
            (WebhookSecret::parse(&text).unwrap(), text)
        };
        let ((present, present_text), (previous, previous_text)) = (secret(1), secret(2));
        let message = Message {
            id: "msg_1".to_owned(),
            body: b"{}".to_vec(),
        };
        let signed = signatures(&[present, previous], &message, 1_700_000_000);
        let expected: Vec<String> = [present_text, previous_text]
            .iter()
            .map(|text| {
                let other = standardwebhooks::Webhook::new(text).unwrap();
                other.sign("msg_1", 1_700_000_000, b"{}").unwrap()
            })
            .collect();
        assert_eq!(signed, expected.join(" "));
    }

    #[test]
    fn an_answer_is_judged_by_its_status() {
        let judged = |status: u16, after: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert(RETRY_AFTER, after.parse().unwrap());
            }
            judge(StatusCode::from_u16(status).unwrap(), &headers, now())
        };
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status, None), Attempt::Delivered, "{status}");
        }
        let gone = "the receiver answered 410".to_owned();
        assert_eq!(judged(410, None), Attempt::GivenUp { problem: gone });
        for status in [100, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503] {
            let problem = format!("the receiver answered {status}");
            assert_eq!(judged(status, None), Attempt::failed(problem), "{status}");
        }
        for (after, seconds) in [
            ("120", Some(120)),
            (" 0", Some(0)),
            ("Sun, 22 Nov 2026 12:01:40 GMT", Some(100)),
            ("Sun, 22 Nov 2026 11:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
            ("99999999999999999999999", None),
        ] {
            let Attempt::Failed { retry_after, .. } = judged(503, Some(after)) else {
                panic!("{after}");
            };
            assert_eq!(retry_after, seconds.map(Duration::from_secs), "{after}");
        }
    }
}
