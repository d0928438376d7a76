//! The value of a setting: that of the highest layer which has one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::file::FileValues;
use super::{ConfigError, KEYS, Origin, Source, variable_of};

/// A value as it was written. Only the file knows types, and holds its writer to them.
#[derive(Debug, Clone)]
pub(super) enum Written {
    Text(String),
    Number(i64),
    Fraction(f64),
    Switch(bool),
}

pub(super) struct Layers<'a> {
    pub flags: &'a BTreeMap<String, String>,
    pub environment: &'a BTreeMap<String, String>,
    pub file: Option<FileValues>,
}

impl Layers<'_> {
    /// The value of the highest layer that has one, as text.
    pub(super) fn find(&self, key: &'static str) -> (Origin, String, Option<Written>) {
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
                Written::Fraction(number) => number.to_string(),
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

    pub(super) fn parse<T>(
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

    pub(super) fn number<T: TryFrom<u64>>(
        &self,
        key: &'static str,
        least: u64,
        most: u64,
    ) -> Result<T, ConfigError> {
        let (origin, value, written) = self.find(key);
        let number = match written {
            // A number in quotes is a slip that would go unnoticed until it is a larger one.
            Some(Written::Text(_) | Written::Fraction(_) | Written::Switch(_)) => None,
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

    pub(super) fn millis(
        &self,
        key: &'static str,
        least: u64,
        most: u64,
    ) -> Result<Duration, ConfigError> {
        Ok(Duration::from_millis(self.number(key, least, most)?))
    }

    pub(super) fn address(&self, key: &'static str) -> Result<SocketAddr, ConfigError> {
        self.parse(
            key,
            "must be an IP address and a port as 127.0.0.1:50051",
            |text| SocketAddr::from_str(text).ok(),
        )
    }

    pub(super) fn switch(&self, key: &'static str) -> Result<bool, ConfigError> {
        self.parse(key, "must be true or false", |text| {
            bool::from_str(text).ok()
        })
    }

    /// The value of a key; `None` where it is empty, which is how an orchestrator says so.
    pub(super) fn text(&self, key: &'static str) -> Option<(Origin, String)> {
        let (origin, value, _) = self.find(key);
        let value = value.trim().to_owned();
        (!value.is_empty()).then_some((origin, value))
    }

    pub(super) fn is_default(&self, key: &'static str) -> bool {
        self.find(key).0.source == Source::Default
    }
}
