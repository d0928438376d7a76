//! Who is told of access requests, and how: the console, webhooks and mail.
//!
//! Secrets and the addresses of webhooks, which often hold one, show themselves nowhere.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use url::{Host, Url};

use super::{ConfigError, HIDDEN, Layers, Origin};
use crate::authz::model::{Id, worded};

/// The key of the file that holds tables.
pub(super) const TABLES: &str = "webhooks";

/// The webhook that is set by flags and variables.
const DEFAULT_WEBHOOK: &str = "default";

const NAME_BYTES_MAX: usize = 64;

/// What Standard Webhooks asks of a secret.
const SECRET_PREFIX: &str = "whsec_";
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The longest address that SMTP can carry.
const ADDRESS_BYTES_MAX: usize = 254;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationSettings {
    /// Where people reach the console; `None`: at the HTTP port itself.
    pub console_url: Option<String>,
    pub link_ttl: Duration,
    /// Each with a name of its own.
    pub webhooks: Vec<WebhookSettings>,
    pub webhook_allowed_networks: Vec<IpNet>,
    /// Certificates of authorities in PEM, trusted besides those of the system.
    pub webhook_authorities: Option<String>,
    pub mail: Option<MailSettings>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    pub name: String,
    pub url: Url,
    /// What messages are signed with: the present secret, then the previous one while it is rotated.
    pub secrets: Vec<WebhookSecret>,
    /// Whose requests it is told of; empty: everybody's.
    pub accounts: BTreeSet<Id>,
}

impl fmt::Debug for WebhookSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebhookSettings")
            .field("name", &self.name)
            .field("accounts", &self.accounts)
            .finish_non_exhaustive()
    }
}

/// A key of HMAC-SHA256.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

impl WebhookSecret {
    /// From `whsec_` and base64; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let key = STANDARD.decode(text.trim().strip_prefix(SECRET_PREFIX)?);
        key.ok()
            .filter(|key| SECRET_BYTES.contains(&key.len()))
            .map(Self)
    }

    /// The key itself, for whoever signs.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WebhookSecret(hidden)")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailSettings {
    pub smtp_url: SmtpUrl,
    pub from: String,
    pub language: Language,
}

/// Where mail is handed in, with the password if it needs one.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpUrl(String);

impl SmtpUrl {
    /// The URL itself, for whoever connects.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str =
            "must be a URL as smtps://USER:PASSWORD@HOST or smtp://HOST:587?tls=required";
        let url = Url::parse(text.trim()).map_err(|_| FORM)?;
        let host = url.host_str().unwrap_or_default();
        let mut is_encrypted = url.scheme() == "smtps";
        if host.is_empty() || !matches!(url.scheme(), "smtp" | "smtps") {
            return Err(FORM);
        }
        for (key, value) in url.query_pairs() {
            match (key.as_ref(), value.as_ref()) {
                ("tls", "required") => is_encrypted = true,
                ("tls", "opportunistic") => {}
                _ => return Err("may ask for tls=required or tls=opportunistic and nothing else"),
            }
        }
        if url.password().is_some() && !is_encrypted {
            return Err("sends a password unencrypted; take smtps:// or add ?tls=required");
        }
        Ok(Self(url.into()))
    }
}

impl fmt::Debug for SmtpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SmtpUrl(hidden)")
    }
}

worded! {
    /// A language that mail is written in.
    Language { English = "en", German = "de" }
}

