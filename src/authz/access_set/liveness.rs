//! Whether something that begins or ends by itself counts at a moment.

use crate::authz::graph::{CompiledGrant, Holding};
use crate::authz::model::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::authz) enum Liveness {
    NotBegun,
    Live,
    Expired,
}

/// Where `at` lies in [not_before, expires_at), lowering `boundary` to the next end of it that lies
/// ahead.
pub(in crate::authz) fn liveness(
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    at: Timestamp,
    boundary: &mut Option<Timestamp>,
) -> Liveness {
    // Most grants and assignments have no bounds, and this is on the path of every check.
    if not_before.is_none() && expires_at.is_none() {
        return Liveness::Live;
    }
    let ahead = [not_before, expires_at]
        .into_iter()
        .flatten()
        .filter(|moment| *moment > at);
    *boundary = boundary.iter().copied().chain(ahead).min();
    // What has not begun counts for nothing (3.2 step 6), so it is not expired either, even where
    // the store holds a window that ends before it begins.
    if not_before.is_some_and(|not_before| at < not_before) {
        Liveness::NotBegun
    } else if expires_at.is_some_and(|expires_at| at >= expires_at) {
        Liveness::Expired
    } else {
        Liveness::Live
    }
}

/// When a grant ends for a user: by itself, or because the user stops holding its set.
pub(in crate::authz) fn held_until(holding: &Holding, grant: &CompiledGrant) -> Option<Timestamp> {
    match (holding.until, grant.expires_at) {
        (None, end) | (end, None) => end,
        (Some(held), Some(end)) => Some(held.min(end)),
    }
}
