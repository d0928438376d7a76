//! An account document comes from a user: it is an account whose cases can be run, or refused with
//! one line, in bounded time.
#![no_main]

use ambit::authz::document::{self, Cases};
use ambit::authz::model::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut no_files = |path: &str| Err(format!("there is no file `{path}`"));
    let documents = match document::parse_file(text, &mut no_files) {
        Ok(documents) => documents,
        Err(error) => {
            let line = error.to_string();
            assert!(!line.chars().any(char::is_control), "not one line: {line:?}");
            return;
        }
    };
    let now = Timestamp::parse("2026-11-22T00:00:00Z").expect("a plain time");
    for document in &documents {
        if document.to_account().is_ok() {
            let cases = Cases::new(document).expect("an account whose cases can't be run");
            for result in cases.run_all(now) {
                std::hint::black_box(result);
            }
        }
    }
});
