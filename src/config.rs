//! What the server is told: flags over `AMBIT_*` environment over `ambit.toml`, over defaults.
//!
//! One table of keys serves all three, so a setting has one name, one form and one error: flag
//! `--cache-bytes-max`, variable `AMBIT_CACHE_BYTES_MAX`, key `cache_bytes_max` of the file. A key
//! of the file that is not in the table is an error. A variable that is not is left alone, since
//! an orchestrator sets some of its own (`AMBIT_SERVICE_HOST`), but it is named in the log.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// The file that is read where it exists and no other is named.
pub const DEFAULT_FILE: &str = "ambit.toml";

const ENVIRONMENT_PREFIX: &str = "AMBIT_";

/// Names the file where no flag does.
const FILE_VARIABLE: &str = "AMBIT_CONFIG";

/// Variables of the client commands, which are no settings of the server.
const CLIENT_VARIABLES: &[&str] = &["AMBIT_SERVER"];

/// A key with what it means, for `--help` and the docs.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    /// A flag without a value on the command line; `true` or `false` elsewhere.
    pub switch: bool,
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key {
        name,
        default,
        help,
        switch: false,
    }
}

/// All settings. Values of the table's defaults are parsed like any other.
pub const KEYS: &[Key] = &[
    key(
        "data_dir",
        "./ambit-data",
        "Directory of the embedded database; made if it is absent",
    ),
    key(
        "grpc_address",
        "127.0.0.1:50051",
        "Address and port of gRPC; port 0 takes a free one",
    ),
    key(
        "http_address",
        "127.0.0.1:8080",
        "Address and port of /healthz, /readyz and /metrics; port 0 takes a free one",
    ),
    Key {
        name: "insecure",
        default: "false",
        help: "Serve without authentication on addresses other than loopback",
        switch: true,
    },
    key(
        "cache_bytes_max",
        "1073741824",
        "Memory for account graphs, in bytes; whole accounts are evicted beyond it",
    ),
    key(
        "staleness_bound_ms",
        "2000",
        "Oldest picture that a read is answered from; past it reads fail",
    ),
    key(
        "feed_poll_interval_ms",
        "50",
        "How often the database is asked for changes",
    ),
    key(
        "history_retention_s",
        "86400",
        "How long changes are kept in steps; who is further behind loads anew",
    ),
    key(
        "load_timeout_ms",
        "10000",
        "Longest load of an account; past it those who wait for it fail",
    ),
    key(
        "request_timeout_ms",
        "30000",
        "Longest unary call; lists, watches and exports have no limit of ours",
    ),
    key(
        "shutdown_grace_ms",
        "10000",
        "Time that running calls have to end after SIGTERM",
    ),
    key(
        "connections_max",
        "10000",
        "gRPC connections at a time; further ones wait to be accepted",
    ),
    key(
        "streams_per_connection_max",
        "1000",
        "gRPC calls at a time on one connection",
    ),
    key(
        "log_format",
        "auto",
        "human, json, or auto: human on a terminal, json otherwise",
    ),
    key(
        "log_filter",
        "info",
        "Which events are logged, in the syntax of tracing, e.g. info,ambit=debug",
    ),
];

