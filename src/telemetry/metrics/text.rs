//! The text format of Prometheus, as our own recorder writes it, in the messages of OTLP.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

/// Where and when the numbers of a text hold.
#[derive(Clone, Copy)]
struct Span {
    begun: u64,
    now: u64,
}

type Labels = Vec<(String, String)>;

/// One line with a number.
struct Sample<'t> {
    name: &'t str,
    labels: Labels,
    value: f64,
}

/// A line that is of no known form has no place in the messages; our recorder writes none.
pub(super) fn metrics(text: &str, begun: u64, now: u64) -> Vec<Metric> {
    let span = Span { begun, now };
    let mut metrics = Vec::new();
    let mut help = ("", "");
    let mut family: Option<(&str, &str, Vec<Sample<'_>>)> = None;
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            metrics.extend(finish(family.take(), help, span));
            help = described.split_once(' ').unwrap_or((described, ""));
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            metrics.extend(finish(family.take(), help, span));
            family = typed
                .split_once(' ')
                .map(|(name, kind)| (name, kind, Vec::new()));
        } else if let (Some((_, _, samples)), Some(sample)) = (&mut family, sample(line)) {
            samples.push(sample);
        }
    }
    metrics.extend(finish(family, help, span));
    metrics
}

fn finish(
    family: Option<(&str, &str, Vec<Sample<'_>>)>,
    help: (&str, &str),
    span: Span,
) -> Option<Metric> {
    let (name, kind, samples) = family?;
    let data = match kind {
        "counter" => Data::Sum(Sum {
            data_points: numbers(&samples, span),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
        "gauge" => Data::Gauge(Gauge {
            data_points: numbers(&samples, span),
        }),
        "histogram" => Data::Histogram(Histogram {
            data_points: histograms(name, &samples, span),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        }),
        _ => return None,
    };
    Some(Metric {
        name: name.to_owned(),
        description: if help.0 == name {
            help.1.to_owned()
        } else {
            String::new()
        },
        data: Some(data),
        ..Metric::default()
    })
}

/// What is not known has no point.
fn numbers(samples: &[Sample<'_>], span: Span) -> Vec<NumberDataPoint> {
    let known = samples.iter().filter(|sample| !sample.value.is_nan());
    known
        .map(|sample| NumberDataPoint {
            attributes: attributes(&sample.labels),
            start_time_unix_nano: span.begun,
            time_unix_nano: span.now,
            value: Some(Number::AsDouble(sample.value)),
            ..NumberDataPoint::default()
        })
        .collect()
}

fn histograms(name: &str, samples: &[Sample<'_>], span: Span) -> Vec<HistogramDataPoint> {
    let mut points: Vec<(Labels, HistogramDataPoint)> = Vec::new();
    for sample in samples {
        let mut labels = sample.labels.clone();
        let bound = labels
            .iter()
            .position(|(key, _)| key == "le")
            .map(|at| labels.remove(at).1);
        let at = match points.iter().position(|(known, _)| *known == labels) {
            Some(at) => at,
            None => {
                let point = HistogramDataPoint {
                    attributes: attributes(&labels),
                    start_time_unix_nano: span.begun,
                    time_unix_nano: span.now,
                    ..HistogramDataPoint::default()
                };
                points.push((labels, point));
                points.len() - 1
            }
        };
        let Some((_, point)) = points.get_mut(at) else {
            continue;
        };
        match (sample.name.strip_prefix(name), bound) {
            (Some("_sum"), None) => point.sum = Some(sample.value),
            (Some("_count"), None) => point.count = whole(sample.value),
            (Some("_bucket"), Some(bound)) => {
                // Each bucket of the text holds those before it too.
                let before: u64 = point.bucket_counts.iter().sum();
                point
                    .bucket_counts
                    .push(whole(sample.value).saturating_sub(before));
                if let Ok(bound) = bound.parse::<f64>()
                    && bound.is_finite()
                {
                    point.explicit_bounds.push(bound);
                }
            }
            _ => {}
        }
    }
    points.into_iter().map(|(_, point)| point).collect()
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels
        .iter()
        .map(|(key, value)| KeyValue {
            key: key.clone(),
            value: Some(AnyValue {
                value: Some(Value::StringValue(value.clone())),
            }),
            ..KeyValue::default()
        })
        .collect()
}

/// `name{key="value",...} number`, with the escapes of the format.
fn sample(line: &str) -> Option<Sample<'_>> {
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some(Sample {
            name: series,
            labels: Vec::new(),
            value,
        });
    };
    let mut found = Vec::new();
    let mut rest = labels.strip_suffix('}')?;
    while !rest.is_empty() {
        let (key, quoted) = rest.split_once("=\"")?;
        let mut text = String::new();
        let mut characters = quoted.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => text.push(match characters.next()? {
                    'n' => '\n',
                    escaped => escaped,
                }),
                plain => text.push(plain),
            }
        }
        found.push((key.to_owned(), text));
        rest = characters.as_str();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(Sample {
        name,
        labels: found,
        value,
    })
}

/// Counts are whole; exact up to 2^53.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count is whole and not below nothing"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP calls_total Calls by code
# TYPE calls_total counter
calls_total{code="OK",method="a \"b\"\\c\n"} 7
calls_total{code="NOT_FOUND",method="x"} 0

# HELP lag_seconds Lag
# TYPE lag_seconds gauge
lag_seconds NaN
# TYPE depth gauge
depth 1.5

# HELP took_seconds Time
# TYPE took_seconds histogram
took_seconds_bucket{code="OK",le="0.1"} 2
took_seconds_bucket{code="OK",le="1"} 5
took_seconds_bucket{code="OK",le="+Inf"} 6
took_seconds_sum{code="OK"} 4.5
took_seconds_count{code="OK"} 6
"#;

    #[test]
    fn what_the_text_says_is_what_is_sent() {
        let metrics = metrics(TEXT, 3, 9);
        let [calls, lag, depth, took] = metrics.as_slice() else {
            panic!("{metrics:#?}");
        };
        assert_eq!(
            (calls.name.as_str(), calls.description.as_str()),
            ("calls_total", "Calls by code")
        );
        let Some(Data::Sum(sum)) = &calls.data else {
            panic!("{calls:?}");
        };
        assert!(sum.is_monotonic);
        assert_eq!(sum.data_points.len(), 2);
        assert_eq!(sum.data_points[0].value, Some(Number::AsDouble(7.0)));
        assert_eq!(
            (
                sum.data_points[0].start_time_unix_nano,
                sum.data_points[0].time_unix_nano
            ),
            (3, 9)
        );
        let labels = attributes(&vec![
            ("code".to_owned(), "OK".to_owned()),
            ("method".to_owned(), "a \"b\"\\c\n".to_owned()),
        ]);
        assert_eq!(sum.data_points[0].attributes, labels);
        assert_eq!(
            lag.data,
            Some(Data::Gauge(Gauge::default())),
            "what is not known has no point"
        );
        assert!(matches!(&depth.data, Some(Data::Gauge(gauge)) if gauge.data_points.len() == 1));
        let Some(Data::Histogram(histogram)) = &took.data else {
            panic!("{took:?}");
        };
        let [point] = histogram.data_points.as_slice() else {
            panic!("{histogram:?}");
        };
        assert_eq!(point.explicit_bounds, [0.1, 1.0]);
        assert_eq!(point.bucket_counts, [2, 3, 1]);
        assert_eq!((point.sum, point.count), (Some(4.5), 6));
    }
}
