//! Account documents: every example of the project is one, its cases hold, and what is exported
//! comes back as it was.

use ambit::authz::document::{Cases, Document, parse_file};
use ambit::authz::model::Timestamp;

fn now() -> Timestamp {
    Timestamp::parse("2026-11-22T00:00:00Z").unwrap()
}

/// Documents of a text that names no catalog files.
pub fn documents(text: &str) -> Vec<Document> {
    parse_file(text, &mut |path| Err(format!("no file {path}")))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Runs every case, and lists all that fail at once.
fn check_cases(origin: &str, text: &str) -> usize {
    let mut ran = 0;
    let mut failures = Vec::new();
    for document in documents(text) {
        let cases = Cases::new(&document).unwrap_or_else(|error| panic!("{origin}: {error}"));
        for result in cases.run_all(now()) {
            ran += 1;
            if !result.passed {
                failures.push(format!(
                    "{}: {}\n  expected {}\n  actual   {}\n  {}",
                    result.place,
                    result.name,
                    result.expected,
                    result.actual,
                    result.explanation.unwrap_or_default()
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{origin}: {} of {ran} cases fail\n{}",
        failures.len(),
        failures.join("\n")
    );
    ran
}

#[test]
fn every_case_of_the_project_holds() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for folder in ["tests/cases", "examples/demo"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                let ran = check_cases(&path.display().to_string(), &text);
                assert!(ran > 0, "{} has no cases", path.display());
                files += 1;
            }
        }
    }
    assert!(files >= 2);
}
