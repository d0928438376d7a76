//! Where whole accounts are written to and read from: a server, or a store beside it.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_stream::iter;
use tonic::Code;

use crate::app::DirectStore;
use crate::authz::change::{self, Change, ChangeLine};
use crate::authz::model::{Entity, EntityChange, EntityKey, Id};
use crate::client::{NotedRight, Write, WrittenLine};
use crate::clock::SystemClock;
use crate::config::{Database, DatabaseUrl};
use crate::directory::{ApplyChanges, Directory, DirectoryError, PreviewChanges};
use crate::graph_cache::ReadError;
use crate::grpc::convert;
use crate::grpc::wire;
use crate::grpc::wire::directory_service_client::DirectoryServiceClient;
use crate::revision::RevisionToken;

use super::access_preview::ShownAccess;
use super::author::author;
use super::connection::{self, Link, ServerArgs};
use super::error::CliError;

/// `--server`, or a database in its place.
#[derive(Debug, Clone, clap::Args)]
pub struct DestinationArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Work on the database in this directory instead of a server; one may be running on it
    #[arg(long, value_name = "DIR", group = "database")]
    data_dir: Option<PathBuf>,
    /// Work on this PostgreSQL database instead of a server; any number may be running on it
    #[arg(long, value_name = "URL", group = "database")]
    database_url: Option<String>,
    /// Work on the PostgreSQL database whose URL is in this file
    #[arg(long, value_name = "FILE", group = "database")]
    database_url_file: Option<PathBuf>,
}

pub enum Destination {
    Server(DirectoryServiceClient<Link>),
    Store(DirectStore),
}

/// An account as it stands.
#[derive(Debug)]
pub struct Present {
    /// The account entity first.
    pub entities: Vec<Entity>,
    /// The token of the revision.
    pub revision: String,
}

/// What a write came to.
#[derive(Debug)]
pub struct Written {
    /// Empty for a dry run on an account that is not there.
    pub revision: String,
    pub lines: Vec<WrittenLine>,
    /// Of a dry run: what it would do to access.
    pub access: ShownAccess,
    /// What the ceiling of the user on whose behalf it is made kept and withheld.
    pub kept: Vec<NotedRight>,
    pub withheld: Vec<NotedRight>,
}

/// How changes are written.
#[derive(Debug, Clone, Copy)]
pub struct Writing<'a> {
    /// The revision that they rest on.
    pub expected: Option<&'a str>,
    /// The user on whose behalf.
    pub actor: Option<&'a Id>,
    pub dry_run: bool,
}

/// Why an account was not written.
#[derive(Debug)]
pub enum WriteError {
    /// Somebody else was faster: read the account again, then write anew.
    Aborted(CliError),
    /// The change with this index can't be made.
    Change {
        index: usize,
        error: CliError,
    },
    Other(CliError),
}

impl From<CliError> for WriteError {
    fn from(error: CliError) -> Self {
        Self::Other(error)
    }
}

impl DestinationArgs {
    /// `create` makes the directory of a store that is not there.
    pub async fn open(&self, create: bool) -> Result<Destination, CliError> {
        let database = if let Some(directory) = &self.data_dir {
            if !create && !directory.is_dir() {
                return Err(CliError::usage(format!(
                    "there is no directory {}; name the one that the server was started with",
                    directory.display()
                )));
            }
            Database::Directory(directory.clone())
        } else if let Some(url) = &self.database_url {
            let url = DatabaseUrl::new(url).ok_or_else(|| {
                CliError::usage(
                    "--database-url is empty; write it as postgres://USER:PASSWORD@HOST/NAME",
                )
            })?;
            Database::Url(url)
        } else if let Some(file) = &self.database_url_file {
            Database::Url(DatabaseUrl::read(file).map_err(CliError::usage)?)
        } else {
            return Ok(Destination::Server(self.server.directory().await?));
        };
        DirectStore::open(&database, Arc::new(SystemClock::new()))
            .await
            .map(Destination::Store)
            .map_err(CliError::refused)
    }
}

impl Destination {
    /// Leaves a store as the next one should find it.
    pub async fn close(self) {
        match self {
            Self::Server(_) => {}
            Self::Store(store) => store.close().await,
        }
    }

    /// The whole account; `None` if there is none.
    pub async fn read(&mut self, account: &Id) -> Result<Option<Present>, CliError> {
        match self {
            Self::Server(client) => read_server(client, account).await,
            Self::Store(store) => read_store(&store.directory, account).await,
        }
    }

