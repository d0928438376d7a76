//! Strict YAML for catalogs and account documents: typed, located, and bounded.
//!
//! Every value that can be wrong later carries its place, so that a check made long after parsing
//! still names line and column. Unknown and duplicate keys, unknown tags and loose booleans are
//! errors; budgets stop alias bombs and deep nesting before they cost memory or stack.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of lists and maps.
pub const DEPTH_MAX: usize = 64;
/// Most YAML documents in one file.
pub const DOCUMENTS_MAX: usize = 1_024;
/// Most lists, maps and scalars in one file, what aliases repeat included.
pub const NODES_MAX: usize = 50_000_000;
/// Most lists, maps and scalars that aliases may repeat in one file.
pub const REPEATED_MAX: usize = 1_000_000;

/// A place in a text. Lines and columns count from 1; 0 is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}", self.line)?;
        if self.column > 0 {
            write!(formatter, ", column {}", self.column)?;
        }
        Ok(())
    }
}

impl From<serde_saphyr::Location> for Place {
    fn from(location: serde_saphyr::Location) -> Self {
        let number = |long: u64| u32::try_from(long).unwrap_or(u32::MAX);
        Self {
            line: number(location.line()),
            column: number(location.column()),
        }
    }
}

/// A value and where it stands. Where an alias stands for it, the place is that of the alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    pub value: T,
    pub place: Place,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self {
            value: spanned.value,
            place: spanned.referenced.into(),
        })
    }
}

/// A map with free keys, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries<T>(pub Vec<(At<String>, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

/// A key that may be left out, be there without a value, or have one: the three differ where a
/// document changes what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Field<T> {
    #[default]
    Absent,
    Empty,
    Given(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<T>::deserialize(deserializer)? {
            Some(value) => Self::Given(value),
            None => Self::Empty,
        })
    }
}

/// Why a text is not what it should be; one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    pub place: Option<Place>,
    pub problem: String,
}

/// Reads each YAML document of a text; empty ones are skipped.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, YamlError> {
    serde_saphyr::from_multiple_with_options(text, options(text)).map_err(|error| explain(&error))
}

fn options(text: &str) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_documents: DOCUMENTS_MAX,
            max_nodes: NODES_MAX,
            max_events: NODES_MAX.saturating_mul(2),
            // What is written can't have more bytes than the text; what aliases repeat is bounded
            // by the replay limit below.
            max_total_scalar_bytes: text.len().saturating_mul(2).saturating_add(1 << 20),
            max_total_comment_bytes: text.len(),
            max_buffered_comment_events: 10_000,
            // One anchor may well be named by every user; how much that repeats is bounded below.
            max_aliases: REPEATED_MAX,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPEATED_MAX,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn explain(error: &serde_saphyr::Error) -> YamlError {
    use serde_saphyr::Error;
    let error = error.without_snippet();
    let place = error.location().map(Place::from);
    let problem = match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => format!(
            "unknown key `{}`; the keys here are {}",
            shown(field),
            expected.join(", ")
        ),
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => format!("`{}` is not one of {}", shown(variant), expected.join(", ")),
        Error::DuplicateMappingKey { key, .. } => match key {
            Some(key) => format!("the key `{}` is there twice", shown(key)),
            None => "a key is there twice".to_owned(),
        },
        Error::NullIntoString { .. } => {
            "a text is missing here; put the word in quotes if it is meant as one".to_owned()
        }
        Error::InvalidBooleanStrict { .. } => "this must be true or false".to_owned(),
        Error::InvalidScalar { ty, .. } => format!("this is not a valid {ty}"),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        } => format!("{} is not {}", one_line(unexpected), one_line(expected)),
        Error::Unexpected { expected, .. } => match *expected {
            "mapping start" => "a map is expected here".to_owned(),
            "sequence start" => "a list is expected here".to_owned(),
            "string scalar" => "a text is expected here".to_owned(),
            other => format!("expected {other}"),
        },
        Error::Budget { breach, .. } => {
            format!("the text asks for more than is allowed: {breach:?}")
        }
        Error::AliasError { error, .. } => explain(error).problem,
        other => without_place(&other.to_string()),
    };
    YamlError { place, problem }
}

