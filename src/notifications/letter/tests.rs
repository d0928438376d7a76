use super::*;
use crate::authz::access_request::{
    AccessRequest, Approval, RequestEvent, RequestState, RequestTarget, Resolution,
};
use crate::authz::decision::ReasonCode;
use crate::authz::model::{Id, PartnerRole};
use crate::authz::partner_event::{
    PartnerEvent, PartnerEventKind, PartnerNews, PartnerPerson, PartnerSide,
};

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn told(kind: RequestEventKind, reason: &str, note: Option<&str>) -> Told {
    Told {
        account: id("northwind"),
        request: AccessRequest {
            id: id("r1"),
            user: id("pierre"),
            target: RequestTarget {
                resource_type: id("email"),
                action: id("view"),
                resource_id: Some(id("spring-dach")),
            },
            reason: reason.to_owned(),
            denied_as: ReasonCode::NotInPartition,
            wanted_seconds: Some(7 * 86_400),
            origin_url: Some("https://app.example.com/emails/spring-dach".to_owned()),
            filed_at: at("2026-11-22T12:00:00Z"),
            expires_at: at("2026-12-06T12:00:00Z"),
            state: RequestState::Pending,
            closing: None,
        },
        event: RequestEvent {
            request: id("r1"),
            ordinal: 1,
            kind,
            at: at("2026-11-22T12:00:00Z"),
            actor: Some(id("admin")),
            from: None,
            to: RequestState::Approved,
            note: note.map(str::to_owned),
            approval: Some(Approval {
                resolution: Resolution::ObjectGrant,
                expires_at: Some(at("2026-11-29T08:30:00Z")),
            }),
            before: ReasonCode::NotInPartition,
            after: None,
        },
        teams: vec![id("france"), id("emea")],
    }
}

fn approver() -> Approver {
    Approver {
        user: id("admin"),
        email: Some("admin@example.com".to_owned()),
        link: "https://access.example.com/accounts/a/users/u/permissions?request=r1&token=T"
            .to_owned(),
    }
}

fn filed(language: Language, reason: &str) -> Letter {
    let words = Words::load(language).unwrap();
    let told = told(RequestEventKind::Filed, reason, None);
    to_approver(&words, &told, &approver(), at("2026-11-22T13:00:00Z"))
}

#[test]
fn every_language_has_all_its_words_and_no_placeholder_is_left() {
    for language in Language::ALL {
        let words = Words::load(*language).unwrap();
        let mut letters = vec![filed(*language, "why")];
        for kind in RequestEventKind::ALL {
            let told = told(*kind, "why", Some("a note"));
            letters.extend(to_requester(&words, &told));
        }
        assert_eq!(letters.len(), RequestEventKind::ALL.len());
        for letter in letters {
            for text in [&letter.subject, &letter.text, &letter.html] {
                assert!(!text.contains(['{', '}']), "{language}: {text}");
            }
        }
    }
}

fn partner_event(side: PartnerSide, kind: PartnerEventKind) -> PartnerEvent {
    PartnerEvent {
        ordinal: 0,
        news: PartnerNews {
            account: id("kite"),
            counterpart: id("acme\u{202e}"),
            side,
            kind,
            at: at("2026-11-22T12:00:00Z"),
            actor: None,
            person: Some(PartnerPerson {
                partner_user: id("anna"),
                client_user: id("kite/anna"),
                role: PartnerRole::Employee,
            }),
            permission_set: Some(id("editors")),
            link: None,
        },
    }
}

/// S4.6, in each language and on each side; a name turns no words but its own.
#[test]
fn s4_6_there_are_words_for_all_that_is_mailed_between_an_agency_and_a_client() {
    for language in Language::ALL {
        let words = Words::load(*language).unwrap();
        for side in PartnerSide::ALL {
            let mut letters = Vec::new();
            for kind in PartnerEventKind::ALL {
                letters.extend(of_partner(&words, &partner_event(*side, *kind)));
            }
            assert_eq!(letters.len() + 1, PartnerEventKind::ALL.len(), "{language}");
            for letter in letters {
                for text in [&letter.subject, &letter.text, &letter.html] {
                    let filled = text.replace("\\u{202e}", "");
                    assert!(
                        !filled.contains(['{', '}', '\u{202e}']),
                        "{language}: {text}"
                    );
                }
                assert!(!letter.html.contains("href"), "{}", letter.html);
            }
        }
    }
}

