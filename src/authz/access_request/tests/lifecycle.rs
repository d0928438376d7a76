//! The state machine, every state against every call.
#![cfg(test)]

use super::super::{
    AccessRequest, Closing, RequestEventKind, RequestRefusal, RequestState, Transition, approve,
    cancel, deny, revoke, settle, suggest,
};
use super::{ACCOUNT, DAY, account_with, approved, at, direct, filed, for_good, graph, id};
use crate::authz::decision::ReasonCode;
use crate::authz::graph::AccountGraph;

fn in_state(request: &AccessRequest, state: RequestState) -> AccessRequest {
    AccessRequest {
        state,
        closing: state.is_terminal().then(|| Closing {
            at: at(1),
            by: Some(id("sa")),
            note: None,
            approval: (state == RequestState::Approved)
                .then(|| for_good(direct("email.edit owned"))),
        }),
        ..request.clone()
    }
}

type Call = fn(&AccountGraph, &AccessRequest) -> Result<Transition, RequestRefusal>;

const CALLS: &[(&str, Call, RequestState)] = &[
    (
        "approve",
        |graph, request| approved(graph, request, "sa", direct("email.edit owned")),
        RequestState::Approved,
    ),
    (
        "deny",
        |graph, request| deny(graph, request, &id("sa"), "no".to_owned(), 1, at(1)),
        RequestState::Denied,
    ),
    (
        "cancel",
        |graph, request| cancel(graph, request, &id("q"), None, 1, at(1)),
        RequestState::Cancelled,
    ),
];

#[test]
fn pending_goes_to_one_terminal_state_and_terminal_states_never_change() {
    let graph = graph(ACCOUNT);
    let request = filed(&graph, "email.edit");
    for (name, call, to) in CALLS {
        for state in RequestState::ALL {
            let before = in_state(&request, *state);
            let outcome = call(&graph, &before);
            if *state != RequestState::Pending {
                let expected = RequestRefusal::NotPending { state: *state };
                assert_eq!(outcome.unwrap_err(), expected, "{name} of {state}");
                continue;
            }
            let transition = outcome.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            assert_eq!(transition.request.state, *to, "{name}");
            assert_eq!(transition.event.from, Some(RequestState::Pending));
            assert_eq!(transition.event.to, *to);
            assert_eq!(transition.event.ordinal, 1);
            assert_eq!(transition.event.at, at(1));
            let closing = transition.request.closing.clone().unwrap();
            assert_eq!(closing.at, at(1));
            assert_eq!(closing.by, transition.event.actor);
            // Nothing else of the request changes.
            let unclosed = AccessRequest {
                state: RequestState::Pending,
                closing: None,
                ..transition.request
            };
            assert_eq!(unclosed, request, "{name}");
        }
    }
    for state in RequestState::ALL.iter().filter(|state| state.is_terminal()) {
        let ended = in_state(&request, *state);
        assert_eq!(settle(&graph, &ended, 1, at(100 * DAY)), None, "{state}");
        assert!(suggest(&graph, &ended, None, at(1)).is_err(), "{state}");
    }
}

/// Only approving changes anything but the request (S1.6: filing changes nothing at all).
#[test]
fn only_an_approval_changes_the_account() {
    let graph = graph(ACCOUNT);
    let request = filed(&graph, "email.edit");
    for (name, call, to) in CALLS {
        let transition = call(&graph, &request).unwrap();
        let changes = *to == RequestState::Approved;
        assert_eq!(!transition.changes.is_empty(), changes, "{name}");
        assert_eq!(transition.event.after.is_some(), changes, "{name}");
        assert_eq!(transition.event.before, ReasonCode::NoPermission, "{name}");
    }
}

/// Its time is over whether or not that has been written.
#[test]
fn r7_a_request_whose_time_is_over_is_not_ended_otherwise() {
    let graph = graph(ACCOUNT);
    let request = filed(&graph, "email.edit");
    let expired = RequestRefusal::NotPending {
        state: RequestState::Expired,
    };
    let approval = for_good(direct("email.edit owned"));
    let late = at(14 * DAY);
    let calls = [
        approve(&graph, &request, &id("sa"), &approval, None, 1, late),
        deny(&graph, &request, &id("sa"), "no".to_owned(), 1, late),
        cancel(&graph, &request, &id("q"), None, 1, late),
    ];
    for outcome in calls {
        assert_eq!(outcome.unwrap_err(), expired);
    }
    assert_eq!(suggest(&graph, &request, None, late).unwrap_err(), expired);
    let just_before = at(14 * DAY - 1);
    assert!(cancel(&graph, &request, &id("q"), None, 1, just_before).is_ok());
}

