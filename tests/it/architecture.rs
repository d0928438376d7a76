//! Keeps the rules of `docs/architecture.md` that can be read off the source text: which module
//! may use which, where a library may be named, how files are called and how long they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the crate with the modules of the crate that it may name. Arrows go one way:
/// a module stands below everything that it uses. A new module is entered here with its arrows.
const ARROWS: &[(&str, &[&str])] = &[
    ("authz", &[]),
    ("clock", &["authz"]),
    ("randomness", &[]),
    ("shutdown", &[]),
    ("listening", &[]),
    ("callers", &["authz", "randomness"]),
    ("config", &["authz", "callers"]),
    ("store", &["authz", "callers"]),
    ("revision", &["authz", "store"]),
    ("graph_cache", &["authz", "clock", "revision", "store"]),
    (
        "feed",
        &[
            "authz",
            "clock",
            "graph_cache",
            "revision",
            "shutdown",
            "store",
        ],
    ),
    (
        "directory",
        &["authz", "clock", "graph_cache", "revision", "store"],
    ),
    ("links", &["authz"]),
    (
        "access_requests",
        &[
            "authz",
            "clock",
            "directory",
            "graph_cache",
            "links",
            "randomness",
            "revision",
            "store",
        ],
    ),
    (
        "imports",
        &["authz", "directory", "graph_cache", "revision", "store"],
    ),
    ("telemetry", &["authz", "config", "randomness"]),
    ("retention", &["authz", "clock", "store"]),
    (
        "metrics",
        &["authz", "clock", "feed", "graph_cache", "telemetry"],
    ),
    (
        "partitions",
        &[
            "authz",
            "clock",
            "directory",
            "graph_cache",
            "metrics",
            "randomness",
            "revision",
            "store",
        ],
    ),
    (
        "partners",
        &[
            "authz",
            "callers",
            "clock",
            "directory",
            "graph_cache",
            "randomness",
            "revision",
            "store",
        ],
    ),
    (
        "measured_store",
        &["authz", "callers", "clock", "metrics", "store"],
    ),
    ("tls", &["authz", "callers", "config", "metrics"]),
    (
        "authentication",
        &[
            "authz",
            "callers",
            "clock",
            "config",
            "randomness",
            "store",
            "tls",
        ],
    ),
    (
        "decision_log",
        &[
            "authz",
            "clock",
            "config",
            "metrics",
            "randomness",
            "telemetry",
        ],
    ),
    (
        "notifications",
        &[
            "authz",
            "clock",
            "config",
            "graph_cache",
            "links",
            "metrics",
            "randomness",
            "store",
        ],
    ),
    (
        "http",
        &[
            "access_requests",
            "authz",
            "clock",
            "directory",
            "feed",
            "graph_cache",
            "links",
            "listening",
            "metrics",
            "revision",
            "shutdown",
            "store",
            "tls",
        ],
    ),
    (
        "grpc",
        &[
            "access_requests",
            "authentication",
            "authz",
            "callers",
            "clock",
            "config",
            "decision_log",
            "directory",
            "feed",
            "graph_cache",
            "imports",
            "listening",
            "metrics",
            "partitions",
            "partners",
            "randomness",
            "revision",
            "shutdown",
            "store",
            "telemetry",
            "tls",
        ],
    ),
    (
        "client",
        &["authz", "clock", "grpc", "randomness", "revision"],
    ),
    ("demo", &["authz", "directory", "store"]),
    (
        "app",
        &[
            "access_requests",
            "authentication",
            "authz",
            "clock",
            "config",
            "decision_log",
            "demo",
            "directory",
            "feed",
            "graph_cache",
            "grpc",
            "http",
            "links",
            "measured_store",
            "metrics",
            "notifications",
            "partitions",
            "partners",
            "randomness",
            "retention",
            "revision",
            "shutdown",
            "store",
            "telemetry",
            "tls",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "authentication",
            "authz",
            "callers",
            "client",
            "clock",
            "config",
            "demo",
            "directory",
            "graph_cache",
            "grpc",
            "imports",
            "randomness",
            "revision",
            "shutdown",
            "store",
            "telemetry",
            "tls",
        ],
    ),
    ("main", &["cli"]),
];

