//! What is measured: a server that was started for it, one that runs already, or the ceiling.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use crate::app::{App, AppError, DirectStore};
use crate::authz::model::{EntityChange, Id};
use crate::cli::connection::{self, Link, ServerArgs};
use crate::cli::error::CliError;
use crate::cli::output;
use crate::clock::SystemClock;
use crate::config::{Config, Database};
use crate::graph_cache::Consistency;
use crate::grpc::observed::Observe;
use crate::grpc::server::{Transport, serve};
use crate::grpc::wire;
use crate::grpc::wire::decision_service_server::DecisionServiceServer;
use crate::grpc::wire::directory_service_client::DirectoryServiceClient;
use crate::shutdown::Shutdown;
use crate::store::audit::Author;
use crate::store::{Head, Store, Write};

use super::Client;
use super::ceiling::Ceiling;
use super::data_set::{ACCOUNT, DataSet};
use super::load;
use super::report::DataSetReport;

/// Contacts that one transaction writes.
const CONTACTS_PER_WRITE: u32 = 20_000;
/// The allocator of the binary, which the figures of memory depend on.
const ALLOCATOR: &str = "mimalloc";

/// A server under load.
pub struct Subject {
    server: ServerArgs,
    account: String,
    own: Option<Own>,
}

/// A server of this process, which goes with it.
struct Own {
    shutdown: Shutdown,
    running: JoinHandle<Result<(), AppError>>,
    /// Removed last.
    _directory: TemporaryDirectory,
}

impl Subject {
    pub fn existing(server: &str, account: &Id) -> Self {
        Self {
            server: ServerArgs::at(server.to_owned()),
            account: account.to_string(),
            own: None,
        }
    }

    /// Writes the data set to a database of its own, starts a server on it, and has it load the
    /// account.
    pub async fn generated(data_set: &DataSet) -> Result<(Self, DataSetReport), CliError> {
        let directory = TemporaryDirectory::make()?;
        let begun = load::now();
        write(&directory.path, data_set).await?;
        let write_seconds = (load::now() - begun).as_secs_f64();

        let shutdown = Shutdown::new();
        let config = config(&directory.path)?;
        let app = App::start(&config, Arc::new(SystemClock::new()), shutdown.clone())
            .await
            .map_err(CliError::refused)?;
        let address = app.grpc_address();
        let directory_of_accounts = app.directory().clone();
        let own = Own {
            shutdown,
            running: tokio::spawn(app.run()),
            _directory: directory,
        };
        let subject = Self {
            own: Some(own),
            ..Self::at(address, ACCOUNT)
        };

        let mut client = subject.client().await?;
        let resident_before = load::resident_bytes();
        let begun = load::now();
        client
            .check(first_question(data_set))
            .await
            .map_err(|status| connection::refused(&status))?;
        let load_seconds = (load::now() - begun).as_secs_f64();
        let resident_after = load::resident_bytes();

        let account = Id::parse(ACCOUNT).map_err(CliError::usage)?;
        let read = directory_of_accounts
            .graphs()
            .read(&account, &Consistency::FullyConsistent)
            .await
            .map_err(CliError::refused)?;
        let graph_bytes = read.graph.bytes() as u64;
        let contacts = f64::from(data_set.contacts);
        let grown = resident_before
            .zip(resident_after)
            .map(|(before, after)| after.saturating_sub(before) as f64 / contacts);
        let report = DataSetReport {
            contacts: data_set.contacts,
            users: data_set.users,
            seed: data_set.seed,
            write_seconds,
            load_seconds,
            graph_bytes,
            graph_bytes_per_contact: graph_bytes as f64 / contacts,
            resident_bytes_per_contact: grown,
            allocator: ALLOCATOR,
        };
        Ok((subject, report))
    }

