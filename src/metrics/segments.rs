//! How the rules of segments are brought to records.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

#[derive(Clone)]
pub struct SegmentMetrics {
    accounts_behind: Gauge,
    records: Counter,
    done: Counter,
    failed: Counter,
}

impl SegmentMetrics {
    pub(super) fn register() -> Self {
        describe_gauge!(
            "ambit_segment_accounts_behind",
            "Accounts where rules of segments were still to be brought to records after the last look; no value before it"
        );
        describe_counter!(
            "ambit_segment_records_total",
            "Records that were judged by rules of segments in the background"
        );
        describe_counter!(
            "ambit_segment_jobs_total",
            "Rules of segments that were run over all records, or failed to"
        );
        let accounts_behind = gauge!("ambit_segment_accounts_behind");
        accounts_behind.set(f64::NAN);
        Self {
            accounts_behind,
            records: counter!("ambit_segment_records_total"),
            done: counter!("ambit_segment_jobs_total", "outcome" => "ok"),
            failed: counter!("ambit_segment_jobs_total", "outcome" => "failed"),
        }
    }

    pub fn accounts_behind(&self, accounts: u64) {
        self.accounts_behind.set(super::number(accounts));
    }

    pub fn judged(&self, records: u64) {
        self.records.increment(records);
    }

    pub fn ended(&self, is_done: bool) {
        let outcome = if is_done { &self.done } else { &self.failed };
        outcome.increment(1);
    }
}
