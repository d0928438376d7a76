//! What a browser asks: where, in which language, with which fields, and whether from a page of ours.

use std::collections::BTreeMap;

use axum::http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Uri};
use percent_encoding::percent_decode_str;
use url::{Url, form_urlencoded};

use crate::authz::model::Id;
use crate::links::id_of_segment;

/// Says where a request comes from; no page can forge it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const FORM_TYPE: &str = "application/x-www-form-urlencoded";

/// Of a query or a form, how many fields are looked at.
const FIELDS_MAX: usize = 32;

/// Cookies of the right name that are tried: others on the same host can add some.
const COOKIES_MAX: usize = 8;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub account: Id,
    /// Its segment as it came: cookies are bound to paths as they are written.
    pub account_segment: String,
    /// Of a request's page: the requester. `None`: the list.
    pub user: Option<Id>,
}

impl Address {
    /// `/accounts/{a}/requests` or `/accounts/{a}/users/{u}/permissions`.
    pub fn of(uri: &Uri) -> Option<Self> {
        let segments: Vec<&str> = uri.path().split('/').collect();
        let (account, user) = match segments.as_slice() {
            ["", "accounts", account, "requests"] => (account, None),
            ["", "accounts", account, "users", user, "permissions"] => (account, Some(user)),
            _ => return None,
        };
        // A `;` would end the path of a cookie; our own links escape it.
        if account.contains(';') {
            return None;
        }
        Some(Self {
            account: id_of(account)?,
            account_segment: (*account).to_owned(),
            user: match user {
                Some(user) => Some(id_of(user)?),
                None => None,
            },
        })
    }
}

fn id_of(segment: &str) -> Option<Id> {
    id_of_segment(&percent_decode_str(segment).decode_utf8().ok()?)
}

/// Named values of a query or a form. Of a name that comes twice the first counts.
#[derive(Clone, Default)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    pub fn parse(encoded: &[u8]) -> Self {
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(encoded).take(FIELDS_MAX) {
            fields
                .entry(name.into_owned())
                .or_insert_with(|| value.into_owned());
        }
        Self(fields)
    }

    pub fn of_query(uri: &Uri) -> Self {
        Self::parse(uri.query().unwrap_or_default().as_bytes())
    }

    /// `None` where it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub fn id(&self, name: &str) -> Option<Id> {
        Id::parse(self.get(name)?).ok()
    }

    /// Somebody's words: line ends as they are everywhere else, no blanks around.
    pub fn words(&self, name: &str) -> Option<String> {
        let words = self.get(name)?.replace("\r\n", "\n").trim().to_owned();
        (!words.is_empty()).then_some(words)
    }
}

/// Where the console is reached from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    origin: String,
    /// What a proxy puts before our paths, without a slash at its end.
    prefix: String,
    /// Whether cookies are for encrypted connections alone.
    secure: bool,
}

impl Site {
    /// Of a `console_url`. One that is no URL gives a site that no origin is of, and whose cookies
    /// are for encrypted connections.
    pub fn of(console_url: &str) -> Self {
        match Url::parse(console_url) {
            Ok(url) => Self {
                origin: url.origin().ascii_serialization(),
                prefix: url.path().trim_end_matches('/').to_owned(),
                secure: url.scheme() == "https",
            },
            Err(_) => Self {
                origin: String::new(),
                prefix: String::new(),
                secure: true,
            },
        }
    }

    /// A name with the prefix is one that nobody but the site itself can set.
    fn cookie_name(&self) -> &'static str {
        if self.secure {
            "__Secure-ambit_console"
        } else {
            "ambit_console"
        }
    }

    /// The header that sets a cookie for the pages of one account, or with an age of 0 removes it.
    pub fn set_cookie(&self, address: &Address, value: &str, seconds: u64) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!(
            "{}={value}; Path={}/accounts/{}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
            self.cookie_name(),
            self.prefix,
            address.account_segment,
        )
    }

    /// The values of our cookie, which may be several.
    pub fn cookies<'h>(&self, headers: &'h HeaderMap) -> Vec<&'h str> {
        let name = self.cookie_name();
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|header| header.to_str().ok())
            .flat_map(|header| header.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value)
            .take(COOKIES_MAX)
            .collect()
    }

    /// Whether a form comes from a page of ours, as far as the browser says. One that says nothing
    /// (an old one, or one on an unencrypted address) is held by the form's mark alone; so is the
    /// origin `null`, since our pages tell nobody where a reader comes from.
    pub fn sent_from_here(&self, headers: &HeaderMap) -> bool {
        let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        if let Some(site) = text(&FETCH_SITE) {
            return site == "same-origin";
        }
        match text(&ORIGIN) {
            None | Some("null") => true,
            Some(origin) => origin == self.origin || is_of_host(origin, text(&HOST)),
        }
    }
}

