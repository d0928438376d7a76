//! Links that lead one approver to one access request, straight from a notification (S1.5, R3).
//!
//! A link is `{console}/accounts/{a}/users/{u}/permissions?request={id}&token=...`. Its token is
//! base64url without padding of: version 1 | tag 32 | link id 16 | expiry i64 BE, microseconds |
//! bytes of the approver's id. The tag is HMAC-SHA256 under the key that all replicas of one
//! database share, over everything else and the account and the request: so any replica reads it,
//! and a token that is forged, cut off, of another account or of another request is refused as one
//! thing. It is a credential: it is in no log, and [`Link::id`] says which links are spent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

use crate::authz::model::{ID_BYTES_MAX, Id, Timestamp};

const VERSION: u8 = 1;
const TAG_BYTES: usize = 32;
const LINK_ID_BYTES: usize = 16;
const EXPIRY_BYTES: usize = 8;
const TOKEN_BYTES_MAX: usize = 1 + TAG_BYTES + LINK_ID_BYTES + EXPIRY_BYTES + ID_BYTES_MAX;
/// Of the text: four characters for three bytes.
const TEXT_BYTES_MAX: usize = TOKEN_BYTES_MAX.div_ceil(3) * 4;

/// What RFC 3986 calls unreserved stands for itself, everything else is escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Stands before an id that would not survive as a segment of a path.
const GUARD: char = '~';

/// A link that was read: genuine and not yet expired. Whether it was spent is not known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub account: Id,
    pub request: Id,
    /// Who may use it, and nobody else.
    pub approver: Id,
    /// What it is spent under.
    pub id: [u8; 16],
    pub expires_at: Timestamp,
}

/// Why a link leads nowhere. Nothing more is told: who tries links learns nothing from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("the link is not valid: open the one in the notification unchanged")]
    Invalid,
    #[error("the link has expired: open a newer notification, or ask for another link")]
    Expired,
}

/// Makes and reads links under the key of one database; cheap to clone.
#[derive(Clone)]
pub struct Links {
    key: [u8; 32],
    console_url: Arc<str>,
    time_to_live: Duration,
}

impl fmt::Debug for Links {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Links")
            .field("console_url", &self.console_url)
            .field("time_to_live", &self.time_to_live)
            .finish_non_exhaustive()
    }
}

/// An id as one segment of a path that every browser and proxy leaves alone. `.` and `..` are taken
/// for steps in the path even where they are escaped, so these are written with a `~` before them,
/// and so is what begins with `~`. [`id_of_segment`] is the way back.
pub fn segment_of(id: &Id) -> String {
    let text = id.as_str();
    let needs_guard = matches!(text, "." | "..") || text.starts_with(GUARD);
    let mut segment = String::with_capacity(text.len() + 1);
    if needs_guard {
        segment.push(GUARD);
    }
    segment.extend(utf8_percent_encode(text, ESCAPED));
    segment
}

/// The id of a segment whose escapes have been resolved; `None`: it is none of [`segment_of`].
pub fn id_of_segment(segment: &str) -> Option<Id> {
    match segment.strip_prefix(GUARD) {
        Some(guarded) if guarded.starts_with(GUARD) || matches!(guarded, "." | "..") => {
            Id::parse(guarded).ok()
        }
        Some(_) => None,
        None => Id::parse(segment).ok(),
    }
}

impl Links {
    /// `token_key` is the secret of the database; `console_url` is where the console is reached
    /// from outside.
    pub fn new(token_key: [u8; 32], console_url: &str, time_to_live: Duration) -> Self {
        Self {
            key: token_key,
            console_url: console_url.trim_end_matches('/').into(),
            time_to_live,
        }
    }

    /// The public base of all links, without a slash at its end.
    pub fn console_url(&self) -> &str {
        &self.console_url
    }

    /// The link of an approver. `random` becomes the link's id, so it must be unguessable.
    pub fn make(
        &self,
        account: &Id,
        request: &Id,
        requester: &Id,
        approver: &Id,
        random: [u8; 16],
        now: Timestamp,
    ) -> String {
        let token = self.token(account, request, approver, random, now);
        format!(
            "{}?request={}&token={token}",
            self.page(account, requester),
            utf8_percent_encode(request.as_str(), ESCAPED),
        )
    }

    /// The page of a request for whoever has access to it by other means.
    pub fn plain(&self, account: &Id, request: &Id, requester: &Id) -> String {
        format!(
            "{}?request={}",
            self.page(account, requester),
            utf8_percent_encode(request.as_str(), ESCAPED),
        )
    }

    fn page(&self, account: &Id, requester: &Id) -> String {
        format!(
            "{}/accounts/{}/users/{}/permissions",
            self.console_url,
            segment_of(account),
            segment_of(requester),
        )
    }

