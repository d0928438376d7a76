//! Sessions and the marks on forms: what a link is exchanged for.
//!
//! A session lives in a cookie and nowhere else, so any replica reads it: base64url without padding
//! of: version 1 | tag 32 | session id 16, which is the id of the link that was spent | expiry i64 BE,
//! microseconds | bytes of the approver's id. The tag is HMAC-SHA256 under the key that all replicas
//! of one database share, over everything else and the account. It says who asks, never what that
//! one may do: that is asked of the account anew with each request.
//!
//! Each form carries a mark, a MAC over the session or the link that its page was shown to. So a
//! form of another site, which can see neither, is refused even where the browser sends the cookie.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::authz::model::{ID_BYTES_MAX, Id, Timestamp};
use crate::links::Link;

/// How long a session lasts; it is not prolonged.
pub const SESSION_TTL: Duration = Duration::from_secs(30 * 60);

const VERSION: u8 = 1;
const TAG_BYTES: usize = 32;
const ID_BYTES: usize = 16;
const EXPIRY_BYTES: usize = 8;
const BYTES_MAX: usize = 1 + TAG_BYTES + ID_BYTES + EXPIRY_BYTES + ID_BYTES_MAX;
/// Of the text: four characters for three bytes.
const TEXT_BYTES_MAX: usize = BYTES_MAX.div_ceil(3) * 4;

const SESSION_LABEL: &[u8] = b"ambit console session 1\0";
const LINK_FORM_LABEL: &[u8] = b"ambit console form of a link 1\0";
const SESSION_FORM_LABEL: &[u8] = b"ambit console form of a session 1\0";

/// An approver at a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub approver: Id,
    pub id: [u8; ID_BYTES],
    pub expires_at: Timestamp,
}

/// Why a cookie opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("the session is not valid")]
    Invalid,
    #[error("the session has ended")]
    Expired,
}

/// Whom a page was shown to, and whose forms it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer<'a> {
    Link(&'a Link),
    Session(&'a Session),
}

/// Makes and reads sessions of one account under the key of one database.
#[derive(Clone, Copy)]
pub struct Sessions<'a> {
    key: [u8; 32],
    account: &'a Id,
}

impl fmt::Debug for Sessions<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sessions")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

impl<'a> Sessions<'a> {
    pub fn new(token_key: [u8; 32], account: &'a Id) -> Self {
        Self {
            key: token_key,
            account,
        }
    }

    /// The session that a link opens when it is spent.
    pub fn open(&self, link: &Link, now: Timestamp) -> Session {
        let micros = i64::try_from(SESSION_TTL.as_micros()).unwrap_or(i64::MAX);
        let expires_at = now.unix_micros().saturating_add(micros);
        Session {
            approver: link.approver.clone(),
            id: link.id,
            expires_at: Timestamp::from_unix_micros(expires_at).unwrap_or(Timestamp::MAX),
        }
    }

    /// As the value of a cookie.
    pub fn encode(&self, session: &Session) -> String {
        let signed = written(session);
        let tag = self.mac(SESSION_LABEL, &signed).finalize().into_bytes();
        let mut bytes = Vec::with_capacity(1 + TAG_BYTES + signed.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&tag);
        bytes.extend_from_slice(&signed);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the value of a cookie.
    ///
    /// # Errors
    /// [`SessionError::Expired`] for a genuine one past its time, [`SessionError::Invalid`] for all
    /// else.
    pub fn decode(&self, text: &str, now: Timestamp) -> Result<Session, SessionError> {
        let session = self.genuine(text).ok_or(SessionError::Invalid)?;
        if now >= session.expires_at {
            return Err(SessionError::Expired);
        }
        Ok(session)
    }

    fn genuine(&self, text: &str) -> Option<Session> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (tag, signed) = rest.split_at_checked(TAG_BYTES)?;
        if *version != VERSION {
            return None;
        }
        // Compares in constant time.
        self.mac(SESSION_LABEL, signed).verify_slice(tag).ok()?;
        let (id, rest) = signed.split_at_checked(ID_BYTES)?;
        let (expiry, approver) = rest.split_at_checked(EXPIRY_BYTES)?;
        Some(Session {
            approver: Id::parse(std::str::from_utf8(approver).ok()?).ok()?,
            id: id.try_into().ok()?,
            expires_at: Timestamp::from_unix_micros(i64::from_be_bytes(expiry.try_into().ok()?))?,
        })
    }

    /// The mark of the forms on a page.
    pub fn mark(&self, bearer: Bearer<'_>) -> String {
        URL_SAFE_NO_PAD.encode(self.mark_mac(bearer).finalize().into_bytes())
    }

    /// Whether a form came from a page that was shown to this bearer.
    pub fn is_mark(&self, bearer: Bearer<'_>, mark: &str) -> bool {
        let mut tag = [0_u8; TAG_BYTES];
        // A slice of the exact size refuses a longer text before anything is allocated for it.
        match URL_SAFE_NO_PAD.decode_slice(mark, &mut tag) {
            Ok(TAG_BYTES) => self.mark_mac(bearer).verify_slice(&tag).is_ok(),
            Ok(_) | Err(_) => false,
        }
    }

