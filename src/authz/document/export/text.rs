//! YAML text that reads back as exactly what was meant. An id may be any text, so what any reader
//! of YAML could take for something else is put in quotes and escaped.

use serde_json::Value;

use crate::authz::model::Attributes;

/// Words that YAML readers, old and new, take for something other than a text.
const WORDS_QUOTED: [&str; 15] = [
    "null",
    "true",
    "false",
    "yes",
    "no",
    "on",
    "off",
    "y",
    "n",
    "nan",
    "inf",
    "infinity",
    "none",
    "nil",
    "undefined",
];

/// Attribute keys longer than this are written in the explicit form: YAML bounds the others at 1,024
/// characters, and a byte may take four where it is escaped.
const KEY_BYTES_MAX: usize = 128;

/// A text behind a key or a dash, or inside `[...]` or `{...}`.
pub(super) fn plain_or_quoted(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Letters, digits and `_`, joined by single `.`, `-`, `:`, `/`, `+` or `@` and begun by a letter.
fn is_plain(text: &str) -> bool {
    let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let joint = |character: char| matches!(character, '.' | '-' | ':' | '/' | '+' | '@');
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.ends_with(word)
        && text
            .chars()
            .all(|character| word(character) || joint(character))
        && !WORDS_QUOTED
            .iter()
            .any(|reserved| text.eq_ignore_ascii_case(reserved))
}

/// In double quotes; everything that isn't a letter, a digit or visible ASCII is escaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            ' ' => out.push(' '),
            _ if character.is_ascii_graphic() || character.is_alphanumeric() => {
                out.push(character);
            }
            _ => {
                let code = u32::from(character);
                let escaped = match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                };
                out.push_str(&escaped);
            }
        }
    }
    out.push('"');
    out
}

pub(super) fn flow_list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

pub(super) fn flow_map<K: AsRef<str>>(fields: impl IntoIterator<Item = (K, String)>) -> String {
    let fields: Vec<String> = fields
        .into_iter()
        .map(|(key, value)| format!("{}: {value}", key.as_ref()))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

/// A map of attributes as JSON within YAML.
pub(super) fn json_map(attributes: &Attributes) -> String {
    let fields: Vec<String> = attributes
        .iter()
        .map(|(key, value)| {
            let value = json(value);
            if key.len() > KEY_BYTES_MAX {
                format!("? {} : {value}", quoted(key))
            } else {
                format!("{}: {value}", quoted(key))
            }
        })
        .collect();
    format!("{{{}}}", fields.join(", "))
}

fn json(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => flow_list(items.iter().map(json)),
        Value::Object(fields) => json_map(fields),
    }
}

/// The text of a catalog behind its key: a literal block where it reads back exactly so, else in
/// quotes on one line.
pub(super) fn text_block_or_quoted(text: &str) -> String {
    let visible = |character: char| {
        character == '\n'
            || character == ' '
            || character.is_ascii_graphic()
            || character.is_alphanumeric()
    };
    let first_is_flush = text
        .lines()
        .next()
        .is_some_and(|line| !line.is_empty() && !line.starts_with(' '));
    let ends_once = text.ends_with('\n') && !text.ends_with("\n\n");
    let no_blank_ends = text.lines().all(|line| !line.ends_with(' '));
    if !(first_is_flush && ends_once && no_blank_ends && text.chars().all(visible)) {
        return quoted(text);
    }
    let mut out = String::from("|\n");
    for line in text.lines() {
        if !line.is_empty() {
            out.push_str("  ");
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_reader_mistakes_stays_bare() {
        for bare in [
            "de1",
            "contact.view",
            "team:de",
            "email/e1",
            "a-b_c",
            "x+y@z",
        ] {
            assert_eq!(plain_or_quoted(bare), bare);
        }
        for (text, quoted) in [
            ("null", "\"null\""),
            ("No", "\"No\""),
            ("1e3", "\"1e3\""),
            ("-1", "\"-1\""),
            ("a:", "\"a:\""),
            ("a b", "\"a b\""),
            ("*x", "\"*x\""),
            (" lead", "\" lead\""),
            ("\"\\", "\"\\\"\\\\\""),
            ("Zoë", "\"Zoë\""),
            ("\u{a0}\u{2028}\u{1f600}", "\"\\xa0\\u2028\\U0001f600\""),
        ] {
            assert_eq!(plain_or_quoted(text), quoted);
        }
    }

    #[test]
    fn a_catalog_is_a_block_where_that_reads_back_exactly() {
        assert_eq!(
            text_block_or_quoted("a: 1\n\nb: 2\n"),
            "|\n  a: 1\n\n  b: 2\n"
        );
        assert_eq!(text_block_or_quoted(" a: 1\n"), "\" a: 1\\n\"");
        assert_eq!(text_block_or_quoted("a: 1"), "\"a: 1\"");
        assert_eq!(text_block_or_quoted("a: 1\t\n"), "\"a: 1\\t\\n\"");
    }
}
