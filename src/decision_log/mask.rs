//! Fields that are not to be seen as they are.

use std::borrow::Cow;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::config::{DecisionLogSettings, MaskedField};

/// Of the MAC: 96 bits, by which nobody is taken for another.
const PSEUDONYM_BYTES: usize = 12;

pub struct Masks {
    fields: BTreeSet<MaskedField>,
    key: Option<Hmac<Sha256>>,
}

impl Masks {
    pub fn new(settings: &DecisionLogSettings) -> Self {
        let key = settings.mask_key.as_ref();
        Self {
            fields: settings.masked.clone(),
            // HMAC takes a key of any length.
            key: key.and_then(|key| Hmac::new_from_slice(key.reveal()).ok()),
        }
    }

    /// The value as it may be written: itself; where the field is masked its pseudonym, which is
    /// the same for the same value of the same field; or nothing where there is no key for one.
    pub fn of<'v>(&self, field: MaskedField, value: &'v str) -> Option<Cow<'v, str>> {
        if !self.fields.contains(&field) {
            return Some(Cow::Borrowed(value));
        }
        let mut mac = self.key.clone()?;
        // The name has no NUL, so that no two pairs are made of the same bytes.
        mac.update(field.as_str().as_bytes());
        mac.update(&[0]);
        mac.update(value.as_bytes());
        let bytes = mac.finalize().into_bytes();
        let shown = bytes.get(..PSEUDONYM_BYTES)?;
        Some(Cow::Owned(format!("~{}", URL_SAFE_NO_PAD.encode(shown))))
    }
}