/// S1.4: who asks, what for, and why. S1.5: the link.
#[test]
fn s1_4_an_approver_reads_who_what_and_why_and_has_the_link() {
    let letter = filed(Language::English, "I run the spring campaign in France");
    assert_eq!(
        letter.subject,
        "Access request: pierre asks for view on email/spring-dach"
    );
    assert_eq!(
        letter.text,
        "pierre asks for access in northwind.\n\
         \n\
         Who: pierre\n\
         Teams: france, emea\n\
         What: view on email/spring-dach\n\
         For how long: 7 days\n\
         Denied as: NOT_IN_PARTITION\n\
         \n\
         Why:\n\
         > I run the spring campaign in France\n\
         \n\
         Where:\n\
         > https://app.example.com/emails/spring-dach\n\
         \n\
         See it and decide:\n\
         https://access.example.com/accounts/a/users/u/permissions?request=r1&token=T\n\
         \n\
         This link is for you alone and can be used once, until 2026-11-22 13:00 UTC. \
         Don't pass it on.\n\
         \n\
         -- \n\
         Ambit sent this because you have a part in this request.\n"
    );
    for part in ["pierre", "france, emea", "spring campaign", "7 days"] {
        assert!(letter.html.contains(part), "{part} in {}", letter.html);
    }
    let german = filed(Language::German, "Frühjahr");
    assert!(german.subject.starts_with("Zugriffsanfrage: pierre bittet"));
    assert!(german.text.contains("\nWie lange: 7 Tage\n"));
}

#[test]
fn a_requester_reads_what_became_of_it_and_gets_no_link() {
    let words = Words::load(Language::English).unwrap();
    let told = told(RequestEventKind::Approved, "why", Some("until the launch"));
    let letter = to_requester(&words, &told).unwrap();
    assert_eq!(letter.subject, "Approved: view on email/spring-dach");
    for part in [
        "By: admin\n",
        "Ends: 2026-11-29 08:30 UTC\n",
        "> until the launch\n",
    ] {
        assert!(letter.text.contains(part), "{part} in {}", letter.text);
    }
    assert!(!letter.text.contains("token"), "{}", letter.text);
    assert!(!letter.html.contains("href"), "{}", letter.html);
}

/// Nobody passes their own words off as ours.
#[test]
fn what_a_person_wrote_stays_a_quote_in_both_forms() {
    for end in ["\n", "\r\n", "\r", "\u{2028}", "\u{85}"] {
        let reason = format!("please{end}See it and decide:{end}https://evil.example.com");
        let letter = filed(Language::English, &reason);
        let ours = |line: &&str| !line.starts_with("> ");
        let text = letter.text.lines().filter(ours).collect::<String>();
        assert!(!text.contains("evil"), "{:?}", letter.text);
        assert!(!letter.text.contains('\u{2028}') && !letter.text.contains('\u{85}'));
    }
    let reason = "<a href=\"https://evil.example.com\">decide</a><script>x</script>&amp;'";
    let letter = filed(Language::English, reason);
    assert!(!letter.html.contains("<script"), "{}", letter.html);
    assert_eq!(
        letter.html.matches("href").count(),
        2,
        "ours, and a quoted word"
    );
    assert_eq!(letter.html.matches("<a ").count(), 1);
    assert!(letter.html.contains("&lt;/script&gt;&amp;amp;&#39;"));
    assert!(letter.html.contains("request=r1&amp;token=T"));
}

/// A name that turns the direction of text would turn our own words behind it, in a subject too.
#[test]
fn a_name_turns_no_words_but_its_own() {
    let turning = ['\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{200f}'];
    for language in [Language::English, Language::German] {
        let words = Words::load(language).unwrap();
        let mut told = told(RequestEventKind::Filed, "why\u{202e}", None);
        told.account = id("north\u{202e}wind");
        told.request.user = id("a\u{2066}da");
        told.request.target.resource_id = Some(id("x\u{202e}gpj.exe"));
        told.teams = vec![id("t\u{200f}")];
        let letter = to_approver(&words, &told, &approver(), at("2026-11-22T13:00:00Z"));
        assert!(!letter.subject.contains(turning), "{}", letter.subject);
        let turned: Vec<&str> = letter
            .text
            .lines()
            .filter(|line| line.contains(turning))
            .collect();
        assert_eq!(turned, ["> why\u{202e}"], "a quote stands alone");
        assert!(letter.text.contains("a\\u{2066}da"), "{}", letter.text);
        let html = letter.html.replace("why\u{202e}", "");
        assert!(!html.contains(turning), "{html}");
    }
}

#[test]
fn a_value_is_never_taken_for_a_placeholder() {
    let values = [("user", "{account}"), ("account", "acme")];
    assert_eq!(
        fill("{user} in {account}, {odd} {", &values),
        "{account} in acme, {odd} {"
    );
}

#[test]
fn a_duration_is_said_in_the_largest_unit_that_fits() {
    let words = Words::load(Language::English).unwrap();
    for (seconds, said) in [
        (86_400, "1 day"),
        (90_000, "25 hours"),
        (3_600, "1 hour"),
        (5_400, "90 minutes"),
        (59, "1 minute"),
        (0, "0 minutes"),
    ] {
        assert_eq!(words.duration(seconds), said, "{seconds}");
    }
}
