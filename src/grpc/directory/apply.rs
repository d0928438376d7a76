//! Writes: `CreateAccount` and `ApplyChanges`.

use tonic::{Status, Streaming};

use super::DirectoryHandlers;
use crate::authz::change::{AccountPatch, Change, ChangeLine};
use crate::authz::model::{Id, Settings};
use crate::directory::{Applied, ApplyChanges, PreviewChanges};
use crate::graph_cache::Consistency;
use crate::grpc::admission::{Admission, AdmittedAccount};
use crate::grpc::change_list::ChangeList;
use crate::grpc::convert::{self, Path};
use crate::grpc::idempotency::{idempotency, idempotency_of};
use crate::grpc::reading::{blamed_on_revision, revision_token};
use crate::grpc::status::{Failure, with_reason};
use crate::grpc::wire;
use crate::store::Head;
use crate::store::audit::Author;

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
        let about = about(&message);
        let mut write = ChangeList::new("ApplyChanges", about);
        loop {
            write.add(std::mem::take(&mut message.changes))?;
            match next(&mut messages).await? {
                Some(following) => message = without_header(following)?,
                None => break,
            }
        }
        let (changes, digest) = write.finish();
        let idempotency = idempotency(&header.idempotency_key, digest)?;
        if header.dry_run {
            return Ok(self.look_ahead(header, changes).await?);
        }
        let applied = self
            .directory
            .apply_changes(ApplyChanges {
                account: Id::clone(&header.account),
                changes,
                expected: header.expected,
                idempotency,
                dry_run: false,
                actor: header.actor,
                author,
            })
            .await
            .map_err(|error| blamed_on_revision(error.into(), EXPECTED))?;
        Ok(self.applied(&header.account, &applied))
    }

    /// A dry run: what would change, and what that would do to access.
    async fn look_ahead(
        &self,
        header: Header,
        changes: Vec<Change>,
    ) -> Result<wire::ApplyChangesResponse, Failure> {
        let account = Id::clone(&header.account);
        let mut supposed = self
            .directory
            .suppose(PreviewChanges {
                account: account.clone(),
                changes,
                actor: header.actor,
                expected: header.expected,
                at: None,
            })
            .await
            .map_err(|error| blamed_on_revision(error.into(), EXPECTED))?;
        let foreseen = self.directory.preview(&mut supposed).await?;
        let (preview, preview_refused) = convert::foreseen_to_wire(&foreseen);
        Ok(wire::ApplyChangesResponse {
            revision: self.revision(&account, supposed.head()),
            summary: lines_to_wire(&supposed.lines),
            preview,
            preview_refused,
            ceiling: convert::ceiling_to_wire(&supposed.ceiling),
        })
    }

    fn applied(&self, account: &Id, applied: &Applied) -> wire::ApplyChangesResponse {
        wire::ApplyChangesResponse {
            revision: self.revision(account, applied.head),
            summary: lines_to_wire(&applied.lines),
            preview: None,
            preview_refused: String::new(),
            ceiling: convert::ceiling_to_wire(&applied.ceiling),
        }
    }

    fn revision(&self, account: &Id, head: Option<Head>) -> String {
        head.map(|head| self.reading.revision(account, head))
            .unwrap_or_default()
    }
}

fn lines_to_wire(lines: &[ChangeLine]) -> Vec<wire::ChangeLine> {
    lines
        .iter()
        .map(|line| wire::ChangeLine {
            verb: line.verb.to_owned(),
            entity: Some(convert::entity_key_to_wire(&line.entity)),
            fields: line.fields.iter().map(ToString::to_string).collect(),
        })
        .collect()
}

/// What the first message of a write says beside its changes.
struct Header {
    account: AdmittedAccount,
    idempotency_key: String,
    expected: Option<crate::revision::RevisionToken>,
    dry_run: bool,
    actor: Option<Id>,
}

/// What a write is about beside its changes. One of an operator is digested as it was before there
/// were others.
fn about(message: &wire::ApplyChangesRequest) -> Vec<&String> {
    let mut about = vec![&message.account_id, &message.expected_revision];
    if !message.actor_user_id.is_empty() {
        about.push(&message.actor_user_id);
    }
    about
}

fn header(admission: &Admission, message: &wire::ApplyChangesRequest) -> Result<Header, Failure> {
    let account = admission.account(&message.account_id)?;
    admission.writes_as(&message.actor_user_id)?;
    Ok(Header {
        account,
        idempotency_key: message.idempotency_key.clone(),
        expected: revision_token(&message.expected_revision, EXPECTED)?,
        dry_run: message.dry_run,
        actor: convert::optional_id(&message.actor_user_id, "actor_user_id")?,
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