#[test]
fn r7_settle_ends_what_has_lost_its_ground() {
    let account = graph(ACCOUNT);
    let request = filed(&account, "email.edit");
    assert_eq!(settle(&account, &request, 1, at(14 * DAY - 1)), None);
    let cases = [
        (
            graph(ACCOUNT),
            14 * DAY,
            RequestState::Expired,
            RequestEventKind::Expired,
            ReasonCode::NoPermission,
        ),
        (
            account_with(&[("users", "- {id: q, status: deactivated}")]),
            1,
            RequestState::Cancelled,
            RequestEventKind::Cancelled,
            ReasonCode::UserDeactivated,
        ),
        (
            account_with(&[("users", "- {id: q, status: removed}")]),
            1,
            RequestState::Cancelled,
            RequestEventKind::Cancelled,
            ReasonCode::UserDeactivated,
        ),
        (
            graph(&ACCOUNT.replace("  - {id: q, main_team: de}\n", "")),
            1,
            RequestState::Cancelled,
            RequestEventKind::Cancelled,
            ReasonCode::UserUnknown,
        ),
        (
            account_with(&[("users", "- {id: q, permission_sets: [editors]}")]),
            1,
            RequestState::Obsolete,
            RequestEventKind::Obsolete,
            ReasonCode::Tool,
        ),
    ];
    for (graph, now, to, kind, reason) in cases {
        let transition = settle(&graph, &request, 1, at(now)).unwrap();
        assert_eq!(transition.request.state, to);
        let event = transition.event;
        assert_eq!(
            (event.kind, event.before, event.actor),
            (kind, reason, None)
        );
        assert!(transition.changes.is_empty());
    }
}

#[test]
fn r7_settle_ends_a_request_whose_resource_is_gone() {
    let account = account_with(&[("users", "- {id: q, grants: {email.view: team}}")]);
    let request = filed(&account, "email.view e1");
    let gone = graph(
        &super::document_with(
            ACCOUNT,
            &[("users", "- {id: q, grants: {email.view: team}}")],
        )
        .replace(
            "  - {type: email, id: e1, owners: [de1], assigned_to: ['team:de']}\n",
            "",
        ),
    );
    let transition = settle(&gone, &request, 1, at(1)).unwrap();
    assert_eq!(transition.request.state, RequestState::Obsolete);
    assert_eq!(transition.event.before, ReasonCode::ResourceNotFound);
}

/// A partnership may be renewed, a plan taken again: such a request waits for its time.
#[test]
fn settle_leaves_what_may_come_back() {
    let account = graph(ACCOUNT);
    let request = filed(&account, "landing_page.edit");
    let other_plan = graph(&ACCOUNT.replace("plan: enterprise", "plan: sales_enterprise"));
    assert_eq!(settle(&other_plan, &request, 1, at(1)), None);
}

#[test]
fn only_the_requester_cancels() {
    let graph = graph(ACCOUNT);
    let request = filed(&graph, "email.edit");
    for other in ["sa", "um", "de1", "nobody"] {
        let refusal = cancel(&graph, &request, &id(other), None, 1, at(1)).unwrap_err();
        assert_eq!(refusal, RequestRefusal::NotTheRequester);
    }
}

#[test]
fn a_denial_says_why_and_a_note_is_text() {
    let graph = graph(ACCOUNT);
    let request = filed(&graph, "email.edit");
    for wrong in [
        String::new(),
        " ".to_owned(),
        "x".repeat(1_001),
        "a\u{0}".to_owned(),
    ] {
        let note = || Some(wrong.clone());
        let approval = for_good(direct("email.edit owned"));
        let outcomes = [
            deny(&graph, &request, &id("sa"), wrong.clone(), 1, at(1)),
            cancel(&graph, &request, &id("q"), note(), 1, at(1)),
            approve(&graph, &request, &id("sa"), &approval, note(), 1, at(1)),
        ];
        for outcome in outcomes {
            let refusal = outcome.unwrap_err();
            assert!(
                matches!(refusal, RequestRefusal::InvalidField { field: "note", .. }),
                "{refusal}"
            );
        }
    }
    let denial = deny(
        &graph,
        &request,
        &id("sa"),
        "ask\nyour lead".to_owned(),
        1,
        at(1),
    )
    .unwrap();
    assert_eq!(denial.event.note.as_deref(), Some("ask\nyour lead"));
    assert_eq!(
        denial.request.closing.unwrap().note.as_deref(),
        Some("ask\nyour lead")
    );
}

/// A revocation is told of, but the request stays approved.
#[test]
fn revoking_is_no_change_of_state() {
    let account = graph(ACCOUNT);
    let request = filed(&account, "email.edit");
    for state in RequestState::ALL {
        let ended = in_state(&request, *state);
        let refusal = revoke(&account, &ended, &id("sa"), None, 2, at(2)).unwrap_err();
        assert_eq!(refusal, RequestRefusal::NothingToRevoke, "{state}");
    }
    let approval = approved(&account, &request, "sa", direct("email.edit owned")).unwrap();
    let given = super::after(&account, &approval);
    let transition = revoke(&given, &approval.request, &id("sa"), None, 2, at(2)).unwrap();
    assert_eq!(transition.request, approval.request);
    let event = transition.event;
    assert_eq!(event.kind, RequestEventKind::Revoked);
    assert_eq!(
        (event.from, event.to),
        (Some(RequestState::Approved), RequestState::Approved)
    );
    assert_eq!(
        (event.before, event.after),
        (ReasonCode::Tool, Some(ReasonCode::NoPermission))
    );
}
