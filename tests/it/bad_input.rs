//! Bad input for catalogs and account documents: one clear error that names the place, and never
//! a panic.

use ambit::authz::catalog::Catalog;
use ambit::authz::document::Cases;
use ambit::authz::model::Id;
use ambit::authz::model::Timestamp;
use ambit::cli::batch_check::line::parse_all;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

mod catalogs;
mod documents;

use catalogs::CATALOG;
use documents::{DOCUMENT, read};

/// For each row: replaces one piece of the right text, and demands exactly this error. All rows
/// that differ are shown at once.
fn check(right: &str, rows: &[(&str, &str, &str)], read: impl Fn(&str) -> Result<(), String>) {
    assert_eq!(read(right), Ok(()));
    let mut differ = Vec::new();
    for (piece, wrong, error) in rows {
        assert!(right.contains(piece), "no piece `{piece}`");
        let actual = match read(&right.replacen(piece, wrong, 1)) {
            Ok(()) => "taken".to_owned(),
            Err(actual) => actual,
        };
        if actual != *error {
            differ.push(format!(
                "`{wrong}`\n  expected {error}\n  actual   {actual}"
            ));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    let mut bomb = String::from(
        "account: a\ncatalog: hubspot\nplan: free\nresources:\n- type: contact\n  id: c\n  attributes:\n    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n",
    );
    for n in 1..12 {
        let previous = format!("*a{}", n - 1);
        let items = [previous.as_str(); 10].join(", ");
        bomb.push_str(&format!("    a{n}: &a{n} [{items}]\n"));
    }
    let error = read(&bomb).unwrap_err().to_string();
    assert!(error.starts_with("line 1"), "{error}");
    for deep in [
        format!(
            "account: a\nresources: {}{}\n",
            "[".repeat(100_000),
            "]".repeat(100_000)
        ),
        format!("account: a\nresources: {}\n", "{a: ".repeat(100_000)),
        (0..5_000)
            .map(|depth| format!("{}a:\n", " ".repeat(depth)))
            .collect(),
        format!("account: {}\n", "&a ".repeat(100_000)),
        "--- {account: a, catalog: hubspot, plan: free}\n".repeat(2_000),
    ] {
        let error = read(&deep).unwrap_err().to_string();
        assert!(!error.contains('\n') && error.len() < 500, "{error}");
    }
}

#[test]
fn a_file_without_documents_says_so() {
    for text in ["", "# nothing\n", "---\n---\n", "null\n"] {
        assert_eq!(
            read(text).unwrap_err().to_string(),
            "there is no account document in the file"
        );
    }
}

/// Whatever comes out of a text, it is a value or one line; what parses can be run.
fn survives(text: &str) {
    let one_line = |error: &str| assert!(!error.chars().any(char::is_control), "{error:?}");
    if let Err(error) = Catalog::parse(text) {
        one_line(&error.to_string());
    }
    match read(text) {
        Err(error) => one_line(&error.to_string()),
        Ok(documents) => {
            let now = Timestamp::parse("2026-11-22T00:00:00Z").unwrap();
            for document in documents {
                document.to_changes(None, false).unwrap();
                Cases::new(&document).unwrap().run_all(now);
            }
        }
    }
}

/// Lines of `ambit batch-check`, in both of their forms.
const LINES: &str = r#"lena contact.view bosch
heike account.billing.edit
{"user_id": "lena", "resource_type": "contact", "action": "edit", "resource_id": "bosch"}
{"user_id": "lena", "resource_type": "contact", "action": "edit", "at": "2026-11-22T00:00:00Z"}
"#;

/// Replaces a few pieces of a right text by pieces that YAML or the format could stumble over.
fn mutated(text: &'static str) -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "",
        "\n",
        " ",
        "\t",
        ":",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "*a",
        "&a ",
        "!",
        "|",
        ">",
        "'",
        "\"",
        "\\",
        "#",
        "---\n",
        "null",
        "~",
        "999999999999999999999",
        "-1",
        "1e999",
        ".nan",
        "\u{0}",
        "\u{85}",
        "\u{feff}",
        "\u{1f600}",
        "contact",
        "view",
        "team:de",
        "group:",
        "users:",
        "<<: ",
        "? ",
        "%",
        "!!binary ",
        "2026-13-01T00:00:00Z",
    ]);
    let edits =
        proptest::collection::vec((any::<proptest::sample::Index>(), 0usize..4, pieces), 1..4);
    edits.prop_map(move |edits| {
        let mut characters: Vec<char> = text.chars().collect();
        for (at, length, piece) in edits {
            let from = at.index(characters.len());
            let to = (from + length).min(characters.len());
            characters.splice(from..to, piece.chars());
        }
        characters.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        rng_seed: RngSeed::Fixed(20_261_122),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn mutated_documents_are_read_or_refused(text in mutated(DOCUMENT)) {
        survives(&text);
    }

    #[test]
    fn mutated_catalogs_are_read_or_refused(text in mutated(CATALOG)) {
        survives(&text);
    }

    #[test]
    fn mutated_lines_of_batch_check_are_questions_or_name_the_line(text in mutated(LINES)) {
        match parse_all(&text, &Id::parse("acme").unwrap()) {
            Ok(lines) => prop_assert!(lines.len() <= text.lines().count()),
            Err(error) => prop_assert!(error.to_string().starts_with("line "), "{error}"),
        }
    }
}