/// Libraries that are kept in their place, and the modules that may name them.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("tonic", &["grpc", "client", "cli", "telemetry"]),
    ("tonic_health", &["grpc", "cli"]),
    ("tonic_reflection", &["grpc"]),
    ("tonic_types", &["grpc", "client", "cli"]),
    ("prost", &["grpc", "client", "cli"]),
    ("prost_types", &["grpc", "client", "cli"]),
    ("axum", &["http"]),
    ("askama", &["http"]),
    ("moka", &["graph_cache"]),
    ("http_body", &["grpc"]),
    ("jsonwebtoken", &["authentication"]),
    ("x509_cert", &["tls"]),
    ("subtle", &["callers"]),
    ("hyper", &["grpc", "http"]),
    ("hyper_util", &["grpc", "http"]),
    ("tokio_rustls", &["grpc", "listening", "tls"]),
    ("reqwest", &["authentication", "cli", "notifications"]),
    ("lettre", &["notifications"]),
    ("metrics_exporter_prometheus", &["metrics"]),
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli"]),
    ("indicatif", &["cli"]),
    ("tracing_subscriber", &["telemetry"]),
    ("tracing_opentelemetry", &["telemetry"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_proto", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("mimalloc", &["main"]),
];

/// What the pure core may not name: with any of these a decision would depend on more than its
/// arguments.
const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "sqlx",
    "tonic",
    "prost",
    "tracing",
    "axum",
    "moka",
    "getrandom",
    "SystemTime",
    "Instant",
    "println",
    "eprintln",
    "thread_local",
];
const IMPURE_STD: &[&str] = &["env", "fs", "io", "net", "process", "thread", "time"];

/// Words that say nothing about what is in a file.
const EMPTY_NAMES: &[&str] = &[
    "utils", "util", "common", "helpers", "helper", "types", "manager", "misc",
];

/// A file with more lines of product code asks for a cut.
const FILE_LINES_MAX: usize = 650;
/// Tests may be longer: a table of cases is read by its rows.
const TEST_FILE_LINES_MAX: usize = 1_000;

/// The attribute of a test module, or of a file that is one.
fn begins_tests(line: &str) -> bool {
    matches!(line.trim(), "#[cfg(test)]" | "#![cfg(test)]")
}

struct Source {
    /// Relative to the root of the project, with `/`.
    path: String,
    /// As written.
    text: String,
}

impl Source {
    /// The top-level module that the file belongs to.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split('/').next().unwrap().trim_end_matches(".rs")
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Lines of the product's code with their numbers: no comments, no content of string
    /// literals, nothing from the file's test module on. An import of several lines is one.
    fn code(&self) -> Vec<(usize, String)> {
        let mut code: Vec<(usize, String)> = Vec::new();
        let mut in_import = false;
        for (at, line) in self.text.lines().enumerate() {
            if begins_tests(line) {
                break;
            }
            let line = without_comments_and_strings(line);
            let continued = in_import;
            let begins = ["use ", "pub use ", "pub(crate) use "]
                .iter()
                .any(|word| line.trim_start().starts_with(word));
            in_import = (in_import || begins) && !line.contains(';');
            match code.last_mut() {
                Some((_, import)) if continued => import.push_str(line.trim()),
                _ => code.push((at + 1, line)),
            }
        }
        code
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_under(folder: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root(), &root().join(folder), extension, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(root: &Path, folder: &Path, extension: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(Source {
                path: path
                    .strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .replace('\\', "/"),
                text: fs::read_to_string(&path).unwrap(),
            });
        }
    }
}

/// What the product is built of; unit tests in files of their own are left out.
fn product_sources() -> Vec<Source> {
    let mut sources = files_under("src", "rs");
    sources.retain(|source| !source.is_test());
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

fn test_sources() -> Vec<Source> {
    let mut sources = files_under("src", "rs");
    sources.retain(Source::is_test);
    sources.extend(files_under("tests/it", "rs"));
    sources
}

/// Blanks comments and what is inside string literals of one line. Raw strings over several lines
/// are not followed; nothing that these tests look for is in one.
fn without_comments_and_strings(line: &str) -> String {
    let mut code = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    let mut in_string = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => {
                characters.next();
            }
            '"' => {
                in_string = !in_string;
                code.push('"');
            }
            '\'' if !in_string && characters.peek() == Some(&'"') => {
                characters.next();
            }
            '/' if !in_string && characters.peek() == Some(&'/') => break,
            _ if in_string => {}
            other => code.push(other),
        }
    }
    code
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character: char| !(character.is_alphanumeric() || character == '_'))
        .filter(|word| !word.is_empty())
}

