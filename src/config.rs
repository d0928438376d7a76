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
use std::str::FromStr;
use std::time::Duration;

mod authentication;
mod client_certificates;
mod decision_log;
mod keys;
mod notifications;
mod transport;

pub use authentication::{AuthenticationSettings, IssuerSettings, JwtAlgorithm, KeySource};
pub use client_certificates::CertificateCaller;
pub use decision_log::{DecisionLogDestination, DecisionLogSettings, MaskKey, MaskedField, Ratio};
pub use keys::{Form, KEYS, Key};
pub use notifications::{
    Language, MailSettings, NotificationSettings, SmtpUrl, WebhookSecret, WebhookSettings,
};
pub use transport::{ClientCertificates, TlsSettings, TransportSettings};

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

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Flag,
    Environment,
    File(PathBuf),
    Default,
}

/// Key and source of a value, as a person would look for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    key: &'static str,
    source: Source,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Flag => write!(formatter, "flag `--{}`", flag_of(self.key)),
            Source::Environment => {
                write!(
                    formatter,
                    "environment variable `{}`",
                    variable_of(self.key)
                )
            }
            Source::File(path) => write!(formatter, "`{}` in `{}`", self.key, path.display()),
            Source::Default => write!(formatter, "default of `{}`", self.key),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}: {problem}, this is `{value}`")]
    Value {
        origin: Origin,
        value: String,
        problem: String,
    },
    #[error("configuration file `{}` can't be read: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("configuration file `{}` is not valid TOML: {problem}", path.display())]
    Syntax { path: PathBuf, problem: String },
    #[error("configuration file `{}` has an unknown key `{key}`; known are {known}", path.display())]
    UnknownKey {
        path: PathBuf,
        key: String,
        known: String,
    },
    #[error("{one} and {other} name two databases; leave one of them out")]
    TwoDatabases { one: Origin, other: Origin },
    #[error("the file `{}` of {key} can't be read: {source}", path.display())]
    Secret {
        key: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the file `{}` of {key} is empty; it holds the value of {}", path.display(), key.trim_end_matches("_file"))]
    Empty { key: &'static str, path: PathBuf },
    #[error("{one} and {other} say the same thing twice; leave one of them out")]
    Twice { one: Origin, other: Origin },
    #[error("{origin} needs {missing} too")]
    Incomplete {
        origin: Origin,
        missing: &'static str,
    },
    #[error("webhook `{name}` in `{}`: {problem}", path.display())]
    Webhook {
        path: PathBuf,
        name: String,
        problem: String,
    },
    #[error("issuer `{name}`: {problem}")]
    Issuer { name: String, problem: String },
    #[error("client certificate `{name}`: {problem}")]
    ClientCertificate { name: String, problem: String },
    #[error("{one} and {other} contradict each other; leave one of them out")]
    Contradiction { one: Origin, other: Origin },
    #[error(
        "{origin}: `{address}` is not a loopback address, and no authentication is configured; choose a loopback address, set --authentication required, or pass --insecure to serve anyone who can reach it"
    )]
    Exposed { origin: Origin, address: SocketAddr },
    #[error(
        "{origin}: `{address}` is not a loopback address, and {what} there in the clear; set {setting}, or pass --plaintext where a mesh or a proxy encrypts"
    )]
    InTheClear {
        origin: Origin,
        address: SocketAddr,
        what: &'static str,
        setting: &'static str,
    },
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
            decision_log: layers.decision_log()?,
            notifications: layers.notifications()?,
            ignored_variables: ignored(&environment),
            database,
        };
        layers.refuse_inconsistent(&config)?;
        Ok(config)
    }
}

/// A value as it was written. Only the file knows types, and holds its writer to them.
#[derive(Debug, Clone)]
enum Written {
    Text(String),
    Number(i64),
    Switch(bool),
}

struct Layers<'a> {
    flags: &'a BTreeMap<String, String>,
    environment: &'a BTreeMap<String, String>,
    file: Option<FileValues>,
}

