//! Who calls: from a credential to a [`Caller`], or to no.
//!
//! - Nothing is known of a caller but what the credential proves; whatever cannot be proven, be it
//!   for a source that does not answer, is refused.
//! - What can be revoked is followed: a source (the database, a file) is asked anew several times
//!   within the staleness bound, and once it could not be asked for longer than that, its callers
//!   are refused rather than trusted on an old word. Calls that go on for long are looked at again.
//! - No verdict is remembered by a part of a credential: each call proves itself whole.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::authz::model::Id;
use crate::callers::{BearerToken, Caller, SecretHash, TokenId};
use crate::clock::Clock;
use crate::config::{AuthenticationSettings, IssuerSettings};
use crate::store::tokens::TokenStore;
use crate::tls::Tls;

mod certificate;
mod issuer;
mod table;
pub mod tokens_file;

use certificate::Certificates;
pub use certificate::PeerCertificate;
pub use issuer::KeysError;
use issuer::{Issuer, Vouched};
use table::{Found, TokenTable};
use tokens_file::TokensFile;

/// Between two looks at a source, at the longest.
const FOLLOW_INTERVAL_MAX: Duration = Duration::from_millis(500);
const FOLLOW_INTERVAL_MIN: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    #[error("issuer `{name}`: its keys: {error}")]
    Keys { name: Id, error: KeysError },
    #[error("tokens_file: {0}")]
    TokensFile(#[from] tokens_file::TokensFileError),
}

/// Asks each issuer for its keys: how many there are, or why they can't be told.
pub async fn examine_issuers(settings: &[IssuerSettings]) -> Vec<(Id, Result<usize, KeysError>)> {
    let mut examined = Vec::new();
    for settings in settings {
        let keys = match Issuer::new(settings.clone()) {
            Ok(issuer) => issuer.examine().await,
            Err(error) => Err(error),
        };
        examined.push((settings.name.clone(), keys));
    }
    examined
}

/// Why a credential opens nothing. A caller is told which of the two it is and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The words are for the log of whoever looks for the mistake.
    Unknown(&'static str),
    /// A signed token names a key that its issuer may have made since: see
    /// [`Authentication::look_for_keys`].
    UnknownKey,
    /// Whether the credential is good can't be told at the moment.
    Unsure,
}

/// A caller that is known, and what it is known by.
#[derive(Debug, Clone)]
pub struct Known {
    pub caller: Caller,
    pub standing: Standing,
}

/// What a caller is known by, so that it can be looked at again during a long call.
#[derive(Debug, Clone)]
pub enum Standing {
    Token {
        id: TokenId,
        hash: SecretHash,
    },
    /// By its place among the issuers.
    Signed {
        issuer: usize,
        vouched: Box<Good>,
    },
    /// By the connection that the call came by.
    Certificate(Arc<PeerCertificate>),
}

/// A signed token that was found good.
#[derive(Debug, Clone)]
pub struct Good(Vouched);

/// Cheap to clone; all clones know the same callers.
#[derive(Clone)]
pub struct Authentication(Arc<Inner>);

struct Inner {
    is_required: bool,
    clock: Arc<dyn Clock>,
    staleness_bound: Duration,
    file: Option<TokensFile>,
    store: Arc<dyn TokenStore>,
    /// Of the file first, where there is one; then of the database.
    of_file: TokenTable,
    of_store: TokenTable,
    issuers: Vec<Issuer>,
    certificates: Certificates,
}

