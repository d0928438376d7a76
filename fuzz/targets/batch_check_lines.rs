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
        // Escaped where it is printed, like every message.
        Err(error) => assert!(error.to_string().starts_with("line "), "{error}"),
    }
});
