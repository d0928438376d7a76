//! Where traces and metrics go, and how many of them.

use std::time::Duration;

use super::{ConfigError, Layers, Origin, Ratio, Source};

/// Set for all programs of a host that export.
const COMMON_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracingSettings {
    /// `http://HOST:PORT` of a collector, or `https`; `None`: nothing is exported.
    pub endpoint: Option<String>,
    /// Of the calls whose callers did not decide, those that are traced.
    pub sample_ratio: Ratio,
    /// How often metrics are sent; `None`: never.
    pub metrics_interval: Option<Duration>,
}

impl Layers<'_> {
    /// `common` is the value of the variable that all exporters of a host know, if it is set.
    pub(super) fn tracing(&self, common: Option<&str>) -> Result<TracingSettings, ConfigError> {
        let (origin, value, _) = self.find("otlp_endpoint");
        let (origin, value) = match common {
            Some(common) if origin.source == Source::Default => {
                let origin = Origin {
                    key: origin.key,
                    source: Source::Variable(COMMON_VARIABLE),
                };
                (origin, common.to_owned())
            }
            Some(_) | None => (origin, value),
        };
        let value = value.trim();
        let endpoint = match value {
            "" => None,
            url if is_plain(url) => Some(url.trim_end_matches('/').to_owned()),
            // Not shown: there may be a password in it, which this is no place for.
            _ => {
                return Err(ConfigError::Value {
                    origin,
                    value: super::HIDDEN.to_owned(),
                    problem:
                        "must be the address of a collector as http://127.0.0.1:4317, without a password or a path"
                            .to_owned(),
                });
            }
        };
        let interval = self.number("otlp_metrics_interval_s", 1, 3_600)?;
        let sends_metrics = self.switch("otlp_metrics")?;
        if sends_metrics && endpoint.is_none() {
            return Err(ConfigError::Incomplete {
                origin: self.find("otlp_metrics").0,
                missing: "otlp_endpoint",
            });
        }
        Ok(TracingSettings {
            metrics_interval: sends_metrics.then(|| Duration::from_secs(interval)),
            endpoint,
            sample_ratio: self.ratio("trace_sample_ratio")?,
        })
    }
}

/// The variable that all exporters of a host know.
pub(super) fn is_common(variable: &(String, String)) -> bool {
    variable.0 == COMMON_VARIABLE
}

fn is_plain(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::*;

    #[test]
    fn nothing_is_exported_until_somebody_says_where() {
        let tracing = |flags: &[(&str, &str)], environment: &[(&str, &str)]| {
            load(flags, environment, None).map(|config| config.tracing)
        };
        assert_eq!(
            tracing(&[], &[]).unwrap(),
            TracingSettings {
                endpoint: None,
                sample_ratio: Ratio::parse("0.01").unwrap(),
                metrics_interval: None,
            }
        );
        let common = [(COMMON_VARIABLE, "https://collector:4317/")];
        let endpoint = |flags: &[(&str, &str)]| tracing(flags, &common).unwrap().endpoint;
        assert_eq!(endpoint(&[]).as_deref(), Some("https://collector:4317"));
        let own = [("otlp_endpoint", "http://127.0.0.1:4317")];
        assert_eq!(endpoint(&own).as_deref(), Some("http://127.0.0.1:4317"));
        assert_eq!(endpoint(&[("otlp_endpoint", "")]), None);
        for bad in [
            "ftp://collector",
            "collector:4317",
            "http://u:p4ss@c",
            "http://c/v1/traces",
        ] {
            let error = tracing(&[("otlp_endpoint", bad)], &[]).unwrap_err();
            assert!(error.starts_with("flag `--otlp-endpoint`"), "{error}");
            assert!(!error.contains("p4ss"), "{error}");
        }
        let error = tracing(&[], &[(COMMON_VARIABLE, "collector")]).unwrap_err();
        assert!(error.contains(COMMON_VARIABLE), "{error}");
        let error = tracing(&[("otlp_metrics", "true")], &[]).unwrap_err();
        assert!(error.contains("otlp_endpoint"), "{error}");
        let both = [("otlp_endpoint", "http://c:4317"), ("otlp_metrics", "true")];
        let interval = tracing(&both, &[]).unwrap().metrics_interval;
        assert_eq!(interval, Some(Duration::from_secs(60)));
        let error = tracing(&[("trace_sample_ratio", "10%")], &[]).unwrap_err();
        assert!(error.contains("from 0 to 1"), "{error}");
    }
}