impl Authentication {
    /// Reads what is configured, so that a file that is wrong is told at the start. Without `tls`
    /// nobody is known by a certificate.
    pub fn new(
        settings: &AuthenticationSettings,
        tls: Option<Arc<Tls>>,
        store: Arc<dyn TokenStore>,
        clock: Arc<dyn Clock>,
        staleness_bound: Duration,
    ) -> Result<Self, AuthenticationError> {
        let file = settings.tokens_file.clone().map(TokensFile::new);
        let (of_file, of_store) = (TokenTable::default(), TokenTable::default());
        if let Some(file) = &file {
            let begun_at = clock.monotonic();
            if let Some(tokens) = file.read_changed()? {
                of_file.replace(&tokens);
            }
            of_file.verified(begun_at);
        }
        let issuer = |settings: &IssuerSettings| {
            Issuer::new(settings.clone()).map_err(|error| AuthenticationError::Keys {
                name: settings.name.clone(),
                error,
            })
        };
        let issuers = settings
            .issuers
            .iter()
            .map(issuer)
            .collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner {
            issuers,
            certificates: Certificates::new(&settings.certificates, tls),
            is_required: settings.is_required,
            clock,
            staleness_bound,
            file,
            store,
            of_file,
            of_store,
        })))
    }

    /// Whether a call needs a credential at all.
    pub fn is_required(&self) -> bool {
        self.0.is_required
    }

    /// Between two looks at what may be revoked: at a source, and at a call that goes on. The two
    /// together take half of the staleness bound.
    pub fn look_interval(&self) -> Duration {
        (self.0.staleness_bound / 4).clamp(FOLLOW_INTERVAL_MIN, FOLLOW_INTERVAL_MAX)
    }

    pub fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }

    /// The caller of a bearer credential.
    pub fn bearer(&self, credential: &str) -> Result<Known, Refusal> {
        if !BearerToken::is_meant(credential) {
            return self.signed(credential);
        }
        let token =
            BearerToken::parse(credential).ok_or(Refusal::Unknown("the token is cut or torn"))?;
        let id = token
            .id()
            .ok_or(Refusal::Unknown("the token is cut or torn"))?;
        let hash = token.hash();
        let caller = self.0.of_token(&id, &hash)?;
        Ok(Known {
            caller,
            standing: Standing::Token { id, hash },
        })
    }

    /// The caller of a signed token.
    fn signed(&self, token: &str) -> Result<Known, Refusal> {
        let (issuer, vouched) = match self.issuer_of(token) {
            Some((at, issuer)) => (at, issuer.verify(token, self.clock())?),
            None => {
                return Err(Refusal::Unknown(
                    "the credential is of nobody who is trusted here",
                ));
            }
        };
        Ok(Known {
            caller: vouched.caller.clone(),
            standing: Standing::Signed {
                issuer,
                vouched: Box::new(Good(vouched)),
            },
        })
    }

    /// The caller of a connection that showed a certificate.
    pub fn certificate(&self, peer: &Arc<PeerCertificate>) -> Result<Known, Refusal> {
        Ok(Known {
            caller: self.of_certificate(peer)?,
            standing: Standing::Certificate(Arc::clone(peer)),
        })
    }

    fn of_certificate(&self, peer: &PeerCertificate) -> Result<Caller, Refusal> {
        let certificates = &self.0.certificates;
        certificates.caller(peer, self.clock(), self.look_interval())
    }

    fn issuer_of(&self, token: &str) -> Option<(usize, &Issuer)> {
        let claimed = issuer::claimed_issuer(token)?;
        let mut issuers = self.0.issuers.iter().enumerate();
        issuers.find(|(_, issuer)| issuer.is_of(&claimed))
    }

    /// Asks the issuer of a signed token for its keys anew, unless that was done a moment ago.
    pub async fn look_for_keys(&self, token: &str) {
        if let Some((_, issuer)) = self.issuer_of(token) {
            issuer.look_anew(self.clock()).await;
        }
    }

    /// Whether a caller that was known is known still.
    pub fn look_again(&self, standing: &Standing) -> Result<(), Refusal> {
        match standing {
            Standing::Token { id, hash } => self.0.of_token(id, hash).map(|_caller| ()),
            Standing::Signed { issuer, vouched } => match self.0.issuers.get(*issuer) {
                Some(issuer) => issuer.look_again(&vouched.0, self.clock()),
                None => Err(Refusal::Unknown("there is no such issuer")),
            },
            Standing::Certificate(peer) => self.of_certificate(peer).map(|_caller| ()),
        }
    }

    /// The first look at the database, so that a server that serves knows its callers. Where it
    /// fails, [`Authentication::follow`] goes on trying.
    pub async fn begin(&self) {
        if self.0.is_required {
            self.0.look_at_store(&mut None).await;
            self.refresh_keys().await;
        }
    }

    /// Follows the sources until it is told to end.
    pub async fn follow(self, ending: CancellationToken) {
        if !self.0.is_required {
            return ending.cancelled().await;
        }
        let interval = self.look_interval();
        let mut version = None;
        let keys = async {
            loop {
                self.refresh_keys().await;
                tokio::time::sleep(interval).await;
            }
        };
        let tokens = async {
            loop {
                self.0.look_at_store(&mut version).await;
                self.0.look_at_file();
                tokio::time::sleep(interval).await;
            }
        };
        // Apart, so that an issuer that is slow keeps no revocation waiting.
        let following = async { tokio::join!(keys, tokens) };
        let _ended: Option<(std::convert::Infallible, std::convert::Infallible)> =
            ending.run_until_cancelled(following).await;
    }

    async fn refresh_keys(&self) {
        for issuer in &self.0.issuers {
            issuer.refresh(self.clock()).await;
        }
    }
}

