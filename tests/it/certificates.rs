//! Certificates as authorities of a test issue them.

use ambit::authz::model::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};

pub type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key, in PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

pub fn authority() -> Authority {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// For `localhost`, as a server needs it.
pub fn pair(authority: &Authority) -> Pair {
    issue(authority, &["DNS:localhost"], |_| {})
}

/// For these names, and otherwise as the caller wants it.
pub fn issue(
    authority: &Authority,
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.subject_alt_names = names
        .iter()
        .map(|name| match name.split_once(':').unwrap() {
            ("DNS", name) => SanType::DnsName(name.try_into().unwrap()),
            ("URI", name) => SanType::URI(name.try_into().unwrap()),
            ("EMAIL", name) => SanType::Rfc822Name(name.try_into().unwrap()),
            other => panic!("{other:?}"),
        })
        .collect();
    change(&mut parameters);
    let certificate = parameters.signed_by(&key, authority).unwrap();
    Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// A certificate that a client shows, good until then; in whole seconds, as certificates have them.
pub fn until(authority: &Authority, names: &[&str], ends_at: Timestamp) -> Pair {
    issue(authority, names, |parameters| {
        let seconds = ends_at.unix_micros() / 1_000_000;
        parameters.not_after = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    })
}

/// A certificate that is for servers alone.
pub fn of_a_server(authority: &Authority, names: &[&str]) -> Pair {
    issue(authority, names, |parameters| {
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    })
}
