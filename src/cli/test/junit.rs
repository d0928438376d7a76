//! The results as the XML that build servers read.

use std::fmt::Write as _;

use super::{CaseReport, FileReport, Report};

pub fn xml(report: &Report) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites name=\"ambit test\" tests=\"{}\" failures=\"{}\" errors=\"{}\">",
        report.passed + report.failed + report.invalid,
        report.failed,
        report.invalid
    );
    for file in &report.files {
        suite(&mut xml, file);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(xml: &mut String, file: &FileReport) {
    let failures = file.cases.iter().filter(|case| !case.passed).count();
    let errors = usize::from(file.error.is_some());
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\">",
        escaped(&file.file),
        file.cases.len() + errors,
    );
    if let Some(error) = &file.error {
        let _ = writeln!(
            xml,
            "    <testcase classname=\"{}\" name=\"the file is valid\"><error message=\"{}\"/></testcase>",
            escaped(&file.file),
            escaped(error)
        );
    }
    for case in &file.cases {
        testcase(xml, &file.file, case);
    }
    xml.push_str("  </testsuite>\n");
}

fn testcase(xml: &mut String, file: &str, case: &CaseReport) {
    let _ = write!(
        xml,
        "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\"",
        escaped(&case.account_id),
        escaped(&case.name),
        escaped(file),
        case.line
    );
    if case.passed {
        xml.push_str("/>\n");
        return;
    }
    let _ = writeln!(
        xml,
        "><failure message=\"expected {}, actual {}\">{}</failure></testcase>",
        escaped(&case.expected),
        escaped(&case.actual),
        escaped(case.explanation.as_deref().unwrap_or_default())
    );
}

/// For text and for attributes. XML 1.0 has no way to write most control characters and two
/// others, so these are shown as U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            character if character.is_control() => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_case_says_cannot_break_the_xml() {
        assert_eq!(
            escaped("a<b> & \"c\"\u{1b}\u{ffff}\n"),
            "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}\u{fffd}\n"
        );
    }

    #[test]
    fn counts_and_failures_are_told() {
        let case = |name: &str, passed| CaseReport {
            account_id: "acme".to_owned(),
            name: name.to_owned(),
            line: 7,
            passed,
            expected: "decision: allow".to_owned(),
            actual: "decision: deny".to_owned(),
            explanation: None,
        };
        let xml = xml(&Report::of(vec![
            FileReport {
                file: "a.yaml".to_owned(),
                error: None,
                cases: vec![case("one", true), case("two", false)],
            },
            FileReport {
                file: "b.yaml".to_owned(),
                error: Some("line 1: no".to_owned()),
                cases: Vec::new(),
            },
        ]));
        assert!(
            xml.contains("tests=\"3\" failures=\"1\" errors=\"1\""),
            "{xml}"
        );
        assert!(
            xml.contains("name=\"two\" file=\"a.yaml\" line=\"7\"><failure"),
            "{xml}"
        );
        assert!(xml.contains("<error message=\"line 1: no\"/>"), "{xml}");
    }
}
