//! Case 40 of `reliability.md` for callers by certificate: who is known, who is not, and certificates
//! and authorities that change while connections stand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ambit::app::App;
use ambit::callers::Role;
use ambit::clock::{Clock as _, SystemClock};
use ambit::config::Config;
use ambit::grpc::status::Reason;
use ambit::grpc::wire;
use ambit::grpc::wire::decision_service_client::DecisionServiceClient;
use ambit::grpc::wire::directory_service_client::DirectoryServiceClient;
use ambit::shutdown::Shutdown;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::wire::{methods, with};
use super::{FOREIGN, MINE, Made, make, seconds_from_now};
use crate::certificates::{Authority, Pair, authority, issue, of_a_server, pair, until};
use crate::database::Database;
use crate::grpc::reason;
use crate::grpc::server::{TestServer, check};

const CRM: &str = "URI:spiffe://example.com/crm";
const OPS: &str = "DNS:ops.example.com";

/// Who is a caller in these tests.
const CALLERS: &str = r#"
[[client_certificates]]
name = "crm"
san = "URI:spiffe://example.com/crm"
roles = ["check"]
accounts = ["mine"]

[[client_certificates]]
name = "ops"
san = "DNS:Ops.example.com"
roles = ["admin"]
all_accounts = true
"#;

/// Long enough for whatever is promised within the bounds that the scene sets.
const PATIENCE: Duration = Duration::from_secs(20);

struct Scene {
    authority: Authority,
    files: TempDir,
    address: SocketAddr,
    shutdown: Shutdown,
    running: tokio::task::JoinHandle<()>,
    /// Kept as long as the server.
    _database: Database,
}

