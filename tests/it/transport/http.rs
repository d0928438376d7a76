//! TLS of the HTTP port: the server's certificate, as it is by now, and nothing in the clear.

use std::time::Duration;

use ambit::authz::model::Timestamp;
use ambit::clock::{Clock as _, SystemClock};
use reqwest::{Certificate, Client, StatusCode};
use tokio::net::TcpStream;

use super::tls::Scene;
use crate::certificates::{Authority, authority, until};
use crate::cli::program::{ambit, run};

/// Who trusts this authority alone.
fn client(authority: &Authority) -> Client {
    let certificate = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    Client::builder()
        .tls_certs_only([certificate])
        .no_proxy()
        // Each question on a connection of its own, so with the certificate as it is by now.
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

impl Scene {
    async fn healthz(&self, authority: &Authority, scheme: &str) -> reqwest::Result<String> {
        self.page(authority, scheme, "healthz").await
    }

    async fn page(
        &self,
        authority: &Authority,
        scheme: &str,
        page: &str,
    ) -> reqwest::Result<String> {
        let url = format!("{scheme}://localhost:{}/{page}", self.http.port());
        let answer = client(authority).get(url).send().await?;
        answer.error_for_status()?.text().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_http_port_is_served_over_tls_and_not_in_the_clear() {
    // Certificates of clients are asked for on the gRPC port alone: browsers and probes have none.
    let settings = [("http_tls", "true"), ("handshake_timeout_ms", "5000")];
    let scene = Scene::start_with(Some("required"), &settings).await;
    let authority_of_server = &scene.authority;
    let answered = scene.healthz(authority_of_server, "https").await;
    assert_eq!(answered.unwrap(), "ok\n");
    scene
        .healthz(authority_of_server, "http")
        .await
        .unwrap_err();
    scene.healthz(&authority(), "https").await.unwrap_err();
    let stalled = TcpStream::connect(scene.http).await.unwrap();
    super::lives::closed_within(stalled, Duration::from_secs(30)).await;

    // The console too, whose pages are for who has a link.
    let url = format!(
        "https://localhost:{}/accounts/a/access-requests/x",
        scene.http.port()
    );
    let page = client(authority_of_server).get(url).send().await.unwrap();
    assert_ne!(page.status(), StatusCode::OK);

    // `ambit ready` trusts whom it is told to.
    let url = format!("https://localhost:{}", scene.http.port());
    let authorities = scene.files.path().join("ca.crt");
    let authorities = authorities.to_str().unwrap();
    let known = ["ready", "--url", &url, "--server-ca-file", authorities];
    let known = tokio::task::block_in_place(|| run(&mut ambit(known)).ends(0));
    assert_eq!(known.stdout, "ready\n");
    let unknown = tokio::task::block_in_place(|| run(&mut ambit(["ready", "--url", &url])).ends(3));
    assert!(unknown.stderr.contains("certificate"), "{unknown:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_http_port_shows_a_renewed_certificate() {
    let scene = Scene::start_with(None, &[("http_tls", "true")]).await;
    let next = authority();
    scene.healthz(&scene.authority, "https").await.unwrap();
    scene.healthz(&next, "https").await.unwrap_err();
    let ends_at = Timestamp::parse("2100-01-01T00:00:00Z").unwrap();
    let renewed = until(&next, &["DNS:localhost"], ends_at);
    let told = "\nambit_tls_certificate_expiry_timestamp_seconds 4102444800\n";
    let before = scene.page(&scene.authority, "https", "metrics").await;
    assert!(!before.unwrap().contains(told), "the control");
    scene.write("tls.crt", &renewed.certificate);
    scene.write("tls.key", &renewed.key);
    let clock = SystemClock::new();
    while scene.healthz(&next, "https").await.is_err() {
        assert!(
            clock.monotonic() < Duration::from_secs(10),
            "it is never served"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The next look at the files tells of it.
    while !scene
        .page(&next, "https", "metrics")
        .await
        .unwrap()
        .contains(told)
    {
        assert!(
            clock.monotonic() < Duration::from_secs(20),
            "its end is never told"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    scene.stop().await;
}

/// Told to end, the port finishes what it answers, and holds nobody who asks nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_does_not_keep_the_server_from_ending() {
    let scene = Scene::start_with(None, &[("http_tls", "true")]).await;
    scene.healthz(&scene.authority, "https").await.unwrap();
    let silent = TcpStream::connect(scene.http).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), scene.stop());
    ended.await.expect("the server does not end");
    super::lives::closed_within(silent, Duration::from_secs(5)).await;
}