    /// The token alone, as [`Links::read`] takes it.
    pub fn token(
        &self,
        account: &Id,
        request: &Id,
        approver: &Id,
        random: [u8; 16],
        now: Timestamp,
    ) -> String {
        let approver = approver.as_str().as_bytes();
        let mut signed = Vec::with_capacity(LINK_ID_BYTES + EXPIRY_BYTES + approver.len());
        signed.extend_from_slice(&random);
        signed.extend_from_slice(&self.expiry(now).unix_micros().to_be_bytes());
        signed.extend_from_slice(approver);
        let tag = self.mac(account, request, &signed).finalize().into_bytes();
        let mut bytes = Vec::with_capacity(1 + TAG_BYTES + signed.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&tag);
        bytes.extend_from_slice(&signed);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the token of a link to a request of an account.
    ///
    /// # Errors
    /// [`LinkError::Expired`] for a genuine one past its time, [`LinkError::Invalid`] for all else.
    pub fn read(
        &self,
        account: &Id,
        request: &Id,
        token: &str,
        now: Timestamp,
    ) -> Result<Link, LinkError> {
        let link = self
            .genuine(account, request, token)
            .ok_or(LinkError::Invalid)?;
        if now >= link.expires_at {
            return Err(LinkError::Expired);
        }
        Ok(link)
    }

    fn genuine(&self, account: &Id, request: &Id, token: &str) -> Option<Link> {
        if token.len() > TEXT_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (tag, signed) = rest.split_at_checked(TAG_BYTES)?;
        if *version != VERSION {
            return None;
        }
        // Compares in constant time.
        self.mac(account, request, signed).verify_slice(tag).ok()?;
        let (id, rest) = signed.split_at_checked(LINK_ID_BYTES)?;
        let (expiry, approver) = rest.split_at_checked(EXPIRY_BYTES)?;
        Some(Link {
            account: account.clone(),
            request: request.clone(),
            approver: Id::parse(std::str::from_utf8(approver).ok()?).ok()?,
            id: id.try_into().ok()?,
            expires_at: Timestamp::from_unix_micros(i64::from_be_bytes(expiry.try_into().ok()?))?,
        })
    }

    /// When a link that is made now ends.
    pub fn expiry(&self, now: Timestamp) -> Timestamp {
        let micros = i64::try_from(self.time_to_live.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_unix_micros(now.unix_micros().saturating_add(micros))
            .unwrap_or(Timestamp::MAX)
    }

    fn mac(&self, account: &Id, request: &Id, signed: &[u8]) -> Hmac<Sha256> {
        // HMAC fills a key up to its block of 64 bytes with zeros; done here, it can't fail.
        let mut block = [0_u8; 64];
        for (to, from) in block.iter_mut().zip(self.key) {
            *to = from;
        }
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into());
        mac.update(b"ambit console link 1\0");
        // With its length, so that no two pairs are written alike.
        for id in [account, request] {
            let bytes = u64::try_from(id.as_str().len()).unwrap_or(u64::MAX);
            mac.update(&bytes.to_be_bytes());
            mac.update(id.as_str().as_bytes());
        }
        mac.update(signed);
        mac
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use url::Url;

    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const RANDOM: [u8; 16] = *b"sixteen bytes ok";
    const HOUR: Duration = Duration::from_secs(3_600);

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-22T12:00:00Z").unwrap()
    }

    fn later(seconds: i64, micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(now().unix_micros() + seconds * 1_000_000 + micros).unwrap()
    }

    fn links() -> Links {
        Links::new(KEY, "https://ambit.example.com/", HOUR)
    }

    fn token() -> String {
        links().token(&id("acme"), &id("req-1"), &id("sa"), RANDOM, now())
    }

    /// S1.5: the link leads straight to where the change is made.
    #[test]
    fn s1_5_a_link_has_the_form_of_the_rule_and_comes_back_as_it_was_made() {
        let text = links().make(
            &id("acme"),
            &id("req-1"),
            &id("de1"),
            &id("sa"),
            RANDOM,
            now(),
        );
        let (page, token) = text.split_once("&token=").unwrap();
        assert_eq!(
            page,
            "https://ambit.example.com/accounts/acme/users/de1/permissions?request=req-1"
        );
        assert_eq!(
            links().read(&id("acme"), &id("req-1"), token, now()),
            Ok(Link {
                account: id("acme"),
                request: id("req-1"),
                approver: id("sa"),
                id: RANDOM,
                expires_at: later(3_600, 0),
            })
        );
        assert_eq!(
            links().plain(&id("acme"), &id("req-1"), &id("de1")),
            page,
            "the same page without a token"
        );
    }

    #[test]
    fn a_link_ends_exactly_at_its_expiry() {
        let read = |at| links().read(&id("acme"), &id("req-1"), &token(), at);
        assert!(read(later(3_600, -1)).is_ok());
        assert_eq!(read(later(3_600, 0)), Err(LinkError::Expired));
        assert_eq!(read(Timestamp::MAX), Err(LinkError::Expired));
        // A forged one that has expired too is told as forged.
        let forged = links().read(&id("acme"), &id("req-2"), &token(), Timestamp::MAX);
        assert_eq!(forged, Err(LinkError::Invalid));
    }

    /// reliability.md case 39: a foreign link is refused, and nothing tells why.
    #[test]
    fn case_39_another_account_request_key_and_any_change_are_refused_as_one_thing() {
        let read = |links: &Links, account: &str, request: &str, token: &str| {
            links.read(&id(account), &id(request), token, now())
        };
        let invalid = Err(LinkError::Invalid);
        assert_eq!(read(&links(), "acme2", "req-1", &token()), invalid);
        assert_eq!(read(&links(), "acme", "req-2", &token()), invalid);
        // The same bytes, cut into other ids.
        assert_eq!(read(&links(), "acmer", "eq-1", &token()), invalid);
        let others = Links::new([8; 32], "https://ambit.example.com", HOUR);
        assert_eq!(read(&others, "acme", "req-1", &token()), invalid);
        let of_another = links().token(&id("acme"), &id("req-1"), &id("sb"), RANDOM, now());
        assert_ne!(of_another, token());
        for at in 0..token().len() {
            let mut bytes = token().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(bytes).unwrap();
            assert_eq!(
                read(&links(), "acme", "req-1", &forged),
                invalid,
                "byte {at}"
            );
            let cut: String = token().chars().take(at).collect();
            assert_eq!(
                read(&links(), "acme", "req-1", &cut),
                invalid,
                "cut at {at}"
            );
        }
        for odd in [&format!("{}=", token()), "", "A", &"A".repeat(1 << 20)] {
            assert_eq!(read(&links(), "acme", "req-1", odd), invalid);
        }
    }

    #[test]
    fn the_key_does_not_show_itself() {
        let written = format!("{:?}", links());
        assert!(!written.contains('7'), "{written}");
    }

    /// Any id: what an id may hold, and what paths and queries give a meaning to.
    fn any_id() -> impl Strategy<Value = Id> {
        let odd = prop::sample::select(vec![
            ".",
            "..",
            "...",
            "~",
            "~.",
            "~..",
            "~~",
            "%2e",
            "%2E%2e",
            "a/b",
            "/",
            "//",
            "?",
            "#",
            "a?b=c&d",
            "%",
            "%zz",
            "+",
            " ",
            "ü",
            "日本",
            "a\\b",
            "user:1",
            ";v=1",
            "\u{202e}x",
        ]);
        prop_oneof![odd.prop_map(str::to_owned), "\\PC{1,40}"]
            .prop_filter_map("an id", |text| Id::parse(&text).ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(20_261_122),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// What a browser makes of a link is what was put in.
        #[test]
        fn any_ids_come_back_from_a_url_as_they_went_in(
            account in any_id(), request in any_id(), requester in any_id(), approver in any_id(),
            random in any::<[u8; 16]>(),
        ) {
            let text = links().make(&account, &request, &requester, &approver, random, now());
            let url = Url::parse(&text).unwrap();
            prop_assert_eq!(url.as_str(), text.as_str(), "a browser changes nothing");
            prop_assert_eq!(url.host_str(), Some("ambit.example.com"));
            let segments: Vec<String> = url
                .path_segments()
                .unwrap()
                .map(|segment| percent_decode_str(segment).decode_utf8().unwrap().into_owned())
                .collect();
            prop_assert_eq!(segments.len(), 5);
            prop_assert_eq!(&segments[0], "accounts");
            prop_assert_eq!(id_of_segment(&segments[1]), Some(account.clone()));
            prop_assert_eq!(id_of_segment(&segments[3]), Some(requester));
            let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            prop_assert_eq!(query.len(), 2);
            prop_assert_eq!(&query[0], &("request".to_owned(), request.to_string()));
            let link = links().read(&account, &request, &query[1].1, now()).unwrap();
            prop_assert_eq!(link.approver, approver);
            prop_assert_eq!(link.id, random);
        }

        #[test]
        fn a_link_is_read_for_its_own_account_and_request_alone(
            ids in prop::array::uniform4(any_id()), approver in any_id(),
        ) {
            let [account, request, other_account, other_request] = ids;
            let token = links().token(&account, &request, &approver, RANDOM, now());
            let same = account == other_account && request == other_request;
            let read = links().read(&other_account, &other_request, &token, now());
            prop_assert_eq!(read.is_ok(), same);
        }

        #[test]
        fn no_text_is_taken_for_a_link(text in "\\PC{0,200}") {
            let read = links().read(&id("acme"), &id("req-1"), &text, now());
            prop_assert_eq!(read, Err(LinkError::Invalid));
        }
    }
}
