//! What the file of settings says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::layers::Written;
use super::{
    ConfigError, DEFAULT_FILE, Form, HIDDEN, KEYS, Origin, Source, authentication,
    client_certificates, notifications,
};

/// What a file says.
pub(super) struct FileValues {
    pub path: PathBuf,
    pub values: BTreeMap<String, Written>,
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
    pub(super) fn origin(&self, key: &'static str) -> Origin {
        Origin {
            key,
            source: Source::File(self.path.clone()),
        }
    }

    pub(super) fn tables(&self, name: &str) -> &[toml::Table] {
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

/// The file that is named, or the one of the usual name where it exists.
pub(super) fn read_file(named: Option<&Path>) -> Result<Option<FileValues>, ConfigError> {
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
            toml::Value::Float(number) => Written::Fraction(number),
            toml::Value::Boolean(switch) => Written::Switch(switch),
            other @ (toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_)) => {
                return Err(ConfigError::Value {
                    origin: Origin {
                        key: known.name,
                        source: Source::File(path),
                    },
                    value: match known.form {
                        Form::Secret => HIDDEN.to_owned(),
                        Form::Plain | Form::Switch => other.to_string(),
                    },
                    problem: "must be text, a number, true or false".to_owned(),
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