impl Layers<'_> {
    pub(super) fn notifications(&self) -> Result<NotificationSettings, ConfigError> {
        let networks = self.networks()?;
        let mut webhooks: Vec<WebhookSettings> = self
            .default_webhook(!networks.is_empty())?
            .into_iter()
            .collect();
        if let Some(file) = &self.file {
            for table in file.tables(TABLES) {
                let webhook = webhook_of(table, &file.path, !networks.is_empty())?;
                if webhooks.iter().any(|other| other.name == webhook.name) {
                    return Err(ConfigError::Webhook {
                        path: file.path.clone(),
                        name: webhook.name,
                        problem: "there is another one of this name".to_owned(),
                    });
                }
                webhooks.push(webhook);
            }
        }
        Ok(NotificationSettings {
            console_url: self.console_url()?,
            link_ttl: Duration::from_secs(self.number("link_ttl_s", 60, 604_800)?),
            webhooks,
            webhook_allowed_networks: networks,
            webhook_authorities: self.webhook_authorities()?,
            mail: self.mail()?,
        })
    }

    /// A value that may be written in place or be the content of a file.
    pub(super) fn secret(
        &self,
        key: &'static str,
        file_key: &'static str,
    ) -> Result<Option<(Origin, String)>, ConfigError> {
        match (self.text(key), self.text(file_key)) {
            (Some((one, _)), Some((other, _))) => Err(ConfigError::Twice { one, other }),
            (Some(here), None) => Ok(Some(here)),
            (None, Some((origin, path))) => {
                let content = content_of(file_key, Path::new(&path))?;
                Ok(Some((origin, content)))
            }
            (None, None) => Ok(None),
        }
    }

    fn console_url(&self) -> Result<Option<String>, ConfigError> {
        let Some((origin, value)) = self.text("console_url") else {
            return Ok(None);
        };
        let is_base = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        };
        match Url::parse(&value).ok().filter(is_base) {
            Some(url) => Ok(Some(url.as_str().trim_end_matches('/').to_owned())),
            None => Err(ConfigError::Value {
                origin,
                value,
                problem: "must be a URL as https://access.example.com".to_owned(),
            }),
        }
    }

    fn networks(&self) -> Result<Vec<IpNet>, ConfigError> {
        let Some((origin, value)) = self.text("webhook_allowed_networks") else {
            return Ok(Vec::new());
        };
        let networks: Result<Vec<IpNet>, _> = value
            .split(',')
            .map(|network| network.trim().parse())
            .collect();
        networks.map_err(|_| ConfigError::Value {
            origin,
            value,
            problem: "must be networks as 10.1.0.0/16,fd00:1::/64".to_owned(),
        })
    }

    fn webhook_authorities(&self) -> Result<Option<String>, ConfigError> {
        const KEY: &str = "webhook_ca_file";
        let Some((origin, path)) = self.text(KEY) else {
            return Ok(None);
        };
        let problem = match std::fs::read_to_string(&path) {
            Ok(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => return Ok(Some(pem)),
            Ok(_) => "must be a file of certificates in PEM, which has none".to_owned(),
            Err(error) => format!("must be a file of certificates in PEM: {error}"),
        };
        Err(ConfigError::Value {
            origin,
            value: path,
            problem,
        })
    }

    fn default_webhook(&self, has_networks: bool) -> Result<Option<WebhookSettings>, ConfigError> {
        let hidden = |origin, problem: &str| ConfigError::Value {
            origin,
            value: HIDDEN.to_owned(),
            problem: problem.to_owned(),
        };
        let mut secrets = Vec::new();
        let mut secret_origin = None;
        for (key, file_key) in [
            ("webhook_secret", "webhook_secret_file"),
            ("webhook_secret_previous", "webhook_secret_previous_file"),
        ] {
            let Some((origin, text)) = self.secret(key, file_key)? else {
                continue;
            };
            let secret = WebhookSecret::parse(&text);
            secrets.push(secret.ok_or_else(|| hidden(origin.clone(), SECRET_FORM))?);
            if key == "webhook_secret_previous" && secrets.len() == 1 {
                return Err(ConfigError::Incomplete {
                    origin,
                    missing: "webhook_secret",
                });
            }
            secret_origin = Some(origin);
        }
        match (self.text("webhook_url"), secret_origin) {
            (None, None) => Ok(None),
            (None, Some(origin)) => Err(ConfigError::Incomplete {
                origin,
                missing: "webhook_url",
            }),
            (Some((origin, value)), has_secret) => {
                let url = webhook_url(&value, has_networks)
                    .map_err(|problem| hidden(origin.clone(), problem))?;
                if has_secret.is_none() {
                    return Err(ConfigError::Incomplete {
                        origin,
                        missing: "webhook_secret",
                    });
                }
                Ok(Some(WebhookSettings {
                    name: DEFAULT_WEBHOOK.to_owned(),
                    url,
                    secrets,
                    accounts: BTreeSet::new(),
                }))
            }
        }
    }

    fn mail(&self) -> Result<Option<MailSettings>, ConfigError> {
        let language = self.parse("email_language", "must be en or de", Language::from_word)?;
        let from = match self.text("email_from") {
            Some((origin, value)) if !is_address(&value) => {
                return Err(ConfigError::Value {
                    origin,
                    value,
                    problem: "must be an address as access@example.com".to_owned(),
                });
            }
            from => from,
        };
        match (self.secret("smtp_url", "smtp_url_file")?, from) {
            (None, None) => Ok(None),
            (None, Some((origin, _))) => Err(ConfigError::Incomplete {
                origin,
                missing: "smtp_url",
            }),
            (Some((origin, value)), from) => {
                let smtp_url = SmtpUrl::parse(&value).map_err(|problem| ConfigError::Value {
                    origin: origin.clone(),
                    value: HIDDEN.to_owned(),
                    problem: problem.to_owned(),
                })?;
                match from {
                    Some((_, from)) => Ok(Some(MailSettings {
                        smtp_url,
                        from,
                        language,
                    })),
                    None => Err(ConfigError::Incomplete {
                        origin,
                        missing: "email_from",
                    }),
                }
            }
        }
    }
}

