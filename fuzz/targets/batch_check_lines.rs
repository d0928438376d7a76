//! The lines of `ambit batch-check` come from a user: questions, or one error that names the line.
#![no_main]

use ambit::authz::model::Id;
use ambit::cli::batch_check::line;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let account = Id::parse("acme").expect("a plain id");
    match line::parse_all(text, &account) {
        Ok(lines) => {
            for line in lines {
                std::hint::black_box(line.item());
            }
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.chars().any(char::is_control), "not one line: {line:?}");
        }
    }
});