impl Layers<'_> {
    /// The value of the highest layer that has one, as text.
    fn find(&self, key: &'static str) -> (Origin, String, Option<Written>) {
        let origin = |source| Origin { key, source };
        if let Some(value) = self.flags.get(key) {
            return (origin(Source::Flag), value.clone(), None);
        }
        if let Some(value) = self.environment.get(&variable_of(key)) {
            return (origin(Source::Environment), value.clone(), None);
        }
        if let Some(file) = &self.file
            && let Some(written) = file.values.get(key)
        {
            let text = match written {
                Written::Text(text) => text.clone(),
                Written::Number(number) => number.to_string(),
                Written::Switch(switch) => switch.to_string(),
            };
            return (
                origin(Source::File(file.path.clone())),
                text,
                Some(written.clone()),
            );
        }
        let default = KEYS
            .iter()
            .find(|known| known.name == key)
            .map_or("", |known| known.default);
        (origin(Source::Default), default.to_owned(), None)
    }

    fn parse<T>(
        &self,
        key: &'static str,
        problem: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let (origin, value, _) = self.find(key);
        parse(&value).ok_or_else(|| ConfigError::Value {
            origin,
            value,
            problem: problem.to_owned(),
        })
    }

    fn number<T: TryFrom<u64>>(
        &self,
        key: &'static str,
        least: u64,
        most: u64,
    ) -> Result<T, ConfigError> {
        let (origin, value, written) = self.find(key);
        let number = match written {
            // A number in quotes is a slip that would go unnoticed until it is a larger one.
            Some(Written::Text(_) | Written::Switch(_)) => None,
            Some(Written::Number(_)) | None => u64::from_str(&value).ok(),
        };
        number
            .filter(|number| (least..=most).contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| ConfigError::Value {
                origin,
                value,
                problem: format!("must be a whole number from {least} to {most}"),
            })
    }

    fn millis(&self, key: &'static str, least: u64, most: u64) -> Result<Duration, ConfigError> {
        Ok(Duration::from_millis(self.number(key, least, most)?))
    }

    fn address(&self, key: &'static str) -> Result<SocketAddr, ConfigError> {
        self.parse(
            key,
            "must be an IP address and a port as 127.0.0.1:50051",
            |text| SocketAddr::from_str(text).ok(),
        )
    }

    fn switch(&self, key: &'static str) -> Result<bool, ConfigError> {
        self.parse(key, "must be true or false", |text| {
            bool::from_str(text).ok()
        })
    }

    /// The value of a key; `None` where it is empty, which is how an orchestrator says so.
    fn text(&self, key: &'static str) -> Option<(Origin, String)> {
        let (origin, value, _) = self.find(key);
        let value = value.trim().to_owned();
        (!value.is_empty()).then_some((origin, value))
    }

    fn is_default(&self, key: &'static str) -> bool {
        self.find(key).0.source == Source::Default
    }

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

/// What a file says.
struct FileValues {
    path: PathBuf,
    values: BTreeMap<String, Written>,
    /// Tables such as `[[webhooks]]`, which no flag and no variable has, by their name.
    tables: BTreeMap<&'static str, Vec<toml::Table>>,
}

/// The names of tables.
const TABLES: &[&str] = &[
    authentication::ISSUERS,
    client_certificates::TABLES,
    notifications::TABLES,
];

impl FileValues {
    fn origin(&self, key: &'static str) -> Origin {
        Origin {
            key,
            source: Source::File(self.path.clone()),
        }
    }

    fn tables(&self, name: &str) -> &[toml::Table] {
        self.tables.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Takes tables of a name out of a file, whose other keys are plain values.
fn take_tables(
    name: &'static str,
    file: &mut toml::Table,
    path: &Path,
) -> Result<Vec<toml::Table>, ConfigError> {
    let wrong = || ConfigError::Value {
        origin: Origin {
            key: name,
            source: Source::File(path.to_owned()),
        },
        value: HIDDEN.to_owned(),
        problem: format!("must be tables, each begun by [[{name}]]"),
    };
    let tables = match file.remove(name) {
        None => return Ok(Vec::new()),
        Some(toml::Value::Array(tables)) => tables,
        Some(_) => return Err(wrong()),
    };
    let table = |value| match value {
        toml::Value::Table(table) => Ok(table),
        _ => Err(wrong()),
    };
    tables.into_iter().map(table).collect()
}

fn read_file(named: Option<&Path>) -> Result<Option<FileValues>, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE)).to_path_buf();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            return Ok(None);
        }
        Err(source) => return Err(ConfigError::Read { path, source }),
    };
    let mut table: toml::Table =
        text.parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax {
                path: path.clone(),
                problem: error.to_string().trim_end().replace('\n', "\n  "),
            })?;
    let mut values = BTreeMap::new();
    let mut tables = BTreeMap::new();
    for name in TABLES {
        tables.insert(*name, take_tables(name, &mut table, &path)?);
    }
    for (key, value) in table {
        let Some(known) = KEYS.iter().find(|known| known.name == key) else {
            let names = KEYS.iter().map(|known| known.name);
            let names: Vec<&str> = names.chain(TABLES.iter().copied()).collect();
            return Err(ConfigError::UnknownKey {
                path,
                key,
                known: names.join(", "),
            });
        };
        let written = match value {
            toml::Value::String(text) => Written::Text(text),
            toml::Value::Integer(number) => Written::Number(number),
            toml::Value::Boolean(switch) => Written::Switch(switch),
            other @ (toml::Value::Float(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_)
            | toml::Value::Table(_)) => {
                return Err(ConfigError::Value {
                    origin: Origin {
                        key: known.name,
                        source: Source::File(path),
                    },
                    value: match known.form {
                        Form::Secret => HIDDEN.to_owned(),
                        Form::Plain | Form::Switch => other.to_string(),
                    },
                    problem: "must be text, a whole number, true or false".to_owned(),
                });
            }
        };
        values.insert(key, written);
    }
    Ok(Some(FileValues {
        path,
        values,
        tables,
    }))
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
