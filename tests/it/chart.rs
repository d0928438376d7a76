//! The Helm chart against the server that it starts: its settings are the server's, and what it
//! renders comes up on a real Postgres and answers the probes that Kubernetes would ask.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ambit::config::{Form, KEYS};
use serde_json::Value;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cli::program::{ambit, run};
use crate::faults::replica::until;
use crate::postgres::cluster;

/// Settings that the chart makes of its other values, and that can't be set under `config`.
const OF_THE_CHART: &[&str] = &[
    "data_dir",
    "database_url_file",
    "grpc_address",
    "http_address",
    "no_migrate",
];

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("helm/ambit")
}

#[test]
fn the_chart_takes_the_settings_that_the_server_has_but_for_secrets_and_its_own() {
    let schema = std::fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let taken = schema["properties"]["config"]["properties"]
        .as_object()
        .unwrap();
    let taken: BTreeSet<&str> = taken.keys().map(String::as_str).collect();
    // A ConfigMap is no place for a secret: those are mounted, and named by their files.
    let expected: BTreeSet<&str> = KEYS
        .iter()
        .filter(|key| key.form != Form::Secret && !OF_THE_CHART.contains(&key.name))
        .map(|key| key.name)
        .collect();
    assert_eq!(taken, expected, "left: the schema, right: the server");
}

/// Helm as `tests/setup` installs it.
fn helm() -> Command {
    let versions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/versions");
    let told = Command::new("bash")
        .arg("-c")
        .arg(r#"source "$0" && printf %s "$HELM""#)
        .arg(versions)
        .output()
        .unwrap();
    Command::new(String::from_utf8(told.stdout).unwrap())
}

/// What the chart renders, document by document.
fn render(values: &[&str]) -> Vec<Value> {
    let mut command = helm();
    command.args(["template", "ambit"]).arg(chart());
    command.args(["--namespace", "ambit"]);
    for value in values {
        command.args(["--set", value]);
    }
    let rendered = command.output().unwrap();
    let errors = String::from_utf8_lossy(&rendered.stderr);
    assert!(rendered.status.success(), "{errors}");
    String::from_utf8(rendered.stdout)
        .unwrap()
        .split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .filter(|document: &Value| !document.is_null())
        .collect()
}

fn of_kind<'d>(documents: &'d [Value], kind: &str, name: &str) -> &'d Value {
    documents
        .iter()
        .find(|document| document["kind"] == kind && document["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// A container's command, with the paths that it is given moved to where this test has put them.
fn command_of(container: &Value, root: &Path) -> Command {
    let words = |key: &str| {
        let words = container[key].as_array().unwrap().iter();
        words.map(|word| word.as_str().unwrap().to_owned())
    };
    let program: Vec<String> = words("command").collect();
    assert_eq!(program, ["/usr/local/bin/ambit"]);
    let arguments = words("args").map(|word| match word.strip_prefix('/') {
        Some(path) => root.join(path).to_str().unwrap().to_owned(),
        None => word,
    });
    ambit(arguments)
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The rendered migration and the rendered Deployment, run by hand: the job brings the database up,
/// then the server starts with its arguments and configuration and turns ready by the probes.
#[tokio::test]
async fn what_the_chart_starts_comes_up_and_turns_ready() {
    let documents = render(&["tls.enabled=false", "tls.encryptedByMesh=true"]);
    let database = cluster::Database::empty();
    let root = tempfile::tempdir().unwrap();
    let secrets = root.path().join("run/secrets/ambit/database");
    std::fs::create_dir_all(&secrets).unwrap();
    std::fs::write(secrets.join("url"), database.url()).unwrap();

    let job = of_kind(&documents, "Job", "ambit-migrate");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let migrated = run(&mut command_of(container, root.path())).ends(0);
    assert!(migrated.stdout.contains("has schema"), "{migrated:?}");

    let (grpc, http) = (cluster::free_port(), cluster::free_port());
    let config = &of_kind(&documents, "ConfigMap", "ambit")["data"]["ambit.toml"];
    let config = config
        .as_str()
        .unwrap()
        .replace("0.0.0.0:50051", &format!("127.0.0.1:{grpc}"))
        .replace("0.0.0.0:8080", &format!("127.0.0.1:{http}"))
        .replace(
            "/run/secrets",
            root.path().join("run/secrets").to_str().unwrap(),
        );
    std::fs::create_dir_all(root.path().join("etc/ambit")).unwrap();
    std::fs::write(root.path().join("etc/ambit/ambit.toml"), config).unwrap();

    let deployment = of_kind(&documents, "Deployment", "ambit");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let mut command = command_of(container, root.path());
    let server = command.stdout(Stdio::null()).stderr(Stdio::inherit());
    let _server = Ended(server.spawn().unwrap());

    let path = |probe: &str| {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["port"], "http", "{probe}");
        get["path"].as_str().unwrap().to_owned()
    };
    let answers = async |path: &str| {
        let url = format!("http://127.0.0.1:{http}{path}");
        let answer = reqwest::get(url).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    };
    let (started, lives) = (path("startupProbe"), path("livenessProbe"));
    until("the startup probe passes", async || answers(&started).await).await;
    until("the liveness probe passes", async || answers(&lives).await).await;
    assert_eq!(container["readinessProbe"]["grpc"]["port"], 50_051);
    until("the readiness probe passes", async || {
        let server = Channel::from_shared(format!("http://127.0.0.1:{grpc}")).unwrap();
        let Ok(channel) = server.connect().await else {
            return false;
        };
        let mut health = HealthClient::new(channel);
        // As a kubelet asks: of the server as a whole, and without a credential.
        let answer = health.check(HealthCheckRequest::default()).await;
        answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
    })
    .await;
    let url = format!("http://127.0.0.1:{http}");
    let asked = run(&mut ambit(["ready", "--url", &url])).ends(0);
    assert_eq!(asked.stdout, "ready\n");
}

/// `ambit ready`, which `helm test` and an image's health check run, tells by its status.
#[test]
fn ready_says_by_its_status_that_nobody_answers() {
    let url = format!("http://127.0.0.1:{}", cluster::free_port());
    let asked = run(&mut ambit(["ready", "--url", &url])).ends(3);
    assert!(asked.stderr.starts_with("error: "), "{asked:?}");
}
