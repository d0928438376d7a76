//! How a client is set up: servers, TLS, credential, deadline and retries.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tonic::codegen::http::Uri;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::clock::SystemClock;

use super::calls::{Endpoint, Shared};
use super::credential::Credential;
use super::error::ClientError;
use super::retry::{Retries, RetryPolicy};
use super::{Client, Consistency};

/// How long a call may take with all its tries, unless another time is set.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that is gone without a word is noticed after these two together.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that is being set up.
#[derive(Debug, Clone)]
#[must_use]
pub struct ClientBuilder {
    servers: Vec<String>,
    credential: Option<Arc<dyn Credential>>,
    plaintext_token: bool,
    ca_certificate_file: Option<PathBuf>,
    client_certificate_files: Option<(PathBuf, PathBuf)>,
    server_name: Option<String>,
    user_agent: String,
    connect_timeout: Duration,
    deadline: Duration,
    retries: RetryPolicy,
}

impl ClientBuilder {
    pub(super) fn new(servers: Vec<String>) -> Self {
        Self {
            servers,
            credential: None,
            plaintext_token: false,
            ca_certificate_file: None,
            client_certificate_files: None,
            server_name: None,
            user_agent: concat!("ambit-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: CONNECT_TIMEOUT,
            deadline: DEADLINE,
            retries: RetryPolicy::default(),
        }
    }

    /// The bearer token of every call.
    pub fn token(mut self, credential: impl Credential) -> Self {
        self.credential = Some(Arc::new(credential));
        self
    }

    /// Sends the token over `http://` to other machines too, which is refused otherwise: where a mesh
    /// or a tunnel encrypts what this client does not.
    pub fn token_in_plaintext(mut self) -> Self {
        self.plaintext_token = true;
        self
    }

    /// Trusts the certificates in this PEM file, and no others; for `https://` alone. Without it those
    /// that the machine trusts.
    pub fn ca_certificate_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_certificate_file = Some(path.into());
        self
    }

    /// Presents a certificate of its own: a PEM file with the chain, and one with its key. They are
    /// read once.
    pub fn client_certificate_files(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.client_certificate_files = Some((certificate.into(), key.into()));
        self
    }

    /// The name that the server's certificate must have, where it is not that of the URL.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// How the client calls itself in logs of the server.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// How long a connection may take to stand; 5 seconds by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take with all its tries; 10 seconds by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How often and how soon calls are tried again.
    pub fn retries(mut self, policy: RetryPolicy) -> Self {
        self.retries = policy;
        self
    }

    /// The client. Connections are made when they are needed and whenever they are lost. To be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Configuration`], naming what is wrong.
    pub fn build(self) -> Result<Client, ClientError> {
        if self.servers.is_empty() {
            return Err(configuration("at least one server must be named"));
        }
        let endpoints = self
            .servers
            .iter()
            .map(|server| {
                let channel = self.endpoint(server)?.connect_lazy();
                Ok(Endpoint::new(server.clone(), channel))
            })
            .collect::<Result<Vec<_>, ClientError>>()?;
        self.client(endpoints)
    }

    fn client(self, endpoints: Vec<Endpoint>) -> Result<Client, ClientError> {
        Ok(Client {
            shared: Arc::new(Shared {
                endpoints,
                retries: Retries::new(&self.retries)?,
                credential: self.credential,
                clock: SystemClock::new(),
            }),
            consistency: Consistency::default(),
            session: None,
            deadline: self.deadline,
        })
    }

    /// The way to one server, for who speaks to it in messages of the wire.
    pub(crate) fn endpoint(&self, server: &str) -> Result<tonic::transport::Endpoint, ClientError> {
        let wrong = |what: &str| configuration(&format!("the server `{server}`: {what}"));
        let uri: Uri = server
            .parse()
            .map_err(|_| wrong("name it as http://HOST:PORT or https://HOST:PORT"))?;
        let encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("name it as http://HOST:PORT or https://HOST:PORT")),
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| wrong("it has no host"))?
            .to_owned();
        if !encrypted {
            if self.asks_for_tls() {
                return Err(wrong("certificates need https://"));
            }
            if self.credential.is_some() && !self.plaintext_token && !is_loopback(&host) {
                return Err(wrong(
                    "a token would cross the network unencrypted: use https://, or `token_in_plaintext` where something else encrypts",
                ));
            }
        }
        let endpoint = Channel::builder(uri)
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .user_agent(self.user_agent.clone())
            .map_err(|_| configuration("the user agent has characters that no header can carry"))?;
        if !encrypted {
            return Ok(endpoint);
        }
        endpoint
            .tls_config(self.tls()?)
            .map_err(|error| wrong(&ClientError::innermost_of(&error)))
    }

    fn asks_for_tls(&self) -> bool {
        self.ca_certificate_file.is_some()
            || self.client_certificate_files.is_some()
            || self.server_name.is_some()
    }

    fn tls(&self) -> Result<ClientTlsConfig, ClientError> {
        let mut tls = ClientTlsConfig::new();
        tls = match &self.ca_certificate_file {
            Some(path) => tls.ca_certificate(Certificate::from_pem(read(path)?)),
            None => tls.with_native_roots(),
        };
        if let Some((certificate, key)) = &self.client_certificate_files {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name.clone());
        }
        Ok(tls)
    }
}

fn configuration(problem: &str) -> ClientError {
    ClientError::Configuration(problem.to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|error| configuration(&format!("{}: {error}", path.display())))
}

/// A token on the way to the same machine crosses no network.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::StaticToken;

    fn refused(builder: ClientBuilder) -> String {
        builder.build().unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_token_crosses_no_network_in_plaintext_unless_told_to() {
        let with_token = |server: &str| Client::builder(server).token(StaticToken::new("t"));
        for server in [
            "http://127.0.0.1:50051",
            "http://[::1]:50051",
            "http://localhost:1",
            "https://ambit.example.com",
        ] {
            with_token(server).build().unwrap();
        }
        let refused = refused(with_token("http://ambit.example.com:50051"));
        assert!(refused.contains("unencrypted"), "{refused}");
        with_token("http://ambit.example.com:50051")
            .token_in_plaintext()
            .build()
            .unwrap();
    }

    #[tokio::test]
    async fn a_wrong_setting_is_named() {
        for (builder, about) in [
            (Client::builder("127.0.0.1:50051"), "name it as http://"),
            (Client::builder("ftp://h"), "name it as http://"),
            (
                Client::builder("http://h").ca_certificate_file("/ca.pem"),
                "certificates need https://",
            ),
            (
                Client::builder("https://h").ca_certificate_file("/no/such/ca.pem"),
                "/no/such/ca.pem",
            ),
            (
                Client::builder_of_replicas(Vec::<String>::new()),
                "at least one server",
            ),
            (
                Client::builder("http://h").user_agent("a\nb"),
                "the user agent",
            ),
        ] {
            let refused = refused(builder);
            assert!(refused.contains(about), "{refused}");
        }
    }
}