/// Keys of what is not there yet, refused with the reason rather than as unknown.
const LATER: &[(&str, &str)] = &[(
    "database_url",
    "PostgreSQL arrives with a later version; this one keeps its data in `data_dir`",
)];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub data_dir: PathBuf,
    pub grpc_address: SocketAddr,
    pub http_address: SocketAddr,
    pub insecure: bool,
    pub cache_bytes_max: u64,
    pub staleness_bound: Duration,
    pub feed_poll_interval: Duration,
    pub history_retention: Duration,
    pub load_timeout: Duration,
    pub request_timeout: Duration,
    pub shutdown_grace: Duration,
    pub connections_max: usize,
    pub streams_per_connection_max: u32,
    pub log_format: LogFormat,
    pub log_filter: String,
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
    #[error("{origin} is not available: {reason}")]
    Later {
        origin: String,
        reason: &'static str,
    },
    #[error(
        "{origin}: `{address}` is not a loopback address, and no authentication is configured; choose a loopback address, or pass --insecure to serve anyone who can reach it"
    )]
    Exposed { origin: Origin, address: SocketAddr },
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
        layers.refuse_later()?;
        let config = Self {
            data_dir: layers.parse("data_dir", "must be a path", |text| {
                (!text.is_empty()).then(|| PathBuf::from(text))
            })?,
            grpc_address: layers.address("grpc_address")?,
            http_address: layers.address("http_address")?,
            insecure: layers.parse("insecure", "must be true or false", |text| {
                bool::from_str(text).ok()
            })?,
            cache_bytes_max: layers.number("cache_bytes_max", 1 << 20, 1 << 50)?,
            staleness_bound: layers.millis("staleness_bound_ms", 100, 600_000)?,
            feed_poll_interval: layers.millis("feed_poll_interval_ms", 1, 60_000)?,
            history_retention: Duration::from_secs(layers.number(
                "history_retention_s",
                60,
                3_153_600_000,
            )?),
            load_timeout: layers.millis("load_timeout_ms", 10, 3_600_000)?,
            request_timeout: layers.millis("request_timeout_ms", 10, 3_600_000)?,
            shutdown_grace: layers.millis("shutdown_grace_ms", 100, 3_600_000)?,
            connections_max: layers.number("connections_max", 1, 1_000_000)?,
            streams_per_connection_max: layers.number(
                "streams_per_connection_max",
                1,
                1_000_000,
            )?,
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
            ignored_variables: ignored(&environment),
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
    file: Option<(PathBuf, BTreeMap<String, Written>)>,
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
        if let Some((path, values)) = &self.file
            && let Some(written) = values.get(key)
        {
            let text = match written {
                Written::Text(text) => text.clone(),
                Written::Number(number) => number.to_string(),
                Written::Switch(switch) => switch.to_string(),
            };
            return (
                origin(Source::File(path.clone())),
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

    fn refuse_later(&self) -> Result<(), ConfigError> {
        for (key, reason) in LATER {
            let origin = |source| Origin { key, source }.to_string();
            let origin = if self.flags.contains_key(*key) {
                origin(Source::Flag)
            } else if self.environment.contains_key(&variable_of(key)) {
                origin(Source::Environment)
            } else if let Some((path, values)) = &self.file
                && values.contains_key(*key)
            {
                origin(Source::File(path.clone()))
            } else {
                continue;
            };
            return Err(ConfigError::Later { origin, reason });
        }
        Ok(())
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
        for (key, address) in [
            ("grpc_address", config.grpc_address),
            ("http_address", config.http_address),
        ] {
            if !config.insecure && !address.ip().is_loopback() {
                let (origin, ..) = self.find(key);
                return Err(ConfigError::Exposed { origin, address });
            }
        }
        Ok(())
    }
}

type FileValues = (PathBuf, BTreeMap<String, Written>);

fn read_file(named: Option<&Path>) -> Result<Option<FileValues>, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE)).to_path_buf();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            return Ok(None);
        }
        Err(source) => return Err(ConfigError::Read { path, source }),
    };
    let table: toml::Table =
        text.parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax {
                path: path.clone(),
                problem: error.to_string().trim_end().replace('\n', "\n  "),
            })?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        let later = LATER.iter().any(|(name, _)| *name == key);
        let known = KEYS.iter().find(|known| known.name == key);
        if known.is_none() && !later {
            let names: Vec<&str> = KEYS.iter().map(|known| known.name).collect();
            return Err(ConfigError::UnknownKey {
                path,
                key,
                known: names.join(", "),
            });
        }
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
                        key: known.map_or("database_url", |known| known.name),
                        source: Source::File(path),
                    },
                    value: other.to_string(),
                    problem: "must be text, a whole number, true or false".to_owned(),
                });
            }
        };
        values.insert(key, written);
    }
    Ok(Some((path, values)))
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