fn is_of_host(origin: &str, host: Option<&str>) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_some() && authority == host
}

/// Whether the body is said to be a form.
pub fn is_form(headers: &HeaderMap) -> bool {
    let said = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = said.map(|said| said.split(';').next().unwrap_or_default().trim());
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(FORM_TYPE))
}

pub fn accepted_languages(headers: &HeaderMap) -> Option<&str> {
    headers.get(ACCEPT_LANGUAGE)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(path: &str) -> Option<Address> {
        Address::of(&path.parse().unwrap())
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn ids_come_out_of_a_path_as_they_were_put_in() {
        for text in [
            "acme",
            "a/b",
            "..",
            ".",
            "~",
            "ü ö",
            "日本",
            "a;b",
            "100%",
            "a?b#c",
            "+",
            "\u{202e}x",
        ] {
            let id = Id::parse(text).unwrap();
            let segment = crate::links::segment_of(&id);
            let page = address(&format!("/accounts/{segment}/users/{segment}/permissions"));
            let page = page.unwrap_or_else(|| panic!("{text}"));
            assert_eq!((&page.account, page.user.as_ref()), (&id, Some(&id)));
            assert_eq!(page.account_segment, segment);
            let list = address(&format!("/accounts/{segment}/requests")).unwrap();
            assert_eq!((list.account, list.user), (id, None));
        }
        for foreign in [
            "/",
            "/accounts",
            "/accounts//requests",
            "/accounts/%00/requests",
            "/accounts/%ff/requests",
            "/accounts/a;b/requests",
            "/accounts/a/requests/",
            "/accounts/a/b/requests",
            "/accounts/a/users//permissions",
            "/x/accounts/a/requests",
        ] {
            assert_eq!(address(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_cookie_is_bound_to_the_account_and_to_encryption_where_there_is_any() {
        let here = address("/accounts/a%2Fb/requests").unwrap();
        let plain = Site::of("http://127.0.0.1:8080");
        assert_eq!(
            plain.set_cookie(&here, "v", 1_800),
            "ambit_console=v; Path=/accounts/a%2Fb; Max-Age=1800; HttpOnly; SameSite=Strict"
        );
        let proxied = Site::of("https://crm.example.com/ambit/");
        assert_eq!(
            proxied.set_cookie(&here, "v", 0),
            "__Secure-ambit_console=v; Path=/ambit/accounts/a%2Fb; Max-Age=0; HttpOnly; SameSite=Strict; Secure"
        );
        let sent = headers(&[
            ("cookie", "x=1; ambit_console=one"),
            ("cookie", "ambit_console=two;__Secure-ambit_console=three"),
        ]);
        assert_eq!(plain.cookies(&sent), ["one", "two"]);
        assert_eq!(proxied.cookies(&sent), ["three"]);
    }

    #[test]
    fn a_form_of_another_site_is_told_by_what_the_browser_says() {
        let site = Site::of("https://crm.example.com/ambit");
        let sent = |pairs: &[(&str, &str)]| site.sent_from_here(&headers(pairs));
        assert!(sent(&[("sec-fetch-site", "same-origin")]));
        for other in ["cross-site", "same-site", "none", ""] {
            let own = ("origin", "https://crm.example.com");
            assert!(!sent(&[("sec-fetch-site", other), own]), "{other}");
        }
        assert!(sent(&[]));
        assert!(sent(&[("origin", "null")]));
        assert!(sent(&[("origin", "https://crm.example.com")]));
        assert!(sent(&[
            ("origin", "http://10.0.0.1:8080"),
            ("host", "10.0.0.1:8080")
        ]));
        for other in ["https://evil.example", "http://crm.example.com", "x"] {
            assert!(
                !sent(&[("origin", other), ("host", "crm.example.com:1")]),
                "{other}"
            );
        }
    }

    #[test]
    fn fields_are_read_once_and_in_bounds() {
        let fields = Fields::parse(b"a=1&a=2&b=%C3%BC+%2B&c=&d=%20x%0D%0Ay%20");
        assert_eq!(fields.get("a"), Some("1"));
        assert_eq!(fields.get("b"), Some("ü +"));
        assert_eq!(fields.get("c"), None);
        assert_eq!(fields.words("d").as_deref(), Some("x\ny"));
        let many: String = (0..1_000).map(|at| format!("f{at}=1&")).collect();
        assert_eq!(Fields::parse(many.as_bytes()).0.len(), FIELDS_MAX);
    }
}
