//! Callers by certificate: from what a connection has proven of its client to a caller, or to none.
//!
//! The handshake proves that the client has the key of its certificate, and that an authority of
//! ours vouches for it. A connection outlives both, so they are looked at again while it stands: a
//! certificate that expires, or whose authority is taken away, is no caller's any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Refusal;
use crate::authz::model::Timestamp;
use crate::callers::{Caller, SubjectName};
use crate::clock::Clock;
use crate::config::CertificateCaller;
use crate::tls::certificate::subject_names;
use crate::tls::{ClientChain, Tls};

/// Who is a caller by certificate.
pub(super) struct Certificates {
    tls: Option<Arc<Tls>>,
    callers: HashMap<SubjectName, Caller>,
}

/// The client of one connection by its certificate, shared by the calls of that connection.
#[derive(Debug)]
pub struct PeerCertificate {
    chain: ClientChain,
    /// By our clock, and never by the handshake's.
    looked: Mutex<Option<Looked>>,
}

#[derive(Debug)]
struct Looked {
    at: Duration,
    verdict: Result<Caller, Refusal>,
}

impl PeerCertificate {
    /// Of a client whose handshake has been verified.
    pub fn new(chain: ClientChain) -> Self {
        Self {
            chain,
            looked: Mutex::new(None),
        }
    }
}

impl Certificates {
    pub(super) fn new(settings: &[CertificateCaller], tls: Option<Arc<Tls>>) -> Self {
        let caller = |settings: &CertificateCaller| {
            let caller = Caller {
                name: Arc::from(format!("certificate:{}", settings.name)),
                roles: settings.roles,
                accounts: Arc::new(settings.accounts.clone()),
            };
            (settings.subject.clone(), caller)
        };
        Self {
            tls,
            callers: settings.iter().map(caller).collect(),
        }
    }

    /// The caller, by a look that is no older than the interval.
    pub(super) fn caller(
        &self,
        peer: &PeerCertificate,
        clock: &dyn Clock,
        interval: Duration,
    ) -> Result<Caller, Refusal> {
        // A verdict is whole whatever happened to a thread that held the lock.
        let mut looked = peer.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.monotonic();
        match &*looked {
            Some(looked) if now.saturating_sub(looked.at) < interval => looked.verdict.clone(),
            _ => {
                let verdict = self.judge(&peer.chain, clock.now());
                *looked = Some(Looked {
                    at: now,
                    verdict: verdict.clone(),
                });
                verdict
            }
        }
    }

    fn judge(&self, chain: &ClientChain, now: Timestamp) -> Result<Caller, Refusal> {
        let is_good = self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.vouches_for(chain, now));
        if !is_good {
            return Err(Refusal::Unknown(
                "the certificate has expired, or no authority of ours vouches for it any more",
            ));
        }
        let names = subject_names(chain.own())
            .ok_or(Refusal::Unknown("the names of the certificate are torn"))?;
        let mut callers = names.iter().filter_map(|name| self.callers.get(name));
        match (callers.next(), callers.next()) {
            (Some(caller), None) => Ok(caller.clone()),
            (None, _) => Err(Refusal::Unknown("no caller has a name of the certificate")),
            (Some(_), Some(_)) => Err(Refusal::Unknown("the certificate names two callers")),
        }
    }
}
