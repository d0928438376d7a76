//! Writes: lists of changes, and account documents.

use prost::Message as _;

use crate::authz::change::Change;
use crate::authz::document::{self, Document};
use crate::grpc::convert::change_to_wire;
use crate::grpc::wire;
use crate::randomness::{Randomness as _, SystemRandomness};

use super::Client;
use super::error::ClientError;
use super::noted_right::NotedRight;
use super::retry::Repeat;

/// Bytes of changes in one message: below the 4 MiB that a server takes, with room for the last.
const MESSAGE_BYTES: usize = 1024 * 1024;

/// A list of changes to one account, made in one transaction or not at all.
///
/// It is repeated after a broken connection only where it has an idempotency key, under which the
/// server carries it out once.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    account: String,
    changes: Vec<Change>,
    key: String,
    expected_revision: String,
    actor: String,
    dry_run: bool,
}

/// What a write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The revision at which the changes are seen; of a dry run the one that it was judged at, empty
    /// where there is no such account yet.
    pub revision: String,
    /// What was done, a line an entity; empty where an idempotency key repeats an earlier write.
    pub lines: Vec<WrittenLine>,
    /// On behalf of a user: rights that were to go and stay, since the user does not hold them; the
    /// first 1,000.
    pub kept: Vec<NotedRight>,
    /// On behalf of a user: rights that were not given whole, since the user does not hold them; the
    /// first 1,000.
    pub withheld: Vec<NotedRight>,
}

/// What was done to one entity.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct WrittenLine {
    /// `create`, `update` or `delete`.
    pub verb: String,
    /// Such as `user` or `resource`.
    pub kind: &'static str,
    /// The type of a resource; empty for every other kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_type: String,
    /// Empty for the account itself.
    pub id: String,
    /// The fields that change.
    pub fields: Vec<String>,
}

impl Write {
    pub fn of(account: impl Into<String>, changes: Vec<Change>) -> Self {
        Self {
            account: account.into(),
            changes,
            key: String::new(),
            expected_revision: String::new(),
            actor: String::new(),
            dry_run: false,
        }
    }

    /// Names the write, so that it is carried out once however often it is sent within 24 hours. A
    /// key that comes from what is done (the id of an event, of a row) also holds across restarts of
    /// the caller.
    #[must_use]
    pub fn keyed(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// Names the write at random, so that this client may repeat it.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn keyed_at_random(self) -> Result<Self, ClientError> {
        let bytes = SystemRandomness
            .bytes()
            .map_err(|error| ClientError::Configuration(error.to_string()))?;
        Ok(self.keyed(format!("{:032x}", u128::from_be_bytes(bytes))))
    }

    /// Only where the account stands at this revision; else `REVISION_MISMATCH`.
    #[must_use]
    pub fn expecting(mut self, revision: impl Into<String>) -> Self {
        self.expected_revision = revision.into();
        self
    }

    /// On behalf of this user, by whose rights the write is then judged.
    #[must_use]
    pub fn on_behalf_of(mut self, user: impl Into<String>) -> Self {
        self.actor = user.into();
        self
    }

    /// Says what would change, and writes nothing.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// The header in the first message, the changes in messages of about [`MESSAGE_BYTES`].
    pub(crate) fn messages(&self) -> Vec<wire::ApplyChangesRequest> {
        let mut message = wire::ApplyChangesRequest {
            account_id: self.account.clone(),
            idempotency_key: self.key.clone(),
            expected_revision: self.expected_revision.clone(),
            dry_run: self.dry_run,
            actor_user_id: self.actor.clone(),
            changes: Vec::new(),
        };
        let mut messages = Vec::new();
        let mut bytes = 0;
        for change in &self.changes {
            let change = change_to_wire(change);
            bytes += change.encoded_len();
            message.changes.push(change);
            if bytes >= MESSAGE_BYTES {
                messages.push(std::mem::take(&mut message));
                bytes = 0;
            }
        }
        if messages.is_empty() || !message.changes.is_empty() {
            messages.push(message);
        }
        messages
    }

    /// A dry run writes nothing, so it may be repeated without a key.
    fn repeat(&self) -> Repeat {
        if self.dry_run {
            Repeat::Safe
        } else {
            Repeat::of_key(&self.key)
        }
    }
}

