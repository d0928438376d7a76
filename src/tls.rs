//! The server's side of TLS: its certificate, those of clients, and their files as they change.
//!
//! An orchestrator renews the files under a running server, and not all of them at once. They are
//! read again from time to time; what does not fit together is left until it does, and the server
//! goes on with what it had.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::config::{ClientCertificates, TlsSettings};
use crate::metrics::TransportMetrics;

/// The protocol that clients and server agree on in the handshake.
const GRPC_PROTOCOL: &[u8] = b"h2";

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

    /// For one connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.served.load().config)
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
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = match &settings.client_certificates {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let unusable = |problem: String| TlsError::Content {
                key: CLIENT_CA,
                path: client.ca_file.clone(),
                problem,
            };
            let roots = roots(client, &files.client_ca)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if client.are_required {
                verifier.build()
            } else {
                verifier.allow_unauthenticated().build()
            };
            builder.with_client_cert_verifier(
                verifier.map_err(|error| unusable(format!("can't be used: {error}")))?,
            )
        }
    };
    // Refuses a certificate of another key.
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![GRPC_PROTOCOL.to_vec()];
    Ok(Served {
        digest: files.digest(),
        config: Arc::new(config),
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