/// Names that follow `prefix::` in a line, those of a brace list included.
fn names_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let (before, from) = code.split_at(at);
        let within =
            |character: char| character.is_alphanumeric() || character == '_' || character == ':';
        if before.chars().next_back().is_some_and(within) {
            continue;
        }
        let rest = from.strip_prefix(prefix).unwrap();
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            for part in list.split(',') {
                if depth == 0 {
                    names.extend(words(part).next().map(str::to_owned));
                }
                depth += part.matches('{').count();
                depth = depth.saturating_sub(part.matches('}').count());
            }
        } else {
            names.extend(words(rest).next().map(str::to_owned));
        }
    }
    names
}

fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn the_arrows_between_modules_go_one_way() {
    let mut broken = Vec::new();
    for source in product_sources() {
        let module = source.module();
        if module == "lib" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            broken.push(format!(
                "{}: the module `{module}` has no entry in ARROWS",
                source.path
            ));
            continue;
        };
        // In a file at the root of the crate, `super` is the crate too.
        let prefixes: &[&str] = match source.path.matches('/').count() {
            1 if module == "main" => &["ambit::", "crate::", "super::"],
            1 => &["crate::", "super::"],
            _ => &["crate::"],
        };
        for (number, code) in source.code() {
            let names = prefixes
                .iter()
                .flat_map(|prefix| names_after(&code, prefix));
            for used in names.filter(|used| ARROWS.iter().any(|(name, _)| name == used)) {
                if used != module && !allowed.contains(&used.as_str()) {
                    broken.push(format!(
                        "{}:{number}: `{module}` may not use `{used}`",
                        source.path
                    ));
                }
            }
        }
    }
    assert_none(&broken, "an arrow goes the wrong way");
}

#[test]
fn the_table_of_arrows_has_no_cycle_and_names_each_module() {
    let modules: BTreeSet<String> = product_sources()
        .iter()
        .map(|source| source.module().to_owned())
        .collect();
    for (module, uses) in ARROWS {
        assert!(
            modules.contains(*module),
            "ARROWS names `{module}`, which is gone"
        );
        for used in *uses {
            let (_, back) = ARROWS.iter().find(|(name, _)| name == used).expect(used);
            assert!(
                !back.contains(module),
                "`{module}` and `{used}` use each other"
            );
        }
    }
    // The order of the table is an order of the arrows: each module after all that it uses.
    for (position, (module, uses)) in ARROWS.iter().enumerate() {
        for used in *uses {
            assert!(
                ARROWS[..position].iter().any(|(name, _)| name == used),
                "`{used}` must stand above `{module}` in ARROWS"
            );
        }
    }
}

#[test]
fn libraries_keep_to_their_place() {
    let mut broken = Vec::new();
    for source in product_sources() {
        for (number, code) in source.code() {
            for (library, places) in LIBRARIES {
                let named = code.contains(&format!("{library}::"))
                    && words(&code).any(|word| word == *library);
                if named && !places.contains(&source.module()) {
                    broken.push(format!(
                        "{}:{number}: `{library}` belongs to {}",
                        source.path,
                        places.join(", ")
                    ));
                }
            }
        }
    }
    assert_none(&broken, "a library is named outside its place");
}

