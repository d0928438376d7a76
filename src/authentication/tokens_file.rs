//! Tokens in a file, as a secret that an orchestrator mounts: hashes, never the tokens themselves.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Deserialize;

use crate::authz::model::{Id, Timestamp};
use crate::callers::{Accounts, Role, SecretHash, TokenId};
use crate::store::tokens::{StoredToken, TOKENS_MAX};

/// A file that is larger is none of tokens.
const FILE_BYTES_MAX: u64 = 16 * 1_024 * 1_024;

#[derive(Debug, thiserror::Error)]
pub enum TokensFileError {
    #[error("`{}` can't be read: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}`: {problem}", path.display())]
    Wrong { path: PathBuf, problem: String },
}

pub(super) struct TokensFile {
    path: PathBuf,
    /// What was read last and found right.
    last: Mutex<Option<String>>,
}

impl TokensFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            last: Mutex::new(None),
        }
    }

    /// The tokens where the file is not as it was; `None`: it is.
    pub(super) fn read_changed(&self) -> Result<Option<Vec<StoredToken>>, TokensFileError> {
        let text = read(&self.path)?;
        // A text is whole whatever happened to a thread that held the lock.
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.as_deref() == Some(text.as_str()) {
            return Ok(None);
        }
        let tokens = parse(&text).map_err(|problem| TokensFileError::Wrong {
            path: self.path.clone(),
            problem,
        })?;
        *last = Some(text);
        Ok(Some(tokens))
    }
}

