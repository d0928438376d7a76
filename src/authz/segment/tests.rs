//! P5: what an expression says of a record, and what it may not be.
#![cfg(test)]

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::{
    Expression, ExpressionError, LIST_ITEMS_MAX, LOOP_OPERATIONS_MAX, NESTING_MAX, OPERATIONS_MAX,
};
use crate::authz::change::SEGMENT_WHEN_BYTES_MAX;
use crate::authz::model::Attributes;

fn attributes(json: &str) -> Attributes {
    serde_json::from_str(json).expect("an object of JSON")
}

fn parsed(text: &str) -> Expression {
    Expression::parse(text).unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

fn refused(text: &str) -> ExpressionError {
    Expression::parse(text)
        .map(drop)
        .expect_err(&format!("`{text}` was taken"))
}

#[test]
fn p5_an_expression_speaks_of_the_attributes_of_a_record() {
    let anna = attributes(
        r#"{"city": "Köln", "tags": ["gold", "news"], "score": 21, "rate": 0.5, "vip": true,
            "none": null, "address": {"zip": "50667"}, "lead-score": 7, "large": 18446744073709551615}"#,
    );
    for text in [
        "true",
        "resource.city == 'Köln'",
        "resource.city != 'köln'",
        "resource.city in ['Bonn', \"Köln\"]",
        "resource.city.startsWith('K') && resource.city.endsWith('ln') && resource.city.contains('öl')",
        "size(resource.city) == 4 && resource.tags.size() == 2",
        "'gold' in resource.tags",
        "!('silver' in resource.tags)",
        "resource.tags[0] == 'gold'",
        "resource.score > 20 && resource.score <= 21",
        "resource.score > 20.5",
        "resource.score * 2 + 1 == 43 && resource.score % 2 == 1 && -resource.score < 0",
        "resource.rate < 1",
        "resource.vip",
        "!resource.vip || resource.score / 2 == 10",
        "resource.none == null",
        "resource.address.zip == '50667'",
        "resource['lead-score'] == 7 && resource['address']['zip'] == '50667'",
        "resource.large > 1",
        "has(resource.city) && !has(resource.country) && has(resource.address.zip)",
        "has(resource.country) ? false : resource.city == 'Köln'",
        "resource.tags.exists(tag, tag.startsWith('go'))",
        "resource.tags.all(tag, size(tag) == 4)",
        "resource.tags.exists_one(tag, tag == 'news')",
        "resource.tags.exists(t, t == resource.city || t == 'gold') // what follows is no matter",
    ] {
        assert!(parsed(text).matches(&anna), "{text}");
    }
    // The control: each of them with one thing changed.
    for text in [
        "false",
        "resource.city == 'köln'",
        "resource.city in ['Bonn']",
        "resource.city.startsWith('k')",
        "'silver' in resource.tags",
        "resource.score > 21",
        "resource.tags.all(tag, tag == 'gold')",
        "resource.tags.exists_one(tag, size(tag) == 4)",
        "has(resource.country)",
        "resource.none != null",
    ] {
        assert!(!parsed(text).matches(&anna), "{text}");
    }
}

#[test]
fn p5_what_can_not_be_evaluated_is_no_match() {
    let anna = attributes(
        r#"{"city": "Köln", "score": 21, "tags": ["a"], "least": -9223372036854775808}"#,
    );
    for text in [
        "resource.country == 'DE'",
        "resource.country != 'DE'",
        "!(resource.country == 'DE')",
        "resource.city > 1",
        "resource.city",
        "resource.score",
        "resource.score.startsWith('2')",
        "resource.score + resource.city == 1",
        "resource.score / 0 == 1 || resource.score % 0 == 1",
        "resource.score * 9223372036854775807 > 0",
        "-resource.least > 0",
        "resource.least / -1 > 0 || resource.least % -1 == 0",
        "resource.tags[1] == 'a'",
        "resource.tags[-1] == 'a'",
        "resource.tags[resource.score] == 'a'",
        "resource.city.zip == 'a'",
        "resource.city.all(letter, true)",
        "resource.score in resource.city",
        "resource.tags.all(tag, tag > 1)",
        "resource.city ? true : true",
    ] {
        assert!(!parsed(text).matches(&anna), "{text}");
        assert!(
            !parsed(text).matches(&Attributes::new()),
            "{text} without attributes"
        );
    }
    // CEL: a part that is true or false anyhow outweighs one that can't be evaluated.
    assert!(parsed("resource.country == 'DE' || resource.score > 20").matches(&anna));
    assert!(!parsed("resource.country == 'DE' && resource.score > 20").matches(&anna));
    // Nothing is left to say why.
    let why = parsed("resource.country == 'DE'").ask(&anna);
    assert_eq!(why.unwrap_err().to_string(), "No such key: country");
    let why = parsed("resource.city").ask(&anna);
    assert_eq!(
        why.unwrap_err().to_string(),
        "it gives string, not true or false"
    );
}

