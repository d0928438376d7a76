//! All services of the gRPC port, with their limits.

use std::task::{Context, Poll};

use tonic::codegen::http::Request;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

use super::access_request::AccessRequestHandlers;
use super::authenticate::Authenticate;
use super::decision::DecisionHandlers;
use super::directory::DirectoryHandlers;
use super::health::HealthService;
use super::partition::PartitionHandlers;
use super::partner::PartnerHandlers;
use super::reading::Reading;
use super::reasons::GiveReasons;
use super::server::Backend;
use super::wire;
use super::wire::access_request_service_server::{
    AccessRequestServiceServer, SERVICE_NAME as ACCESS_REQUEST,
};
use super::wire::decision_service_server::{DecisionServiceServer, SERVICE_NAME as DECISION};
use super::wire::directory_service_server::{DirectoryServiceServer, SERVICE_NAME as DIRECTORY};
use super::wire::partition_service_server::{PartitionServiceServer, SERVICE_NAME as PARTITION};
use super::wire::partner_service_server::{PartnerServiceServer, SERVICE_NAME as PARTNER};

/// Largest message that a call with many items takes, in bytes after decompression.
pub const BULK_MESSAGE_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// Largest message that any other call takes.
pub const MESSAGE_BYTES_MAX: usize = 1_024 * 1_024;

/// Largest answer. A filter answers at most what it was asked, so this leaves room for the rest.
const ANSWER_BYTES_MAX: usize = 8 * 1_024 * 1_024;

/// Full names of the services, which the health service answers for.
pub const SERVICES: &[&str] = &[DECISION, DIRECTORY, ACCESS_REQUEST, PARTITION, PARTNER];

/// The methods that take messages up to [`BULK_MESSAGE_BYTES_MAX`], and time for many items.
pub const BULK_METHODS: [&str; 12] = [
    "BatchCheck",
    "FilterAccessible",
    "FilterAccessibleStream",
    "ApplyChanges",
    "ImportResources",
    "AssignResources",
    "Unpartition",
    "PreviewChanges",
    "ListPreviewedAccess",
    "RecalculateSegment",
    "PreviewRemoval",
    "CommitRemoval",
];

/// The methods whose answers are streams.
pub const STREAM_METHODS: [&str; 15] = [
    "ListAccessible",
    "FilterAccessibleStream",
    "ListUsersWithAccess",
    "ImportResources",
    "ExportAccount",
    "WatchChanges",
    "WatchAccessRequests",
    "AssignResources",
    "Unpartition",
    "UndoBatch",
    "UndoImport",
    "PreviewChanges",
    "ListPreviewedAccess",
    "WatchAccess",
    "ServerReflectionInfo",
];

