//! Where decisions are written down, and which of them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::{ConfigError, HIDDEN, Layers};
use crate::authz::model::worded;

/// Shortest key that pseudonyms are made with, in bytes.
const MASK_KEY_BYTES_MIN: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionLogSettings {
    /// `None`: decisions are not written down.
    pub destination: Option<DecisionLogDestination>,
    pub allow_ratio: Ratio,
    pub deny_ratio: Ratio,
    pub masked: BTreeSet<MaskedField>,
    /// What pseudonyms are made with; `None`: masked fields are left out.
    pub mask_key: Option<MaskKey>,
    pub queue_records_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecisionLogDestination {
    Stdout,
    File(PathBuf),
    /// The collector at this address.
    Collector(String),
}

/// A share of all, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio(u32);

impl Ratio {
    /// As many as there are lots.
    const WHOLE: u32 = 1_000_000;

    /// From 0 to 1 with at most six decimals.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 6 {
            return None;
        }
        let millionths: u32 = format!("{decimals:0<6}").parse().ok()?;
        let whole: u32 = whole.parse().ok()?;
        let ratio = whole.checked_mul(Self::WHOLE)?.checked_add(millionths)?;
        (ratio <= Self::WHOLE).then_some(Self(ratio))
    }

    /// Whether what drew this lot is of the share.
    pub fn takes(self, lot: u64) -> bool {
        lot < u64::from(self.0)
    }
}

worded! {
    /// A field of a record that can be masked.
    MaskedField {
        Caller = "caller",
        Account = "account_id",
        User = "user_id",
        Resource = "resource_id",
    }
}

/// A secret that shows itself nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct MaskKey(String);

impl MaskKey {
    /// The key itself, for whoever makes pseudonyms.
    pub fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// `None` for one that is too short.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() >= MASK_KEY_BYTES_MIN).then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MaskKey(hidden)")
    }
}

impl Layers<'_> {
    /// `collector` is the address of the one that takes traces, if there is one.
    pub(super) fn decision_log(
        &self,
        collector: Option<&str>,
    ) -> Result<DecisionLogSettings, ConfigError> {
        let masked = self.parse(
            "decision_log_mask",
            "must be a list of caller, account_id, user_id and resource_id",
            masked_fields,
        )?;
        let mask_key = match self.secret("decision_log_mask_key", "decision_log_mask_key_file")? {
            None => None,
            Some((origin, text)) => match MaskKey::parse(&text) {
                None => {
                    return Err(ConfigError::Value {
                        origin,
                        value: HIDDEN.to_owned(),
                        problem: format!("must have at least {MASK_KEY_BYTES_MIN} bytes"),
                    });
                }
                Some(_) if masked.is_empty() => {
                    return Err(ConfigError::Incomplete {
                        origin,
                        missing: "decision_log_mask",
                    });
                }
                key => key,
            },
        };
        Ok(DecisionLogSettings {
            destination: self.decision_log_destination(collector)?,
            allow_ratio: self.ratio("decision_log_allow_ratio")?,
            deny_ratio: self.ratio("decision_log_deny_ratio")?,
            masked,
            mask_key,
            queue_records_max: self.number("decision_log_queue_records_max", 1, 1_000_000)?,
        })
    }

    fn decision_log_destination(
        &self,
        collector: Option<&str>,
    ) -> Result<Option<DecisionLogDestination>, ConfigError> {
        let (origin, value, _) = self.find("decision_log");
        match value.trim() {
            "" | "off" => Ok(None),
            "stdout" => Ok(Some(DecisionLogDestination::Stdout)),
            "otlp" => match collector {
                Some(endpoint) => Ok(Some(DecisionLogDestination::Collector(endpoint.to_owned()))),
                None => Err(ConfigError::Incomplete {
                    origin,
                    missing: "otlp_endpoint",
                }),
            },
            // A path is known by its slash, so that a slip in `stdout` is an error and no file.
            path if path.contains('/') && !path.ends_with('/') => {
                Ok(Some(DecisionLogDestination::File(PathBuf::from(path))))
            }
            _ => Err(ConfigError::Value {
                origin,
                value,
                problem: "must be off, stdout, otlp, or the path of a file with a slash in it"
                    .to_owned(),
            }),
        }
    }

    pub(super) fn ratio(&self, key: &'static str) -> Result<Ratio, ConfigError> {
        self.parse(
            key,
            "must be a number from 0 to 1 with at most six decimals",
            Ratio::parse,
        )
    }
}

