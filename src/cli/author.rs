//! Who writes where a command works on a database itself, for the audit.

use crate::store::audit::Author;

/// The user of the operating system, as the session says; it proves nothing, but whoever has the
/// database at hand needs no proof.
pub fn author(method: &'static str) -> Author {
    let user = ["USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|user| !user.is_empty());
    Author::named(&format!("cli:{}", user.unwrap_or_default()), method)
}
