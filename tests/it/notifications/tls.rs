//! Webhooks over TLS: a certificate is trusted by who signed it, for whom and for when it stands.

use std::io::Write as _;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::ssrf::problem;
use super::*;

const UNTRUSTED: &str = "no connection to the receiver can be made";

/// An authority that signs what it is asked to.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A file as `webhook_ca_file` takes it.
    fn file(&self) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(self.0.pem().as_bytes()).unwrap();
        file
    }

    /// A server with a certificate for a host, good until the end of a year.
    fn acceptor(&self, host: &str, until_year: i32) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until_year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A webhook at `https://localhost`, with the authorities of a file besides those of the system.
fn over_tls(receiver: &Receiver, file: Option<&NamedTempFile>) -> NotificationSettings {
    let url = format!("https://localhost:{}/hook", receiver.address.port());
    let path = file.map_or("", |file| file.path().to_str().unwrap());
    settings(&[
        ("webhook_url", &url),
        ("webhook_secret", SECRET),
        ("webhook_ca_file", path),
        LOOPBACK,
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_delivered_over_tls_to_whom_an_authority_vouches_for() {
    let world = World::new().await;
    let authority = Authority::new();
    let receiver = Receiver::start_tls(authority.acceptor("localhost", 4000));
    let delivered = problem(&world, "r-1", over_tls(&receiver, Some(&authority.file()))).await;
    assert_eq!(delivered, None);
    let received = receiver.received();
    assert!(received[0].is_signed_with(SECRET));
    assert_eq!(received[0].event(), ("r-1".to_owned(), 0));
    // Another one in the same file does no harm.
    let both = authority.file();
    let pem = Authority::new().0.pem();
    both.as_file().write_all(pem.as_bytes()).unwrap();
    let delivered = problem(&world, "r-2", over_tls(&receiver, Some(&both))).await;
    assert_eq!(delivered, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_not_delivered_to_whom_no_authority_vouches_for() {
    let world = World::new().await;
    let authority = Authority::new();
    let other = Authority::new().file();
    let file = authority.file();
    let named = Receiver::start_tls(authority.acceptor("localhost", 4000));
    let another = Receiver::start_tls(authority.acceptor("hooks.example.com", 4000));
    let expired = Receiver::start_tls(authority.acceptor("localhost", 2021));
    for (number, (receiver, trusted)) in [
        (&named, None),
        (&named, Some(&other)),
        (&another, Some(&file)),
        (&expired, Some(&file)),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = problem(&world, &format!("r-{number}"), over_tls(receiver, trusted)).await;
        assert_eq!(refused.as_deref(), Some(UNTRUSTED), "{number}");
        assert_eq!(receiver.received().len(), 0, "{number}");
    }
}
