//! Which client certificates are callers.

use serde::Deserialize;

use super::{ConfigError, Layers, Origin};
use crate::authz::model::Id;
use crate::callers::{Accounts, Role, Roles, SubjectName};

/// The key of the file that holds tables.
pub(super) const TABLES: &str = "client_certificates";

/// What the caller is called that is set by flags and variables.
const DEFAULT_NAME: &str = "client";

const SAN: &str = "client_certificate_san";
const ROLES: &str = "client_certificate_roles";
const ACCOUNTS: &str = "client_certificate_accounts";
const ALL_ACCOUNTS: &str = "client_certificate_all_accounts";

const SAN_FORM: &str = "must be as URI:spiffe://example.com/crm or DNS:crm.example.com";
const ROLES_FORM: &str = "must be some of check, request, write and admin";
const ACCOUNTS_FORM: &str = "must be ids of accounts";

/// A caller that is known by its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateCaller {
    /// How the caller is named, as `certificate:NAME`.
    pub name: Id,
    /// The name that its certificate must bear.
    pub subject: SubjectName,
    pub roles: Roles,
    pub accounts: Accounts,
}

/// A table `[[client_certificates]]`, before it is looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    name: String,
    #[serde(default)]
    san: String,
    #[serde(default)]
    roles: Vec<String>,
    accounts: Option<Vec<String>>,
    #[serde(default)]
    all_accounts: bool,
}

impl Layers<'_> {
    /// All of them, with the setting that asks for them. They need an authority to come from.
    pub(super) fn client_certificates(
        &self,
    ) -> Result<(Option<Origin>, Vec<CertificateCaller>), ConfigError> {
        let mut origin = None;
        let mut callers = Vec::new();
        if let Some((of_flag, caller)) = self.default_certificate()? {
            origin = Some(of_flag);
            callers.push(caller);
        }
        if let Some(file) = &self.file {
            for table in file.tables(TABLES) {
                let caller = certificate_of(table, &callers)?;
                origin = Some(file.origin(TABLES));
                callers.push(caller);
            }
        }
        match origin {
            Some(origin) if self.text("tls_client_ca_file").is_none() => {
                Err(ConfigError::Incomplete {
                    origin,
                    missing: "tls_client_ca_file",
                })
            }
            origin => Ok((origin, callers)),
        }
    }

    /// The one that flags and variables can set. Nothing of it works alone.
    fn default_certificate(&self) -> Result<Option<(Origin, CertificateCaller)>, ConfigError> {
        let incomplete = |origin, missing| Err(ConfigError::Incomplete { origin, missing });
        let wrong = |(origin, value): (Origin, String), problem: &str| ConfigError::Value {
            origin,
            value,
            problem: problem.to_owned(),
        };
        let all_accounts = self.switch(ALL_ACCOUNTS)?;
        let [san, roles, accounts] = [SAN, ROLES, ACCOUNTS].map(|key| self.text(key));
        let Some(san) = san else {
            let of_switch = || all_accounts.then(|| self.find(ALL_ACCOUNTS).0);
            return match roles
                .or(accounts)
                .map(|(origin, _)| origin)
                .or_else(of_switch)
            {
                Some(origin) => incomplete(origin, SAN),
                None => Ok(None),
            };
        };
        let subject = SubjectName::parse(&san.1).ok_or_else(|| wrong(san.clone(), SAN_FORM))?;
        let Some(roles) = roles else {
            return incomplete(san.0, ROLES);
        };
        let words = |text: &str| -> Vec<String> {
            let words = text.split(',').map(|word| word.trim().to_owned());
            words.collect()
        };
        let accounts = match (accounts, all_accounts) {
            (None, true) => Accounts::All,
            (Some(accounts), false) => {
                accounts_of(&words(&accounts.1)).ok_or_else(|| wrong(accounts, ACCOUNTS_FORM))?
            }
            (None, false) => {
                return incomplete(
                    san.0,
                    "client_certificate_accounts or client_certificate_all_accounts",
                );
            }
            (Some((one, _)), true) => {
                let other = self.find(ALL_ACCOUNTS).0;
                return Err(ConfigError::Contradiction { one, other });
            }
        };
        let caller = CertificateCaller {
            name: Id::parse(DEFAULT_NAME).map_err(|_| wrong(san.clone(), SAN_FORM))?,
            subject,
            roles: roles_of(&words(&roles.1)).ok_or_else(|| wrong(roles, ROLES_FORM))?,
            accounts,
        };
        Ok(Some((san.0, caller)))
    }
}

/// One table of the file.
fn certificate_of(
    table: &toml::Table,
    others: &[CertificateCaller],
) -> Result<CertificateCaller, ConfigError> {
    let name = match table.get("name") {
        Some(toml::Value::String(name)) => name.clone(),
        _ => String::new(),
    };
    let wrong = |problem: &str| ConfigError::ClientCertificate {
        name: name.clone(),
        problem: problem.to_owned(),
    };
    let written: Written = toml::Value::Table(table.clone())
        .try_into()
        .map_err(|error: toml::de::Error| wrong(error.message()))?;
    let id = Id::parse(&written.name).map_err(|_| wrong("needs a name"))?;
    let subject =
        SubjectName::parse(&written.san).ok_or_else(|| wrong(&format!("san {SAN_FORM}")))?;
    if others.iter().any(|other| other.name == id) {
        return Err(wrong("there is another one of this name"));
    }
    // Of two callers with one certificate, which of them calls?
    if others.iter().any(|other| other.subject == subject) {
        return Err(wrong(&format!(
            "there is another one with the san {subject}"
        )));
    }
    let accounts = match (written.accounts, written.all_accounts) {
        (None, true) => Accounts::All,
        (Some(list), false) => {
            accounts_of(&list).ok_or_else(|| wrong(&format!("accounts {ACCOUNTS_FORM}")))?
        }
        (Some(_), true) => {
            return Err(wrong(
                "has accounts and all_accounts; leave one of them out",
            ));
        }
        (None, false) => {
            return Err(wrong(
                "needs accounts that it may name, or all_accounts = true",
            ));
        }
    };
    Ok(CertificateCaller {
        name: id,
        subject,
        roles: roles_of(&written.roles).ok_or_else(|| wrong(&format!("roles {ROLES_FORM}")))?,
        accounts,
    })
}

/// `None` where one is not known, and where there is none: who may do nothing is no caller.
fn roles_of(words: &[String]) -> Option<Roles> {
    let roles: Option<Roles> = words.iter().map(|word| Role::from_word(word)).collect();
    roles.filter(|roles| !roles.is_empty())
}

/// The same of accounts.
fn accounts_of(words: &[String]) -> Option<Accounts> {
    let accounts: Option<_> = words.iter().map(|word| Id::parse(word).ok()).collect();
    (!words.is_empty()).then_some(())?;
    accounts.map(Accounts::Only)
}
