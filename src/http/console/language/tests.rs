use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::authz::access_request::{RequestEventKind, RequestState, ResolutionKind};
use crate::authz::decision::ReasonCode;
use crate::authz::model::{Level, UserStatus};
use crate::http::console::answer::Refused;

fn languages() -> Languages {
    Languages::load().unwrap()
}

fn english() -> Language {
    languages().choose(Some("en"), None).unwrap()
}

/// The places of a text.
fn places(text: &str) -> BTreeSet<&str> {
    text.split('{')
        .skip(1)
        .map(|rest| rest.split_once('}').expect(text).0)
        .collect()
}

fn texts(message: &Message) -> Vec<&str> {
    match message {
        Message::Plain(text) => vec![text],
        Message::Counted { one, other } => vec![one, other],
    }
}

#[test]
fn each_language_has_each_message_in_the_same_form_with_the_same_places() {
    let languages = languages();
    let english = english();
    assert!(languages.iter().count() >= 2);
    for language in languages.iter() {
        let code = language.code();
        let keys: BTreeSet<&String> = language.messages.keys().collect();
        assert_eq!(keys, english.messages.keys().collect(), "keys of {code}");
        for (key, message) in language.messages.iter() {
            for text in texts(message) {
                assert!(!text.trim().is_empty(), "{code}: `{key}` is empty");
            }
            match (message, &english.messages[key]) {
                (Message::Plain(one), Message::Plain(other)) => {
                    assert_eq!(places(one), places(other), "{code}: places of `{key}`");
                }
                // A form of its own may leave the number out.
                (Message::Counted { other: one, .. }, Message::Counted { other, .. }) => {
                    assert_eq!(places(one), places(other), "{code}: places of `{key}`");
                }
                (one, other) => panic!("{code}: `{key}` is {one:?}, and in English {other:?}"),
            }
        }
    }
}

#[test]
fn each_word_of_the_rules_and_each_key_of_the_code_is_in_the_catalogs() {
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut add = |prefix: &str, words: &[&str]| {
        wanted.extend(words.iter().map(|word| format!("{prefix}.{word}")));
    };
    let words = |all: &[ReasonCode]| all.iter().map(|one| one.as_str()).collect::<Vec<_>>();
    add("reason", &words(ReasonCode::ALL));
    for state in RequestState::ALL {
        add("state", &[state.as_str()]);
    }
    for kind in RequestEventKind::ALL {
        add("event", &[kind.as_str()]);
    }
    for kind in ResolutionKind::ALL {
        add("resolution", &[kind.as_str()]);
    }
    for level in Level::ALL {
        add("level", &[level.as_str()]);
    }
    for status in UserStatus::ALL {
        add("status", &[status.as_str()]);
    }
    for unit in Unit::ALL {
        add("unit", &[unit.as_str()]);
        add("duration", &[unit.as_str()]);
    }
    for month in 1..=12 {
        add("time.month", &[&month.to_string()]);
    }
    for refused in Refused::ALL {
        wanted.insert(refused.key().to_owned());
        wanted.insert(format!("{}_title", refused.key()));
    }
    wanted.insert("message.left_title".to_owned());
    let english = english();
    let groups: BTreeSet<&str> = english
        .messages
        .keys()
        .filter_map(|key| Some(key.split_once('.')?.0))
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("src/http/console.rs")];
    for folder in ["src/http/console", "templates/console"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    for file in files.iter().filter(|file| file.is_file()) {
        let text = std::fs::read_to_string(file).unwrap();
        wanted.extend(keys_in(&text, &groups));
    }
    assert!(wanted.len() > 150, "the keys were not found: {wanted:?}");
    let known: BTreeSet<String> = english.messages.keys().cloned().collect();
    let missing: Vec<&String> = wanted.difference(&known).collect();
    assert!(missing.is_empty(), "no catalog has {missing:?}");
    let unused: Vec<&String> = known.difference(&wanted).collect();
    assert!(unused.is_empty(), "nothing says {unused:?}");
}

/// Quoted words of the form `group.key`.
fn keys_in(text: &str, groups: &BTreeSet<&str>) -> Vec<String> {
    text.split('"')
        .filter(|word| {
            let plain =
                |character: char| character.is_ascii_alphanumeric() || "._".contains(character);
            word.chars().all(plain) && !word.ends_with('.')
        })
        .filter(|word| {
            word.split_once('.')
                .is_some_and(|(group, _)| groups.contains(group))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_reader_gets_the_language_that_they_like_best_of_those_that_there_are() {
    let languages = languages();
    let code = |named: Option<&str>, accepted: Option<&str>| {
        languages.choose(named, accepted).unwrap().code().to_owned()
    };
    for (accepted, wanted) in [
        (None, "en"),
        (Some(""), "en"),
        (Some("de"), "de"),
        (Some("DE-at,en;q=0.5"), "de"),
        (Some("en;q=0.5, de;q=0.8"), "de"),
        (Some("fr, pl;q=0.9, de;q=0.1"), "de"),
        (Some("de;q=0, en"), "en"),
        (Some("de;q=0"), "en"),
        (Some("*"), "en"),
        (Some("de;q=2, en"), "en"),
        (Some("de;q=x, ;;;,=,"), "en"),
        (Some("den"), "en"),
    ] {
        assert_eq!(code(None, accepted), wanted, "{accepted:?}");
    }
    assert_eq!(code(Some("de"), Some("en")), "de");
    assert_eq!(code(Some("xx"), Some("de")), "de");
}

#[test]
fn names_are_escaped_and_set_apart_and_never_taken_for_places() {
    let english = english();
    let hostile = "<script>'\"&{what}{at}</script>";
    let said = english.say(
        "event.given_until",
        &[
            ("what", Value::Name(hostile)),
            ("at", Value::Plain("<now>")),
        ],
    );
    assert_eq!(
        said.to_string(),
        "Given until &lt;now&gt;: <bdi>&lt;script&gt;&#39;&quot;&amp;{what}{at}&lt;/script&gt;</bdi>"
    );
    // A place without a value, and braces that are no place, stay.
    let open = english.say("event.given_until", &[("what", Value::Plain("x"))]);
    assert_eq!(open.to_string(), "Given until {at}: x");
    assert_eq!(english.text("no.such.key"), "no.such.key");
}

#[test]
fn times_and_spans_are_said_in_words() {
    let at = Timestamp::parse("2026-03-02T05:07:59.999999Z").unwrap();
    let german = languages().choose(Some("de"), None).unwrap();
    assert_eq!(english().moment(at), "2 March 2026, 05:07 UTC");
    assert_eq!(german.moment(at), "2. März 2026, 05:07 Uhr UTC");
    for (seconds, english_text, german_text) in [
        (1, "1 second", "1 Sekunde"),
        (90, "90 seconds", "90 Sekunden"),
        (60, "1 minute", "1 Minute"),
        (5_400, "90 minutes", "90 Minuten"),
        (3_600, "1 hour", "1 Stunde"),
        (86_400, "1 day", "1 Tag"),
        (1_209_600, "14 days", "14 Tage"),
        (0, "0 seconds", "0 Sekunden"),
    ] {
        assert_eq!(english().duration(seconds), english_text);
        assert_eq!(german.duration(seconds), german_text);
    }
}
