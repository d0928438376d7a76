//! What goes back: pages with the headers that keep them to themselves, and refusals that show
//! nothing of an account.

use askama::Template;
use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::pages::STYLE;

/// Why there is no page. Nothing in it is of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No link and no session.
    Denied,
    NotFound,
    LinkInvalid,
    LinkExpired,
    LinkUsed,
    SessionExpired,
    /// The approver may not resolve it, now.
    NotApprover,
    /// There is no such request or account.
    Gone,
    /// A form that no page of ours had.
    Forged,
    TooLarge,
    Unavailable,
    Internal,
}

impl Refused {
    #[cfg(test)]
    pub const ALL: [Self; 12] = [
        Self::Denied,
        Self::NotFound,
        Self::LinkInvalid,
        Self::LinkExpired,
        Self::LinkUsed,
        Self::SessionExpired,
        Self::NotApprover,
        Self::Gone,
        Self::Forged,
        Self::TooLarge,
        Self::Unavailable,
        Self::Internal,
    ];

    pub fn status(self) -> StatusCode {
        match self {
            Self::Denied
            | Self::LinkInvalid
            | Self::LinkExpired
            | Self::LinkUsed
            | Self::SessionExpired
            | Self::NotApprover
            | Self::Forged => StatusCode::FORBIDDEN,
            Self::NotFound | Self::Gone => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The key of its text in a catalog; the title's has `_title` after it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Denied => "message.denied",
            Self::NotFound => "message.not_found",
            Self::LinkInvalid => "message.link_invalid",
            Self::LinkExpired => "message.link_expired",
            Self::LinkUsed => "message.link_used",
            Self::SessionExpired => "message.session_expired",
            Self::NotApprover => "message.not_approver",
            Self::Gone => "message.gone",
            Self::Forged => "message.forged",
            Self::TooLarge => "message.too_large",
            Self::Unavailable => "message.unavailable",
            Self::Internal => "message.internal",
        }
    }
}

/// What each answer of the console says to the browser.
#[derive(Debug, Clone)]
pub struct Headers {
    content_security_policy: HeaderValue,
}

impl Headers {
    pub fn new() -> Self {
        let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        Self {
            content_security_policy: HeaderValue::try_from(policy)
                .unwrap_or(HeaderValue::from_static("default-src 'none'")),
        }
    }

    /// A page.
    pub fn page(&self, status: StatusCode, page: &impl Template) -> Response<Body> {
        match page.render() {
            Ok(text) => self.answer(status, Body::from(text)),
            Err(error) => {
                tracing::error!(error = %error, "a page of the console can't be rendered");
                self.answer(StatusCode::INTERNAL_SERVER_ERROR, Body::empty())
            }
        }
    }

    /// Leads elsewhere after a form was carried out; `location` is relative to where it was sent.
    pub fn see_other(&self, location: &str) -> Response<Body> {
        let mut answer = self.answer(StatusCode::SEE_OTHER, Body::empty());
        if let Ok(location) = HeaderValue::try_from(location) {
            answer.headers_mut().insert(LOCATION, location);
        }
        answer
    }

    fn answer(&self, status: StatusCode, body: Body) -> Response<Body> {
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        let fixed: [(HeaderName, &'static str); 8] = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            // The address of a page that was opened by a link holds a token.
            (REFERRER_POLICY, "no-referrer"),
            (CACHE_CONTROL, "no-store"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "same-origin",
            ),
            (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(
            CONTENT_SECURITY_POLICY,
            self.content_security_policy.clone(),
        );
        answer
    }
}

/// Adds a cookie to an answer.
pub fn with_cookie(mut answer: Response<Body>, cookie: &str) -> Response<Body> {
    match HeaderValue::try_from(cookie) {
        Ok(cookie) => {
            answer.headers_mut().append(SET_COOKIE, cookie);
        }
        // It is made of characters of a URL and of base64.
        Err(_) => tracing::error!("a cookie of the console can't be written"),
    }
    answer
}
