//! The examples in other languages, run as their page says against real servers.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use ambit::authz::change::{Change, ResourcePatch};
use ambit::authz::model::{Id, ResourceKey};
use ambit::client::{Question, Write};

use super::gate::Gate;
use super::pair::{Pair, client};
use crate::postgres::cluster;

/// How late the replica is that is asked: later than a second write takes.
const LATE: Duration = Duration::from_millis(50);

const EXPECTED: &str = "\
lena edits bosch: allow OWNER
pierre views spring-dach: deny NOT_IN_PARTITION
to be shown as PRESENTATION_BLOCKED_PAGE, to be asked for as REQUESTABLE_OBJECT
pierre views the emails alps, newsletter, spring-france
a new contact: RESOURCE_NOT_FOUND, then OWNER
";
const PYTHON: &str = "\
written once: True
juggling: INVALID_ARGUMENT UNKNOWN_ACTION
careless: say decision.allowed: a decision is not its own answer
";
const TYPESCRIPT: &str = "\
written once: true
juggling: INVALID_ARGUMENT UNKNOWN_ACTION
";

async fn run(
    language: &'static str,
    target: String,
    scratch: &Path,
    token_file: Option<&Path>,
) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/run");
    let mut command = Command::new(script);
    command.args([language, &target]).arg(scratch);
    if let Some(path) = token_file {
        command.env("TOKEN_FILE", path);
    }
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// Whether the far replica is behind after a write at the near one.
async fn far_is_late(pair: &Pair) -> bool {
    let id = |text: &str| Id::parse(text).unwrap();
    let patch = ResourcePatch {
        key: ResourceKey {
            resource_type: id("contact"),
            id: id("control"),
        },
        owners: Some([id("lena")].into()),
        owning_team: None,
        partitioned: None,
        attributes: None,
        creator: None,
    };
    let far = client(&pair.far.server);
    let question = Question::new("northwind", "lena", "contact", "edit").on("control");
    let write = Write::of("northwind", vec![Change::PutResource(patch)]).keyed("control");
    let near = client(&pair.near.server);
    // Twice under one key, as the examples do.
    near.apply(&write).await.unwrap();
    near.apply(&write).await.unwrap();
    let after = far.check(&question).await.unwrap();
    after.reason() == "RESOURCE_NOT_FOUND"
}

async fn speaks(language: &'static str, rest: &str) {
    let pair = Pair::start().await;
    pair.delay(LATE);
    assert!(far_is_late(&pair).await, "the control tells nothing");
    // Writes reach the near replica, questions the far one, which only the revision makes wait.
    let gate = Gate::between(pair.far.channel.clone(), pair.near.channel.clone()).await;
    gate.demand("Bearer secret");
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "secret\n").unwrap();
    let target = gate.url().trim_start_matches("http://").to_owned();
    let ran = run(language, target.clone(), folder.path(), Some(&token_file)).await;
    let complaint = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{complaint}");
    assert_eq!(
        String::from_utf8(ran.stdout).unwrap(),
        format!("{EXPECTED}{rest}"),
        "{complaint}"
    );
    let came = gate.came();
    assert!(came.len() >= 8, "{came:?}");
    for (path, credential) in came {
        assert_eq!(credential.as_deref(), Some("Bearer secret"), "{path}");
    }

    // Without the token, and without a server, there is no answer of any kind.
    let nobody = format!("127.0.0.1:{}", cluster::free_port());
    for (target, told) in [(target, "UNAUTHENTICATED"), (nobody, "UNAVAILABLE")] {
        let ran = run(language, target, folder.path(), None).await;
        let complaint = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(!ran.status.success(), "{told}");
        assert!(complaint.contains(told), "{complaint}");
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), "", "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_python_says_what_its_page_says() {
    speaks("python", PYTHON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_typescript_compiles_and_says_what_its_page_says() {
    speaks("typescript", TYPESCRIPT).await;
}