#[test]
fn an_attribute_that_is_too_large_is_looked_into_by_no_expression() {
    let list = |count: usize| {
        let elements: Vec<String> = (0..count).map(|at| format!("\"{at}\"")).collect();
        attributes(&format!("{{\"tags\": [{}], \"a\": 1}}", elements.join(",")))
    };
    let (most, more) = (list(LIST_ITEMS_MAX), list(LIST_ITEMS_MAX + 1));
    for text in [
        "'1' in resource.tags",
        "!('x' in resource.tags)",
        "has(resource.tags)",
    ] {
        assert!(parsed(text).matches(&most), "{text}");
        assert!(!parsed(text).matches(&more), "{text}");
    }
    assert!(
        parsed("resource.a == 1").matches(&more),
        "another attribute"
    );
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        attributes(&format!("{{\"tags\": {open}{close}}}"))
    };
    assert!(parsed("has(resource.tags)").matches(&nested(NESTING_MAX)));
    assert!(!parsed("has(resource.tags)").matches(&nested(NESTING_MAX + 2)));
}

#[test]
fn an_expression_is_bounded_when_it_is_written() {
    let terms = |count: usize| vec!["resource.a == 1"; count].join(" || ");
    // Two operations a term, and one between two.
    parsed(&terms((OPERATIONS_MAX + 1) / 3));
    assert_eq!(
        refused(&terms(OPERATIONS_MAX / 3 + 2)),
        ExpressionError::TooLarge
    );
    let alternatives: Vec<String> = (0..800).map(|at| at.to_string()).collect();
    parsed(&format!("resource.a in [{}]", alternatives.join(",")));
    let asked = |count: usize| {
        let question = vec!["x == 1"; count].join(" || ");
        format!("resource.a.exists(x, {question})")
    };
    parsed(&asked(LOOP_OPERATIONS_MAX / 3));
    assert_eq!(
        refused(&asked(LOOP_OPERATIONS_MAX)),
        ExpressionError::LoopTooLarge
    );
    for (text, error) in [
        (String::new(), ExpressionError::Length { bytes: 0 }),
        (
            " ".repeat(SEGMENT_WHEN_BYTES_MAX + 1),
            ExpressionError::Length {
                bytes: SEGMENT_WHEN_BYTES_MAX + 1,
            },
        ),
        (
            format!("{}true{}", "(".repeat(17), ")".repeat(17)),
            ExpressionError::TooDeep { limit: 16 },
        ),
        (
            format!("resource.a{} == 1", ".b".repeat(NESTING_MAX)),
            ExpressionError::TooDeep { limit: NESTING_MAX },
        ),
        ("true?".repeat(20), ExpressionError::TooLarge),
        ("!-".repeat(2_000), ExpressionError::TooLarge),
        (
            "resource.a.all(x, resource.b.all(y, x == y))".to_owned(),
            ExpressionError::NestedLoops,
        ),
    ] {
        assert_eq!(refused(&text), error, "{text}");
    }
}

#[test]
fn what_is_no_expression_of_a_segment_is_told_in_one_line() {
    for (text, told) in [
        (
            "resource.a ==",
            "line 1, column 14: mismatched input '<EOF>' expecting expression",
        ),
        ("resource.a = 1", "line 1, column 12: "),
        (
            "resource.a == 1 resource.b",
            "line 1, column 17: mismatched input 'resource' expecting <EOF>",
        ),
        ("\n  #", "line 2, column 3: unexpected character"),
        ("resource.a == 'x", "line 1, column "),
        ("for", "line 1, column 1: reserved identifier: for"),
        (
            "resource == 1",
            "`resource` is asked for its attributes only",
        ),
        (
            "size(resource) > 1",
            "`resource` is asked for its attributes only",
        ),
        (
            "'a' in resource",
            "`resource` is asked for its attributes only",
        ),
        ("has(resource)", "line 1, column "),
        (
            "resource[resource.a] == 1",
            "the name of an attribute is written out",
        ),
        (
            "city == 'Bonn'",
            "there is no `city`: an expression speaks of `resource.<attribute>`",
        ),
        ("resource.a.exists(x, true) && x", "there is no `x`"),
        (
            "resource.a.exists(resource, true)",
            "`resource` is asked for its attributes only",
        ),
        (
            "resource.a.matches('a+')",
            "the function `matches` is not offered",
        ),
        ("now() > 1", "the function `now` is not offered"),
        (
            "size(resource.a, resource.b) > 1",
            "the function `size` is not offered",
        ),
        ("resource.a == b'x'", "bytes can't be used in a segment"),
        (
            "resource.a == {'a': 1}",
            "maps in the expression can't be used in a segment",
        ),
        (
            "resource.a == A{b: 1}",
            "messages in the expression can't be used in a segment",
        ),
        (
            "resource.a.map(x, x)[0] == 1",
            "macros other than has, exists, exists_one and all can't",
        ),
        (
            "resource.a.filter(x, true).size() > 1",
            "macros other than has, exists, exists_one and all can't",
        ),
        (
            "resource.a + 1",
            "the expression is true or false of no record",
        ),
        ("1", "the expression is true or false of no record"),
    ] {
        let error = refused(text).to_string();
        assert!(error.starts_with(told), "`{text}`: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn only_the_attributes_that_an_expression_names_are_read() {
    let expression =
        parsed("resource.a.b == 1 && has(resource.c) || resource['d'] in [resource.a]");
    assert_eq!(expression.attributes(), ["a", "c", "d"]);
}

/// Pieces of which most of what a hostile writer could think of is made.
const PIECES: &[&str] = &[
    "resource",
    ".",
    "a",
    "b",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "?",
    ":",
    ",",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "&&",
    "||",
    "==",
    "!=",
    "<",
    ">=",
    " in ",
    "'",
    "\"",
    "'a'",
    "1",
    "-9223372036854775808",
    "1e308",
    "18446744073709551615u",
    "0x",
    "has(",
    "exists(",
    "all(x, ",
    "exists_one(",
    "size(",
    "resource.a",
    "resource['b']",
    "x",
    "\\",
    "\u{0}",
    "ü",
    "`",
    "b'",
    "r'''",
    "//",
    "\n",
    "@",
    "$",
    "resource.a.all(x, ",
    "map(x, ",
    ".startsWith(",
    "_",
    "null",
    "true",
    "in",
    "for",
];

fn any_attribute() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("resource.a".to_owned()),
        Just("resource.b".to_owned()),
        Just("resource['c d']".to_owned()),
        Just("resource.a.b".to_owned()),
    ]
}

