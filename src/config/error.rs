//! What is wrong with a setting, and where a person finds it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{flag_of, variable_of};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Flag,
    Environment,
    /// A variable that is not ours alone.
    Variable(&'static str),
    File(PathBuf),
    Default,
}

/// Key and source of a value, as a person would look for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub(super) key: &'static str,
    pub(super) source: Source,
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
            Source::Variable(name) => write!(formatter, "environment variable `{name}`"),
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
