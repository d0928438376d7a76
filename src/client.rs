//! A client of a server, for services in Rust: typed questions and answers, retries of what is safe
//! to retry, revisions carried from answer to question, and a [layer](layer::CheckLayer) that checks
//! before a handler runs.
//!
//! Everything fails closed. A check is a `Result` of a [`Decision`], which is an allow or a deny and
//! nothing else; an error is neither, has no default and no way to be read as an allow. Where a
//! handler shall not run without a check, let it ask for a [`Permit`], which only an ALLOW makes.
//!
//! ```no_run
//! use ambit::client::{Blocked, Client, ClientError, FileToken, Question};
//!
//! # async fn example() -> Result<(), ClientError> {
//! let client = Client::builder("https://ambit.example.com:50051")
//!     .ca_certificate_file("/etc/ambit/ca.pem")
//!     .token(FileToken::new("/var/run/secrets/ambit/token"))
//!     .build()?;
//!
//! let question = Question::new("northwind", "lena", "contact", "view").on("siemens");
//! match client.permit(&question).await {
//!     Ok(permit) => println!("{} is hers to see", permit.question().resource().unwrap_or_default()),
//!     Err(Blocked::Denied(denial)) => println!("denied as {}, show {}", denial.reason, denial.presentation),
//!     Err(Blocked::Failed(error)) => println!("nobody knows, so no: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Read your own writes
//!
//! An answer of the default consistency may rest on a picture that is a little behind. A [`Session`]
//! remembers the newest revision that it met of each account, and no answer within it is older, on
//! whichever server:
//!
//! ```no_run
//! # use ambit::client::{Client, ClientError, Question, Session, Write};
//! # use ambit::authz::change::Change;
//! # async fn example(client: Client, changes: Vec<Change>) -> Result<(), ClientError> {
//! let session = Session::new();
//! let client = client.in_session(&session);
//! client.apply(&Write::of("northwind", changes).keyed("onboard-ines")).await?;
//! // Sees the write, on every replica.
//! client.check(&Question::new("northwind", "ines", "contact", "view").on("siemens")).await?;
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;
use std::time::Duration;

mod access_request;
mod asking;
mod calls;
mod credential;
mod decision;
mod endpoint;
mod error;
pub mod layer;
mod lists;
mod noted_right;
mod partner;
mod question;
mod retry;
mod session;
mod writing;

pub use access_request::{
    AccessRequest, Approval, Closing, Filed, Filing, RequestFilter, RequestPage, Resolved,
    Resolving, Suggestion,
};
pub use asking::{AllowedAction, AllowedActions, Batch, ItemError};
pub use credential::{Credential, FileToken, StaticToken};
pub(crate) use decision::WireDecision;
pub use decision::{Allow, Blocked, Decision, Deny, Explanation, PathElement, Permit};
pub use endpoint::ClientBuilder;
pub use error::{ClientError, Refusal};
pub use layer::CheckLayer;
pub use lists::{Filtered, Listing, Narrowing, Page, UserAccess, UserListing};
pub use noted_right::NotedRight;
pub use partner::{
    AccessLink, ClientMembership, ClientRemoval, CreatedLink, Ended, HandOver, InClient, LetIn,
    OwnedResources, PartnerPage, PartnerPerson, PersonInClients, Placed, PlacedStaff,
    PreviewedRemoval, RemovedFrom, Side, StaffMember, StatusInClient,
};
pub use question::Question;
pub use retry::RetryPolicy;
pub use session::Session;
pub use tonic::Code;
pub use writing::{Applied, Write, WrittenLine};

/// How fresh the data must be that an answer rests on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Consistency {
    /// At most the server's staleness bound behind, 2 seconds by default.
    #[default]
    MinimizeLatency,
    /// Not older than this revision of the account.
    AtLeastAsFresh(String),
    /// Not older than the moment of the call; costs the server a query.
    FullyConsistent,
}

/// A client of one server, or of several on one database. Cheap to clone; its clones share
/// connections, credential and the budget of retries.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<calls::Shared>,
    consistency: Consistency,
    session: Option<Session>,
    deadline: Duration,
}

impl Client {
    /// Begins a client of the server at a URL, such as `http://127.0.0.1:50051`.
    pub fn builder(server: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(vec![server.into()])
    }

    /// Begins a client of several servers on one database. Each account has a home among them, so
    /// that its graph is in the memory of one; the others stand in where that one fails.
    pub fn builder_of_replicas<S: Into<String>>(
        servers: impl IntoIterator<Item = S>,
    ) -> ClientBuilder {
        ClientBuilder::new(servers.into_iter().map(Into::into).collect())
    }

    /// The same client within a session: no answer is older than what the session has met.
    #[must_use]
    pub fn in_session(&self, session: &Session) -> Self {
        Self {
            session: Some(session.clone()),
            ..self.clone()
        }
    }

    /// The same client with another freshness for its questions.
    #[must_use]
    pub fn with_consistency(&self, consistency: Consistency) -> Self {
        Self {
            consistency,
            ..self.clone()
        }
    }

    /// The same client with another time that a call may take, with all its tries. For a list it is
    /// the time until its first part.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }
}
