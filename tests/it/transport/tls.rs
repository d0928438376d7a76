//! TLS of the gRPC port: who may connect, and files that change under the server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ambit::app::App;
use ambit::clock::SystemClock;
use ambit::config::Config;
use ambit::shutdown::Shutdown;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::certificates::{Authority, Pair, authority, pair};
use crate::cli::{Home, Server as CommandServer, ambit, run};

pub struct Scene {
    pub authority: Authority,
    pub files: TempDir,
    address: SocketAddr,
    pub http: SocketAddr,
    shutdown: Shutdown,
    running: tokio::task::JoinHandle<()>,
}

impl Scene {
    async fn start(client_certificates: Option<&str>) -> Self {
        Self::start_with(client_certificates, &[]).await
    }

    pub async fn start_with(client_certificates: Option<&str>, more: &[(&str, &str)]) -> Self {
        let (authority, files) = (authority(), tempfile::tempdir().unwrap());
        let served = pair(&authority);
        let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("tls.crt"), &served.certificate).unwrap();
        std::fs::write(path("tls.key"), &served.key).unwrap();
        std::fs::write(path("ca.crt"), authority.pem()).unwrap();
        let mut flags = BTreeMap::from([
            ("data_dir".to_owned(), path("data")),
            ("grpc_address".to_owned(), "127.0.0.1:0".to_owned()),
            ("http_address".to_owned(), "127.0.0.1:0".to_owned()),
            ("tls_certificate_file".to_owned(), path("tls.crt")),
            ("tls_key_file".to_owned(), path("tls.key")),
            ("tls_reload_interval_ms".to_owned(), "20".to_owned()),
            ("handshake_timeout_ms".to_owned(), "300".to_owned()),
        ]);
        if let Some(mode) = client_certificates {
            flags.insert("tls_client_ca_file".to_owned(), path("ca.crt"));
            flags.insert("tls_client_certificates".to_owned(), mode.to_owned());
        }
        for (key, value) in more {
            flags.insert((*key).to_owned(), (*value).to_owned());
        }
        let config = Config::load(&flags, [], None).unwrap();
        let shutdown = Shutdown::new();
        let clock = Arc::new(SystemClock::new());
        let app = App::start(&config, clock, shutdown.clone()).await.unwrap();
        Self {
            authority,
            files,
            address: app.grpc_address(),
            http: app.http_address(),
            shutdown,
            running: tokio::spawn(async move { app.run().await.unwrap() }),
        }
    }

    /// A connection on which a stream was answered, with the certificate that the server showed.
    async fn ask(&self, own: Option<&Pair>) -> Result<CertificateDer<'static>, String> {
        let stream = self.connect(own).await?;
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
        let shown = session.peer_certificates().unwrap()[0].clone().into_owned();
        super::floods::ping(stream).await?;
        Ok(shown)
    }

    async fn connect(&self, own: Option<&Pair>) -> Result<TlsStream<TcpStream>, String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
            .map_err(|error| error.to_string())
    }

    pub fn write(&self, name: &str, text: &str) {
        // As an orchestrator does it: beside, then in its place.
        let beside = self.files.path().join("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.files.path().join(name)).unwrap();
    }

    pub async fn stop(self) {
        self.shutdown.begin();
        self.running.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_speaks_tls_is_answered() {
    let scene = Scene::start(None).await;
    scene.ask(None).await.unwrap();
    // In the clear nobody is, and a handshake that stalls is ended.
    let plain = TcpStream::connect(scene.address).await.unwrap();
    super::floods::ping(plain).await.unwrap_err();
    let stalled = TcpStream::connect(scene.address).await.unwrap();
    super::lives::closed_within(stalled, Duration::from_secs(5)).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_certificates_are_asked_for_or_required() {
    let optional = Scene::start(Some("optional")).await;
    let (known, unknown) = (pair(&optional.authority), pair(&authority()));
    optional.ask(None).await.unwrap();
    optional.ask(Some(&known)).await.unwrap();
    optional.ask(Some(&unknown)).await.unwrap_err();
    optional.stop().await;
    let required = Scene::start(Some("required")).await;
    required.ask(None).await.unwrap_err();
    required
        .ask(Some(&pair(&required.authority)))
        .await
        .unwrap();
    required.stop().await;
}

/// Files that do not fit together yet, as they are between two renames, change nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_files_are_served_once_they_fit_together() {
    let scene = Scene::start(None).await;
    let before = scene.ask(None).await.unwrap();
    let renewed = pair(&scene.authority);
    scene.write("tls.crt", &renewed.certificate);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(scene.ask(None).await.unwrap(), before);
    scene.write("tls.key", "no key");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(scene.ask(None).await.unwrap(), before);
    scene.write("tls.key", &renewed.key);
    let expected = CertificateDer::from_pem_slice(renewed.certificate.as_bytes()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        while scene.ask(None).await.unwrap() != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the renewed certificate is never served");
    scene.stop().await;
}

/// Case 20: a configuration that is half of one starts nothing, and says why in one line.
#[tokio::test]
async fn case_20_half_a_configuration_of_tls_does_not_start() {
    let load = |settings: &[(&str, &str)]| {
        let flags = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Config::load(&flags, [], None)
    };
    for (settings, missing) in [
        (&[("tls_certificate_file", "a")][..], "tls_key_file"),
        (&[("tls_key_file", "a")], "tls_certificate_file"),
        (&[("tls_client_ca_file", "a")], "tls_certificate_file"),
        (
            &[("tls_client_certificates", "required")],
            "tls_client_ca_file",
        ),
        (&[("tls_client_certificates", "perhaps")], "optional"),
        (&[("http_tls", "true")], "tls_certificate_file"),
    ] {
        let error = load(settings).unwrap_err().to_string();
        assert!(error.contains(missing) && !error.contains('\n'), "{error}");
    }
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let (one, other) = (pair(&authority()), pair(&authority()));
    std::fs::write(path("good.crt"), &one.certificate).unwrap();
    std::fs::write(path("good.key"), &one.key).unwrap();
    std::fs::write(path("other.key"), &other.key).unwrap();
    std::fs::write(path("empty"), "").unwrap();
    for (certificate, key, problem) in [
        ("absent", "good.key", "tls_certificate_file can't be read"),
        ("good.crt", "absent", "tls_key_file can't be read"),
        ("empty", "good.key", "holds no certificate"),
        ("good.crt", "empty", "holds no private key"),
        ("good.crt", "other.key", "no pair"),
    ] {
        let data = path("data");
        let config = load(&[
            ("data_dir", data.as_str()),
            ("grpc_address", "127.0.0.1:0"),
            ("http_address", "127.0.0.1:0"),
            ("tls_certificate_file", &path(certificate)),
            ("tls_key_file", &path(key)),
        ])
        .unwrap();
        let started = App::start(&config, Arc::new(SystemClock::new()), Shutdown::new()).await;
        let error = started.err().expect(problem).to_string();
        assert!(error.contains(problem) && !error.contains('\n'), "{error}");
        assert!(!Path::new(&data).exists(), "it touched the database first");
    }
}

/// Case 20: files of TLS that are not there, or no ones, end the program before it is ready.
#[test]
fn case_20_without_its_files_of_tls_it_ends_with_one_line() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let good = pair(&authority());
    std::fs::write(path("good.crt"), &good.certificate).unwrap();
    std::fs::write(path("good.key"), &good.key).unwrap();
    std::fs::write(path("empty"), "").unwrap();
    for (certificate, key, authority, problem) in [
        ("absent", "good.key", "good.crt", "tls_certificate_file"),
        ("good.crt", "absent", "good.crt", "tls_key_file"),
        ("good.crt", "good.key", "absent", "tls_client_ca_file"),
        ("good.crt", "good.key", "empty", "tls_client_ca_file"),
        ("good.crt", "good.crt", "good.crt", "tls_key_file"),
    ] {
        let home = Home::new();
        let mut command = ambit(["serve", "--output", "json", "--grpc-address", "127.0.0.1:0"]);
        command.args(["--http-address", "127.0.0.1:0"]);
        command.args(["--tls-certificate-file", &path(certificate)]);
        command.args(["--tls-key-file", &path(key)]);
        command.args(["--tls-client-ca-file", &path(authority)]);
        let ran = run(command.args(home.database())).ends(2);
        // Nothing else: it never said that it serves.
        ran.complains(problem);
    }
    // The control: with all of them it serves.
    let home = Home::new();
    let (certificate, key) = (path("good.crt"), path("good.key"));
    let tls = [
        "--tls-certificate-file",
        &certificate,
        "--tls-key-file",
        &key,
    ];
    CommandServer::start_with(&home, &tls).stop();
}
