//! What the server is told: flags over `AMBIT_*` environment over `ambit.toml`, over defaults.
//!
//! One table of keys serves all three, so a setting has one name, one form and one error: flag
//! `--cache-bytes-max`, variable `AMBIT_CACHE_BYTES_MAX`, key `cache_bytes_max` of the file. A key
//! of the file that is not in the table is an error. A variable that is not is left alone, since
//! an orchestrator sets some of its own (`AMBIT_SERVICE_HOST`), but it is named in the log.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod authentication;
mod client_certificates;
mod decision_log;
mod error;
mod file;
mod keys;
mod layers;
mod notifications;
mod traces;
mod transport;

pub use authentication::{AuthenticationSettings, IssuerSettings, JwtAlgorithm, KeySource};
pub use client_certificates::CertificateCaller;
pub use decision_log::{DecisionLogDestination, DecisionLogSettings, MaskKey, MaskedField, Ratio};
pub use error::{ConfigError, Origin, Source};
pub use keys::{Form, KEYS, Key};
pub use notifications::{
    Language, MailSettings, NotificationSettings, SmtpUrl, WebhookSecret, WebhookSettings,
};
pub use traces::TracingSettings;
pub use transport::{ClientCertificates, TlsSettings, TransportSettings};

use file::read_file;
use layers::Layers;

/// The file that is read where it exists and no other is named.
pub const DEFAULT_FILE: &str = "ambit.toml";

/// The databases keep records of the audit for a day whatever they are told.
const AUDIT_RETENTION_LEAST_S: u64 = 86_400;

const ENVIRONMENT_PREFIX: &str = "AMBIT_";

/// Names the file where no flag does.
const FILE_VARIABLE: &str = "AMBIT_CONFIG";

/// Variables of the client commands, which are no settings of the server.
const CLIENT_VARIABLES: &[&str] = &[
    "AMBIT_SERVER",
    "AMBIT_SERVER_CA_FILE",
    "AMBIT_SERVER_NAME",
    "AMBIT_CLIENT_CERTIFICATE_FILE",
    "AMBIT_CLIENT_KEY_FILE",
    "AMBIT_TOKEN",
    "AMBIT_TOKEN_FILE",
    "AMBIT_TOKEN_IN_PLAINTEXT",
];

/// Where accounts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// The directory of the embedded database.
    Directory(PathBuf),
    Url(DatabaseUrl),
}

/// A URL that may hold a password, and so never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// `None` for nothing.
    pub fn new(url: &str) -> Option<Self> {
        let url = url.trim();
        (!url.is_empty()).then(|| Self(url.to_owned()))
    }

    /// The URL itself, for whoever connects.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// From a file with nothing else in it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Secret {
            key: "database_url_file",
            path: path.to_owned(),
            source,
        })?;
        Self::new(&text).ok_or_else(|| ConfigError::Empty {
            key: "database_url_file",
            path: path.to_owned(),
        })
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DatabaseUrl(hidden)")
    }
}

/// What stands in an error in the place of a value that may be a secret.
const HIDDEN: &str = "(hidden)";

/// How often a database that notifies is asked for changes all the same.
const POLL_INTERVAL_NOTIFIED: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub database: Database,
    pub database_connections_max: u32,
    /// Whether the schema of a database that is served is brought up first.
    pub migrate: bool,
    pub grpc_address: SocketAddr,
    pub http_address: SocketAddr,
    /// Whether the HTTP port is encrypted as the gRPC port is.
    pub http_tls: bool,
    pub insecure: bool,
    pub authentication: AuthenticationSettings,
    pub cache_bytes_max: u64,
    pub staleness_bound: Duration,
    pub feed_poll_interval: Duration,
    pub history_retention: Duration,
    pub audit_retention: Duration,
    pub load_timeout: Duration,
    /// Long computations at a time; `None`: as the machine has cores.
    pub computations_max: Option<NonZero<usize>>,
    pub shutdown_grace: Duration,
    pub transport: TransportSettings,
    pub log_format: LogFormat,
    pub log_filter: String,
    pub tracing: TracingSettings,
    pub decision_log: DecisionLogSettings,
    pub notifications: NotificationSettings,
    /// Variables that look like settings and are none: to be named in the log.
    pub ignored_variables: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Human,
    Json,
}

/// `cache_bytes_max` -> `cache-bytes-max`.
pub fn flag_of(key: &str) -> String {
    key.replace('_', "-")
}

/// `cache_bytes_max` -> `AMBIT_CACHE_BYTES_MAX`.
pub fn variable_of(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.to_ascii_uppercase())
}