impl Inner {
    fn of_token(&self, id: &TokenId, hash: &SecretHash) -> Result<Caller, Refusal> {
        let now = self.clock.now();
        let tables = [
            self.file.is_some().then_some(&self.of_file),
            Some(&self.of_store),
        ];
        let mut all_fresh = true;
        for table in tables.into_iter().flatten() {
            let is_fresh = table.is_fresh(self.clock.as_ref(), self.staleness_bound);
            all_fresh &= is_fresh;
            match table.find(id, hash, now) {
                Found::Caller(caller) if is_fresh => return Ok(caller),
                Found::Caller(_) => return Err(Refusal::Unsure),
                Found::Expired => return Err(Refusal::Unknown("the token has expired")),
                Found::Other => return Err(Refusal::Unknown("the secret of the token is wrong")),
                Found::Nothing => {}
            }
        }
        // It may be in a source that can't be asked.
        if all_fresh {
            Err(Refusal::Unknown("there is no such token, or it is revoked"))
        } else {
            Err(Refusal::Unsure)
        }
    }

    async fn look_at_store(&self, known: &mut Option<crate::store::tokens::TokensVersion>) {
        let begun_at = self.clock.monotonic();
        let looking = async {
            let version = self.store.tokens_version().await?;
            if *known == Some(version) {
                return Ok(());
            }
            let read = self.store.tokens().await?;
            let tokens = read
                .tokens
                .iter()
                .filter(|token| token.revoked_at.is_none());
            self.of_store.replace(tokens);
            *known = Some(read.version);
            Ok(())
        };
        let looked: Result<(), String> =
            match tokio::time::timeout(self.staleness_bound, looking).await {
                Ok(looked) => looked.map_err(|error: crate::store::StoreError| error.to_string()),
                Err(_elapsed) => Err("the database did not answer in time".to_owned()),
            };
        match looked {
            Ok(()) => self.of_store.verified(begun_at),
            Err(problem) => self.of_store.failed("the database", &problem),
        }
    }

    fn look_at_file(&self) {
        let Some(file) = &self.file else { return };
        let begun_at = self.clock.monotonic();
        match file.read_changed() {
            Ok(None) => self.of_file.verified(begun_at),
            Ok(Some(tokens)) => {
                self.of_file.replace(&tokens);
                self.of_file.verified(begun_at);
                tracing::info!(tokens = tokens.len(), "the file of tokens was read again");
            }
            Err(error) => self.of_file.failed("tokens_file", &error.to_string()),
        }
    }
}
