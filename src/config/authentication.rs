//! How callers are known.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::{Host, Url};

use super::client_certificates::CertificateCaller;
use super::{ConfigError, Layers, Origin};
use crate::authz::model::{Id, worded};

/// The key of the file that holds tables.
pub(super) const ISSUERS: &str = "issuers";

/// What the issuer is called that is set by flags and variables.
const DEFAULT_ISSUER: &str = "jwt";

/// Whether callers must be known, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationSettings {
    /// Whether every call needs a credential; without it whoever reaches the port may do all.
    pub is_required: bool,
    /// Tokens as hashes, beside those in the database.
    pub tokens_file: Option<PathBuf>,
    /// Each with a name and an issuer of its own.
    pub issuers: Vec<IssuerSettings>,
    /// Each with a name and a subject alternative name of its own.
    pub certificates: Vec<CertificateCaller>,
}

/// Whose signed tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// How callers that it vouches for are named, as `NAME:SUBJECT`.
    pub name: Id,
    /// The claim `iss`, which it is told by.
    pub issuer: String,
    /// The claim `aud` must name this server so.
    pub audience: String,
    pub keys: KeySource,
    pub algorithms: Vec<JwtAlgorithm>,
    /// A claim by its name, or by a JSON pointer where it begins with `/`.
    pub roles_claim: String,
    pub accounts_claim: String,
    /// Whether its callers may name all accounts, whatever the claim says.
    pub all_accounts: bool,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// How often the keys are asked for anew, and so how long one that was withdrawn is taken.
    pub refresh: Duration,
}

/// Where the public keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    Url(Url),
    File(PathBuf),
}

worded! {
    /// How a token may be signed: with a private key, whose public one is all that is needed here.
    JwtAlgorithm {
        Es256 = "ES256",
        Es384 = "ES384",
        Rs256 = "RS256",
        Rs384 = "RS384",
        Rs512 = "RS512",
        Ps256 = "PS256",
        Ps384 = "PS384",
        Ps512 = "PS512",
        EdDsa = "EdDSA",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Auto,
    Required,
    None,
}

/// A table `[[issuers]]`, before it is looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenIssuer {
    #[serde(default)]
    name: String,
    #[serde(default)]
    issuer: String,
    #[serde(default)]
    audience: String,
    #[serde(default)]
    jwks_url: String,
    #[serde(default)]
    jwks_file: String,
    algorithms: Option<Vec<String>>,
    roles_claim: Option<String>,
    accounts_claim: Option<String>,
    #[serde(default)]
    all_accounts: bool,
    leeway_s: Option<u64>,
    jwks_refresh_s: Option<u64>,
}

