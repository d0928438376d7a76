//! What `ambit doctor` finds of certificates, issuers, and the caller that it is itself.

use std::path::Path;

use tokio_stream::once;
use tonic::{Code, Status};

use crate::authentication;
use crate::authz::model::Timestamp;
use crate::callers::Role;
use crate::cli::connection::{self, Link, ServerArgs};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::grpc::status::Reason;
use crate::grpc::wire;
use crate::grpc::wire::access_request_service_client::AccessRequestServiceClient;
use crate::grpc::wire::directory_service_client::DirectoryServiceClient;
use crate::tls::{self, Tls};

use super::Finding;

/// A certificate that ends sooner than this should have been renewed by now.
const RENEWED_BEFORE_DAYS: i64 = 7;

const DAY_MICROS: i64 = 86_400_000_000;

/// The files of TLS that the server is configured with, and the keys of its issuers.
pub(super) async fn of_server(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(settings) = &config.transport.tls {
        findings.push(match Tls::load(settings) {
            Ok(_) => certificate("TLS", &settings.certificate_file, SystemClock::new().now()),
            Err(error) => Finding::problem(
                "TLS",
                error.to_string(),
                "mend the file; the server takes changed files on by itself",
            ),
        });
    }
    for (name, examined) in authentication::examine_issuers(&config.authentication.issuers).await {
        findings.push(match examined {
            Ok(keys) => Finding::ok("issuer", format!("`{name}` publishes {keys} keys")),
            Err(error) => Finding::problem(
                "issuer",
                format!("the keys of `{name}`: {error}"),
                "see that this machine reaches them; tokens of the issuer are refused without",
            ),
        });
    }
    findings
}

/// The certificate that the commands show to a server.
pub(super) fn of_client(server: &ServerArgs) -> Option<Finding> {
    let file = server.tls.client_certificate_file()?;
    Some(certificate(
        "client certificate",
        file,
        SystemClock::new().now(),
    ))
}

fn certificate(check: &'static str, file: &Path, now: Timestamp) -> Finding {
    let ends = match tls::certificate::expires_at(file) {
        Ok(ends) => ends,
        Err(problem) => {
            return Finding::problem(check, problem, "name a file with a certificate in PEM");
        }
    };
    let left = ends.unix_micros().saturating_sub(now.unix_micros());
    let shown = file.display();
    if left <= 0 {
        Finding::problem(
            check,
            format!("the certificate in {shown} has expired at {ends}"),
            "renew it; nobody who checks it connects",
        )
    } else if left < RENEWED_BEFORE_DAYS * DAY_MICROS {
        Finding::warning(
            check,
            format!("the certificate in {shown} expires at {ends}"),
            "see that it is renewed in time; the server takes the new one on by itself",
        )
    } else {
        Finding::ok(
            check,
            format!("the certificate in {shown} is good until {ends}"),
        )
    }
}

/// What a server lets this caller do.
enum Standing {
    Known(Vec<Role>),
    Unknown,
    Failed(Status),
}

/// Whether the server knows the caller, and which roles it has.
pub(super) async fn caller(server: &ServerArgs) -> Finding {
    const CHECK: &str = "caller";
    let remedy = "see --token-file, AMBIT_TOKEN and --client-certificate-file";
    let presents_something =
        matches!(server.token(), Ok(Some(_))) || server.tls.client_certificate_file().is_some();
    let link = match server.link().await {
        Ok(link) => link,
        Err(error) => return Finding::problem(CHECK, error.to_string(), remedy),
    };
    match standing(link).await {
        Standing::Failed(status) => Finding::problem(
            CHECK,
            connection::refused(&status).to_string(),
            "see that --server names an ambit server, and look into its log",
        ),
        Standing::Unknown if presents_something => Finding::problem(
            CHECK,
            "the server does not know the caller by what it presents",
            "see `ambit token list`: a token may have expired or be revoked; of a certificate a name must be listed in client_certificates",
        ),
        Standing::Unknown => Finding::warning(
            CHECK,
            "the server asks who calls, and there is no token to present",
            "make one with `ambit token create`, and name it with --token-file or AMBIT_TOKEN",
        ),
        Standing::Known(roles) if roles.is_empty() => Finding::warning(
            CHECK,
            "the server knows the caller, who has no role",
            "make a token with the roles that it needs",
        ),
        Standing::Known(roles) => {
            let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            Finding::ok(CHECK, format!("may do what needs {}", roles.join(", ")))
        }
    }
}

/// Asks for each role what needs it, of an account whose id is empty: so that there is nothing to
/// read or to write, and the answer is about the caller.
async fn standing(link: Link) -> Standing {
    let mut directory = DirectoryServiceClient::new(link.clone());
    let mut requests = AccessRequestServiceClient::new(link);
    let mut roles = Vec::new();
    for role in Role::ALL.iter().copied() {
        let asked = match role {
            Role::Check => {
                let request = wire::GetAccountRequest::default();
                directory.get_account(request).await.err()
            }
            Role::Request => {
                let request = wire::GetAccessRequestRequest::default();
                requests.get_access_request(request).await.err()
            }
            Role::Write => {
                let request = once(wire::ApplyChangesRequest::default());
                directory.apply_changes(request).await.err()
            }
            Role::Admin => {
                let request = wire::ExportAccountRequest::default();
                directory.export_account(request).await.err()
            }
        };
        match asked {
            Some(status) if Reason::of(&status) == Some(Reason::RoleMissing) => {}
            Some(status) if status.code() == Code::Unauthenticated => return Standing::Unknown,
            Some(status) if status.code() != Code::InvalidArgument => {
                return Standing::Failed(status);
            }
            Some(_) | None => roles.push(role),
        }
    }
    Standing::Known(roles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn a_certificate_is_looked_at_before_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tls.crt");
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let made = parameters.self_signed(&key).unwrap();
        std::fs::write(&file, made.pem()).unwrap();
        let at = |text: &str| {
            let now = Timestamp::parse(text).unwrap();
            certificate("TLS", &file, now).verdict
        };
        assert_eq!(at("2026-12-24T00:00:00Z"), Verdict::Ok);
        assert_eq!(at("2026-12-26T00:00:00Z"), Verdict::Warning);
        assert_eq!(at("2026-12-31T23:59:59Z"), Verdict::Warning);
        assert_eq!(at("2027-01-01T00:00:00Z"), Verdict::Problem);
        std::fs::write(&file, "no certificate").unwrap();
        assert_eq!(at("2026-12-24T00:00:00Z"), Verdict::Problem);
    }
}
