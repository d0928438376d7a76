use super::*;

pub(super) fn load(
    flags: &[(&str, &str)],
    environment: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ambit.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Config::load(
        &flags.iter().map(pair).collect(),
        environment.iter().map(pair),
        file.map(|_| path.as_path()),
    )
    .map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
}

#[test]
fn without_any_configuration_the_documented_defaults_hold() {
    let config = load(&[], &[], None).unwrap();
    assert_eq!(
        config.database,
        Database::Directory(PathBuf::from("./ambit-data"))
    );
    assert_eq!(config.grpc_address.to_string(), "127.0.0.1:50051");
    assert_eq!(config.http_address.to_string(), "127.0.0.1:8080");
    assert!(!config.insecure);
    assert_eq!(config.staleness_bound, Duration::from_secs(2));
    assert_eq!(config.feed_poll_interval, Duration::from_millis(50));
    assert_eq!(config.shutdown_grace, Duration::from_secs(10));
    assert_eq!(config.log_format, LogFormat::Auto);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = Some("load_timeout_ms = 1000\nrequest_timeout_ms = 1000\nshutdown_grace_ms = 1000");
    let environment = &[
        ("AMBIT_LOAD_TIMEOUT_MS", "2000"),
        ("AMBIT_REQUEST_TIMEOUT_MS", "2000"),
    ];
    let config = load(&[("load_timeout_ms", "3000")], environment, file).unwrap();
    assert_eq!(config.load_timeout, Duration::from_secs(3));
    assert_eq!(config.transport.request_timeout, Duration::from_secs(2));
    assert_eq!(config.shutdown_grace, Duration::from_secs(1));
}

#[test]
fn a_share_is_written_in_the_file_as_a_number() {
    let ratio = |text: &str| load(&[], &[], Some(text)).map(|config| config.tracing.sample_ratio);
    let tenth = Ratio::parse("0.1").unwrap();
    assert_eq!(ratio("trace_sample_ratio = 0.1").unwrap(), tenth);
    assert_eq!(ratio("trace_sample_ratio = \"0.1\"").unwrap(), tenth);
    assert_eq!(
        ratio("trace_sample_ratio = 1").unwrap(),
        Ratio::parse("1").unwrap()
    );
    for bad in ["1.5", "-0.1", "nan", "0.00000001"] {
        let error = ratio(&format!("trace_sample_ratio = {bad}")).unwrap_err();
        assert!(error.contains("must be a number from 0 to 1"), "{error}");
    }
    let error = load(&[], &[], Some("load_timeout_ms = 1000.0")).unwrap_err();
    assert!(error.contains("must be a whole number"), "{error}");
}

#[test]
fn a_wrong_value_is_one_line_that_names_the_key_and_its_source() {
    let cases = [
        (
            load(&[("staleness_bound_ms", "soon")], &[], None),
            "flag `--staleness-bound-ms`: must be a whole number from 100 to 600000, this is `soon`",
        ),
        (
            load(&[], &[("AMBIT_GRPC_ADDRESS", "localhost")], None),
            "environment variable `AMBIT_GRPC_ADDRESS`: must be an IP address and a port as 127.0.0.1:50051, this is `localhost`",
        ),
        (
            load(&[], &[], Some("cache_bytes_max = 12")),
            "`cache_bytes_max` in `FILE`: must be a whole number from 1048576 to 1125899906842624, this is `12`",
        ),
        (
            load(&[], &[], Some("cache_bytes_max = \"1048576\"")),
            "`cache_bytes_max` in `FILE`: must be a whole number from 1048576 to 1125899906842624, this is `1048576`",
        ),
        (
            load(&[], &[], Some("load_timeout_ms = -1")),
            "`load_timeout_ms` in `FILE`: must be a whole number from 10 to 3600000, this is `-1`",
        ),
        (
            load(&[], &[], Some("data_dir = [1]")),
            "`data_dir` in `FILE`: must be text, a number, true or false, this is `[1]`",
        ),
        (
            load(&[("log_format", "xml")], &[], None),
            "flag `--log-format`: must be auto, human or json, this is `xml`",
        ),
        (
            load(&[("feed_poll_interval_ms", "1500")], &[], None),
            "flag `--feed-poll-interval-ms`: must be at most half of staleness_bound_ms, which is 2000, this is `1500`",
        ),
    ];
    for (loaded, expected) in cases {
        assert_eq!(loaded.unwrap_err(), expected);
    }
}