impl Layers<'_> {
    pub(super) fn authentication(&self) -> Result<AuthenticationSettings, ConfigError> {
        let asked =
            self.parse(
                "authentication",
                "must be auto, required or none",
                |text| match text {
                    "auto" => Some(Asked::Auto),
                    "required" => Some(Asked::Required),
                    "none" => Some(Asked::None),
                    _ => None,
                },
            )?;
        let tokens_file = self.text("tokens_file");
        let default_issuer = self.default_issuer()?;
        // Any of these says that callers are to be known.
        let mut configured: Option<Origin> = tokens_file.as_ref().map(|(origin, _)| origin.clone());
        let mut issuers = Vec::new();
        if let Some((origin, issuer)) = default_issuer {
            configured = Some(origin);
            issuers.push(issuer);
        }
        if let Some(file) = &self.file {
            for table in file.tables(ISSUERS) {
                let issuer = self.issuer_of(table, &issuers)?;
                configured = Some(file.origin(ISSUERS));
                issuers.push(issuer);
            }
        }
        let (origin, certificates) = self.client_certificates()?;
        let configured = origin.or(configured);
        if let (Asked::None, Some(other)) = (asked, &configured) {
            return Err(ConfigError::Contradiction {
                one: self.find("authentication").0,
                other: other.clone(),
            });
        }
        Ok(AuthenticationSettings {
            is_required: asked == Asked::Required || configured.is_some(),
            tokens_file: tokens_file.map(|(_, path)| PathBuf::from(path)),
            issuers,
            certificates,
        })
    }

    /// What says something of an issuer where there is none.
    fn stray_jwt_key(&self) -> Option<Origin> {
        [
            "jwt_algorithms",
            "jwt_roles_claim",
            "jwt_accounts_claim",
            "jwt_all_accounts",
            "jwt_leeway_s",
            "jwt_jwks_refresh_s",
        ]
        .into_iter()
        .find(|key| !self.is_default(key))
        .map(|key| self.find(key).0)
    }

    /// The one issuer that flags and variables can set. Nothing of it works alone.
    fn default_issuer(&self) -> Result<Option<(Origin, IssuerSettings)>, ConfigError> {
        let [issuer, audience, url, file] = [
            "jwt_issuer",
            "jwt_audience",
            "jwt_jwks_url",
            "jwt_jwks_file",
        ]
        .map(|key| self.text(key));
        let incomplete = |origin: &Origin, missing| ConfigError::Incomplete {
            origin: origin.clone(),
            missing,
        };
        let (origin, issuer) = match (
            issuer,
            [&audience, &url, &file].into_iter().flatten().next(),
        ) {
            (Some(issuer), _) => issuer,
            (None, Some((origin, _))) => return Err(incomplete(origin, "jwt_issuer")),
            (None, None) => {
                return match self.stray_jwt_key() {
                    Some(origin) => Err(incomplete(&origin, "jwt_issuer")),
                    None => Ok(None),
                };
            }
        };
        let Some((_, audience)) = audience else {
            return Err(incomplete(&origin, "jwt_audience"));
        };
        let keys = match (url, file) {
            (Some((one, _)), Some((other, _))) => return Err(ConfigError::Twice { one, other }),
            (None, None) => return Err(incomplete(&origin, "jwt_jwks_url or jwt_jwks_file")),
            (None, Some((_, path))) => KeySource::File(PathBuf::from(path)),
            (Some((origin, value)), None) => {
                jwks_url(&value).map_err(|problem| ConfigError::Value {
                    origin,
                    value,
                    problem: problem.to_owned(),
                })?
            }
        };
        let algorithms = self.parse("jwt_algorithms", ALGORITHMS, |text| {
            algorithms(&mut text.split(',').map(str::trim))
        })?;
        let claim = |key| {
            self.parse(key, "must name a claim", |text| {
                (!text.is_empty()).then(|| text.to_owned())
            })
        };
        let settings = IssuerSettings {
            name: Id::parse(DEFAULT_ISSUER).map_err(|_| incomplete(&origin, "a name"))?,
            issuer,
            audience,
            keys,
            algorithms,
            roles_claim: claim("jwt_roles_claim")?,
            accounts_claim: claim("jwt_accounts_claim")?,
            all_accounts: self.switch("jwt_all_accounts")?,
            leeway: Duration::from_secs(self.number("jwt_leeway_s", 0, LEEWAY_MAX)?),
            refresh: Duration::from_secs(self.number("jwt_jwks_refresh_s", 1, REFRESH_MAX)?),
        };
        Ok(Some((origin, settings)))
    }

    /// One table of the file. What it leaves out is as the flat keys say.
    fn issuer_of(
        &self,
        table: &toml::Table,
        others: &[IssuerSettings],
    ) -> Result<IssuerSettings, ConfigError> {
        let name = match table.get("name") {
            Some(toml::Value::String(name)) => name.clone(),
            _ => String::new(),
        };
        let wrong = |problem: &str| ConfigError::Issuer {
            name: name.clone(),
            problem: problem.to_owned(),
        };
        let written: WrittenIssuer = toml::Value::Table(table.clone())
            .try_into()
            .map_err(|error: toml::de::Error| wrong(error.message()))?;
        let id = Id::parse(&written.name)
            .ok()
            .filter(|id| !id.as_str().contains(':'))
            .ok_or_else(|| wrong("needs a name without `:`"))?;
        if written.issuer.is_empty() {
            return Err(wrong("needs issuer, the claim `iss` of its tokens"));
        }
        if written.audience.is_empty() {
            return Err(wrong(
                "needs audience, which its tokens name this server by",
            ));
        }
        if others
            .iter()
            .any(|other| other.name == id || other.issuer == written.issuer)
        {
            return Err(wrong("there is another one of this name or issuer"));
        }
        let keys = match (written.jwks_url.as_str(), written.jwks_file.as_str()) {
            ("", "") => return Err(wrong("needs jwks_url or jwks_file")),
            ("", path) => KeySource::File(PathBuf::from(path)),
            (url, "") => jwks_url(url).map_err(|problem| wrong(&format!("jwks_url {problem}")))?,
            (_, _) => return Err(wrong("has jwks_url and jwks_file; leave one of them out")),
        };
        let claim = |claim: Option<String>, default: &str| match claim {
            Some(claim) if claim.is_empty() => Err(wrong("names an empty claim")),
            Some(claim) => Ok(claim),
            None => Ok(default.to_owned()),
        };
        let algorithms = match &written.algorithms {
            None => algorithms(&mut ALGORITHMS_DEFAULT.split(',')),
            Some(list) => algorithms(&mut list.iter().map(String::as_str)),
        };
        let seconds = |value: Option<u64>, default: u64, least: u64, most: u64| {
            let value = value.unwrap_or(default);
            let is_fit = (least..=most).contains(&value);
            is_fit.then(|| Duration::from_secs(value)).ok_or_else(|| {
                wrong("leeway_s must be at most 300, jwks_refresh_s from 1 to 86400")
            })
        };
        Ok(IssuerSettings {
            name: id,
            keys,
            algorithms: algorithms.ok_or_else(|| wrong(&format!("algorithms {ALGORITHMS}")))?,
            roles_claim: claim(written.roles_claim, "ambit_roles")?,
            accounts_claim: claim(written.accounts_claim, "ambit_accounts")?,
            all_accounts: written.all_accounts,
            leeway: seconds(written.leeway_s, 30, 0, LEEWAY_MAX)?,
            refresh: seconds(written.jwks_refresh_s, 300, 1, REFRESH_MAX)?,
            issuer: written.issuer,
            audience: written.audience,
        })
    }
}

const LEEWAY_MAX: u64 = 300;
const REFRESH_MAX: u64 = 86_400;

pub(super) const ALGORITHMS_DEFAULT: &str = "ES256,ES384,RS256,PS256,EdDSA";

const ALGORITHMS: &str =
    "must be some of ES256, ES384, RS256, RS384, RS512, PS256, PS384, PS512 and EdDSA";

fn algorithms(words: &mut dyn Iterator<Item = &str>) -> Option<Vec<JwtAlgorithm>> {
    let algorithms: Vec<JwtAlgorithm> =
        words.map(JwtAlgorithm::from_word).collect::<Option<_>>()?;
    (!algorithms.is_empty()).then_some(algorithms)
}

/// Keys that travel in the clear could be anybody's.
fn jwks_url(text: &str) -> Result<KeySource, &'static str> {
    let url = Url::parse(text).map_err(|_| "must be a URL as https://login.example.com/keys")?;
    let is_loopback = match url.host() {
        Some(Host::Domain(domain)) => domain == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" if url.has_host() => {}
        "http" if is_loopback => {}
        _ => return Err("must begin with https://, unless it is on this machine"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must have neither a user nor a password");
    }
    Ok(KeySource::Url(url))
}
