//! Writes: `CreateAccount` and `ApplyChanges`.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tonic::{Status, Streaming};

use super::DirectoryHandlers;
use crate::authz::change::{AccountPatch, CHANGES_MAX, Change};
use crate::authz::model::{Id, Settings};
use crate::directory::{Applied, ApplyChanges};
use crate::graph_cache::Consistency;
use crate::grpc::admission::{Admission, AdmittedAccount};
use crate::grpc::convert::{self, Path};
use crate::grpc::idempotency::{idempotency, idempotency_of, update};
use crate::grpc::reading::{blamed_on_revision, revision_token};
use crate::grpc::status::{Failure, Reason, with_reason};
use crate::grpc::wire;
use crate::store::audit::Author;

/// Of all messages of one write together.
const WRITE_BYTES_MAX: usize = 64 * 1_024 * 1_024;

const EXPECTED: &str = "expected_revision";

impl DirectoryHandlers {
    pub(super) async fn create_account(
        &self,
        admission: &Admission,
        request: wire::CreateAccountRequest,
        author: Author,
    ) -> Result<wire::CreateAccountResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let unkeyed = wire::CreateAccountRequest {
            idempotency_key: String::new(),
            ..request.clone()
        };
        let idempotency = idempotency_of("CreateAccount", &request.idempotency_key, &unkeyed)?;
        let patch = account_patch(&request)?;
        let applied = self
            .directory
            .create_account(Id::clone(&account), patch, idempotency, author)
            .await
            .map_err(|error| as_created(error.into()))?;
        let Some(head) = applied.head else {
            return Err(Failure::internal());
        };
        let graphs = self.directory.graphs();
        let token = graphs.token(&account, head);
        let read = graphs
            .read(&account, &Consistency::AtLeastAsFresh(token))
            .await?;
        Ok(wire::CreateAccountResponse {
            account: Some(convert::account_to_wire(read.graph.account())),
            revision: token.encode(),
        })
    }

    pub(super) async fn apply_changes(
        &self,
        admission: &Admission,
        mut messages: Streaming<wire::ApplyChangesRequest>,
        author: Author,
    ) -> Result<wire::ApplyChangesResponse, Status> {
        // An empty stream has no header either, and is told what is missing.
        let mut message = next(&mut messages).await?.unwrap_or_default();
        let header = header(admission, &message)?;
        let mut write = Collected::new(&message);
        loop {
            write.add(std::mem::take(&mut message))?;
            match next(&mut messages).await? {
                Some(following) => message = without_header(following)?,
                None => break,
            }
        }
        let idempotency = idempotency(&header.idempotency_key, write.digest)?;
        let applied = self
            .directory
            .apply_changes(ApplyChanges {
                account: Id::clone(&header.account),
                changes: write.changes,
                expected: header.expected,
                idempotency,
                dry_run: header.dry_run,
                author,
            })
            .await
            .map_err(|error| blamed_on_revision(error.into(), EXPECTED))?;
        Ok(self.applied(&header.account, &applied))
    }

    fn applied(&self, account: &Id, applied: &Applied) -> wire::ApplyChangesResponse {
        wire::ApplyChangesResponse {
            revision: applied
                .head
                .map(|head| self.reading.revision(account, head))
                .unwrap_or_default(),
            summary: applied
                .lines
                .iter()
                .map(|line| wire::ChangeLine {
                    verb: line.verb.to_owned(),
                    entity: Some(convert::entity_key_to_wire(&line.entity)),
                    fields: line.fields.iter().map(ToString::to_string).collect(),
                })
                .collect(),
        }
    }
}

/// What the first message of a write says beside its changes.
struct Header {
    account: AdmittedAccount,
    idempotency_key: String,
    expected: Option<crate::revision::RevisionToken>,
    dry_run: bool,
}

fn header(admission: &Admission, message: &wire::ApplyChangesRequest) -> Result<Header, Failure> {
    let account = admission.account(&message.account_id)?;
    admission.writes_as(&message.actor_user_id)?;
    if !message.actor_user_id.is_empty() {
        return Err(Failure::field(
            Reason::ActorNotSupported,
            "actor_user_id",
            "writes on behalf of a user are not served yet: leave the field out, and let the caller's own system decide",
        ));
    }
    Ok(Header {
        account,
        idempotency_key: message.idempotency_key.clone(),
        expected: revision_token(&message.expected_revision, EXPECTED)?,
        dry_run: message.dry_run,
    })
}

fn without_header(
    message: wire::ApplyChangesRequest,
) -> Result<wire::ApplyChangesRequest, Failure> {
    let wrong = [
        (!message.account_id.is_empty(), "account_id"),
        (!message.idempotency_key.is_empty(), "idempotency_key"),
        (!message.expected_revision.is_empty(), EXPECTED),
        (message.dry_run, "dry_run"),
        (!message.actor_user_id.is_empty(), "actor_user_id"),
    ];
    match wrong.iter().find(|(set, _)| *set) {
        Some((_, field)) => Err(Failure::invalid(
            field,
            "the field belongs into the first message of the stream alone",
        )),
        None => Ok(message),
    }
}

/// The changes of all messages so far. How they were cut into messages means nothing, so the
/// digest doesn't see it.
struct Collected {
    changes: Vec<Change>,
    digest: Sha256,
    bytes: usize,
}

