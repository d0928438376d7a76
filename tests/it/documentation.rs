//! Holds the documentation to the product: links resolve, commands parse, settings, reason codes
//! and rule numbers are those that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ambit::authz::decision::{Presentation, ReasonCode, Requestable};
use ambit::cli::Cli;
use ambit::config::{KEYS, variable_of};
use clap::CommandFactory;
use clap::error::ErrorKind;

/// Variables that are no settings of the server: of the client commands, the tests and the
/// benchmarks.
const OTHER_VARIABLES: &[&str] = &[
    "AMBIT_SERVER",
    "AMBIT_SERVER_CA_FILE",
    "AMBIT_SERVER_NAME",
    "AMBIT_CLIENT_CERTIFICATE_FILE",
    "AMBIT_CLIENT_KEY_FILE",
    "AMBIT_TOKEN",
    "AMBIT_TOKEN_FILE",
    "AMBIT_TOKEN_IN_PLAINTEXT",
    "AMBIT_CONFIG",
    "AMBIT_PROPERTY_ROUNDS",
    "AMBIT_PROPERTY_SEED",
    "AMBIT_BLESS",
    "AMBIT_BENCH_CONTACTS",
];

struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    fn name(&self) -> String {
        self.path
            .strip_prefix(root())
            .unwrap()
            .display()
            .to_string()
    }

    /// The headings as the fragments that link to them.
    fn anchors(&self) -> BTreeSet<String> {
        self.text
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| anchor(line.trim_start_matches('#')))
            .collect()
    }

    /// Lines of the code blocks in one of these languages, with their numbers.
    fn code(&self, languages: &[&str]) -> Vec<(usize, &str)> {
        let mut lines = Vec::new();
        let mut language = None;
        for (at, line) in self.text.lines().enumerate() {
            match (line.trim().strip_prefix("```"), language) {
                (Some(named), None) => language = Some(named),
                (Some(_), Some(_)) => language = None,
                (None, Some(named)) if languages.contains(&named) => lines.push((at + 1, line)),
                (None, _) => {}
            }
        }
        assert_eq!(language, None, "{}: a code block has no end", self.name());
        lines
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page(path: &str) -> Page {
    let path = root().join(path);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Page { path, text }
}

fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "docs/decisions"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(page(path.to_str().unwrap()));
            }
        }
    }
    assert!(pages.len() > 10, "the pages were not found");
    pages
}

/// As code hosts make it: lower case, spaces to hyphens, no punctuation.
fn anchor(heading: &str) -> String {
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|character| match character {
            ' ' => Some('-'),
            other if other.is_alphanumeric() || other == '-' || other == '_' => Some(other),
            _ => None,
        })
        .collect()
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn links_between_pages_resolve() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in links(&page.text).filter(|link| !link.contains("://")) {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.path.clone(),
                file => page.path.parent().unwrap().join(file),
            };
            if target.is_dir() {
                continue;
            }
            // A picture has no headings, but is there.
            let Ok(bytes) = fs::read(&target) else {
                broken.push(format!("{}: {link}", page.name()));
                continue;
            };
            let target = Page {
                path: target,
                text: String::from_utf8_lossy(&bytes).into_owned(),
            };
            if !fragment.is_empty() && !target.anchors().contains(fragment) {
                broken.push(format!("{}: {link}: there is no such heading", page.name()));
            }
        }
    }
    assert_none(&broken, "a link leads nowhere");
}

#[test]
fn every_page_is_reached_from_the_index() {
    let index = page("docs/README.md");
    let decisions = page("docs/decisions/README.md");
    let linked: BTreeSet<PathBuf> = [&index, &decisions]
        .iter()
        .flat_map(|page| {
            links(&page.text).map(|link| {
                page.path
                    .parent()
                    .unwrap()
                    .join(link.split('#').next().unwrap())
            })
        })
        .map(|path| path.canonicalize().unwrap_or(path))
        .collect();
    let missing: Vec<String> = pages()
        .iter()
        .filter(|page| page.name().starts_with("docs/") && page.name() != "docs/README.md")
        .filter(|page| !linked.contains(&page.path.canonicalize().unwrap()))
        .map(Page::name)
        .collect();
    assert_none(&missing, "a page is not in the index");
}

