//! The list of what waits for an approver.

use super::encoded;
use super::language::Value;
use super::pages::{Frame, ListEntry, ListPage};
use crate::authz::access_request::{AccessRequest, may_resolve};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, Timestamp};
use crate::links::segment_of;

/// Requests on one page.
const PAGE: usize = 25;

/// The pending requests that the approver may resolve now, in id order, which is the order of
/// filing.
pub fn list_of<'f>(
    frame: Frame<'f>,
    graph: &AccountGraph,
    approver: &Id,
    after: Option<&Id>,
    now: Timestamp,
) -> ListPage<'f> {
    let t = frame.t;
    let mut open: Vec<&AccessRequest> = graph
        .pending_requests()
        .filter(|request| after.is_none_or(|after| request.id > *after))
        .filter(|request| now < request.expires_at)
        .filter(|request| may_resolve(graph, request, approver, now).is_ok())
        .take(PAGE + 1)
        .collect();
    let has_more = open.len() > PAGE;
    open.truncate(PAGE);
    let last = open.last().filter(|_| has_more);
    let next = last.map(|last| {
        let query = [("after", last.id.as_str()), ("lang", t.code())];
        format!("?{}", encoded(&query))
    });
    let entry = |request: &AccessRequest| {
        let at = |key: &str, at: Timestamp| t.plain(key, &[("at", Value::Plain(&t.moment(at)))]);
        let query = [("request", request.id.as_str()), ("lang", t.code())];
        ListEntry {
            link: format!(
                "users/{}/permissions?{}",
                segment_of(&request.user),
                encoded(&query)
            ),
            heading: t.about("list.entry", request.user.as_str(), &request.target),
            reason: request.reason.clone(),
            filed: at("list.filed", request.filed_at),
            expires: at("list.expires", request.expires_at),
        }
    };
    ListPage {
        entries: open.into_iter().map(entry).collect(),
        first: after.map(|_| format!("?{}", encoded(&[("lang", t.code())]))),
        next,
        frame,
    }
}