impl Scene {
    async fn start(tokens: &[&Made]) -> Self {
        let database = Database::new();
        let open = TestServer::start_on(&database, Arc::new(SystemClock::new())).await;
        open.make_account(MINE, &["c".to_owned()]).await;
        open.make_account(FOREIGN, &["c".to_owned()]).await;
        open.stop().await;
        let store = database.open_tokens().await;
        for token in tokens {
            store.put_token(&token.kept).await.unwrap();
        }
        let (authority, files) = (authority(), tempfile::tempdir().unwrap());
        let served = pair(&authority);
        let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("tls.crt"), &served.certificate).unwrap();
        std::fs::write(path("tls.key"), &served.key).unwrap();
        std::fs::write(path("ca.crt"), authority.pem()).unwrap();
        std::fs::write(path("ambit.toml"), CALLERS).unwrap();
        let flags: BTreeMap<String, String> = [
            (database.setting().0, database.setting().1),
            ("grpc_address", "127.0.0.1:0"),
            ("http_address", "127.0.0.1:0"),
            ("tls_certificate_file", &path("tls.crt")),
            ("tls_key_file", &path("tls.key")),
            ("tls_client_ca_file", &path("ca.crt")),
            ("tls_reload_interval_ms", "20"),
            ("staleness_bound_ms", "1000"),
        ]
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
        let config = Config::load(&flags, [], Some(path("ambit.toml").as_ref())).unwrap();
        let shutdown = Shutdown::new();
        let clock = Arc::new(SystemClock::new());
        let app = App::start(&config, clock, shutdown.clone()).await.unwrap();
        let address = app.grpc_address();
        let running = tokio::spawn(async move { app.run().await.unwrap() });
        let scene = Self {
            authority,
            files,
            address,
            shutdown,
            running,
            _database: database,
        };
        scene.wait_until_ready().await;
        scene
    }

    async fn wait_until_ready(&self) {
        let ops = issue(&self.authority, &[OPS], |_| {});
        let ops = self.channel(Some(&ops)).await.unwrap();
        eventually("the server is ready", async || {
            ask(&ops, MINE, None).await.is_ok()
        })
        .await;
    }

    /// A connection of a client with this certificate.
    async fn channel(&self, own: Option<&Pair>) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority.pem()))
            .domain_name("localhost");
        if let Some(own) = own {
            tls = tls.identity(Identity::from_pem(&own.certificate, &own.key));
        }
        Endpoint::from_shared(format!("https://{}", self.address))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
    }

    /// The first answer to a client with this certificate, if it gets so far.
    async fn ask(&self, own: &Pair) -> Result<(), Status> {
        match self.channel(Some(own)).await {
            Ok(channel) => ask(&channel, MINE, None).await,
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    async fn stop(self) {
        self.shutdown.begin();
        self.running.await.unwrap();
    }
}

async fn ask(channel: &Channel, account: &str, token: Option<&str>) -> Result<(), Status> {
    let mut decisions = DecisionServiceClient::new(channel.clone());
    let answer = decisions.check(with(check(account, "c"), token)).await;
    answer.map(|_| ())
}

async fn export(channel: &Channel) -> Result<(), Status> {
    let request = wire::ExportAccountRequest {
        account_id: MINE.to_owned(),
    };
    let mut directory = DirectoryServiceClient::new(channel.clone());
    let mut answer = directory.export_account(request).await?.into_inner();
    answer.message().await.map(|_| ())
}

fn is_refused(answer: &Result<(), Status>) -> bool {
    matches!(answer, Err(status) if Reason::of(status) == Some(Reason::Unauthenticated))
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let clock = SystemClock::new();
    while !holds().await {
        assert!(clock.monotonic() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_40_a_certificate_says_who_calls_and_what_they_may() {
    let scene = Scene::start(&[]).await;
    let by = async |names: &[&str]| {
        let own = issue(&scene.authority, names, |_| {});
        scene.channel(Some(&own)).await.unwrap()
    };

    let crm = by(&[CRM]).await;
    assert!(ask(&crm, MINE, None).await.is_ok());
    assert_eq!(
        reason(ask(&crm, FOREIGN, None).await),
        Reason::AccountNotFound
    );
    assert_eq!(reason(export(&crm).await), Reason::RoleMissing);
    assert!(methods(&crm, None).await.unwrap().len() >= 39);
    // A name among others, of which none is a caller's; and DNS names have no case.
    for names in [
        &["EMAIL:a@example.com", "DNS:other", CRM][..],
        &["DNS:OPS.example.com"],
    ] {
        assert!(ask(&by(names).await, MINE, None).await.is_ok(), "{names:?}");
    }
    let ops = by(&[OPS]).await;
    assert!(ask(&ops, FOREIGN, None).await.is_ok());
    assert!(export(&ops).await.is_ok());

    // Of our authority, and nobody that calls: the connection stands, and each call is refused.
    for names in [
        &[][..],
        &["EMAIL:crm@example.com"],
        &["URI:spiffe://example.com/CRM"],
        &["URI:spiffe://example.com/crm/"],
        &["URI:spiffe://example.com/crm/more"],
        &["DNS:more.ops.example.com"],
        &["DNS:*.example.com"],
        &["URI:https://ops.example.com"],
        // Two callers at once are none.
        &[CRM, OPS],
    ] {
        let answer = ask(&by(names).await, MINE, None).await;
        assert!(is_refused(&answer), "{names:?}: {answer:?}");
    }
    let nobody = scene.channel(None).await.unwrap();
    assert!(is_refused(&ask(&nobody, MINE, None).await));
    let listed = methods(&nobody, None).await.map(|_| ());
    assert!(is_refused(&listed), "reflection: {listed:?}");
    let health = HealthClient::new(nobody)
        .check(HealthCheckRequest::default())
        .await;
    assert!(health.is_ok(), "{health:?}");

    // What the handshake refuses gets no further.
    let stranger = authority();
    for (kind, own) in [
        ("of another authority", issue(&stranger, &[CRM], |_| {})),
        (
            "that has expired",
            until(&scene.authority, &[CRM], seconds_from_now(-60)),
        ),
        ("that is for servers", of_a_server(&scene.authority, &[CRM])),
    ] {
        let answer = scene.ask(&own).await;
        let is_ended = answer.is_err() && !is_refused(&answer);
        assert!(is_ended, "a certificate {kind}: {answer:?}");
    }
    assert!(ask(&crm, MINE, None).await.is_ok());
    scene.stop().await;
}

/// A gateway with a certificate passes on the tokens of those who call through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_says_who_calls_whatever_the_certificate() {
    let token = make(&[Role::Check], &[FOREIGN]);
    let unknown = make(&[Role::Admin], &[]);
    let scene = Scene::start(&[&token]).await;
    for names in [&[CRM][..], &[]] {
        let own = issue(&scene.authority, names, |_| {});
        let channel = scene.channel(Some(&own)).await.unwrap();
        assert!(ask(&channel, FOREIGN, Some(&token.text)).await.is_ok());
        let own_account = ask(&channel, MINE, Some(&token.text)).await;
        assert_eq!(reason(own_account), Reason::AccountNotFound);
        // A token that is not good is no reason to look at the certificate.
        for bad in [unknown.text.as_str(), "garbage", ""] {
            let answer = ask(&channel, MINE, Some(bad)).await;
            assert!(is_refused(&answer), "{names:?} {bad}: {answer:?}");
        }
    }
    scene.stop().await;
}

/// A connection outlives the certificate that it began with, and its calls do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_expires_ends_its_calls() {
    let scene = Scene::start(&[]).await;
    let long = issue(&scene.authority, &[OPS], |_| {});
    let long = scene.channel(Some(&long)).await.unwrap();
    let short = until(&scene.authority, &[OPS], seconds_from_now(6));
    let short = scene.channel(Some(&short)).await.unwrap();
    assert!(ask(&short, MINE, None).await.is_ok());
    let watch = async |channel: &Channel| {
        let mut directory = DirectoryServiceClient::new(channel.clone());
        let request = wire::WatchChangesRequest {
            account_id: MINE.to_owned(),
            ..wire::WatchChangesRequest::default()
        };
        directory.watch_changes(request).await.unwrap().into_inner()
    };
    let (mut of_short, mut of_long) = (watch(&short).await, watch(&long).await);
    eventually("the certificate is no caller's any more", async || {
        is_refused(&ask(&short, MINE, None).await)
    })
    .await;
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            match of_short.message().await {
                Ok(Some(_)) => {}
                ended => return ended.map(|_| ()),
            }
        }
    });
    let ended = ended.await.expect("the watch goes on");
    assert!(is_refused(&ended), "{ended:?}");
    // The control: it was the certificate, and not its time on the server.
    assert!(ask(&long, MINE, None).await.is_ok());
    let goes_on = tokio::time::timeout(Duration::from_millis(100), async {
        while of_long.message().await.unwrap().is_some() {}
    });
    assert!(goes_on.await.is_err(), "the other watch has ended");
    scene.stop().await;
}

