//! R1, R2, R8 and S1 at filing.
#![cfg(test)]

use super::super::{Filing, RequestEventKind, RequestRefusal, RequestState, canonical, file};
use super::{
    ACCOUNT, DAY, account_with, at, document_with, filed, filed_by, graph, id, not_filed, target,
    wish,
};
use crate::authz::decision::{Presentation, ReasonCode, Requestable};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Entity, EntityChange};

fn field_of(graph: &AccountGraph, set: impl FnOnce(&mut super::Wish)) -> &'static str {
    let mut wish = wish("q", "email.edit");
    set(&mut wish);
    match file(graph, &wish, id("r1"), None, at(0)) {
        Err(RequestRefusal::InvalidField { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

/// The account with a filed request in it.
fn with_pending(graph: &AccountGraph, user: &str, asked: &str, name: &str) -> AccountGraph {
    match file(graph, &wish(user, asked), id(name), None, at(0)) {
        Ok(Filing::New { request, .. }) => graph
            .apply(&[EntityChange::Put(Entity::AccessRequest(request))])
            .unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn s1_1_a_denied_tool_is_requested_with_who_what_and_why() {
    let graph = graph(ACCOUNT);
    let filing = file(&graph, &wish("q", "email.edit"), id("r1"), None, at(0)).unwrap();
    let Filing::New {
        request,
        event,
        lapsed,
    } = filing
    else {
        panic!("nothing is pending");
    };
    assert_eq!(request.user, id("q"));
    assert_eq!(request.target, target("email.edit"));
    assert_eq!(request.reason, "for the spring campaign");
    assert_eq!(request.denied_as, ReasonCode::NoPermission);
    assert_eq!(request.state, RequestState::Pending);
    assert_eq!(request.closing, None);
    assert_eq!(
        (request.filed_at, request.expires_at),
        (at(0), at(14 * DAY))
    );
    assert_eq!((event.ordinal, event.kind), (0, RequestEventKind::Filed));
    assert_eq!((event.from, event.to), (None, RequestState::Pending));
    assert_eq!(
        (event.actor, event.before),
        (Some(id("q")), ReasonCode::NoPermission)
    );
    assert_eq!(lapsed, None);
}

/// S1.2, S1.3: what a front end shows, and that the same check can be requested.
#[test]
fn s1_2_and_s1_3_tooltip_and_blocked_page_are_requestable() {
    let graph = account_with(&[("users", "- {id: q, grants: {email.view: everything}}")]);
    let create = super::check(&graph, "q", "email.create", at(0));
    assert_eq!(create.presentation, Presentation::TooltipLink);
    filed(&graph, "email.create");
    let view = super::check(&graph, "q", "contact.view", at(0));
    assert_eq!(view.presentation, Presentation::BlockedPage);
    filed(&graph, "contact.view");
}

#[test]
fn s1_7_a_denied_email_is_requested_as_an_object() {
    let graph = account_with(&[("users", "- {id: q, grants: {email.view: team}}")]);
    let request = filed(&graph, "email.view e1");
    assert_eq!(request.target, target("email.view e1"));
    assert_eq!(request.denied_as, ReasonCode::NotInPartition);
}

#[test]
fn s1_8_r8_tools_are_requested_on_every_plan() {
    for (catalog, asked) in [
        ("hubspot", "email.edit"),
        ("brevo", "email_campaign.send"),
        ("ipresso", "contact.export"),
    ] {
        let plans: &[&str] = match catalog {
            "hubspot" => &[
                "free",
                "starter",
                "professional",
                "enterprise",
                "sales_enterprise",
            ],
            "brevo" => &["free", "starter", "business", "enterprise"],
            _ => &["standard"],
        };
        for plan in plans {
            let document =
                format!("account: a\ncatalog: {catalog}\nplan: {plan}\nusers:\n  - {{id: q}}\n");
            filed(&graph(&document), asked);
        }
    }
}

#[test]
fn s1_9_r8_an_object_is_not_requested_below_enterprise() {
    let users = "users:\n  - {id: q, grants: {contact.view: team}}\n  - {id: o}\n";
    let walled = "resources:\n  - {type: contact, id: c1, owners: [o], partitioned: true}\n";
    let on = |plan: &str| {
        graph(&format!(
            "account: a\ncatalog: hubspot\nplan: {plan}\n{users}{walled}"
        ))
    };
    for plan in ["free", "starter", "professional"] {
        let refusal = not_filed(&on(plan), "q", "contact.view c1");
        let expected = RequestRefusal::NotRequestable {
            reason: ReasonCode::Orphaned,
            tool: None,
        };
        assert_eq!(refusal, expected, "{plan}");
    }
    filed(&on("enterprise"), "contact.view c1");
}

#[test]
fn s1_11_a_type_may_not_be_requestable() {
    let text =
        "account: a\ncatalog: tiny-catalog.yaml\nplan: big\nusers:\n  - {id: q, seats: [full]}\n";
    let graph = graph(text);
    assert!(matches!(
        not_filed(&graph, "q", "note.view"),
        RequestRefusal::NotRequestable {
            reason: ReasonCode::NoPermission,
            tool: None
        }
    ));
    filed(&graph, "deal.view");
}

/// R1: nothing of steps 1 to 3, and no resource that there isn't.
#[test]
fn r1_what_no_request_could_turn_is_not_requestable() {
    let graph = account_with(&[
        ("users", "- {id: off, status: deactivated}"),
        ("users", "- {id: inv, status: invited}"),
    ]);
    for (user, asked, reason) in [
        ("nobody", "email.view", ReasonCode::UserUnknown),
        ("off", "email.view", ReasonCode::UserDeactivated),
        ("inv", "email.view", ReasonCode::UserPending),
        ("q", "playbook.view", ReasonCode::SeatRequired),
        ("q", "account.billing.edit", ReasonCode::Reserved),
        ("q", "email.view e404", ReasonCode::ResourceNotFound),
    ] {
        let expected = RequestRefusal::NotRequestable { reason, tool: None };
        assert_eq!(not_filed(&graph, user, asked), expected, "{user} {asked}");
    }
}

/// Row 57: the tool first, and `create`, which is about the tool whatever the id.
#[test]
fn row_57_an_object_behind_a_closed_tool_asks_for_the_tool_first() {
    let graph = graph(ACCOUNT);
    for asked in ["email.view e1", "email.create e1"] {
        let RequestRefusal::NotRequestable { reason, tool } = not_filed(&graph, "q", asked) else {
            panic!("{asked}");
        };
        assert_eq!(reason, ReasonCode::NoPermission);
        assert_eq!(tool.as_deref(), asked.split_once(' ').map(|(tool, _)| tool));
    }
}

#[test]
fn r1_what_is_allowed_is_not_requested() {
    let refusal = not_filed(&graph(ACCOUNT), "de1", "email.edit");
    let expected = RequestRefusal::AlreadyAllowed {
        reason: ReasonCode::Tool,
    };
    assert_eq!(refusal, expected);
    let refusal = not_filed(&graph(ACCOUNT), "sa", "email.edit e1");
    assert!(matches!(refusal, RequestRefusal::AlreadyAllowed { .. }));
}

#[test]
fn r1_names_of_the_catalog_only() {
    for asked in ["spaceship.view", "email.fly"] {
        let refusal = not_filed(&graph(ACCOUNT), "q", asked);
        assert!(matches!(refusal, RequestRefusal::UnknownName(_)), "{asked}");
    }
}

#[test]
fn r1_a_reason_is_required_and_bounded() {
    let graph = graph(ACCOUNT);
    let long = "x".repeat(1_001);
    let wrong = [
        "",
        " \n\t",
        &long,
        "a\u{0}b",
        "a\u{1b}[31m",
        "a\u{7f}",
        "a\u{85}b",
        // Nobody could read a why in these.
        "\u{200b}\u{feff}",
        "\u{202e}\u{2066} \u{2069}",
    ];
    for reason in wrong {
        let field = field_of(&graph, |wish| reason.clone_into(&mut wish.reason));
        assert_eq!(field, "reason", "{reason:?}");
    }
    let umlauts = "ü".repeat(1_000);
    // What a phone puts around a number that is copied, what joins an emoji, and Hebrew.
    let pasted = "\u{202a}+49 30 1234\u{202c} \u{1f469}\u{200d}\u{1f4bb} \u{5e9}\u{200f}";
    for reason in ["x", "two\nlines\r\n\tand a tab", &umlauts, pasted] {
        let mut wish = wish("q", "email.edit");
        reason.clone_into(&mut wish.reason);
        assert!(
            file(&graph, &wish, id("r1"), None, at(0)).is_ok(),
            "{reason:?}"
        );
    }
}

#[test]
fn r1_the_origin_is_a_page_of_the_web() {
    let graph = graph(ACCOUNT);
    let long = format!("https://a.example/{}", "x".repeat(2_031));
    assert_eq!(long.len(), 2_049);
    for url in [
        "",
        "/emails",
        "javascript://alert(1)",
        "ftp://a.example/",
        "https://",
        "https:///path",
        "https://:443/",
        "https://user:secret@a.example/",
        "https://a.example/a b",
        "https://a.example/\"><script>",
        "https://a.example/\n",
        "https://a.example/\u{202e}gpj.exe",
        "https://a\u{200b}.example/",
        &long,
    ] {
        let field = field_of(&graph, |wish| wish.origin_url = Some(url.to_owned()));
        assert_eq!(field, "origin_url", "{url:?}");
    }
    let long = format!("https://a.example/{}", "x".repeat(2_030));
    assert_eq!(long.len(), 2_048);
    for url in [
        "https://app.example.com/emails?id=1#x",
        "HTTP://localhost:8080",
        &long,
    ] {
        let mut wish = wish("q", "email.edit");
        wish.origin_url = Some(url.to_owned());
        assert!(
            file(&graph, &wish, id("r1"), None, at(0)).is_ok(),
            "{url:?}"
        );
    }
}

#[test]
fn r1_a_wanted_time_is_positive_and_bounded() {
    let graph = graph(ACCOUNT);
    for seconds in [0, 315_360_001, u64::MAX] {
        let field = field_of(&graph, |wish| wish.wanted_seconds = Some(seconds));
        assert_eq!(field, "wanted_seconds", "{seconds}");
    }
}

#[test]
fn r2_the_second_filing_finds_the_first() {
    let graph = with_pending(&graph(ACCOUNT), "q", "email.edit", "r1");
    let again = file(&graph, &wish("q", "email.edit"), id("r2"), None, at(60)).unwrap();
    let Filing::Pending(pending) = again else {
        panic!("{again:?}");
    };
    assert_eq!(pending.id, id("r1"));
    for (user, asked) in [("q", "email.publish"), ("us1", "email.edit")] {
        let filing = file(&graph, &wish(user, asked), id("r2"), None, at(60)).unwrap();
        assert!(matches!(filing, Filing::New { .. }), "{user} {asked}");
    }
}

/// `bulk_delete` is `delete`: one request, one cool-down.
#[test]
fn r2_an_action_by_another_name_is_the_same_request() {
    let account = graph(ACCOUNT);
    let other_name = target("contact.bulk_delete");
    assert_eq!(
        canonical(&account, &other_name).unwrap(),
        target("contact.delete")
    );
    let pending = with_pending(&account, "q", "contact.bulk_delete", "r1");
    let again = file(
        &pending,
        &wish("q", "contact.delete"),
        id("r2"),
        None,
        at(60),
    )
    .unwrap();
    assert!(matches!(again, Filing::Pending(_)), "{again:?}");
}

/// Nobody has ended the old one yet, but its time is over: it is ended with the new filing.
#[test]
fn r2_a_lapsed_request_does_not_stand_in_the_way() {
    let graph = with_pending(&graph(ACCOUNT), "q", "email.edit", "r1");
    let again = file(
        &graph,
        &wish("q", "email.edit"),
        id("r2"),
        None,
        at(14 * DAY),
    )
    .unwrap();
    let Filing::New {
        request,
        lapsed: Some(lapsed),
        ..
    } = again
    else {
        panic!("{again:?}");
    };
    assert_eq!(request.id, id("r2"));
    assert_eq!(lapsed.request.id, id("r1"));
    assert_eq!(lapsed.request.state, RequestState::Expired);
    assert_eq!(lapsed.event.ordinal, 1);
}

#[test]
fn r2_after_a_denial_the_same_cools_down() {
    let account = graph(ACCOUNT);
    let asked = |now| {
        file(
            &account,
            &wish("q", "email.edit"),
            id("r2"),
            Some(at(0)),
            at(now),
        )
    };
    let expected = RequestRefusal::CoolingDown { until: at(DAY) };
    assert_eq!(asked(1).unwrap_err(), expected);
    assert_eq!(asked(DAY - 1).unwrap_err(), expected);
    assert!(asked(DAY).is_ok());
    let text = ACCOUNT.replace("teams:", "settings: {request_cool_down: 1h}\nteams:");
    let hour = graph(&text);
    let asked = |now| {
        file(
            &hour,
            &wish("q", "email.edit"),
            id("r2"),
            Some(at(0)),
            at(now),
        )
    };
    assert!(asked(3_599).is_err());
    assert!(asked(3_600).is_ok());
}

#[test]
fn r2_a_user_has_a_limit_of_pending_requests() {
    let text = ACCOUNT.replace(
        "\nteams:",
        "\nsettings: {request_limit_per_user: 2}\nteams:",
    );
    let mut graph = graph(&text);
    for (at, asked) in ["email.edit", "email.publish"].into_iter().enumerate() {
        graph = with_pending(&graph, "q", asked, &format!("r{at}"));
    }
    let refused = |now| file(&graph, &wish("q", "email.delete"), id("r9"), None, at(now));
    assert_eq!(
        refused(1).unwrap_err(),
        RequestRefusal::TooManyPending { limit: 2 }
    );
    // The same as a pending one is found, and other users have their own limit.
    assert!(file(&graph, &wish("q", "email.edit"), id("r9"), None, at(1)).is_ok());
    filed_by(&graph, "us1", "email.edit");
    // Those whose time is over don't count.
    assert!(refused(14 * DAY).is_ok());
}

#[test]
fn r7_the_account_sets_how_long_a_request_waits() {
    let text = ACCOUNT.replace("\nteams:", "\nsettings: {request_ttl: 2h}\nteams:");
    assert_eq!(filed(&graph(&text), "email.edit").expires_at, at(7_200));
    // However far away, it is a time.
    let text = document_with(&text, &[]).replace("2h", "3652500d");
    assert_eq!(
        filed(&graph(&text), "email.edit").expires_at,
        crate::authz::model::Timestamp::MAX
    );
}

/// What is requestable can be filed, and nothing else: `requestable` of the very check decides.
#[test]
fn r1_requestable_says_what_can_be_filed() {
    let graph = account_with(&[(
        "users",
        "- {id: q, main_team: de, grants: {email.view: owned}}",
    )]);
    let actions = ["view", "edit", "create", "publish", "assign"];
    for action in actions {
        for resource in ["", " e1", " e2", " e3", " e404"] {
            let asked = format!("email.{action}{resource}");
            let decision = super::check(&graph, "q", &asked, at(0));
            let fits = match (decision.requestable, resource.is_empty()) {
                (Requestable::Tool, tool) => tool,
                (Requestable::Object, tool) => !tool,
                (Requestable::None, _) => false,
            };
            let filing = file(&graph, &wish("q", &asked), id("r1"), None, at(0));
            assert_eq!(filing.is_ok(), fits, "{asked}: {filing:?}");
        }
    }
}