#[test]
fn an_unknown_key_of_the_file_is_an_error_and_an_unknown_variable_is_named() {
    let error = load(&[], &[], Some("staleness_bound = 3")).unwrap_err();
    assert!(error.contains("unknown key `staleness_bound`"), "{error}");
    let environment = &[
        ("AMBIT_SERVICE_HOST", "x"),
        ("AMBIT_SERVER", "y"),
        ("PATH", "z"),
    ];
    let config = load(&[], environment, None).unwrap();
    assert_eq!(config.ignored_variables, ["AMBIT_SERVICE_HOST"]);
}

#[test]
fn a_broken_or_absent_file_says_which_and_where() {
    let error = load(&[], &[], Some("data_dir = ")).unwrap_err();
    assert!(error.contains("`FILE` is not valid TOML"), "{error}");
    assert!(error.contains("line 1"), "{error}");
    let nowhere = "/nowhere/ambit.toml";
    let variable = ("AMBIT_CONFIG".to_owned(), nowhere.to_owned());
    for error in [
        Config::load(&BTreeMap::new(), [], Some(Path::new(nowhere))),
        Config::load(&BTreeMap::new(), [variable], None),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("`/nowhere/ambit.toml` can't be read"),
            "{error}"
        );
    }
}

#[test]
fn postgres_is_named_by_any_source_and_asked_less_often() {
    let url = "postgres://u:secret@h/d";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("{url}\n")).unwrap();
    let path = file.path().to_str().unwrap();
    for loaded in [
        load(&[("database_url", url)], &[], None),
        load(&[], &[("AMBIT_DATABASE_URL", url)], None),
        load(&[], &[], Some("database_url = \"postgres://u:secret@h/d\"")),
        load(&[("database_url_file", path)], &[], None),
        load(
            &[("database_url", url)],
            &[("AMBIT_DATABASE_URL_FILE", "")],
            None,
        ),
    ] {
        let config = loaded.unwrap();
        let Database::Url(named) = &config.database else {
            panic!("{config:?}");
        };
        assert_eq!(named.reveal(), url);
        assert_eq!(config.feed_poll_interval, Duration::from_millis(500));
        assert!(config.migrate);
        let shown = format!("{config:?}");
        assert!(!shown.contains("secret"), "{shown}");
    }
    let often = [("database_url", url), ("feed_poll_interval_ms", "50")];
    let config = load(&often, &[("AMBIT_NO_MIGRATE", "true")], None).unwrap();
    assert_eq!(config.feed_poll_interval, Duration::from_millis(50));
    assert!(!config.migrate);
}

#[test]
fn no_error_shows_a_database_url() {
    let url = "postgres://u:secret@h/d";
    let empty = tempfile::NamedTempFile::new().unwrap();
    let cases = [
        (
            load(&[("database_url", "secret")], &[], None),
            "must be a URL",
        ),
        (
            load(&[], &[], Some("database_url = [\"secret\"]")),
            "`database_url` in",
        ),
        (
            load(&[("database_url", url), ("data_dir", "d")], &[], None),
            "name two databases",
        ),
        (
            load(
                &[("database_url_file", "f")],
                &[("AMBIT_DATABASE_URL", url)],
                None,
            ),
            "name two databases",
        ),
        (
            load(&[("database_url_file", "/nowhere/f")], &[], None),
            "can't be read",
        ),
        (
            load(
                &[("database_url_file", empty.path().to_str().unwrap())],
                &[],
                None,
            ),
            "is empty",
        ),
    ];
    for (loaded, expected) in cases {
        let error = loaded.unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn an_address_that_others_can_reach_needs_insecure() {
    for address in ["0.0.0.0:50051", "[::]:50051", "192.168.1.1:1"] {
        let error = load(&[("grpc_address", address)], &[], None).unwrap_err();
        assert!(error.contains("is not a loopback address"), "{error}");
        assert!(!error.contains('\n'), "{error}");
        assert!(load(&[], &[("AMBIT_HTTP_ADDRESS", address)], None).is_err());
        assert!(
            load(
                &[("grpc_address", address), ("insecure", "true")],
                &[],
                None
            )
            .is_ok()
        );
    }
    for address in ["127.0.0.1:0", "127.8.9.1:1", "[::1]:0"] {
        assert!(load(&[("grpc_address", address)], &[], None).is_ok());
    }
}

#[test]
fn every_default_is_valid_and_every_key_is_read() {
    // Each key, set to nonsense, must be what the error is about: a key that is never read would
    // be accepted silently.
    for known in KEYS {
        if matches!(known.name, "data_dir" | "log_filter" | "tokens_file") {
            continue;
        }
        let error = load(&[(known.name, "nonsense")], &[], None).unwrap_err();
        let named = [flag_of(known.name), known.name.to_owned()];
        assert!(named.iter().any(|name| error.contains(name)), "{error}");
    }
    assert!(load(&[("data_dir", "")], &[], None).is_err());
}
