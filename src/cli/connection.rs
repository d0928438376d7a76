//! The way to a server: where it is, how long to wait for it, and what its errors mean here.

use std::error::Error as _;
use std::path::PathBuf;

use clap::Args;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::authz::model::Timestamp;
use crate::client::{Client, StaticToken};
use crate::grpc::wire;
use crate::grpc::wire::access_request_service_client::AccessRequestServiceClient;
use crate::grpc::wire::decision_service_client::DecisionServiceClient;
use crate::grpc::wire::directory_service_client::DirectoryServiceClient;
use crate::grpc::wire::partition_service_client::PartitionServiceClient;
use crate::grpc::wire::partner_service_client::PartnerServiceClient;

use super::encryption::TlsArgs;
use super::error::CliError;
use super::question::ReadArgs;

/// Where a server listens that was started without configuration.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:50051";

const TOKEN_VARIABLE: &str = "AMBIT_TOKEN";
const TOKEN_FILE_VARIABLE: &str = "AMBIT_TOKEN_FILE";

/// Largest message that is taken from a server. Its chunks have about 64 KiB; a batch of 10,000
/// answers has under 4 MiB.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// `--server`, which every client command takes.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The server to ask
    #[arg(
        long,
        value_name = "URL",
        env = "AMBIT_SERVER",
        default_value = DEFAULT_SERVER,
        value_parser = parse_server
    )]
    pub server: String,
    /// File that holds the token to present; AMBIT_TOKEN may hold the token itself
    #[arg(long, value_name = "FILE", env = "AMBIT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub tls: TlsArgs,
}

/// A connection that presents what the command has to present.
pub type Link = InterceptedService<Channel, Credential>;