    /// The constants, served as the real answers are.
    pub async fn ceiling(constants: Ceiling) -> Result<Self, CliError> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(|error| CliError::usage(format!("cannot listen on loopback: {error}")))?;
        let address = listener
            .local_addr()
            .map_err(|error| CliError::usage(format!("cannot listen on loopback: {error}")))?;
        let transport = Transport::unseen(config(Path::new("unused"))?.transport);
        let routes = Routes::new(DecisionServiceServer::new(constants));
        // It serves until the process ends.
        tokio::spawn(serve(
            listener,
            transport,
            routes,
            Observe::off(),
            Shutdown::new(),
        ));
        Ok(Self::at(address, ACCOUNT))
    }

    pub(super) fn at(address: SocketAddr, account: &str) -> Self {
        Self {
            server: ServerArgs::at(format!("http://{address}")),
            account: account.to_owned(),
            own: None,
        }
    }

    pub fn account(&self) -> &str {
        &self.account
    }

    /// A client with a connection of its own.
    pub async fn client(&self) -> Result<Client, CliError> {
        self.server.decisions().await
    }

    pub async fn directory(&self) -> Result<DirectoryServiceClient<Link>, CliError> {
        self.server.directory().await
    }

    /// Ends a server that was started here.
    pub async fn close(self) -> Result<(), CliError> {
        let Some(own) = self.own else {
            return Ok(());
        };
        own.shutdown.force();
        own.running
            .await
            .map_err(|error| CliError::refused(format!("the server died: {error}")))?
            .map_err(CliError::refused)
    }
}

fn first_question(data_set: &DataSet) -> wire::CheckRequest {
    wire::CheckRequest {
        account_id: ACCOUNT.to_owned(),
        user_id: data_set.user(0),
        action: super::data_set::ACTIONS[0].to_owned(),
        resource_type: super::data_set::RESOURCE_TYPE.to_owned(),
        resource_id: data_set.contact(0),
        ..Default::default()
    }
}

/// Defaults, but for ports and places of its own and room for an account of any size.
fn config(data_dir: &Path) -> Result<Config, CliError> {
    let flags = BTreeMap::from([
        ("data_dir".to_owned(), data_dir.display().to_string()),
        ("grpc_address".to_owned(), "127.0.0.1:0".to_owned()),
        ("http_address".to_owned(), "127.0.0.1:0".to_owned()),
        ("cache_bytes_max".to_owned(), (1_u64 << 40).to_string()),
        ("load_timeout_ms".to_owned(), "3600000".to_owned()),
        ("request_timeout_ms".to_owned(), "3600000".to_owned()),
    ]);
    // An `ambit.toml` that lies about is not meant for this.
    Config::load(&flags, [], Some(Path::new("/dev/null"))).map_err(CliError::usage)
}

async fn write(data_dir: &Path, data_set: &DataSet) -> Result<(), CliError> {
    let database = Database::Directory(data_dir.to_owned());
    let store = DirectStore::open(&database, Arc::new(SystemClock::new()))
        .await
        .map_err(CliError::refused)?;
    let bar = output::progress("writing contacts", Some(u64::from(data_set.contacts)));
    let account = Id::parse(ACCOUNT).map_err(CliError::usage)?;
    let directory = data_set.directory().map_err(CliError::usage)?;
    let mut head = apply(store.store(), &account, None, &directory).await?;
    let mut first = 0;
    while first < data_set.contacts {
        let end = data_set.contacts.min(first + CONTACTS_PER_WRITE);
        let contacts: Vec<EntityChange> = (first..end)
            .map(|index| data_set.make_contact(index))
            .collect::<Result<_, _>>()
            .map_err(CliError::usage)?;
        head = apply(store.store(), &account, Some(head), &contacts).await?;
        bar.set_position(u64::from(end));
        first = end;
    }
    bar.finish_and_clear();
    store.close().await;
    Ok(())
}

pub(super) async fn apply(
    store: &dyn Store,
    account: &Id,
    expected: Option<Head>,
    changes: &[EntityChange],
) -> Result<Head, CliError> {
    store
        .apply(Write {
            account,
            expected,
            changes,
            events: &[],
            batch: None,
            idempotency: None,
            author: &Author::named("ambit:bench", "ApplyChanges"),
        })
        .await
        .map_err(CliError::refused)
}

/// A directory that is removed with what is in it.
struct TemporaryDirectory {
    path: PathBuf,
}

impl TemporaryDirectory {
    fn make() -> Result<Self, CliError> {
        let path = std::env::temp_dir().join(format!("ambit-bench-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| {
            CliError::usage(format!(
                "cannot make the directory {}: {error}; choose another place with TMPDIR",
                path.display()
            ))
        })?;
        Ok(Self { path })
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // What can't be removed is left to whoever cleans up temporary files.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
