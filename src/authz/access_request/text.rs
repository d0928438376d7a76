//! What people write into a request: bounded, and without what could forge a line or hide in a page.

use super::RequestRefusal;

/// Longest reason or note, in characters (R1).
pub const TEXT_CHARS_MAX: usize = 1_000;
/// Longest origin URL, in bytes.
pub const ORIGIN_URL_BYTES_MAX: usize = 2_048;

/// Characters that turn the direction of the text around them, or end such a turn (Unicode, UAX 9).
/// People paste them with names and numbers, so a text may have them: whoever shows it sets it apart.
fn turns(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Characters that nobody sees, but for those that join others within a word or an emoji.
fn hides(character: char) -> bool {
    matches!(
        character,
        '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}'
    )
}

/// A reason or a note: 1 to 1,000 characters, of which some can be seen, and no control characters
/// but line breaks and tabs.
pub(super) fn check_text(field: &'static str, text: &str) -> Result<(), RequestRefusal> {
    let refuse = |problem: String| Err(RequestRefusal::InvalidField { field, problem });
    if text
        .chars()
        .all(|character| character.is_whitespace() || hides(character) || turns(character))
    {
        return refuse("say why, in 1 to 1,000 characters".to_owned());
    }
    let count = text.chars().count();
    if count > TEXT_CHARS_MAX {
        return refuse(format!(
            "at most {TEXT_CHARS_MAX} characters, this has {count}"
        ));
    }
    let control =
        |character: &char| character.is_control() && !matches!(character, '\n' | '\r' | '\t');
    match text.chars().find(control) {
        Some(character) => refuse(format!(
            "no control characters but line breaks and tabs, this has {character:?}"
        )),
        None => Ok(()),
    }
}

/// A note, where there is one.
pub(super) fn check_note(note: Option<&str>) -> Result<(), RequestRefusal> {
    note.map_or(Ok(()), |note| check_text("note", note))
}

/// The page of the denial: an absolute http or https URL with a host, so that a page that shows it
/// as a link never runs or reads anything else.
pub(super) fn check_origin_url(url: &str) -> Result<(), RequestRefusal> {
    let refuse = |problem: &str| {
        Err(RequestRefusal::InvalidField {
            field: "origin_url",
            problem: problem.to_owned(),
        })
    };
    if url.len() > ORIGIN_URL_BYTES_MAX {
        return refuse("at most 2,048 bytes");
    }
    let wrong = |character: char| {
        character.is_control()
            || character.is_whitespace()
            || turns(character)
            || hides(character)
            || matches!(character, '"' | '<' | '>' | '\\' | '`' | '{' | '|' | '}')
    };
    if url.contains(wrong) {
        return refuse("percent-encode spaces, quotes, brackets and control characters");
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return refuse("write an absolute URL, as https://app.example.com/emails");
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return refuse("only http and https URLs");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default();
    if authority.contains('@') {
        return refuse("leave out the user name and password");
    }
    if host.is_empty() {
        return refuse("the URL names no host");
    }
    Ok(())
}