/// All services of the port.
pub fn routes(backend: &Backend) -> Routes {
    let graphs = backend.directory.graphs().clone();
    let reading = Reading::new(
        graphs.clone(),
        backend.clock.clone(),
        backend.store.clone(),
        backend.stall_timeout,
    );
    let decision = DecisionServiceServer::new(DecisionHandlers::new(
        reading.clone(),
        backend.decisions.clone(),
        backend.decision_log.clone(),
    ))
    .max_encoding_message_size(ANSWER_BYTES_MAX);
    let decision = ByMethod {
        single: decision
            .clone()
            .max_decoding_message_size(MESSAGE_BYTES_MAX),
        bulk: decision.max_decoding_message_size(BULK_MESSAGE_BYTES_MAX),
    };
    let directory = DirectoryServiceServer::new(DirectoryHandlers::new(
        backend.directory.clone(),
        backend.store.clone(),
        reading.clone(),
        backend.shutdown.clone(),
    ))
    .max_encoding_message_size(ANSWER_BYTES_MAX);
    let directory = ByMethod {
        single: directory
            .clone()
            .max_decoding_message_size(MESSAGE_BYTES_MAX),
        bulk: directory.max_decoding_message_size(BULK_MESSAGE_BYTES_MAX),
    };
    let access_requests = AccessRequestServiceServer::new(AccessRequestHandlers::new(
        backend.requests.clone(),
        reading.clone(),
        backend.shutdown.clone(),
    ))
    .max_encoding_message_size(ANSWER_BYTES_MAX)
    .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let partners = PartnerServiceServer::new(PartnerHandlers::new(
        backend.partners.clone(),
        reading.clone(),
    ))
    .max_encoding_message_size(ANSWER_BYTES_MAX)
    .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let partitions = PartitionServiceServer::new(PartitionHandlers::new(
        backend.partitions.clone(),
        backend.directory.clone(),
        backend.segments.clone(),
        reading,
        backend.decision_log.clone(),
        backend.shutdown.clone(),
    ))
    .max_encoding_message_size(ANSWER_BYTES_MAX);
    let partitions = ByMethod {
        single: partitions
            .clone()
            .max_decoding_message_size(MESSAGE_BYTES_MAX),
        bulk: partitions.max_decoding_message_size(BULK_MESSAGE_BYTES_MAX),
    };
    let health = HealthService::server(graphs, backend.shutdown.clone(), SERVICES);
    let mut routes = Routes::new(decision)
        .add_service(directory)
        .add_service(access_requests)
        .add_service(partitions)
        .add_service(partners)
        .add_service(health);
    match reflection() {
        Ok(set) => {
            routes = routes.add_service(set.0).add_service(set.1);
        }
        Err(error) => tracing::error!(error = %error, "reflection is not served"),
    }
    let authenticate = Authenticate(backend.authentication.clone());
    // The last layer is the outermost.
    let routes = routes.into_axum_router().layer(GiveReasons);
    Routes::from(routes.layer(authenticate)).prepare()
}

/// One service with two limits of messages: tonic knows one for all methods of a service.
#[derive(Clone)]
struct ByMethod<S> {
    single: S,
    bulk: S,
}

impl<S: NamedService> NamedService for ByMethod<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<Request<B>> for ByMethod<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self.single.poll_ready(context) {
            Poll::Ready(Ok(())) => self.bulk.poll_ready(context),
            waiting_or_failed => waiting_or_failed,
        }
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let method = request.uri().path().rsplit('/').next();
        if method.is_some_and(|method| BULK_METHODS.contains(&method)) {
            self.bulk.call(request)
        } else {
            self.single.call(request)
        }
    }
}

type ReflectionError = tonic_reflection::server::Error;

/// Both versions: older tools ask for v1alpha alone.
fn reflection() -> Result<
    (
        tonic_reflection::server::v1::ServerReflectionServer<
            impl tonic_reflection::server::v1::ServerReflection,
        >,
        tonic_reflection::server::v1alpha::ServerReflectionServer<
            impl tonic_reflection::server::v1alpha::ServerReflection,
        >,
    ),
    ReflectionError,
> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(wire::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that a generic client can print the details of an error.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    Ok((builder().build_v1()?, builder().build_v1alpha()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each method that the descriptors call streaming is counted as one, and no other.
    #[test]
    fn the_streams_are_those_of_the_descriptors() {
        use prost::Message as _;
        let mut streams = vec!["ServerReflectionInfo".to_owned()];
        let set = prost_types::FileDescriptorSet::decode(wire::FILE_DESCRIPTOR_SET).unwrap();
        for service in set.file.iter().flat_map(|file| &file.service) {
            let streaming = service.method.iter().filter(|m| m.server_streaming());
            streams.extend(streaming.map(|method| method.name().to_owned()));
        }
        let mut listed: Vec<String> = STREAM_METHODS.map(str::to_owned).to_vec();
        streams.sort_unstable();
        listed.sort_unstable();
        assert_eq!(streams, listed);
    }

    #[test]
    fn the_descriptors_can_be_reflected() {
        assert!(reflection().is_ok());
    }
}