    /// All changes in one transaction.
    pub async fn write(
        &mut self,
        account: &Id,
        changes: Vec<Change>,
        writing: Writing<'_>,
    ) -> Result<Written, WriteError> {
        match self {
            Self::Server(client) => write_server(client, account, changes, writing).await,
            Self::Store(store) => write_store(&store.directory, account, changes, writing).await,
        }
    }
}

async fn read_server(
    client: &mut DirectoryServiceClient<Link>,
    account: &Id,
) -> Result<Option<Present>, CliError> {
    let request = wire::ExportAccountRequest {
        account_id: account.to_string(),
    };
    let mut chunks = match client.export_account(request).await {
        Ok(response) => response.into_inner(),
        Err(status) if status.code() == Code::NotFound => return Ok(None),
        Err(status) => return Err(connection::refused(&status)),
    };
    let mut changes = Vec::new();
    let mut revision = String::new();
    loop {
        let chunk = match chunks.message().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(connection::refused(&status)),
        };
        if !chunk.revision.is_empty() {
            revision = chunk.revision;
        }
        for change in chunk.changes {
            changes.push(change_from_wire(change)?);
        }
    }
    Ok(Some(Present {
        entities: entities_of(account, &changes)?,
        revision,
    }))
}

fn change_from_wire(change: wire::Change) -> Result<Change, CliError> {
    convert::change_from_wire(change, convert::Path::root("changes")).map_err(|failure| {
        CliError::refused(format!(
            "the server's export can't be read: {}; it may be newer than this command, update it",
            failure.message
        ))
    })
}

/// An export is a list of changes that makes the account; planned on nothing it is the account.
fn entities_of(account: &Id, changes: &[Change]) -> Result<Vec<Entity>, CliError> {
    let planned = change::plan(account, None, changes).map_err(|error| {
        CliError::refused(format!("the server's export is not an account: {error}"))
    })?;
    Ok(planned
        .changes
        .into_iter()
        .filter_map(|change| match change {
            EntityChange::Put(entity) => Some(entity),
            EntityChange::Delete(_) => None,
        })
        .collect())
}

async fn read_store(directory: &Directory, account: &Id) -> Result<Option<Present>, CliError> {
    let mut snapshot = match directory.export(account).await {
        Ok(snapshot) => snapshot,
        Err(DirectoryError::Read(ReadError::UnknownAccount(_))) => return Ok(None),
        Err(error) => return Err(CliError::refused(error)),
    };
    let mut entities = Vec::new();
    while let Some(chunk) = snapshot.chunks.recv().await {
        for entity in chunk.map_err(CliError::refused)?.into_entities() {
            entities.push(without_empty_attributes(entity));
        }
    }
    let revision = directory.graphs().token(account, snapshot.head).encode();
    Ok(Some(Present { entities, revision }))
}

/// A store gives an empty map where a resource has no attributes; over the wire nothing comes.
fn without_empty_attributes(entity: Entity) -> Entity {
    match entity {
        Entity::Resource(resource, attributes) => Entity::Resource(
            resource,
            attributes.filter(|attributes| !attributes.is_empty()),
        ),
        entity => entity,
    }
}

async fn write_server(
    client: &mut DirectoryServiceClient<Link>,
    account: &Id,
    changes: Vec<Change>,
    writing: Writing<'_>,
) -> Result<Written, WriteError> {
    let mut write = Write::of(account.as_str(), changes);
    if let Some(expected) = writing.expected {
        write = write.expecting(expected);
    }
    if let Some(actor) = writing.actor {
        write = write.on_behalf_of(actor.as_str());
    }
    if writing.dry_run {
        write = write.dry_run();
    }
    let response = client
        .apply_changes(iter(write.messages()))
        .await
        .map_err(|status| write_error(&status))?
        .into_inner();
    let mut access = ShownAccess::default();
    access.add(response.preview, response.preview_refused);
    let ceiling = response.ceiling.unwrap_or_default();
    Ok(Written {
        kept: NotedRight::of_all(&ceiling.kept),
        withheld: NotedRight::of_all(&ceiling.withheld),
        revision: response.revision,
        lines: response
            .summary
            .into_iter()
            .map(WrittenLine::of_wire)
            .collect(),
        access,
    })
}

pub(super) fn write_error(status: &tonic::Status) -> WriteError {
    let error = connection::refused(status);
    if status.code() == Code::Aborted {
        return WriteError::Aborted(error);
    }
    match connection::wrong_field(status).and_then(|field| change_index(&field)) {
        Some(index) => WriteError::Change { index, error },
        None => WriteError::Other(error),
    }
}

