//! An expression of a segment comes from a user, and is asked of records that come from anybody:
//! whatever both are, it is parsed or refused, and answers or not, in bounded time.
#![no_main]

use ambit::authz::model::Attributes;
use ambit::authz::segment::Expression;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (text, record) = input.split_once('\u{1f}').unwrap_or((input, "{}"));
    if let Ok(expression) = Expression::parse(text) {
        let record: Attributes = serde_json::from_str(record).unwrap_or_default();
        drop(std::hint::black_box(expression.ask(&record)));
    }
});
