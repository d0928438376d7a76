//! What was decided and why, by the rpc that asked.

use std::sync::{Arc, OnceLock};

use metrics::{Counter, counter, describe_counter, with_local_recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use crate::authz::decision::{Decision, Effect, ReasonCode};

const DECISIONS: &str = "ambit_decisions_total";

/// The rpcs that decide about single resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidingMethod {
    Check,
    BatchCheck,
    FilterAccessible,
    FilterAccessibleStream,
    Explain,
}

impl DecidingMethod {
    const ALL: [Self; 5] = [
        Self::Check,
        Self::BatchCheck,
        Self::FilterAccessible,
        Self::FilterAccessibleStream,
        Self::Explain,
    ];

    /// The name of the rpc.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "Check",
            Self::BatchCheck => "BatchCheck",
            Self::FilterAccessible => "FilterAccessible",
            Self::FilterAccessibleStream => "FilterAccessibleStream",
            Self::Explain => "Explain",
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct DecisionMetrics(Arc<Inner>);

struct Inner {
    recorder: Arc<PrometheusRecorder>,
    /// By method, reason and effect; each made with its first decision.
    counters: Vec<OnceLock<Counter>>,
}

/// Decisions of one call, counted where they are made and added all at once.
#[derive(Debug, Clone)]
pub struct Tally(Vec<u64>);

impl Default for Tally {
    fn default() -> Self {
        Self(vec![0; 2 * ReasonCode::ALL.len()])
    }
}

impl Tally {
    pub fn add(&mut self, decision: &Decision) {
        if let Some(count) = self.0.get_mut(place(decision.effect, decision.reason)) {
            *count += 1;
        }
    }
}

fn place(effect: Effect, reason: ReasonCode) -> usize {
    2 * (reason as usize) + usize::from(effect == Effect::Allow)
}

impl DecisionMetrics {
    pub(super) fn new(recorder: Arc<PrometheusRecorder>) -> Self {
        with_local_recorder(&recorder, || {
            describe_counter!(DECISIONS, "Decisions by what was asked, answer and reason");
        });
        let series = DecidingMethod::ALL.len() * 2 * ReasonCode::ALL.len();
        Self(Arc::new(Inner {
            recorder,
            counters: (0..series).map(|_| OnceLock::new()).collect(),
        }))
    }

    pub fn decided(&self, method: DecidingMethod, decision: &Decision) {
        self.add(method, decision.effect, decision.reason, 1);
    }

    pub fn tallied(&self, method: DecidingMethod, tally: &Tally) {
        for reason in ReasonCode::ALL {
            for effect in [Effect::Allow, Effect::Deny] {
                match tally.0.get(place(effect, *reason)) {
                    Some(0) | None => {}
                    Some(count) => self.add(method, effect, *reason, *count),
                }
            }
        }
    }

    fn add(&self, method: DecidingMethod, effect: Effect, reason: ReasonCode, count: u64) {
        let at = method as usize * 2 * ReasonCode::ALL.len() + place(effect, reason);
        let Some(series) = self.0.counters.get(at) else {
            return;
        };
        series
            .get_or_init(|| {
                with_local_recorder(&self.0.recorder, || {
                    counter!(
                        DECISIONS,
                        "method" => method.as_str(),
                        "decision" => effect.as_str(),
                        "reason" => reason.as_str()
                    )
                })
            })
            .increment(count);
    }
}