/// The index in a path such as `changes[3].put_user.main_team`.
fn change_index(field: &str) -> Option<usize> {
    let (index, _) = field.strip_prefix("changes[")?.split_once(']')?;
    index.parse().ok()
}

async fn write_store(
    directory: &Directory,
    account: &Id,
    changes: Vec<Change>,
    writing: Writing<'_>,
) -> Result<Written, WriteError> {
    let expected = writing
        .expected
        .map(|token| RevisionToken::decode(token).map_err(CliError::usage))
        .transpose()?;
    let actor = writing.actor.cloned();
    if writing.dry_run {
        let request = PreviewChanges {
            account: account.clone(),
            changes,
            actor,
            expected,
            at: None,
        };
        return look_ahead(directory, request).await;
    }
    let applied = directory
        .apply_changes(ApplyChanges {
            account: account.clone(),
            changes,
            expected,
            idempotency: None,
            dry_run: false,
            actor,
            author: author("ApplyChanges"),
        })
        .await
        .map_err(store_write_error)?;
    let revision = applied
        .head
        .map(|head| directory.graphs().token(account, head).encode());
    let ceiling = convert::ceiling_to_wire(&applied.ceiling).unwrap_or_default();
    Ok(Written {
        kept: NotedRight::of_all(&ceiling.kept),
        withheld: NotedRight::of_all(&ceiling.withheld),
        revision: revision.unwrap_or_default(),
        lines: applied.lines.into_iter().map(line_from_core).collect(),
        access: ShownAccess::default(),
    })
}

/// As a server does a dry run.
async fn look_ahead(directory: &Directory, request: PreviewChanges) -> Result<Written, WriteError> {
    let account = request.account.clone();
    let mut supposed = directory
        .suppose(request)
        .await
        .map_err(store_write_error)?;
    let foreseen = directory.preview(&mut supposed).await;
    let foreseen = foreseen.map_err(store_write_error)?;
    let (preview, refused) = convert::foreseen_to_wire(&foreseen);
    let mut access = ShownAccess::default();
    access.add(preview, refused);
    let head = supposed.head();
    let revision = head.map(|head| directory.graphs().token(&account, head).encode());
    let ceiling = convert::ceiling_to_wire(&supposed.ceiling).unwrap_or_default();
    Ok(Written {
        kept: NotedRight::of_all(&ceiling.kept),
        withheld: NotedRight::of_all(&ceiling.withheld),
        revision: revision.unwrap_or_default(),
        lines: std::mem::take(&mut supposed.lines)
            .into_iter()
            .map(line_from_core)
            .collect(),
        access,
    })
}

fn store_write_error(error: DirectoryError) -> WriteError {
    match error {
        DirectoryError::ExpectedRevision | DirectoryError::Contended => {
            WriteError::Aborted(CliError::refused(error))
        }
        DirectoryError::Change(change) => WriteError::Change {
            index: change.index,
            error: CliError::refused(format!("{}: {}", change.field, change.problem)),
        },
        error @ (DirectoryError::Read(_)
        | DirectoryError::AlreadyExists(_)
        | DirectoryError::Unusable(_)
        | DirectoryError::IdempotencyKeyReused(_)
        | DirectoryError::Store(_)) => WriteError::Other(CliError::refused(error)),
    }
}

fn line_from_core(line: ChangeLine) -> WrittenLine {
    let (kind, resource_type, id) = match line.entity {
        EntityKey::Account => ("account", String::new(), String::new()),
        EntityKey::Team(id) => ("team", String::new(), id.to_string()),
        EntityKey::PermissionSet(id) => ("permission_set", String::new(), id.to_string()),
        EntityKey::User(id) => ("user", String::new(), id.to_string()),
        EntityKey::AccessGroup(id) => ("access_group", String::new(), id.to_string()),
        EntityKey::Resource(key) => (
            "resource",
            key.resource_type.to_string(),
            key.id.to_string(),
        ),
        EntityKey::Segment(id) => ("segment", String::new(), id.to_string()),
        EntityKey::AccessRequest(id) => ("access_request", String::new(), id.to_string()),
    };
    WrittenLine {
        verb: line.verb.to_owned(),
        kind,
        resource_type,
        id,
        fields: line.fields.iter().map(|&field| field.to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_tells_the_index_of_its_change() {
        assert_eq!(change_index("changes[12].put_user.main_team"), Some(12));
        assert_eq!(change_index("account_id"), None);
        assert_eq!(change_index("changes[x]"), None);
    }
}
