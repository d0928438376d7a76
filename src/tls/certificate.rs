//! What is read off a certificate. Whether it is to be believed is another question, which the
//! handshake answers.

use std::collections::BTreeSet;
use std::path::Path;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::authz::model::Timestamp;
use crate::callers::SubjectName;

/// The URIs and DNS names of a certificate in DER; `None` where it can't be read.
pub fn subject_names(certificate: &[u8]) -> Option<BTreeSet<SubjectName>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let extension = certificate
        .tbs_certificate()
        .get_extension::<SubjectAltName>()
        .ok()?;
    let names = extension.map_or_else(Vec::new, |(_critical, names)| names.0);
    let known = |name: &GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) => {
            Some(SubjectName::Uri(uri.as_str().to_owned()))
        }
        GeneralName::DnsName(name) => Some(SubjectName::dns(name.as_str())),
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::IpAddress(_)
        | GeneralName::RegisteredId(_) => None,
    };
    Some(names.iter().filter_map(known).collect())
}

/// When the first certificate of a PEM file ends.
///
/// # Errors
/// Why it can't be told, for people.
pub fn expires_at(file: &Path) -> Result<Timestamp, String> {
    let wrong = |problem: &dyn std::fmt::Display| format!("{}: {problem}", file.display());
    let pem = std::fs::read(file).map_err(|error| wrong(&error))?;
    let certificate = CertificateDer::from_pem_slice(&pem)
        .map_err(|_| wrong(&"it holds no certificate in PEM"))?;
    let certificate = Certificate::from_der(&certificate).map_err(|error| wrong(&error))?;
    Ok(end_of(&certificate))
}

/// When the first of these certificates in DER ceases to be good; `None` where one can't be read.
pub fn first_end(chain: &[CertificateDer<'_>]) -> Option<Timestamp> {
    let end = |der: &CertificateDer<'_>| Certificate::from_der(der).ok().map(|read| end_of(&read));
    let ends: Option<Vec<Timestamp>> = chain.iter().map(end).collect();
    ends?.into_iter().min()
}

fn end_of(certificate: &Certificate) -> Timestamp {
    let ends = certificate.tbs_certificate().validity().not_after;
    let micros = i64::try_from(ends.to_unix_duration().as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_unix_micros(micros).unwrap_or(Timestamp::MAX)
}
