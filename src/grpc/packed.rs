//! `ListAccessibleResponse`, written by hand for the sake of its ids: a list of a million is copied
//! from the snapshot into the frame without a string being made for each.

use prost::DecodeError;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};

const TOTAL: u32 = 1;
const IDS: u32 = 2;
const REVISION: u32 = 3;
const NEXT_PAGE_TOKEN: u32 = 4;

/// One chunk of a list; there is always at least one. On the wire it is what
/// `proto/ambit/v1/decision.proto` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListAccessibleResponse {
    /// How many resources are accessible in all, not only on this page; in the first message only.
    pub total: Option<u64>,
    /// Ids of accessible resources, each exactly once in the stream.
    pub ids: Vec<String>,
    /// The revision that the whole stream rests on; in the first message only.
    pub revision: String,
    /// The token of the next page; in the last message of a page that has one after it.
    pub next_page_token: String,
    /// Further ids, as they are written after `ids`. What is decoded is in `ids` alone.
    pub packed_ids: PackedIds,
}

/// Ids as fields on the wire: tag, length and bytes of each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackedIds {
    fields: Vec<u8>,
}

impl PackedIds {
    pub fn push(&mut self, id: &str) {
        encoding::encode_key(IDS, WireType::LengthDelimited, &mut self.fields);
        encoding::encode_varint(wire_length(id), &mut self.fields);
        self.fields.extend_from_slice(id.as_bytes());
    }

    /// On the wire.
    pub fn bytes(&self) -> usize {
        self.fields.len()
    }

    pub fn reserve(&mut self, bytes: usize) {
        self.fields.reserve(bytes);
    }
}

/// No string has more bytes than this type counts.
fn wire_length(id: &str) -> u64 {
    u64::try_from(id.len()).unwrap_or(u64::MAX)
}

/// A string field of its own: left out where it is empty, as proto3 has it.
fn string_len(tag: u32, value: &String) -> usize {
    if value.is_empty() {
        0
    } else {
        encoding::string::encoded_len(tag, value)
    }
}

impl prost::Message for ListAccessibleResponse {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        if let Some(total) = &self.total {
            encoding::uint64::encode(TOTAL, total, buffer);
        }
        encoding::string::encode_repeated(IDS, &self.ids, buffer);
        buffer.put_slice(&self.packed_ids.fields);
        for (tag, value) in [
            (REVISION, &self.revision),
            (NEXT_PAGE_TOKEN, &self.next_page_token),
        ] {
            if !value.is_empty() {
                encoding::string::encode(tag, value, buffer);
            }
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let named = |field: &'static str| {
            move |mut error: DecodeError| {
                error.push("ListAccessibleResponse", field);
                error
            }
        };
        match tag {
            TOTAL => {
                let total = self.total.get_or_insert_default();
                encoding::uint64::merge(wire_type, total, buffer, context).map_err(named("total"))
            }
            IDS => encoding::string::merge_repeated(wire_type, &mut self.ids, buffer, context)
                .map_err(named("ids")),
            REVISION => encoding::string::merge(wire_type, &mut self.revision, buffer, context)
                .map_err(named("revision")),
            NEXT_PAGE_TOKEN => {
                encoding::string::merge(wire_type, &mut self.next_page_token, buffer, context)
                    .map_err(named("next_page_token"))
            }
            _ => encoding::skip_field(wire_type, tag, buffer, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let total = match &self.total {
            Some(total) => encoding::uint64::encoded_len(TOTAL, total),
            None => 0,
        };
        total
            + encoding::string::encoded_len_repeated(IDS, &self.ids)
            + self.packed_ids.bytes()
            + string_len(REVISION, &self.revision)
            + string_len(NEXT_PAGE_TOKEN, &self.next_page_token)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    /// As prost would have generated it.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Generated {
        #[prost(uint64, optional, tag = "1")]
        total: Option<u64>,
        #[prost(string, repeated, tag = "2")]
        ids: Vec<String>,
        #[prost(string, tag = "3")]
        revision: String,
        #[prost(string, tag = "4")]
        next_page_token: String,
    }

    fn samples() -> Vec<Generated> {
        let ids = vec!["c1".to_owned(), String::new(), "ä".repeat(100)];
        [
            (None, Vec::new(), "", ""),
            (Some(0), Vec::new(), "r", ""),
            (Some(u64::MAX), ids.clone(), "r", "t"),
            (None, ids, "", "t"),
        ]
        .into_iter()
        .map(|(total, ids, revision, next_page_token)| Generated {
            total,
            ids,
            revision: revision.to_owned(),
            next_page_token: next_page_token.to_owned(),
        })
        .collect()
    }

    #[test]
    fn it_is_written_as_prost_would_have_it() {
        for expected in samples() {
            let plain = ListAccessibleResponse {
                total: expected.total,
                ids: expected.ids.clone(),
                revision: expected.revision.clone(),
                next_page_token: expected.next_page_token.clone(),
                packed_ids: PackedIds::default(),
            };
            let mut packed = ListAccessibleResponse {
                ids: Vec::new(),
                ..plain.clone()
            };
            for id in &expected.ids {
                packed.packed_ids.push(id);
            }
            let bytes = expected.encode_to_vec();
            assert_eq!(plain.encode_to_vec(), bytes);
            assert_eq!(packed.encode_to_vec(), bytes);
            assert_eq!(ListAccessibleResponse::decode(&*bytes), Ok(plain));
        }
    }

    #[test]
    fn what_is_not_known_is_skipped_and_what_is_wrong_is_named() {
        let newer = [0x7a, 0x01, b'x', 0x12, 0x02, b'c', b'1'];
        let read = ListAccessibleResponse::decode(&newer[..]).unwrap();
        assert_eq!(read.ids, ["c1"]);
        let wrong = [0x12, 0x01, 0xff];
        let error = ListAccessibleResponse::decode(&wrong[..]).unwrap_err();
        assert!(
            error.to_string().contains("ListAccessibleResponse.ids"),
            "{error}"
        );
    }
}
