//! What became of the records of the decision log.

use metrics::{Counter, counter, describe_counter};

/// Cheap to clone.
#[derive(Clone)]
pub struct DecisionLogMetrics {
    written: Counter,
    queue_full: Counter,
    write_failed: Counter,
}

impl DecisionLogMetrics {
    pub(super) fn register() -> Self {
        describe_counter!(
            "ambit_decision_log_written_total",
            "Records of the decision log that were written"
        );
        describe_counter!(
            "ambit_decision_log_dropped_total",
            "Records of the decision log that were lost: the queue was full, or writing failed"
        );
        let dropped = |reason| counter!("ambit_decision_log_dropped_total", "reason" => reason);
        Self {
            written: counter!("ambit_decision_log_written_total"),
            queue_full: dropped("queue_full"),
            write_failed: dropped("write_failed"),
        }
    }

    pub fn written(&self, records: u64) {
        self.written.increment(records);
    }

    pub fn queue_full(&self) {
        self.queue_full.increment(1);
    }

    pub fn write_failed(&self, records: u64) {
        self.write_failed.increment(records);
    }
}