/// The words of a command line: quotes hold words together, `#` begins a comment.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(end), _) if character == end => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// The calls of `ambit` in a line: each part of a pipe, without what it is redirected to.
fn calls(line: &str) -> Vec<Vec<String>> {
    let words = shell_words(line.trim_start().trim_start_matches("$ "));
    words
        .split(|word| word == "|" || word == "&&")
        .filter_map(|part| {
            let part: Vec<String> = part
                .iter()
                .take_while(|word| !matches!(word.as_str(), ">" | "<" | ">>" | "&" | "2>"))
                .cloned()
                .collect();
            let cargo = ["cargo", "run", "--release", "--"];
            if part.iter().take(cargo.len()).eq(cargo.iter()) {
                let own = part.iter().skip(cargo.len()).cloned();
                return Some(std::iter::once("ambit".to_owned()).chain(own).collect());
            }
            let name = Path::new(part.first()?).file_name()?.to_str()?;
            (name == "ambit").then_some(part)
        })
        .collect()
}

#[test]
fn commands_in_the_documentation_parse() {
    let mut seen = 0;
    let mut broken = Vec::new();
    for page in pages() {
        for (number, line) in page.code(&["sh", "console"]) {
            for call in calls(line) {
                seen += 1;
                let Err(error) = Cli::command().try_get_matches_from(&call) else {
                    continue;
                };
                if !matches!(
                    error.kind(),
                    ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
                ) {
                    let problem = error.to_string();
                    let problem = problem.lines().next().unwrap_or_default();
                    broken.push(format!(
                        "{}:{number}: {}: {problem}",
                        page.name(),
                        call.join(" ")
                    ));
                }
            }
        }
    }
    assert_none(&broken, "a command does not parse");
    assert!(seen > 20, "only {seen} commands were found");
}

#[test]
fn every_command_is_documented() {
    let manual = page("docs/cli.md");
    let missing: Vec<String> = Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .filter(|name| !manual.text.contains(&format!("\n## {name}\n")))
        .collect();
    assert_none(&missing, "docs/cli.md has no section for a command");
}

#[test]
fn settings_are_documented_as_they_are() {
    let manual = page("docs/configuration.md");
    let rows: Vec<Vec<&str>> = manual
        .text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().trim_matches('`'))
                .collect()
        })
        .collect();
    let documented: Vec<(&str, &str)> = rows.iter().map(|row| (row[0], row[1])).collect();
    let real: Vec<(&str, &str)> = KEYS.iter().map(|key| (key.name, key.default)).collect();
    assert_eq!(
        documented, real,
        "docs/configuration.md and config::KEYS differ"
    );

    let known: BTreeSet<String> = KEYS
        .iter()
        .map(|key| variable_of(key.name))
        .chain(OTHER_VARIABLES.iter().map(|name| (*name).to_owned()))
        .collect();
    for page in pages() {
        for word in page
            .text
            .split(|character: char| !(character.is_ascii_uppercase() || character == '_'))
        {
            let variable = word.starts_with("AMBIT_") && word.len() > "AMBIT_".len();
            assert!(
                !variable || known.contains(word),
                "{}: `{word}` is not a variable",
                page.name()
            );
        }
    }
}

#[test]
fn every_code_is_explained() {
    let rules = page("docs/rules.md");
    let codes = ReasonCode::ALL.iter().map(|code| code.as_str());
    let words = Requestable::ALL
        .iter()
        .map(|word| word.as_str())
        .chain(Presentation::ALL.iter().map(|word| word.as_str()));
    let missing: Vec<String> = codes
        .map(|code| format!("\n| `{code}` |"))
        .chain(words.map(|word| format!("`{word}`")))
        .filter(|needle| !rules.text.contains(needle))
        .collect();
    assert_none(&missing, "docs/rules.md does not explain a code");
}