#[test]
fn the_core_is_pure() {
    let mut broken = Vec::new();
    for source in product_sources()
        .iter()
        .filter(|source| source.module() == "authz")
    {
        for (number, code) in source.code() {
            let impure = words(&code)
                .filter(|word| IMPURE.contains(word))
                .map(str::to_owned)
                .chain(
                    names_after(&code, "std::")
                        .into_iter()
                        .filter(|name| IMPURE_STD.contains(&name.as_str())),
                );
            broken.extend(impure.map(|word| format!("{}:{number}: `{word}`", source.path)));
        }
    }
    assert_none(&broken, "the core reaches outside its arguments");
}

#[test]
fn the_clock_is_read_in_one_place() {
    let mut broken = Vec::new();
    for source in product_sources() {
        let measures = source.path == "src/clock.rs" || source.path.starts_with("src/cli/bench");
        for (number, code) in source.code() {
            let reads = ["Instant::now", "SystemTime::now", "now_utc", "now_local"];
            if !measures && reads.iter().any(|read| code.contains(read)) {
                broken.push(format!("{}:{number}", source.path));
            }
        }
    }
    assert_none(&broken, "the system clock is read outside src/clock.rs");
}

#[test]
fn no_suite_is_wired_into_the_code() {
    let suites = ["hubspot", "brevo", "sendinblue", "ipresso"];
    let mut broken = Vec::new();
    for source in product_sources() {
        // The built-in catalogs and the demo are data that someone has to name once.
        if source.path.starts_with("src/authz/catalog") || source.module() == "demo" {
            continue;
        }
        for (number, line) in source
            .text
            .lines()
            .enumerate()
            .take_while(|(_, line)| !begins_tests(line))
        {
            let code = line.split("//").next().unwrap().to_lowercase();
            if suites.iter().any(|suite| code.contains(suite)) {
                broken.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert_none(&broken, "a suite is named in code; catalogs are data");
}

#[test]
fn files_are_named_for_what_they_hold() {
    let mut broken = Vec::new();
    for source in product_sources().iter().chain(&test_sources()) {
        let parts = source.path.trim_end_matches(".rs").split('/').skip(1);
        for part in parts {
            if part == "mod" || EMPTY_NAMES.contains(&part) {
                broken.push(source.path.clone());
            }
        }
    }
    assert_none(
        &broken,
        "a file has a name that says nothing (or is a mod.rs)",
    );
}

#[test]
fn files_stay_readable() {
    let mut broken = Vec::new();
    for source in product_sources() {
        let lines = source
            .text
            .lines()
            .take_while(|line| line.trim() != "#[cfg(test)]")
            .count();
        if lines > FILE_LINES_MAX {
            broken.push(format!(
                "{}: {lines} lines, {FILE_LINES_MAX} at most",
                source.path
            ));
        }
    }
    for source in test_sources() {
        let lines = source.text.lines().count();
        if lines > TEST_FILE_LINES_MAX {
            broken.push(format!(
                "{}: {lines} lines, {TEST_FILE_LINES_MAX} at most",
                source.path
            ));
        }
    }
    assert_none(&broken, "a file asks for a cut");
}

#[test]
fn nothing_is_left_for_later() {
    let mut broken = Vec::new();
    for source in product_sources()
        .iter()
        .chain(&files_under("tests/it", "rs"))
    {
        if source.path == "tests/it/architecture.rs" {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            let left = ["TODO", "FIXME", "XXX", "#[allow(", "#![allow(", "#[ignore"];
            if left.iter().any(|mark| line.contains(mark)) {
                broken.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert_none(
        &broken,
        "something is left for later, or an exception gives no reason",
    );
}

#[test]
fn the_readers_of_source_text_see_what_is_there() {
    assert_eq!(
        names_after(
            "use crate::{store::{self, Store}, authz::model};",
            "crate::"
        ),
        ["store", "authz"]
    );
    assert_eq!(
        names_after("let a = crate::store::f(); other_crate::x()", "crate::"),
        ["store"]
    );
    assert_eq!(
        without_comments_and_strings(r#"f("tokio::x // \" y"); // sqlx::"#),
        r#"f(""); "#
    );
    assert_eq!(
        without_comments_and_strings(r#"a('"', "b") // c"#),
        r#"a(', "") "#
    );
}
