use super::super::tests::load;
use super::*;

/// 24 and 32 bytes.
const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const PREVIOUS: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
const URL: (&str, &str) = ("webhook_url", "https://hooks.example.com/ambit/T0KEN");

fn settings(flags: &[(&str, &str)], file: Option<&str>) -> NotificationSettings {
    load(flags, &[], file).unwrap().notifications
}

#[test]
fn nobody_is_told_by_default() {
    let settings = settings(&[], None);
    assert_eq!(settings.console_url, None);
    assert_eq!(settings.link_ttl, Duration::from_secs(3_600));
    assert!(settings.webhooks.is_empty());
    assert!(settings.webhook_allowed_networks.is_empty());
    assert_eq!(settings.webhook_authorities, None);
    assert_eq!(settings.mail, None);
}

#[test]
fn a_webhook_is_set_by_flags_and_its_secret_by_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{PREVIOUS}\n")).unwrap();
    let previous = (
        "webhook_secret_previous_file",
        file.path().to_str().unwrap(),
    );
    let settings = settings(&[URL, ("webhook_secret", SECRET), previous], None);
    let [webhook] = settings.webhooks.as_slice() else {
        panic!("one webhook: {settings:?}");
    };
    assert_eq!(webhook.name, "default");
    assert_eq!(webhook.url.as_str(), URL.1);
    let lengths: Vec<usize> = webhook
        .secrets
        .iter()
        .map(|secret| secret.reveal().len())
        .collect();
    assert_eq!(lengths, [24, 32], "the present one first");
    let shown = format!("{settings:?}");
    assert!(!shown.contains("T0KEN"), "{shown}");
    assert!(!shown.contains("[0, 1, 2"), "{shown}");
}

#[test]
fn any_number_of_webhooks_come_from_the_file() {
    let file = format!(
        r#"
        webhook_url = "https://hooks.example.com/all"
        webhook_secret = "{SECRET}"
        console_url = "https://access.example.com/ambit/"
        webhook_allowed_networks = "10.1.0.0/16, fd00:1::/64"

        [[webhooks]]
        name = "chat"
        url = "http://chat.internal:8080/hook"
        secret = "{SECRET}"
        previous_secret = "{PREVIOUS}"
        accounts = ["acme", "bonbon"]

        [[webhooks]]
        name = "audit"
        url = "https://audit.example.com"
        secret = "{SECRET}"
        "#
    );
    let settings = settings(&[], Some(&file));
    let names: Vec<(&str, usize, usize)> = settings
        .webhooks
        .iter()
        .map(|webhook| {
            (
                webhook.name.as_str(),
                webhook.secrets.len(),
                webhook.accounts.len(),
            )
        })
        .collect();
    assert_eq!(names, [("default", 1, 0), ("chat", 2, 2), ("audit", 1, 0)]);
    assert_eq!(settings.webhook_allowed_networks.len(), 2);
    assert_eq!(
        settings.console_url.as_deref(),
        Some("https://access.example.com/ambit")
    );
}

#[test]
fn mail_is_set_by_a_url_and_a_sender() {
    let url = (
        "smtp_url",
        "smtp://user:hunter2@mail.example.com:587?tls=required",
    );
    let settings = settings(
        &[
            url,
            ("email_from", "access@example.com"),
            ("email_language", "de"),
        ],
        None,
    );
    let mail = settings.mail.unwrap();
    assert_eq!(mail.smtp_url.reveal(), url.1);
    assert_eq!(mail.from, "access@example.com");
    assert_eq!(mail.language, Language::German);
    assert!(!format!("{mail:?}").contains("hunter2"));
}