impl Client {
    /// Makes a list of changes. Within a session every later answer sees them.
    ///
    /// # Errors
    /// As the server answers it; after [`ClientError::Unreachable`] and [`ClientError::Timeout`] of a
    /// write without a key nobody knows whether it was made.
    pub async fn apply(&self, write: &Write) -> Result<Applied, ClientError> {
        let messages = write.messages();
        let answer = self
            .call(&write.account, write.repeat(), |attempt| {
                let request = attempt.request(tokio_stream::iter(messages.clone()));
                async move { attempt.directory().apply_changes(request).await }
            })
            .await?;
        self.saw(&write.account, &answer.revision)?;
        let ceiling = answer.ceiling.unwrap_or_default();
        Ok(Applied {
            revision: answer.revision,
            lines: answer
                .summary
                .into_iter()
                .map(WrittenLine::of_wire)
                .collect(),
            kept: NotedRight::of_all(&ceiling.kept),
            withheld: NotedRight::of_all(&ceiling.withheld),
        })
    }

    /// Writes account documents in YAML: what they name is added or replaced, what they leave out
    /// stays. Each document is a write of its own, in their order, and may be repeated: twice is once.
    ///
    /// # Errors
    /// [`ClientError::Configuration`] for a text that is no account document, and for one that gives
    /// a list as empty, which depends on what is there: `ambit apply` does that. Otherwise as
    /// [`apply`](Self::apply); the documents before the one that failed are then written.
    pub async fn apply_documents(&self, yaml: &str) -> Result<Vec<Applied>, ClientError> {
        let documents = document::parse_file(yaml, &mut |name| {
            Err(format!("the catalog `{name}` is not built in"))
        })
        .map_err(|error| ClientError::Configuration(error.to_string()))?;
        let writes = documents
            .iter()
            .map(write_of)
            .collect::<Result<Vec<_>, _>>()?;
        let mut applied = Vec::with_capacity(writes.len());
        for write in writes {
            applied.push(self.apply(&write).await?);
        }
        Ok(applied)
    }
}

fn write_of(document: &Document) -> Result<Write, ClientError> {
    let about = |problem: String| {
        ClientError::Configuration(format!(
            "the document of `{}`: {problem}",
            document.account_id()
        ))
    };
    if document.empties_a_list() {
        return Err(about(
            "it gives a list as empty, which depends on what is there; use `ambit apply`"
                .to_owned(),
        ));
    }
    let changes = document
        .to_changes(None, false)
        .map_err(|error| about(error.to_string()))?;
    Write::of(document.account_id().to_string(), changes).keyed_at_random()
}

impl WrittenLine {
    pub(crate) fn of_wire(line: wire::ChangeLine) -> Self {
        let entity = line.entity.unwrap_or_default();
        Self {
            verb: line.verb,
            kind: match entity.kind() {
                wire::EntityKind::Account => "account",
                wire::EntityKind::Team => "team",
                wire::EntityKind::PermissionSet => "permission_set",
                wire::EntityKind::User => "user",
                wire::EntityKind::AccessGroup => "access_group",
                wire::EntityKind::Resource => "resource",
                wire::EntityKind::Segment => "segment",
                wire::EntityKind::AccessRequest => "access_request",
                wire::EntityKind::Unspecified => "entity",
            },
            resource_type: entity.resource_type,
            id: entity.id,
            fields: line.fields,
        }
    }
}

/// `update user lena: main_team, grants`
impl std::fmt::Display for WrittenLine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.verb, self.kind)?;
        if !self.resource_type.is_empty() {
            write!(formatter, " {}/{}", self.resource_type, self.id)?;
        } else if !self.id.is_empty() {
            write!(formatter, " {}", self.id)?;
        }
        if !self.fields.is_empty() {
            write!(formatter, ": {}", self.fields.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::model::Id;

    #[test]
    fn the_header_goes_out_with_the_first_message_only_and_also_alone() {
        let none = Write::of("acme", Vec::new()).messages();
        assert_eq!(none.len(), 1);
        let id = |index: usize| Id::parse(&format!("{index:0200}")).unwrap();
        let changes: Vec<Change> = (0..12_000)
            .map(|index| Change::PutAccessGroup(id(index)))
            .collect();
        let several = Write::of("acme", changes).messages();
        assert!(several.len() > 1);
        assert_eq!(several[0].account_id, "acme");
        assert!(
            several[1..]
                .iter()
                .all(|message| message.account_id.is_empty())
        );
        let sent: usize = several.iter().map(|message| message.changes.len()).sum();
        assert_eq!(sent, 12_000);
        assert!(
            several
                .iter()
                .all(|message| message.encoded_len() < 4 << 20)
        );
    }
}
