//! Ids of requests: UUIDs of version 7, so that their byte order is about the order of filing.

use std::fmt::Write as _;

use crate::authz::model::{Id, IdError, Timestamp};

/// The id of a request that is filed at a moment. 74 of the random bits are in it, so it can't be
/// guessed.
pub(super) fn request_id(now: Timestamp, random: [u8; 16]) -> Result<Id, IdError> {
    // Before 1970 there are no UUIDs of this version; such a clock is at their beginning.
    let millis = u128::try_from(now.unix_micros().div_euclid(1_000)).unwrap_or(0);
    let mut bits = u128::from_be_bytes(random);
    bits &= (1 << 80) - 1;
    bits |= (millis & ((1 << 48) - 1)) << 80;
    // Version 7, variant 2.
    bits = (bits & !(0xf << 76)) | (0x7 << 76);
    bits = (bits & !(0x3 << 62)) | (0x2 << 62);
    let mut text = String::with_capacity(36);
    for (index, byte) in bits.to_be_bytes().into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    Id::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn an_id_is_the_uuid_of_its_moment_and_randomness() {
        // The example of RFC 9562, A.6: 2022-02-22T19:22:22Z.
        let mut random = [0; 16];
        random[6..].copy_from_slice(&[0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f]);
        let id = request_id(at("2022-02-22T19:22:22Z"), random).unwrap();
        assert_eq!(id.as_str(), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
        let highest = request_id(Timestamp::MAX, [0xff; 16]).unwrap();
        assert_eq!(highest.as_str(), "e677d21f-dbff-7fff-bfff-ffffffffffff");
        let lowest = request_id(Timestamp::MIN, [0; 16]).unwrap();
        assert_eq!(lowest.as_str(), "00000000-0000-7000-8000-000000000000");
    }

    #[test]
    fn a_later_id_is_a_greater_one() {
        let (first, second) = (at("2026-11-22T00:00:00Z"), at("2026-11-22T00:00:00.001Z"));
        assert!(request_id(first, [0xff; 16]).unwrap() < request_id(second, [0; 16]).unwrap());
    }
}