impl Config {
    /// Reads the settings: `flags` by key as given on the command line, `environment` as the
    /// process has it, and the file, which must exist only if it is named (by `file`, or by
    /// `AMBIT_CONFIG`).
    pub fn load(
        flags: &BTreeMap<String, String>,
        environment: impl IntoIterator<Item = (String, String)>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let (common, environment): (Vec<_>, Vec<_>) =
            environment.into_iter().partition(traces::is_common);
        let environment: BTreeMap<String, String> = environment
            .into_iter()
            .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
            .collect();
        let named = environment.get(FILE_VARIABLE).map(PathBuf::from);
        let layers = Layers {
            file: read_file(file.or(named.as_deref()))?,
            flags,
            environment: &environment,
        };
        let database = layers.database()?;
        let tracing = layers.tracing(common.first().map(|(_, value)| value.as_str()))?;
        let feed_poll_interval = layers.millis("feed_poll_interval_ms", 1, 60_000)?;
        let config = Self {
            database_connections_max: layers.number("database_connections_max", 4, 1_000)?,
            migrate: !layers.switch("no_migrate")?,
            grpc_address: layers.address("grpc_address")?,
            http_address: layers.address("http_address")?,
            http_tls: layers.http_tls()?,
            insecure: layers.switch("insecure")?,
            authentication: layers.authentication()?,
            cache_bytes_max: layers.number("cache_bytes_max", 1 << 20, 1 << 50)?,
            staleness_bound: layers.millis("staleness_bound_ms", 100, 600_000)?,
            feed_poll_interval: match &database {
                Database::Url(_) if layers.is_default("feed_poll_interval_ms") => {
                    POLL_INTERVAL_NOTIFIED
                }
                Database::Url(_) | Database::Directory(_) => feed_poll_interval,
            },
            history_retention: Duration::from_secs(layers.number(
                "history_retention_s",
                60,
                3_153_600_000,
            )?),
            audit_retention: Duration::from_secs(layers.number(
                "audit_retention_s",
                AUDIT_RETENTION_LEAST_S,
                3_153_600_000,
            )?),
            load_timeout: layers.millis("load_timeout_ms", 10, 3_600_000)?,
            computations_max: NonZero::new(layers.number("computations_max", 0, 65_536)?),
            shutdown_grace: layers.millis("shutdown_grace_ms", 100, 3_600_000)?,
            transport: layers.transport()?,
            log_format: layers.parse(
                "log_format",
                "must be auto, human or json",
                |text| match text {
                    "auto" => Some(LogFormat::Auto),
                    "human" => Some(LogFormat::Human),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                },
            )?,
            log_filter: layers.parse("log_filter", "must be text", |text| Some(text.to_owned()))?,
            decision_log: layers.decision_log(tracing.endpoint.as_deref())?,
            tracing,
            notifications: layers.notifications()?,
            ignored_variables: ignored(&environment),
            database,
        };
        layers.refuse_inconsistent(&config)?;
        Ok(config)
    }
}

impl Layers<'_> {
    /// The one database that is named; the embedded one where none is.
    fn database(&self) -> Result<Database, ConfigError> {
        let directory = self.parse("data_dir", "must be a path", |text| {
            (!text.is_empty()).then(|| PathBuf::from(text))
        })?;
        // An empty value is how an orchestrator says that there is none.
        let named: Vec<(Origin, String)> = ["data_dir", "database_url", "database_url_file"]
            .into_iter()
            .map(|key| self.find(key))
            .filter(|(origin, value, _)| origin.source != Source::Default && !value.is_empty())
            .map(|(origin, value, _)| (origin, value))
            .collect();
        let mut named = named.into_iter();
        match (named.next(), named.next()) {
            (Some((one, _)), Some((other, _))) => Err(ConfigError::TwoDatabases { one, other }),
            (Some((origin, value)), None) => match origin.key {
                "database_url" => DatabaseUrl::new(&value)
                    .filter(|url| url.reveal().starts_with("postgres"))
                    .map(Database::Url)
                    .ok_or_else(|| ConfigError::Value {
                        origin,
                        value: HIDDEN.to_owned(),
                        problem: "must be a URL as postgres://USER:PASSWORD@HOST:PORT/NAME"
                            .to_owned(),
                    }),
                "database_url_file" => DatabaseUrl::read(Path::new(&value)).map(Database::Url),
                _ => Ok(Database::Directory(directory)),
            },
            (None, _) => Ok(Database::Directory(directory)),
        }
    }

    fn refuse_inconsistent(&self, config: &Config) -> Result<(), ConfigError> {
        if config.feed_poll_interval.saturating_mul(2) > config.staleness_bound {
            let (origin, value, _) = self.find("feed_poll_interval_ms");
            return Err(ConfigError::Value {
                origin,
                value,
                problem: format!(
                    "must be at most half of staleness_bound_ms, which is {}",
                    config.staleness_bound.as_millis()
                ),
            });
        }
        self.refuse_exposed(config)
    }

    /// Whoever can reach an address beyond this machine must be known, and must not be made to send
    /// in the clear what opens something: a caller its credential, a browser the console's session.
    fn refuse_exposed(&self, config: &Config) -> Result<(), ConfigError> {
        let is_known = config.authentication.is_required;
        let is_plaintext = self.switch("plaintext")?;
        let ports = [
            (
                "grpc_address",
                config.grpc_address,
                config.transport.is_encrypted(),
                "callers would send their credentials",
                "tls_certificate_file",
            ),
            (
                "http_address",
                config.http_address,
                config.http_tls,
                "sessions of the console would travel",
                "http_tls",
            ),
        ];
        for (key, address, is_encrypted, what, setting) in ports {
            if config.insecure || address.ip().is_loopback() {
                continue;
            }
            let (origin, ..) = self.find(key);
            if !is_known {
                return Err(ConfigError::Exposed { origin, address });
            }
            if !is_encrypted && !is_plaintext {
                return Err(ConfigError::InTheClear {
                    origin,
                    address,
                    what,
                    setting,
                });
            }
        }
        Ok(())
    }
}

fn ignored(environment: &BTreeMap<String, String>) -> Vec<String> {
    environment
        .keys()
        .filter(|name| {
            !CLIENT_VARIABLES.contains(&name.as_str())
                && name.as_str() != FILE_VARIABLE
                && !KEYS.iter().any(|known| variable_of(known.name) == **name)
        })
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