fn read(path: &Path) -> Result<String, TokensFileError> {
    let error = |source| TokensFileError::Read {
        path: path.to_owned(),
        source,
    };
    if path.metadata().map_err(error)?.len() > FILE_BYTES_MAX {
        return Err(TokensFileError::Wrong {
            path: path.to_owned(),
            problem: format!("has more than {FILE_BYTES_MAX} bytes"),
        });
    }
    std::fs::read_to_string(path).map_err(error)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    #[serde(default)]
    tokens: Vec<WrittenToken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenToken {
    id: String,
    sha256: String,
    name: String,
    roles: Vec<String>,
    accounts: Option<Vec<String>>,
    #[serde(default)]
    all_accounts: bool,
    created_at: Option<String>,
    expires_at: Option<String>,
}

/// The tokens of a file, or its first mistake in words that show no secret.
pub fn parse(text: &str) -> Result<Vec<StoredToken>, String> {
    let file: WrittenFile = toml::from_str(text).map_err(|error| {
        // Without the line, which may hold what somebody took for the place of a token.
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(1, |before| before.matches('\n').count() + 1);
        // The parser shows a value of the wrong type.
        match error.message() {
            message if message.starts_with("invalid type") => {
                format!("line {line}: a value is not of the type that its key has")
            }
            message => format!("line {line}: {message}"),
        }
    })?;
    if file.tokens.len() > usize::try_from(TOKENS_MAX).unwrap_or(usize::MAX) {
        return Err(format!("has more than {TOKENS_MAX} tokens"));
    }
    let mut seen = BTreeSet::new();
    let mut tokens = Vec::with_capacity(file.tokens.len());
    for (index, written) in file.tokens.iter().enumerate() {
        let token = read_token(written).map_err(|problem| format!("tokens[{index}].{problem}"))?;
        if !seen.insert(token.id.clone()) {
            return Err(format!(
                "tokens[{index}].id: there is another one of this id"
            ));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

fn read_token(written: &WrittenToken) -> Result<StoredToken, String> {
    let moment = |field: &str, text: &Option<String>| {
        text.as_deref()
            .map(|text| Timestamp::parse(text).map_err(|error| format!("{field}: {error}")))
            .transpose()
    };
    let role = |word: &String| {
        Role::from_word(word)
            .ok_or_else(|| format!("roles: `{word}` is none of check, request, write and admin"))
    };
    let roles = written.roles.iter().map(role).collect::<Result<_, _>>()?;
    let accounts = match (&written.accounts, written.all_accounts) {
        (None, true) => Accounts::All,
        (Some(accounts), false) => {
            let id = |text: &String| Id::parse(text).map_err(|error| format!("accounts: {error}"));
            Accounts::Only(accounts.iter().map(id).collect::<Result<_, _>>()?)
        }
        (None, false) | (Some(_), true) => {
            return Err("accounts: name them, or say all_accounts = true, and not both".to_owned());
        }
    };
    Ok(StoredToken {
        id: TokenId::parse(&written.id)
            .ok_or("id: must be the 16 hexadecimal digits after `ambit_` in the token")?,
        hash: SecretHash::parse(&written.sha256)
            .ok_or("sha256: must be 64 hexadecimal digits, the SHA-256 of the whole token")?,
        name: Id::parse(&written.name).map_err(|error| format!("name: {error}"))?,
        roles,
        accounts,
        created_at: moment("created_at", &written.created_at)?.unwrap_or(Timestamp::MIN),
        expires_at: moment("expires_at", &written.expires_at)?,
        revoked_at: None,
    })
}

/// A token as such a file has it.
pub fn entry(token: &StoredToken) -> String {
    let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let list = |texts: &mut dyn Iterator<Item = &str>| {
        let texts: Vec<String> = texts.map(text).collect();
        format!("[{}]", texts.join(", "))
    };
    let mut entry = format!(
        "[[tokens]]\nid = {}\nsha256 = {}\nname = {}\nroles = {}\n",
        text(token.id.as_str()),
        text(&token.hash.to_string()),
        text(token.name.as_str()),
        list(&mut token.roles.iter().map(Role::as_str)),
    );
    let accounts = match &token.accounts {
        Accounts::All => "all_accounts = true\n".to_owned(),
        Accounts::Only(accounts) => {
            format!(
                "accounts = {}\n",
                list(&mut accounts.iter().map(Id::as_str))
            )
        }
    };
    entry.push_str(&accounts);
    let times = [
        ("created_at", Some(token.created_at)),
        ("expires_at", token.expires_at),
    ];
    for (key, time) in times {
        if let Some(time) = time {
            // Into a text, which takes all that is written.
            let _ = writeln!(entry, "{key} = \"{time}\"");
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::BearerToken;
    use crate::randomness::SeededRandomness;

    fn token(accounts: Accounts) -> StoredToken {
        let token = BearerToken::make(&SeededRandomness::new(3)).unwrap();
        StoredToken {
            id: token.id().unwrap(),
            hash: token.hash(),
            name: Id::parse("crm \"backend\"").unwrap(),
            roles: [Role::Check, Role::Request].into_iter().collect(),
            accounts,
            created_at: Timestamp::parse("2026-11-22T00:00:00Z").unwrap(),
            expires_at: Timestamp::parse("2027-11-22T00:00:00.5Z").ok(),
            revoked_at: None,
        }
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let some =
            Accounts::Only([Id::parse("acme").unwrap(), Id::parse("a'\\\"b").unwrap()].into());
        for accounts in [Accounts::All, some, Accounts::Only(BTreeSet::new())] {
            let token = token(accounts);
            let read = parse(&entry(&token)).unwrap().pop().unwrap();
            assert_eq!(format!("{read:?}"), format!("{token:?}"));
        }
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn a_mistake_is_named_by_its_place_and_shows_no_value_of_a_secret() {
        let good = entry(&token(Accounts::All));
        let doubled = format!("{good}{good}");
        let secret = "ambit_0123456789abcdef_do-not-show";
        for (text, expected) in [
            (doubled, "tokens[1].id: there is another one"),
            (good.replace("check", "root"), "tokens[0].roles: `root`"),
            (
                good.replace("all_accounts = true", ""),
                "tokens[0].accounts: ",
            ),
            (
                good.replace("true", "true\naccounts = []"),
                "tokens[0].accounts: ",
            ),
            (
                good.replace("sha256 = \"", "sha256 = \"0"),
                "tokens[0].sha256: ",
            ),
            (good.replace("id = \"", "id = \"0"), "tokens[0].id: "),
            (good.replace("2027-11-22", "soon"), "tokens[0].expires_at: "),
            (
                format!("{good}secret = \"{secret}\"\n"),
                "line 9: unknown field",
            ),
            (format!("{good}x = {secret}\n"), "line 9: "),
            (
                good.replace("roles = [", &format!("roles = \"{secret}\" # ")),
                "line 5: a value",
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("do-not-show"), "{error}");
        }
    }
}