/// Authorities are exchanged while the server runs, for connections that stand too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_taken_away_vouches_for_nobody() {
    let scene = Scene::start(&[]).await;
    let next = authority();
    let (of_old, of_next) = (
        issue(&scene.authority, &[CRM], |_| {}),
        issue(&next, &[CRM], |_| {}),
    );
    let open = scene.channel(Some(&of_old)).await.unwrap();
    assert!(ask(&open, MINE, None).await.is_ok());
    assert!(scene.ask(&of_next).await.is_err());
    let write = |text: &str| {
        let beside = scene.files.path().join("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, scene.files.path().join("ca.crt")).unwrap();
    };
    // Both, as it is done: nobody is shut out in between.
    write(&format!("{}{}", scene.authority.pem(), next.pem()));
    eventually("the next authority vouches", async || {
        scene.ask(&of_next).await.is_ok()
    })
    .await;
    assert!(ask(&open, MINE, None).await.is_ok());
    assert!(scene.ask(&of_old).await.is_ok());
    // A file that holds none leaves those before.
    write("no certificate");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(scene.ask(&of_old).await.is_ok());
    write(&next.pem());
    eventually("the old one vouches for nobody", async || {
        is_refused(&ask(&open, MINE, None).await)
    })
    .await;
    assert!(scene.ask(&of_old).await.is_err());
    assert!(scene.ask(&of_next).await.is_ok());
    scene.stop().await;
}
