//! The settings of the transport: TLS, and what a connection may cost.

use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, Layers};

/// What the gRPC port allows, and how it is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportSettings {
    pub tls: Option<TlsSettings>,
    /// Connections at a time; further ones wait to be accepted.
    pub connections_max: usize,
    /// Calls at a time on one connection.
    pub streams_per_connection_max: u32,
    /// After this a connection is told to end, a tenth more or less; `None`: never.
    pub connection_age: Option<Duration>,
    /// What calls of such a connection have to end.
    pub connection_age_grace: Duration,
    /// Longest wait for the TLS handshake, and for the first bytes of HTTP/2.
    pub handshake_timeout: Duration,
    /// A peer is pinged after so long a silence, and gone when it does not answer in the timeout.
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
    /// Headers of one call, as they are decoded.
    pub header_bytes_max: u32,
    /// What a client may send of one call, and of all of a connection, before it is read.
    pub stream_window_bytes: u32,
    pub connection_window_bytes: u32,
    /// What waits to be sent of one call.
    pub send_buffer_bytes_max: usize,
    /// Longest time until a call has its answer, or a stream its first item.
    pub request_timeout: Duration,
    /// The same for calls with many items.
    pub bulk_timeout: Duration,
    /// Calls at a time that have no answer yet, of all connections together.
    pub calls_max: u64,
    /// Streams that are open, of all connections together.
    pub open_streams_max: u64,
    /// Of the places for either that are free, what one account may have.
    pub account_share_percent: u64,
    /// How long a reader may leave a chunk of a stream waiting.
    pub stream_stall_timeout: Duration,
}

/// The files of TLS, which are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    pub client_certificates: Option<ClientCertificates>,
    pub reload_interval: Duration,
}

/// Whom client certificates must come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    pub ca_file: PathBuf,
    /// Whether a client without one is refused in the handshake.
    pub are_required: bool,
}

impl TransportSettings {
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }
}

impl Layers<'_> {
    pub(super) fn transport(&self) -> Result<TransportSettings, ConfigError> {
        Ok(TransportSettings {
            tls: self.tls()?,
            connections_max: self.number("connections_max", 1, 1_000_000)?,
            streams_per_connection_max: self.number("streams_per_connection_max", 1, 1_000_000)?,
            connection_age: Some(self.millis("connection_age_ms", 0, 604_800_000)?)
                .filter(|age| !age.is_zero()),
            connection_age_grace: self.millis("connection_age_grace_ms", 1, 604_800_000)?,
            handshake_timeout: self.millis("handshake_timeout_ms", 10, 600_000)?,
            keepalive_interval: self.millis("keepalive_interval_ms", 100, 3_600_000)?,
            keepalive_timeout: self.millis("keepalive_timeout_ms", 100, 3_600_000)?,
            header_bytes_max: self.number("header_bytes_max", 4_096, 1 << 20)?,
            stream_window_bytes: self.number("stream_window_bytes", 16_384, 1 << 26)?,
            connection_window_bytes: self.number("connection_window_bytes", 65_535, 1 << 28)?,
            send_buffer_bytes_max: self.number("send_buffer_bytes_max", 16_384, 1 << 26)?,
            request_timeout: self.millis("request_timeout_ms", 10, 3_600_000)?,
            bulk_timeout: self.millis("bulk_timeout_ms", 10, 3_600_000)?,
            calls_max: self.number("calls_max", 1, 10_000_000)?,
            open_streams_max: self.number("open_streams_max", 1, 10_000_000)?,
            account_share_percent: self.number("account_share_percent", 1, 1_000_000_000)?,
            stream_stall_timeout: self.millis("stream_stall_timeout_ms", 10, 3_600_000)?,
        })
    }

    /// The HTTP port has no certificate of its own: what the server shows, it shows on both.
    pub(super) fn http_tls(&self) -> Result<bool, ConfigError> {
        let http_tls = self.switch("http_tls")?;
        if http_tls && self.text("tls_certificate_file").is_none() {
            return Err(ConfigError::Incomplete {
                origin: self.find("http_tls").0,
                missing: "tls_certificate_file",
            });
        }
        Ok(http_tls)
    }

    /// `None` where no file is named; some of the files alone are an error.
    fn tls(&self) -> Result<Option<TlsSettings>, ConfigError> {
        let reload_interval = self.millis("tls_reload_interval_ms", 10, 3_600_000)?;
        let are_required = self.parse(
            "tls_client_certificates",
            "must be optional or required",
            |text| match text {
                "optional" => Some(false),
                "required" => Some(true),
                _ => None,
            },
        )?;
        let file = |key| {
            let (origin, value, _) = self.find(key);
            (!value.is_empty()).then(|| (origin, PathBuf::from(value)))
        };
        let needs = |origin, missing| Err(ConfigError::Incomplete { origin, missing });
        let client_ca = file("tls_client_ca_file");
        if client_ca.is_none() && are_required {
            let (origin, ..) = self.find("tls_client_certificates");
            return needs(origin, "tls_client_ca_file");
        }
        match (file("tls_certificate_file"), file("tls_key_file")) {
            (Some((_, certificate_file)), Some((_, key_file))) => Ok(Some(TlsSettings {
                certificate_file,
                key_file,
                client_certificates: client_ca.map(|(_, ca_file)| ClientCertificates {
                    ca_file,
                    are_required,
                }),
                reload_interval,
            })),
            (Some((origin, _)), None) => needs(origin, "tls_key_file"),
            (None, Some((origin, _))) => needs(origin, "tls_certificate_file"),
            (None, None) => match client_ca {
                Some((origin, _)) => needs(origin, "tls_certificate_file"),
                None => Ok(None),
            },
        }
    }
}