#[test]
fn what_is_wrong_with_a_flag_is_named_and_no_secret_is_shown() {
    let flags: &[(&[(&str, &str)], &str)] = &[
        (&[URL], "needs webhook_secret too"),
        (&[("webhook_secret", SECRET)], "needs webhook_url too"),
        (
            &[URL, ("webhook_secret_previous", SECRET)],
            "needs webhook_secret too",
        ),
        (
            &[URL, ("webhook_secret", "whsec_T0KEN")],
            "must be whsec_ and 24 to 64",
        ),
        (
            &[URL, ("webhook_secret", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX")],
            "must be whsec_",
        ),
        (
            &[
                URL,
                ("webhook_secret", SECRET),
                ("webhook_secret_file", "f"),
            ],
            "say the same thing twice",
        ),
        (
            &[
                ("webhook_url", "http://hooks.example.com/T0KEN"),
                ("webhook_secret", SECRET),
            ],
            "must begin with https://",
        ),
        (
            &[
                ("webhook_url", "https://u:T0KEN@h.example.com"),
                ("webhook_secret", SECRET),
            ],
            "neither a user nor a password",
        ),
        (
            &[
                ("webhook_url", "file:///etc/T0KEN"),
                ("webhook_secret", SECRET),
            ],
            "must begin with https://",
        ),
        (
            &[("webhook_allowed_networks", "10.0.0.0/33")],
            "must be networks",
        ),
        (
            &[("webhook_ca_file", "/dev/null")],
            "flag `--webhook-ca-file`: must be a file of certificates in PEM, which has none",
        ),
        (
            &[("webhook_ca_file", "/no/such/file")],
            "flag `--webhook-ca-file`: must be a file of certificates in PEM: ",
        ),
        (&[("console_url", "ftp://x")], "must be a URL"),
        (&[("console_url", "https://x/?a=b")], "must be a URL"),
        (
            &[("smtp_url", "smtp://u:T0KEN@h"), ("email_from", "a@b.c")],
            "sends a password unencrypted",
        ),
        (
            &[("smtp_url", "smtp://h?tls=T0KEN"), ("email_from", "a@b.c")],
            "tls=required",
        ),
        (&[("smtp_url", "smtps://h")], "needs email_from too"),
        (&[("email_from", "a@b.c")], "needs smtp_url too"),
        (
            &[("smtp_url", "smtps://h"), ("email_from", "a@b@c")],
            "must be an address",
        ),
    ];
    for (flags, expected) in flags {
        let error = load(flags, &[], None).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("T0KEN"), "{error}");
    }
}

#[test]
fn what_is_wrong_in_a_table_is_named_and_no_secret_is_shown() {
    let table = |body: &str| format!("[[webhooks]]\n{body}\n");
    let with = |more: &str| {
        table(&format!(
            "name = \"chat\"\nurl = \"https://h.example.com\"\nsecret = \"{SECRET}\"\n{more}"
        ))
    };
    let files = [
        (table(""), "needs a name"),
        (table("name = \"a b\""), "needs a name"),
        (table("name = \"chat\""), "webhook `chat` in"),
        (
            table("name = \"chat\"\nurl = \"https://h.example.com\""),
            "needs a secret",
        ),
        (with("secret_fil = \"f\""), "unknown key `secret_fil`"),
        (with("secret_file = \"f\""), "say the same thing twice"),
        (
            with("previous_secret = 5"),
            "`previous_secret` must be text",
        ),
        (
            with("previous_secret = \"T0KEN\""),
            "previous_secret must be whsec_",
        ),
        (
            with("previous_secret_file = \"/nowhere/f\""),
            "of previous_secret_file can't be read",
        ),
        (with("accounts = []"), "accounts must be a list"),
        (with("accounts = [\"\"]"), "an id must not be empty"),
        (
            format!("{}{}", with(""), with("")),
            "another one of this name",
        ),
        ("webhooks = \"https://T0KEN\"".to_owned(), "must be tables"),
        (
            "webhooks = [\"https://T0KEN\"]".to_owned(),
            "must be tables",
        ),
    ];
    for (file, expected) in files {
        let error = load(&[], &[], Some(&file)).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("T0KEN"), "{error}");
    }
}