fn masked_fields(text: &str) -> Option<BTreeSet<MaskedField>> {
    let names = text.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty());
    names.map(MaskedField::from_word).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::*;

    #[test]
    fn a_ratio_is_exact_to_the_millionth_and_at_most_one() {
        for (text, millionths) in [
            ("0", 0),
            ("0.0", 0),
            ("0.01", 10_000),
            ("0.000001", 1),
            ("1", 1_000_000),
            ("1.000000", 1_000_000),
        ] {
            assert_eq!(Ratio::parse(text), Some(Ratio(millionths)), "{text}");
        }
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-0.1",
            "1.000001",
            "2",
            "0.0000001",
            "1e-2",
            "10%",
            "NaN",
            "inf",
            "99999999999999999999",
        ] {
            assert_eq!(Ratio::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_log_is_off_until_it_has_a_destination() {
        let log = load(&[], &[], None).unwrap().decision_log;
        assert_eq!(log.destination, None);
        assert_eq!(log.allow_ratio, Ratio(10_000));
        assert_eq!(log.deny_ratio, Ratio(100_000));
        let named = |value| load(&[("decision_log", value)], &[], None);
        assert_eq!(
            named("stdout").unwrap().decision_log.destination,
            Some(DecisionLogDestination::Stdout)
        );
        assert_eq!(
            named("./decisions.jsonl").unwrap().decision_log.destination,
            Some(DecisionLogDestination::File(PathBuf::from(
                "./decisions.jsonl"
            )))
        );
        assert_eq!(
            named("stdoutt").unwrap_err(),
            "flag `--decision-log`: must be off, stdout, otlp, or the path of a file with a slash in it, this is `stdoutt`"
        );
        assert_eq!(
            named("otlp").unwrap_err(),
            "flag `--decision-log` needs otlp_endpoint too"
        );
        let collector = [
            ("decision_log", "otlp"),
            ("otlp_endpoint", "http://127.0.0.1:4317"),
        ];
        assert_eq!(
            load(&collector, &[], None)
                .unwrap()
                .decision_log
                .destination,
            Some(DecisionLogDestination::Collector(
                "http://127.0.0.1:4317".to_owned()
            ))
        );
    }

    #[test]
    fn masks_name_known_fields_and_a_key_is_long_and_hidden() {
        let log = load(
            &[("decision_log_mask", "user_id, resource_id")],
            &[("AMBIT_DECISION_LOG_MASK_KEY", "0123456789abcdef")],
            None,
        );
        let log = log.unwrap().decision_log;
        assert_eq!(
            log.masked,
            BTreeSet::from([MaskedField::User, MaskedField::Resource])
        );
        assert!(!format!("{log:?}").contains("0123456789abcdef"));
        let unknown = load(&[("decision_log_mask", "user")], &[], None).unwrap_err();
        assert_eq!(
            unknown,
            "flag `--decision-log-mask`: must be a list of caller, account_id, user_id and resource_id, this is `user`"
        );
        let short = load(
            &[("decision_log_mask", "user_id")],
            &[("AMBIT_DECISION_LOG_MASK_KEY", "short")],
            None,
        );
        assert_eq!(
            short.unwrap_err(),
            "environment variable `AMBIT_DECISION_LOG_MASK_KEY`: must have at least 16 bytes, this is `(hidden)`"
        );
        let alone = load(
            &[],
            &[("AMBIT_DECISION_LOG_MASK_KEY", "0123456789abcdef")],
            None,
        );
        assert_eq!(
            alone.unwrap_err(),
            "environment variable `AMBIT_DECISION_LOG_MASK_KEY` needs decision_log_mask too"
        );
    }
}