/// The library ends its messages with their place, which we give first and in our own words.
fn without_place(message: &str) -> String {
    let text = message
        .rfind(" at line ")
        .map_or(message, |at| message.get(..at).unwrap_or(message));
    one_line(&text.lines().collect::<Vec<_>>().join(" "))
}

/// Text of a user for a message of one line: control characters escaped, and cut where it is long.
pub fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    let cut: String = text.chars().take(CHARACTERS_MAX).collect();
    let mut out = one_line(&cut);
    if cut.len() < text.len() {
        out.push_str("...");
    }
    out
}

/// A message without control characters: they are escaped.
pub fn one_line(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for character in message.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// A value of several forms: a text, a map or a list. Which of them fits is for the reader to say,
/// who can name the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form<M, I> {
    Text(String),
    Map(M),
    List(Vec<At<I>>),
}

impl<'de, M: Deserialize<'de>, I: Deserialize<'de>> Deserialize<'de> for Form<M, I> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FormVisitor<M, I>(PhantomData<(M, I)>);
        impl<'de, M: Deserialize<'de>, I: Deserialize<'de>> Visitor<'de> for FormVisitor<M, I> {
            type Value = Form<M, I>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text, a map or a list")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Form::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                M::deserialize(MapAccessDeserializer::new(map)).map(Form::Map)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Form::List(list))
            }
        }
        deserializer.deserialize_any(FormVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: At<String>,
        #[serde(default)]
        more: Field<Vec<At<String>>>,
        #[serde(default)]
        forms: Entries<At<Form<Inner, String>>>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        deep: At<u8>,
    }

    fn one(text: &str) -> Sample {
        parse(text).unwrap().remove(0)
    }

    fn error(text: &str) -> String {
        let error = parse::<Sample>(text).unwrap_err();
        format!("{}: {}", error.place.unwrap(), error.problem)
    }

    #[test]
    fn a_text_keeps_its_spelling_and_its_place() {
        for spelling in [
            "1e3",
            "007",
            "yes",
            "0x10",
            "2026-01-01",
            "1_000",
            ".inf",
            "true",
        ] {
            let sample = one(&format!("more: []\nname: {spelling}\n"));
            assert_eq!(sample.name.value, spelling);
            assert_eq!(sample.name.place, Place { line: 2, column: 7 });
        }
    }

    #[test]
    fn absent_empty_and_given_differ() {
        assert_eq!(one("name: a").more, Field::Absent);
        assert_eq!(one("name: a\nmore:").more, Field::Empty);
        assert_eq!(one("name: a\nmore: []").more, Field::Given(Vec::new()));
    }

    #[test]
    fn a_form_keeps_the_places_inside() {
        let sample = one("name: a\nforms: {x: word, y: {deep: 7}, z: [p, q]}\n");
        let [(_, x), (_, y), (key, z)] = sample.forms.0.as_slice() else {
            panic!("three entries");
        };
        assert_eq!(x.value, Form::Text("word".to_owned()));
        let Form::Map(inner) = &y.value else {
            panic!("a map");
        };
        assert_eq!(
            inner.deep.place,
            Place {
                line: 2,
                column: 28
            }
        );
        assert_eq!(key.place.column, 32);
        let Form::List(items) = &z.value else {
            panic!("a list");
        };
        assert_eq!(items[1].place.column, 39);
    }

    #[test]
    fn an_alias_stands_where_it_is_written() {
        let sample = one("more: [&a x]\nname: *a\n");
        assert_eq!(
            sample.name,
            At {
                value: "x".to_owned(),
                place: Place { line: 2, column: 7 },
            }
        );
    }

    #[test]
    fn json_is_yaml() {
        let sample = one("{\"name\": \"a\", \"more\": [\"b\"]}");
        assert_eq!(sample.name.value, "a");
    }

    #[test]
    fn errors_are_one_line_with_a_place() {
        assert_eq!(
            error("name: a\n\"b\\nc\": 1\n"),
            "line 2, column 1: unknown key `b\\nc`; the keys here are name, more, forms"
        );
        assert_eq!(
            error("name: !secret a\n"),
            "line 1, column 15: unsupported tag `!secret`"
        );
        let long = "x".repeat(100);
        assert_eq!(
            error(&format!("{long}: 1\n")),
            format!(
                "line 1, column 1: unknown key `{}...`; the keys here are name, more, forms",
                "x".repeat(80)
            )
        );
    }
}