    fn mark_mac(&self, bearer: Bearer<'_>) -> Hmac<Sha256> {
        match bearer {
            Bearer::Link(link) => {
                let mut signed = link.id.to_vec();
                signed.extend_from_slice(link.approver.as_str().as_bytes());
                self.mac(LINK_FORM_LABEL, &signed)
            }
            Bearer::Session(session) => self.mac(SESSION_FORM_LABEL, &written(session)),
        }
    }

    fn mac(&self, label: &[u8], signed: &[u8]) -> Hmac<Sha256> {
        // HMAC fills a key up to its block of 64 bytes with zeros; done here, it can't fail.
        let mut block = [0_u8; 64];
        for (to, from) in block.iter_mut().zip(self.key) {
            *to = from;
        }
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into());
        mac.update(label);
        // With its length, so that no two are written alike.
        let account = self.account.as_str().as_bytes();
        mac.update(
            &u64::try_from(account.len())
                .unwrap_or(u64::MAX)
                .to_be_bytes(),
        );
        mac.update(account);
        mac.update(signed);
        mac
    }
}

fn written(session: &Session) -> Vec<u8> {
    let approver = session.approver.as_str().as_bytes();
    let mut written = Vec::with_capacity(ID_BYTES + EXPIRY_BYTES + approver.len());
    written.extend_from_slice(&session.id);
    written.extend_from_slice(&session.expires_at.unix_micros().to_be_bytes());
    written.extend_from_slice(approver);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-22T12:00:00Z").unwrap()
    }

    fn link(approver: &str, random: u8) -> Link {
        Link {
            account: id("acme"),
            request: id("req-1"),
            approver: id(approver),
            id: [random; 16],
            expires_at: now(),
        }
    }

    fn later(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(now().unix_micros() + micros).unwrap()
    }

    #[test]
    fn a_session_comes_back_as_it_was_made_and_ends_after_exactly_half_an_hour() {
        let acme = id("acme");
        let sessions = Sessions::new(KEY, &acme);
        let session = sessions.open(&link("sa", 1), now());
        let text = sessions.encode(&session);
        assert_eq!(sessions.decode(&text, now()), Ok(session.clone()));
        let end = 30 * 60 * 1_000_000;
        assert_eq!(sessions.decode(&text, later(end - 1)), Ok(session));
        let ended = sessions.decode(&text, later(end));
        assert_eq!(ended, Err(SessionError::Expired));
    }

    #[test]
    fn another_account_another_key_and_any_change_are_refused() {
        let (acme, other) = (id("acme"), id("acme2"));
        let sessions = Sessions::new(KEY, &acme);
        let text = sessions.encode(&sessions.open(&link("sa", 1), now()));
        let invalid = Err(SessionError::Invalid);
        assert_eq!(Sessions::new(KEY, &other).decode(&text, now()), invalid);
        assert_eq!(Sessions::new([8; 32], &acme).decode(&text, now()), invalid);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(bytes).unwrap();
            assert_eq!(sessions.decode(&forged, now()), invalid, "byte {at}");
            let cut = text.get(..at).unwrap();
            assert_eq!(sessions.decode(cut, now()), invalid, "cut at {at}");
        }
        for odd in [format!("{text}="), String::new(), "A".repeat(1 << 20)] {
            assert_eq!(sessions.decode(&odd, now()), invalid);
        }
        // A mark, a link and a session are signed over other things: none passes for another.
        let mark = sessions.mark(Bearer::Link(&link("sa", 1)));
        assert_eq!(sessions.decode(&mark, now()), invalid);
    }

    #[test]
    fn a_mark_is_good_for_its_own_bearer_alone() {
        let (acme, other) = (id("acme"), id("acme2"));
        let sessions = Sessions::new(KEY, &acme);
        let (mine, foreign, newer) = (link("sa", 1), link("sb", 1), link("sa", 2));
        let session = sessions.open(&mine, now());
        let mark = sessions.mark(Bearer::Link(&mine));
        assert!(sessions.is_mark(Bearer::Link(&mine), &mark));
        assert!(!sessions.is_mark(Bearer::Link(&foreign), &mark));
        assert!(!sessions.is_mark(Bearer::Link(&newer), &mark));
        assert!(!sessions.is_mark(Bearer::Session(&session), &mark));
        assert!(!Sessions::new(KEY, &other).is_mark(Bearer::Link(&mine), &mark));
        let mark = sessions.mark(Bearer::Session(&session));
        assert!(sessions.is_mark(Bearer::Session(&session), &mark));
        let next = sessions.open(&newer, now());
        assert!(!sessions.is_mark(Bearer::Session(&next), &mark));
        for odd in ["", "A", &format!("{mark}A"), mark.get(1..).unwrap()] {
            assert!(!sessions.is_mark(Bearer::Session(&session), odd), "{odd}");
        }
    }
}
