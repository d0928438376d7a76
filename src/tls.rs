//! The server's side of TLS: its certificate, those of clients, and their files as they change.
//!
//! An orchestrator renews the files under a running server, and not all of them at once. They are
//! read again from time to time; what does not fit together is left until it does, and the server
//! goes on with what it had.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, ServerConnection};
use tokio_util::sync::CancellationToken;

use crate::authz::model::Timestamp;
use crate::config::{ClientCertificates, TlsSettings};
use crate::metrics::TransportMetrics;

pub mod certificate;

/// The protocols that clients and server agree on in the handshake.
const GRPC_PROTOCOL: &[u8] = b"h2";
const HTTP_PROTOCOL: &[u8] = b"http/1.1";

const CERTIFICATE: &str = "tls_certificate_file";
const KEY: &str = "tls_key_file";
const CLIENT_CA: &str = "tls_client_ca_file";

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the file `{}` of {key} can't be read: {source}", path.display())]
    Read {
        key: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the file `{}` of {key} {problem}", path.display())]
    Content {
        key: &'static str,
        path: PathBuf,
        problem: String,
    },
    #[error("`{}` and `{}` are no pair that can be served: {problem}", certificate.display(), key.display())]
    Pair {
        certificate: PathBuf,
        key: PathBuf,
        problem: String,
    },
}

/// What new connections are encrypted with.
#[derive(Debug)]
pub struct Tls {
    settings: TlsSettings,
    served: ArcSwap<Served>,
}

#[derive(Debug)]
struct Served {
    /// Of all files, so that they are known again without keeping the key.
    digest: [u8; 32],
    config: Arc<ServerConfig>,
    /// Of the HTTP port, which asks nobody for a certificate.
    http_config: Arc<ServerConfig>,
    /// The first end of a certificate that is shown; `None` where it can't be told.
    ends_at: Option<Timestamp>,
    /// Where clients are asked for a certificate.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// The certificates that a client has shown and proved to own: its own first, then those that lead
/// from it to an authority.
#[derive(Debug, Clone)]
pub struct ClientChain(Box<[CertificateDer<'static>]>);

impl ClientChain {
    /// Of a connection whose handshake is done; `None` where the client showed none.
    pub fn of(session: &ServerConnection) -> Option<Self> {
        let shown = session.peer_certificates()?;
        let owned = shown.iter().map(|shown| shown.clone().into_owned());
        Some(Self(owned.collect()))
    }

    /// The client's own certificate in DER; empty where there is none.
    pub fn own(&self) -> &[u8] {
        self.0.first().map_or(&[], |own| own)
    }
}

/// The files as they were read, at almost one moment.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

impl Tls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`TlsError`] names the setting and the file; nothing of a key is shown.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let served = served(settings, &Files::read(settings)?)?;
        Ok(Self {
            settings: settings.clone(),
            served: ArcSwap::from_pointee(served),
        })
    }

    /// For one connection of the HTTP port.
    pub fn http_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.served.load().http_config)
    }

    /// For one connection of the gRPC port.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.served.load().config)
    }

    /// Whether a client that was let in before would be let in now: its certificate has not expired,
    /// and comes from the authorities as they are by now.
    pub fn vouches_for(&self, chain: &ClientChain, now: Timestamp) -> bool {
        let served = self.served.load();
        let (Some(clients), Some((own, others))) = (&served.clients, chain.0.split_first()) else {
            return false;
        };
        let since_epoch = Duration::from_micros(u64::try_from(now.unix_micros()).unwrap_or(0));
        let now = UnixTime::since_unix_epoch(since_epoch);
        clients.verify_client_cert(own, others, now).is_ok()
    }

    /// Whether the files had changed, and are served from now on.
    fn reload(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.settings)?;
        if files.digest() == self.served.load().digest {
            return Ok(false);
        }
        self.served.store(Arc::new(served(&self.settings, &files)?));
        Ok(true)
    }

    /// Keeps to the files until told to end.
    pub async fn follow(self: Arc<Self>, metrics: TransportMetrics, ending: CancellationToken) {
        let mut failed = None;
        loop {
            metrics.tls_certificate_ends(self.served.load().ends_at);
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(self.settings.reload_interval) => {}
            }
            let this = Arc::clone(&self);
            let reloaded = match tokio::task::spawn_blocking(move || this.reload()).await {
                Ok(reloaded) => reloaded.map_err(|error| error.to_string()),
                Err(problem) => Err(problem.to_string()),
            };
            match reloaded {
                Ok(false) => failed = None,
                Ok(true) => {
                    failed = None;
                    metrics.tls_reloaded();
                    tracing::info!("new connections have the TLS files as they are now");
                }
                // Said once for each problem: it stands until someone mends it.
                Err(problem) => {
                    metrics.tls_reload_failed();
                    if failed.as_ref() != Some(&problem) {
                        tracing::warn!(
                            problem,
                            "the TLS files can't be used; those before are kept"
                        );
                        failed = Some(problem);
                    }
                }
            }
        }
    }
}

