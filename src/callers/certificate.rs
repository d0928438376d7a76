//! Callers by certificate: the names that a certificate may be known by.

use std::fmt;

/// A subject alternative name of a certificate. Names are compared whole: a URI byte by byte, a DNS
/// name without regard to case, and no name is a pattern of others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectName {
    /// As `spiffe://example.com/crm`.
    Uri(String),
    /// In lower case.
    Dns(String),
}

impl SubjectName {
    /// From the form that tools show names in, `URI:spiffe://example.com/crm` or
    /// `DNS:crm.example.com`. `None` for what no certificate is issued for.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        if kind.eq_ignore_ascii_case("uri") {
            let (scheme, rest) = name.split_once("://")?;
            let is_whole = !scheme.is_empty() && !rest.is_empty();
            (is_whole && name.bytes().all(|byte| byte.is_ascii_graphic()))
                .then(|| Self::Uri(name.to_owned()))
        } else if kind.eq_ignore_ascii_case("dns") {
            let is_plain =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            let is_whole = name.split('.').all(|label| !label.is_empty());
            (is_whole && name.bytes().all(is_plain)).then(|| Self::dns(name))
        } else {
            None
        }
    }

    pub fn dns(name: &str) -> Self {
        Self::Dns(name.to_ascii_lowercase())
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(name) => write!(formatter, "URI:{name}"),
            Self::Dns(name) => write!(formatter, "DNS:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_the_form_that_tools_show_them_in() {
        for (text, read) in [
            ("URI:spiffe://a/B", "URI:spiffe://a/B"),
            ("uri:https://a/?x=1", "URI:https://a/?x=1"),
            ("DNS:CRM.example.com", "DNS:crm.example.com"),
        ] {
            assert_eq!(SubjectName::parse(text).unwrap().to_string(), read);
        }
        for text in [
            "",
            "spiffe://a/b",
            "crm.example.com",
            "URI:",
            "URI:a",
            "URI:spiffe://",
            "URI:spiffe://a b",
            "DNS:",
            "DNS:a..b",
            "DNS:*.example.com",
            "DNS:a b",
            "IP:10.0.0.1",
        ] {
            assert!(SubjectName::parse(text).is_none(), "{text}");
        }
    }
}