const SECRET_FORM: &str = "must be whsec_ and 24 to 64 random bytes in base64";

/// What a mailbox surely has; the whole grammar is for whoever writes the mail.
fn is_address(text: &str) -> bool {
    let is_plain = |character: char| !character.is_control() && !character.is_whitespace();
    text.len() <= ADDRESS_BYTES_MAX
        && text.chars().all(is_plain)
        && matches!(text.split_once('@'), Some((local, domain))
            if !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
}

fn content_of(key: &'static str, path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Secret {
        key,
        path: path.to_owned(),
        source,
    })?;
    let text = text.trim();
    if text.is_empty() {
        return Err(ConfigError::Empty {
            key,
            path: path.to_owned(),
        });
    }
    Ok(text.to_owned())
}

fn webhook_url(text: &str, has_networks: bool) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "must be a URL as https://hooks.example.com/ambit")?;
    match url.scheme() {
        "https" => {}
        "http" if has_networks => {}
        "http" => {
            return Err(
                "must begin with https://, unless it lies in a network of webhook_allowed_networks",
            );
        }
        _ => return Err("must begin with https://"),
    }
    let has_host = match url.host() {
        Some(Host::Domain(domain)) => !domain.is_empty(),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    };
    if !has_host || !url.username().is_empty() || url.password().is_some() {
        return Err("must name a host, and neither a user nor a password");
    }
    if url.fragment().is_some() {
        return Err("must not have a part after #");
    }
    Ok(url)
}

/// One table of the file.
fn webhook_of(
    table: &toml::Table,
    path: &Path,
    has_networks: bool,
) -> Result<WebhookSettings, ConfigError> {
    const KEYS: [&str; 7] = [
        "name",
        "url",
        "secret",
        "secret_file",
        "previous_secret",
        "previous_secret_file",
        "accounts",
    ];
    let name = match table.get("name") {
        Some(toml::Value::String(name)) => name.clone(),
        _ => String::new(),
    };
    let wrong = |problem: String| ConfigError::Webhook {
        path: path.to_owned(),
        name: name.clone(),
        problem,
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
        return Err(wrong(format!(
            "needs a name of 1 to {NAME_BYTES_MAX} letters, digits, - and _"
        )));
    }
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let known = KEYS.join(", ");
        return Err(wrong(format!("unknown key `{unknown}`; known are {known}")));
    }
    let text = |key: &str| match table.get(key) {
        None => Ok(None),
        Some(toml::Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(wrong(format!("`{key}` must be text"))),
    };
    let url = text("url")?.ok_or_else(|| wrong("needs a url".to_owned()))?;
    let url = webhook_url(url, has_networks).map_err(|problem| wrong(format!("url {problem}")))?;
    let secret = |key: &str, file_key: &'static str| {
        let written = match (text(key)?, text(file_key)?) {
            (Some(_), Some(_)) => {
                return Err(wrong(format!(
                    "{key} and {file_key} say the same thing twice; leave one of them out"
                )));
            }
            (Some(secret), None) => secret.to_owned(),
            (None, Some(file)) => content_of(file_key, Path::new(file))?,
            (None, None) => return Ok(None),
        };
        WebhookSecret::parse(&written)
            .map(Some)
            .ok_or_else(|| wrong(format!("{key} {SECRET_FORM}")))
    };
    let present = secret("secret", "secret_file")?
        .ok_or_else(|| wrong("needs a secret or a secret_file".to_owned()))?;
    let previous = secret("previous_secret", "previous_secret_file")?;
    Ok(WebhookSettings {
        url,
        secrets: std::iter::once(present).chain(previous).collect(),
        accounts: accounts_of(table).map_err(wrong)?,
        name: name.clone(),
    })
}

fn accounts_of(table: &toml::Table) -> Result<BTreeSet<Id>, String> {
    let ids = match table.get("accounts") {
        None => return Ok(BTreeSet::new()),
        Some(toml::Value::Array(ids)) if !ids.is_empty() => ids,
        Some(_) => return Err("accounts must be a list of ids, or left out for all".to_owned()),
    };
    ids.iter()
        .map(|id| match id {
            toml::Value::String(id) => Id::parse(id).map_err(|error| format!("accounts: {error}")),
            _ => Err("accounts must be a list of ids, or left out for all".to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests;