impl Files {
    fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let read = |key, path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Read {
                key,
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            certificate: read(CERTIFICATE, &settings.certificate_file)?,
            key: read(KEY, &settings.key_file)?,
            client_ca: match &settings.client_certificates {
                Some(client) => read(CLIENT_CA, &client.ca_file)?,
                None => Vec::new(),
            },
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for file in [&self.certificate, &self.key, &self.client_ca] {
            // Each by its own digest: what ends one file never begins the next.
            digest.update(Sha256::digest(file));
        }
        digest.finalize().into()
    }
}

fn served(settings: &TlsSettings, files: &Files) -> Result<Served, TlsError> {
    let chain = certificates(CERTIFICATE, &settings.certificate_file, &files.certificate)?;
    let key =
        PrivateKeyDer::from_pem_slice(&files.key).map_err(|_parts_of_a_key| TlsError::Content {
            key: KEY,
            path: settings.key_file.clone(),
            problem: "holds no private key in PEM".to_owned(),
        })?;
    let pair = |problem: tokio_rustls::rustls::Error| TlsError::Pair {
        certificate: settings.certificate_file.clone(),
        key: settings.key_file.clone(),
        problem: problem.to_string(),
    };
    let ends_at = certificate::first_end(&chain);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = match &settings.client_certificates {
        Some(client) => Some(verifier(client, &files.client_ca, &provider)?),
        None => None,
    };
    let builder = || {
        ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(pair)
    };
    let grpc = match &clients {
        None => builder()?.with_no_client_auth(),
        Some(clients) => builder()?.with_client_cert_verifier(Arc::clone(clients)),
    };
    // Refuses a certificate of another key.
    let mut grpc = grpc
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(pair)?;
    grpc.alpn_protocols = vec![GRPC_PROTOCOL.to_vec()];
    let http = builder()?.with_no_client_auth();
    let mut http = http.with_single_cert(chain, key).map_err(pair)?;
    http.alpn_protocols = vec![HTTP_PROTOCOL.to_vec()];
    Ok(Served {
        digest: files.digest(),
        config: Arc::new(grpc),
        http_config: Arc::new(http),
        ends_at,
        clients,
    })
}

fn verifier(
    client: &ClientCertificates,
    pem: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(roots(client, pem)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = match client.are_required {
        true => builder,
        false => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| TlsError::Content {
        key: CLIENT_CA,
        path: client.ca_file.clone(),
        problem: format!("can't be used: {error}"),
    })
}

fn roots(client: &ClientCertificates, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CLIENT_CA, &client.ca_file, pem)? {
        roots.add(certificate).map_err(|error| TlsError::Content {
            key: CLIENT_CA,
            path: client.ca_file.clone(),
            problem: format!("has a certificate that can't be used: {error}"),
        })?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(
    key: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |problem: String| TlsError::Content {
        key,
        path: path.to_owned(),
        problem,
    };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| content(format!("is not valid PEM: {error}")))?;
    if read.is_empty() {
        return Err(content("holds no certificate in PEM".to_owned()));
    }
    Ok(read)
}