impl Collected {
    fn new(header: &wire::ApplyChangesRequest) -> Self {
        let mut digest = Sha256::new();
        update(&mut digest, b"ApplyChanges");
        update(&mut digest, header.account_id.as_bytes());
        update(&mut digest, header.expected_revision.as_bytes());
        Self {
            changes: Vec::new(),
            digest,
            bytes: 0,
        }
    }

    fn add(&mut self, message: wire::ApplyChangesRequest) -> Result<(), Failure> {
        let changes = self.changes.len() + message.changes.len();
        if changes > CHANGES_MAX {
            return Err(Failure::field(
                Reason::TooManyChanges,
                "changes",
                format_args!("a write has at most {CHANGES_MAX} changes: send several"),
            ));
        }
        for change in message.changes {
            let encoded = change.encode_to_vec();
            self.bytes += encoded.len();
            if self.bytes > WRITE_BYTES_MAX {
                return Err(Failure::field(
                    Reason::TooManyChanges,
                    "changes",
                    format_args!("a write has at most {WRITE_BYTES_MAX} bytes: send several"),
                ));
            }
            update(&mut self.digest, &encoded);
            let path = Path::root("changes").at(self.changes.len());
            self.changes.push(convert::change_from_wire(change, path)?);
        }
        Ok(())
    }
}

/// With its length, so that no two lists of parts are written alike.
fn account_patch(request: &wire::CreateAccountRequest) -> Result<AccountPatch, Failure> {
    let settings = match &request.settings {
        Some(settings) => convert::settings_from_wire(settings, &Path::root("settings"))?,
        None => Settings::default(),
    };
    Ok(AccountPatch {
        catalog: Some(convert::catalog_from_wire(
            request.catalog.as_ref(),
            Path::root("catalog"),
        )?),
        plan: Some(convert::id(&request.plan, "plan")?),
        partner_program: convert::partner_program_from_wire(
            request.partner_program,
            Path::root("partner_program"),
        )?,
        payment_method_valid: request.payment_method_valid,
        partition_mode: settings
            .partition_mode
            .into_iter()
            .map(|(resource_type, mode)| (resource_type, Some(mode)))
            .collect(),
        unpartitioned: settings
            .unpartitioned
            .into_iter()
            .map(|(resource_type, default)| (resource_type, Some(default)))
            .collect(),
        request_ttl_seconds: Some(settings.request_ttl_seconds),
        request_cool_down_seconds: Some(settings.request_cool_down_seconds),
        request_limit_per_user: Some(settings.request_limit_per_user),
    })
}

/// The fields of a creation stand in the request itself, not in a change.
fn as_created(failure: Failure) -> Failure {
    Failure {
        field: failure.field.map(
            |field| match field.strip_prefix("changes[0].put_account.") {
                Some(name) => match name.split(['.', '[']).next() {
                    Some("catalog" | "plan" | "partner_program" | "payment_method_valid") => {
                        name.to_owned()
                    }
                    _ => format!("settings.{name}"),
                },
                None => field,
            },
        ),
        ..failure
    }
}

async fn next(
    messages: &mut Streaming<wire::ApplyChangesRequest>,
) -> Result<Option<wire::ApplyChangesRequest>, Status> {
    messages.message().await.map_err(with_reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_sees_the_changes_and_not_how_they_were_cut() {
        let change = |id: &str| wire::Change {
            change: Some(wire::change::Change::DeleteTeam(id.to_owned())),
        };
        let message = |changes: Vec<wire::Change>| wire::ApplyChangesRequest {
            changes,
            ..wire::ApplyChangesRequest::default()
        };
        let digest = |messages: Vec<wire::ApplyChangesRequest>| {
            let mut write = Collected::new(&wire::ApplyChangesRequest::default());
            for message in messages {
                write.add(message).unwrap();
            }
            write.digest.finalize()
        };
        let whole = digest(vec![message(vec![change("a"), change("b")])]);
        let cut = digest(vec![message(vec![change("a")]), message(vec![change("b")])]);
        let other = digest(vec![message(vec![change("b"), change("a")])]);
        assert_eq!(whole, cut);
        assert_ne!(whole, other);
    }

    #[test]
    fn a_write_has_at_most_its_bytes() {
        let message = |id: &str| wire::ApplyChangesRequest {
            changes: vec![wire::Change {
                change: Some(wire::change::Change::DeleteTeam(id.to_owned())),
            }],
            ..wire::ApplyChangesRequest::default()
        };
        let mut write = Collected::new(&wire::ApplyChangesRequest::default());
        write.bytes = WRITE_BYTES_MAX - 3;
        write.add(message("a")).unwrap();
        assert_eq!(write.bytes, WRITE_BYTES_MAX);
        let failure = write.add(message("b")).unwrap_err();
        assert_eq!(failure.reason, Reason::TooManyChanges);
        assert_eq!(failure.field.as_deref(), Some("changes"));
    }

    #[test]
    fn a_creation_is_blamed_by_its_own_fields() {
        let blamed = |field: &str| {
            as_created(Failure::invalid(field, "wrong"))
                .field
                .unwrap_or_default()
        };
        assert_eq!(blamed("changes[0].put_account.plan"), "plan");
        assert_eq!(
            blamed("changes[0].put_account.request_ttl"),
            "settings.request_ttl"
        );
        assert_eq!(blamed("account_id"), "account_id");
    }
}