/// What is presented with each call; hidden wherever it might show.
#[derive(Debug, Clone)]
pub struct Credential(Option<MetadataValue<Ascii>>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Credential {
    /// Of a token, where there is one.
    fn of(token: Option<&str>) -> Result<Self, CliError> {
        let Some(token) = token else {
            return Ok(Self(None));
        };
        // Without the token in the complaint.
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| {
            CliError::usage("the token has characters that no token has; see where it comes from")
        })?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

/// A server's address as a URL; without a scheme it is one of `http://`.
pub fn parse_server(text: &str) -> Result<String, String> {
    let url = match text.split_once("://") {
        None => format!("http://{text}"),
        Some(("http" | "https", _)) => text.to_owned(),
        Some((scheme, _)) => {
            return Err(format!(
                "`{scheme}` is not spoken, name the server as https://HOST:PORT or http://HOST:PORT"
            ));
        }
    };
    let wrong = || {
        format!(
            "`{text}` is not the address of a server, name it as https://HOST:PORT or http://HOST:PORT"
        )
    };
    let uri: tonic::codegen::http::Uri = url.parse().map_err(|_| wrong())?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    Ok(url)
}

impl ServerArgs {
    /// A server by its address, asked with the token and the certificate of the environment.
    pub fn at(server: String) -> Self {
        Self {
            tls: match server.starts_with("https://") {
                true => TlsArgs::of_environment(),
                false => TlsArgs::default(),
            },
            server,
            token_file: std::env::var_os(TOKEN_FILE_VARIABLE)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
        }
    }

    /// The token to present, from the file or the environment; empty is as good as none.
    pub fn token(&self) -> Result<Option<String>, CliError> {
        let file = self
            .token_file
            .as_ref()
            .filter(|path| !path.as_os_str().is_empty());
        let variable = std::env::var(TOKEN_VARIABLE).unwrap_or_default();
        match (file, variable.trim()) {
            (None, "") => Ok(None),
            (None, token) => Ok(Some(token.to_owned())),
            (Some(path), "") => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    CliError::usage(format!(
                        "the file of the token, {}: {error}",
                        path.display()
                    ))
                })?;
                match text.trim() {
                    "" => Err(CliError::usage(format!(
                        "the file of the token, {}, is empty",
                        path.display()
                    ))),
                    token => Ok(Some(token.to_owned())),
                }
            }
            (Some(_), _) => Err(CliError::usage(
                "--token-file and AMBIT_TOKEN both hold a token; leave one of them out",
            )),
        }
    }

    pub async fn link(&self) -> Result<Link, CliError> {
        let token = self.token()?;
        let credential = Credential::of(token.as_deref())?;
        let channel = self.connect(token).await?;
        Ok(InterceptedService::new(channel, credential))
    }

    /// A connection for questions that need no token.
    pub async fn channel(&self) -> Result<Channel, CliError> {
        self.connect(None).await
    }

    /// The same way as services connect. The token is not sent yet: where it would be read on the
    /// way, there is no connection to send it by.
    async fn connect(&self, token: Option<String>) -> Result<Channel, CliError> {
        let mut builder = self.tls.apply(
            Client::builder(&self.server).user_agent(concat!("ambit/", env!("CARGO_PKG_VERSION"))),
        )?;
        if let Some(token) = token {
            builder = builder.token(StaticToken::new(token));
        }
        let endpoint = builder.endpoint(&self.server).map_err(CliError::usage)?;
        endpoint.connect().await.map_err(|error| {
            CliError::Unreachable(format!(
                "cannot reach the server at {}: {}; start one with `ambit serve` or name another with --server",
                self.server,
                innermost(&error)
            ))
        })
    }

    pub async fn decisions(&self) -> Result<DecisionServiceClient<Link>, CliError> {
        let client = DecisionServiceClient::new(self.link().await?);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub async fn access_requests(&self) -> Result<AccessRequestServiceClient<Link>, CliError> {
        let client = AccessRequestServiceClient::new(self.link().await?);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub async fn directory(&self) -> Result<DirectoryServiceClient<Link>, CliError> {
        let client = DirectoryServiceClient::new(self.link().await?);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub async fn partitions(&self) -> Result<PartitionServiceClient<Link>, CliError> {
        let client = PartitionServiceClient::new(self.link().await?);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub async fn partners(&self) -> Result<PartnerServiceClient<Link>, CliError> {
        let client = PartnerServiceClient::new(self.link().await?);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }
}

/// What a status means for the one who typed the command.
pub fn refused(status: &Status) -> CliError {
    let details = status.get_error_details();
    let answered = details.error_info().is_some();
    if !answered && is_broken_connection(status) {
        return CliError::Unreachable(format!(
            "the connection to the server broke: {}; try again, and see `ambit doctor`",
            status
                .source()
                .map_or_else(|| status.message().to_owned(), innermost)
        ));
    }
    let mut text = status.message().to_owned();
    if text.is_empty() {
        text = status.code().description().to_owned();
    }
    if let Some(bad_request) = details.bad_request() {
        for violation in &bad_request.field_violations {
            // The message may already say it; a field that it doesn't name is worth its words.
            if !violation.field.is_empty() && !text.contains(&violation.field) {
                text.push_str(&format!(
                    " ({}: {})",
                    violation.field, violation.description
                ));
            }
        }
    }
    match details.error_info() {
        Some(info) => CliError::Refused(format!("{text} [{}]", info.reason)),
        None => CliError::Refused(format!("{text} [{:?}]", status.code())),
    }
}

/// The first field that a status complains about, by its path on the wire.
pub fn wrong_field(status: &Status) -> Option<String> {
    let bad_request = status.get_details_bad_request()?;
    let violation = bad_request.field_violations.into_iter().next()?;
    Some(violation.field)
}

/// Whether a status was made on this side because the connection is gone.
fn is_broken_connection(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown | Code::Internal | Code::Cancelled => status.source().is_some(),
        _ => false,
    }
}

/// What an error was caused by in the end.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

pub fn consistency(read: &ReadArgs) -> Option<wire::Consistency> {
    use wire::consistency::Requirement;
    let requirement = match &read.at_least_as_fresh {
        Some(revision) => Requirement::AtLeastAsFresh(revision.clone()),
        None if read.fully_consistent => Requirement::FullyConsistent(true),
        None => return None,
    };
    Some(wire::Consistency {
        requirement: Some(requirement),
    })
}

pub fn to_wire_time(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.unix_micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0),
    }
}

/// `None` also for a moment that no document could write.
pub fn from_wire_time(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    let micros = time
        .seconds
        .checked_mul(1_000_000)?
        .checked_add(i64::from(time.nanos) / 1_000)?;
    Timestamp::from_unix_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_be_named_without_its_scheme() {
        assert_eq!(
            parse_server("127.0.0.1:50051").unwrap(),
            "http://127.0.0.1:50051"
        );
        for url in ["http://h:1", "https://h:1"] {
            assert_eq!(parse_server(url).unwrap(), url);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "https://", "ftp://h", "http://", "a b"] {
            assert!(parse_server(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_survive_the_wire_also_before_1970() {
        for text in ["1969-12-31T23:59:59.999999Z", "2026-11-22T00:00:00.000001Z"] {
            let time = Timestamp::parse(text).unwrap();
            assert_eq!(from_wire_time(Some(&to_wire_time(time))), Some(time));
        }
    }
}
