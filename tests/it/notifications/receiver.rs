//! A receiver of webhooks: a real HTTP server on loopback that keeps what it is sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambit::clock::{Clock as _, SystemClock};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::PATIENCE;

/// What a receiver answers from now on.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16),
    /// A status with a header.
    With(u16, &'static str, String),
    /// Nothing, ever.
    Silence,
}

/// What came, answered well or not.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub answered: Option<u16>,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The request, and the number of its event.
    pub fn event(&self) -> (String, u64) {
        let json = self.json();
        (
            json["subject"].as_str().unwrap().to_owned(),
            json["data"]["event"]["ordinal"].as_u64().unwrap(),
        )
    }

    /// By an implementation that is not ours.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let webhook = standardwebhooks::Webhook::new(secret).unwrap();
        webhook.verify(&self.body, &self.headers).is_ok()
    }
}

pub struct Receiver {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    answer: Arc<Mutex<Answer>>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(server) = self.server.lock().unwrap().take() {
            server.abort();
        }
    }
}

impl Receiver {
    pub fn start(answer: Answer) -> Self {
        let receiver = Self::away();
        *receiver.answer.lock().unwrap() = answer;
        receiver.open();
        receiver
    }

    /// One whose address refuses connections until it is opened.
    pub fn away() -> Self {
        let probe = bound("127.0.0.1:0".parse().unwrap());
        Self {
            address: probe.local_addr().unwrap(),
            received: Arc::default(),
            answer: Arc::new(Mutex::new(Answer::Status(204))),
            server: Mutex::new(None),
        }
    }

    pub fn open(&self) {
        let listener = bound(self.address).listen(1_024).unwrap();
        let router = self.router();
        let serve = async move { axum::serve(listener, router).await.unwrap() };
        *self.server.lock().unwrap() = Some(tokio::spawn(serve));
    }

    /// The same behind TLS.
    pub fn start_tls(acceptor: TlsAcceptor) -> Self {
        let receiver = Self::away();
        let listener = bound(receiver.address).listen(1_024).unwrap();
        let router = receiver.router();
        let listener = TlsListener { listener, acceptor };
        let serve = async move { axum::serve(listener, router).await.unwrap() };
        *receiver.server.lock().unwrap() = Some(tokio::spawn(serve));
        receiver
    }

    fn router(&self) -> Router {
        let (received, answer) = (Arc::clone(&self.received), Arc::clone(&self.answer));
        let take = async move |headers: HeaderMap, body: Bytes| -> Response {
            let answer = answer.lock().unwrap().clone();
            let answered = match &answer {
                Answer::Status(status) | Answer::With(status, ..) => Some(*status),
                Answer::Silence => None,
            };
            received.lock().unwrap().push(Received {
                headers,
                body,
                answered,
            });
            let status = |status| StatusCode::from_u16(status).unwrap();
            match answer {
                Answer::Status(code) => status(code).into_response(),
                Answer::With(code, name, value) => {
                    let name: header::HeaderName = name.parse().unwrap();
                    (status(code), [(name, value)]).into_response()
                }
                Answer::Silence => std::future::pending().await,
            }
        };
        Router::new().route("/hook", post(take))
    }

    pub fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// What was taken with a 2xx.
    pub fn taken(&self) -> Vec<Received> {
        let is_taken = |received: &Received| {
            received
                .answered
                .is_some_and(|status| (200..300).contains(&status))
        };
        self.received().into_iter().filter(is_taken).collect()
    }

    pub async fn until(&self, count: usize) -> Vec<Received> {
        let begun = SystemClock::new();
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            let so_far = received.len();
            assert!(begun.monotonic() < PATIENCE, "{so_far} of {count}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Hands on the connections whose handshake succeeds.
struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
