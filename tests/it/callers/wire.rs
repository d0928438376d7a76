//! Calls of any method by its path, with messages as bytes: what a client without our protos can do.

use std::collections::BTreeMap;

use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorProto};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let bytes = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(bytes)))
    }
}

/// A request as it is sent with a credential, or without one.
pub fn with<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// Calls a method with one message; its first answer, or how it failed.
pub async fn call(
    channel: &Channel,
    path: &str,
    message: &[u8],
    token: Option<&str>,
) -> Result<Option<Bytes>, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let message = tokio_stream::once(Bytes::copy_from_slice(message));
    let path = PathAndQuery::try_from(path).unwrap();
    let answers = client.streaming(with(message, token), path, Raw).await?;
    answers.into_inner().message().await
}

/// A method as reflection tells of it.
#[derive(Debug, Clone)]
pub struct Method {
    pub path: String,
    /// Number by name of the plain text fields of its request.
    pub texts: BTreeMap<String, u32>,
}

impl Method {
    /// A request with these texts in the fields that it has.
    pub fn message(&self, texts: &[(&str, &str)]) -> Vec<u8> {
        let mut message = Vec::new();
        for (name, text) in texts {
            if let Some(number) = self.texts.get(*name) {
                prost::encoding::string::encode(*number, &(*text).to_owned(), &mut message);
            }
        }
        message
    }

    pub fn names_an_account(&self) -> bool {
        self.texts.contains_key("account_id")
    }
}

/// All methods of all services, asked of the running server.
pub async fn methods(channel: &Channel, token: Option<&str>) -> Result<Vec<Method>, Status> {
    let services =
        match reflect(channel, token, MessageRequest::ListServices(String::new())).await? {
            MessageResponse::ListServicesResponse(services) => services.service,
            other => panic!("{other:?}"),
        };
    let mut methods = Vec::new();
    for service in services {
        let symbol = MessageRequest::FileContainingSymbol(service.name.clone());
        let MessageResponse::FileDescriptorResponse(files) =
            reflect(channel, token, symbol).await?
        else {
            panic!("no file has {}", service.name);
        };
        let files: Vec<FileDescriptorProto> = files
            .file_descriptor_proto
            .iter()
            .map(|file| FileDescriptorProto::decode(&**file).unwrap())
            .collect();
        for file in &files {
            for described in &file.service {
                if format!("{}.{}", file.package(), described.name()) != service.name {
                    continue;
                }
                for method in &described.method {
                    methods.push(Method {
                        path: format!("/{}/{}", service.name, method.name()),
                        texts: texts(&files, method.input_type()),
                    });
                }
            }
        }
    }
    Ok(methods)
}

async fn reflect(
    channel: &Channel,
    token: Option<&str>,
    message: MessageRequest,
) -> Result<MessageResponse, Status> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(with(tokio_stream::once(request), token))
        .await?
        .into_inner();
    let answer = answers.message().await?.unwrap();
    Ok(answer.message_response.unwrap())
}

fn texts(files: &[FileDescriptorProto], name: &str) -> BTreeMap<String, u32> {
    let found: Option<&DescriptorProto> = files.iter().find_map(|file| {
        file.message_type
            .iter()
            .find(|message| format!(".{}.{}", file.package(), message.name()) == name)
    });
    let fields = found.map_or(&[][..], |message| &message.field);
    fields
        .iter()
        .filter(|field| field.r#type() == Type::String && field.label() != Label::Repeated)
        .map(|field| {
            let number = u32::try_from(field.number()).unwrap();
            (field.name().to_owned(), number)
        })
        .collect()
}
