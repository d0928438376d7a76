//! prost on the wire, with its errors told as ours: a message that can't be decoded is the sender's
//! fault (INVALID_ARGUMENT with MALFORMED_MESSAGE), where the stock codec would say INTERNAL.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use super::status::{Failure, Reason};

/// The codec of every generated client and server; see `build.rs`.
#[derive(Debug)]
pub struct Codec<T, U> {
    types: PhantomData<(T, U)>,
}

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self { types: PhantomData }
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = MessageDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        MessageDecoder {
            message: PhantomData,
        }
    }
}

/// Decodes one message of a known type.
#[derive(Debug)]
pub struct MessageDecoder<U> {
    message: PhantomData<U>,
}

impl<U: Message + Default> Decoder for MessageDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        match U::decode(buffer) {
            Ok(message) => Ok(Some(message)),
            // prost names the field and what is wrong with its bytes, and repeats none of them.
            Err(error) => Err(Failure::new(Reason::MalformedMessage, error.to_string()).into()),
        }
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