fn any_literal() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| format!("{number}u")),
        (-1e300..1e300).prop_map(|number: f64| format!("{number:e}")),
        "[a-zA-Z0-9 äß]{0,6}".prop_map(|text| format!("'{text}'")),
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        Just("[]".to_owned()),
        Just("0".to_owned()),
    ]
}

/// Conditions of which most have an answer where the record has the attributes.
fn any_condition() -> impl Strategy<Value = String> {
    let equals = prop::sample::select(vec!["==", "!="]);
    let leaf = prop_oneof![
        (any_attribute(), equals, any_literal()).prop_map(|(a, o, b)| format!("{a} {o} {b}")),
        (any_literal(), any_attribute()).prop_map(|(a, b)| format!("{a} in [{b}, {a}]")),
        Just("has(resource.a)".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

fn any_expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![4 => any_attribute(), 4 => any_literal(), 1 => Just("x".to_owned())];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let operator = prop::sample::select(vec![
            "==", "==", "!=", "!=", "<", "<=", ">", ">=", "&&", "||", "+", "-", "*", "/", "%", "in",
        ]);
        let method = prop::sample::select(vec!["startsWith", "endsWith", "contains"]);
        let loops = prop::sample::select(vec!["all", "exists", "exists_one"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            (inner.clone(), method, inner.clone()).prop_map(|(a, m, b)| format!("{a}.{m}({b})")),
            (inner.clone(), loops, inner.clone()).prop_map(|(a, l, b)| format!("{a}.{l}(x, {b})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            inner.clone().prop_map(|a| format!("!{a}")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("size({a})")),
            inner.prop_map(|a| format!("has({a}.b)")),
        ]
    })
}

fn any_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    let names = prop::sample::subsequence(vec!["a", "b", "c d"], 0..=3);
    let all = Just(vec!["a", "b", "c d"]);
    prop_oneof![1 => names, 4 => all].prop_flat_map(|names| {
        let values = prop::collection::vec(any_value(), names.len());
        values.prop_map(move |values| {
            let names = names.iter().map(|name| (*name).to_owned());
            names.zip(values).collect()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(20_261_130),
        failure_persistence: None,
        cases: 2_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_and_no_record_makes_an_expression_panic(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60),
        record in any_attributes(),
    ) {
        if let Ok(expression) = Expression::parse(&pieces.concat()) {
            let _ = expression.ask(&record);
        }
    }

    #[test]
    fn what_is_an_expression_gives_an_answer_or_none_of_any_record(
        text in prop_oneof![any_expression(), any_condition()], record in any_attributes(),
    ) {
        if let Ok(expression) = Expression::parse(&text) {
            let answer = expression.ask(&record);
            prop_assert_eq!(expression.matches(&record), answer == Ok(true));
            // Why there is none is told in words that show maps in no order.
            prop_assert_eq!(parsed(&text).ask(&record).ok(), answer.ok(), "asked twice");
        }
    }
}

/// The control of the tests above: a good part of what they make up is an expression at all, and
/// some of it is asked of a record with an answer.
#[test]
fn made_up_expressions_are_expressions_often_enough() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{Config, TestRunner};
    let mut runner = TestRunner::new(Config {
        rng_seed: RngSeed::Fixed(20_261_130),
        ..Config::default()
    });
    let (mut expressions, mut answers) = (0, 0);
    for _ in 0..1_000 {
        let text = any_expression().new_tree(&mut runner).unwrap().current();
        expressions += usize::from(Expression::parse(&text).is_ok());
        let condition = any_condition().new_tree(&mut runner).unwrap().current();
        let record = any_attributes().new_tree(&mut runner).unwrap().current();
        answers += usize::from(parsed(&condition).ask(&record).is_ok());
    }
    assert!(
        expressions > 100 && answers > 300,
        "{expressions} {answers}"
    );
}
