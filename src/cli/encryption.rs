//! How a command's connection to a server is encrypted, and by what both sides know each other.

use std::path::{Path, PathBuf};

use clap::Args;

use super::error::CliError;
use crate::client::ClientBuilder;

/// What `https://` needs besides the address, where the system's authorities do not know the server.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsArgs {
    /// Authorities (PEM) that the server's certificate must come from, instead of the system's
    #[arg(long, value_name = "FILE", env = "AMBIT_SERVER_CA_FILE")]
    server_ca_file: Option<PathBuf>,
    /// Name that the server's certificate must have, where it is not that of --server
    #[arg(long, value_name = "NAME", env = "AMBIT_SERVER_NAME")]
    server_name: Option<String>,
    /// Certificate (PEM) to show to the server, with its chain
    #[arg(long, value_name = "FILE", env = "AMBIT_CLIENT_CERTIFICATE_FILE")]
    client_certificate_file: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, value_name = "FILE", env = "AMBIT_CLIENT_KEY_FILE")]
    client_key_file: Option<PathBuf>,
    /// Send the token over http:// to another machine too, where something else encrypts
    #[arg(long, env = "AMBIT_TOKEN_IN_PLAINTEXT")]
    token_in_plaintext: bool,
}

impl TlsArgs {
    /// As the environment has them.
    pub fn of_environment() -> Self {
        let text = |variable| std::env::var(variable).ok();
        let file = |variable| std::env::var_os(variable).map(PathBuf::from);
        Self {
            server_ca_file: file("AMBIT_SERVER_CA_FILE"),
            server_name: text("AMBIT_SERVER_NAME"),
            client_certificate_file: file("AMBIT_CLIENT_CERTIFICATE_FILE"),
            client_key_file: file("AMBIT_CLIENT_KEY_FILE"),
            token_in_plaintext: text("AMBIT_TOKEN_IN_PLAINTEXT").as_deref() == Some("true"),
        }
    }

    /// The certificate that is shown to servers.
    pub fn client_certificate_file(&self) -> Option<&Path> {
        given(self.client_certificate_file.as_deref())
    }

    pub fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, CliError> {
        if let Some(file) = given(self.server_ca_file.as_deref()) {
            builder = builder.ca_certificate_file(file);
        }
        if let Some(name) = self.server_name.as_deref().filter(|name| !name.is_empty()) {
            builder = builder.server_name(name);
        }
        let key = given(self.client_key_file.as_deref());
        builder = match (self.client_certificate_file(), key) {
            (Some(certificate), Some(key)) => builder.client_certificate_files(certificate, key),
            (None, None) => builder,
            (Some(_), None) => {
                return Err(CliError::usage(
                    "--client-certificate-file needs --client-key-file too",
                ));
            }
            (None, Some(_)) => {
                return Err(CliError::usage(
                    "--client-key-file needs --client-certificate-file too",
                ));
            }
        };
        Ok(match self.token_in_plaintext {
            true => builder.token_in_plaintext(),
            false => builder,
        })
    }
}

/// An empty value is as good as none.
fn given(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}