/// Words of a text that look like the number of a rule: S2.8, P4, R6, D3, C5.
fn rule_numbers(text: &str) -> BTreeSet<String> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '.'))
        .map(|word| word.trim_matches('.'))
        .filter(|word| {
            let digits = |text: &str| {
                !text.is_empty()
                    && text.len() <= 2
                    && text.bytes().all(|byte| byte.is_ascii_digit())
            };
            match word.split_at_checked(1) {
                Some(("S", number)) => number.split_once('.').is_some_and(|(section, rule)| {
                    section.len() == 1 && digits(section) && digits(rule)
                }),
                Some(("P" | "R" | "D" | "C", number)) => digits(number),
                _ => false,
            }
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn rules_that_are_named_exist() {
    let list = page("docs/rule-list.md");
    let known: BTreeSet<String> = list
        .text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("- **")?
                .split("**")
                .next()
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(
        known.len(),
        11 + 18 + 30 + 28 + 10 + 12 + 8 + 11 + 17,
        "rules of S1 to S5, P, R, D and C"
    );

    let mut texts: Vec<Page> = pages();
    for folder in ["tests/it", "tests/cases", "catalogs"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                texts.push(page(path.to_str().unwrap()));
            }
        }
    }
    let mut broken = Vec::new();
    for page in texts {
        for rule in rule_numbers(&page.text).difference(&known) {
            broken.push(format!("{}: {rule}", page.name()));
        }
    }
    assert_none(&broken, "a rule is named that is not in docs/rule-list.md");
}

#[test]
fn pages_name_no_place_on_a_machine() {
    let mut broken = Vec::new();
    for page in pages() {
        for (number, line) in page.text.lines().enumerate() {
            if ["/work/", "/root/", "/home/", "/tmp/"]
                .iter()
                .any(|place| line.contains(place))
            {
                broken.push(format!("{}:{}: {line}", page.name(), number + 1));
            }
        }
    }
    assert_none(&broken, "a page names a place that a reader does not have");
}

#[test]
fn the_readers_of_pages_see_what_is_there() {
    assert_eq!(
        shell_words("ambit check 'a b' \"c\" d#e # note"),
        ["ambit", "check", "a b", "c", "d#e"]
    );
    assert_eq!(
        calls("cat ids | ./target/release/ambit filter a b c.d > kept"),
        [vec!["./target/release/ambit", "filter", "a", "b", "c.d"]]
    );
    assert_eq!(
        calls("cargo run --release -- serve --demo"),
        [vec!["ambit", "serve", "--demo"]]
    );
    assert_eq!(anchor(" Step 8: the *wall*"), "step-8-the-wall");
    assert_eq!(
        rule_numbers("S2.8 and (P4), C17. Not S2, SHA-256, P123, D, R2D2."),
        ["S2.8", "P4", "C17"].map(str::to_owned).into()
    );
}

#[tokio::test]
async fn the_sql_of_the_documentation_runs() {
    let folder = tempfile::tempdir().unwrap();
    // Opened and closed, so that the tables are there.
    drop(
        ambit::store::sqlite::SqliteStore::open(folder.path())
            .await
            .unwrap(),
    );
    let manual = page("docs/sqlite.md");
    let sql: String = manual
        .code(&["sql"])
        .into_iter()
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    let output = std::process::Command::new("sqlite3")
        .arg("-bail")
        .arg(folder.path().join("ambit.db"))
        .arg(&sql)
        .output()
        .expect("tests/setup installs the sqlite3 shell");
    let (answer, complaint) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "docs/sqlite.md: {complaint}");
    assert!(
        answer.starts_with("lena|view|2028-01-01 00:00:00\n"),
        "{answer}"
    );
    assert!(answer.contains("|resource|contact|c1\n"), "{answer}");
}
