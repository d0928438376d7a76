//! What the worker of notifications counts.

use std::time::Duration;

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

/// The ways in which people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationChannel {
    Webhook,
    Email,
}

/// What the worker of notifications counts; cheap to clone.
#[derive(Clone)]
pub struct NotificationMetrics {
    webhook: ChannelMetrics,
    email: ChannelMetrics,
    oldest_seconds: Gauge,
    depth: Gauge,
}

#[derive(Clone)]
struct ChannelMetrics {
    sent: Counter,
    failed: Counter,
    dead: Counter,
}

impl NotificationMetrics {
    pub(super) fn register() -> Self {
        describe_counter!(
            "ambit_notifications_sent_total",
            "Webhooks and mails that were taken"
        );
        describe_counter!(
            "ambit_notification_failures_total",
            "Attempts that failed and are made again"
        );
        describe_counter!(
            "ambit_notifications_dead_total",
            "Webhooks and mails that were given up"
        );
        describe_gauge!(
            "ambit_notification_oldest_undelivered_seconds",
            Unit::Seconds,
            "Age of the oldest webhook or mail that is still to be taken; 0 where there is none"
        );
        describe_gauge!(
            "ambit_outbox_depth",
            "Events and deliveries that are still to be told, of all servers together; no value before it was asked"
        );
        let depth = gauge!("ambit_outbox_depth");
        depth.set(f64::NAN);
        Self {
            depth,
            webhook: ChannelMetrics::register("webhook"),
            email: ChannelMetrics::register("email"),
            oldest_seconds: gauge!("ambit_notification_oldest_undelivered_seconds"),
        }
    }

    fn of(&self, channel: NotificationChannel) -> &ChannelMetrics {
        match channel {
            NotificationChannel::Webhook => &self.webhook,
            NotificationChannel::Email => &self.email,
        }
    }

    pub fn sent(&self, channel: NotificationChannel) {
        self.of(channel).sent.increment(1);
    }

    pub fn failed(&self, channel: NotificationChannel) {
        self.of(channel).failed.increment(1);
    }

    pub fn dead(&self, channel: NotificationChannel) {
        self.of(channel).dead.increment(1);
    }

    pub fn outbox_depth(&self, depth: u64) {
        self.depth.set(super::number(depth));
    }

    pub fn oldest_undelivered(&self, age: Duration) {
        self.oldest_seconds.set(age.as_secs_f64());
    }
}

impl ChannelMetrics {
    fn register(channel: &'static str) -> Self {
        Self {
            sent: counter!("ambit_notifications_sent_total", "channel" => channel),
            failed: counter!("ambit_notification_failures_total", "channel" => channel),
            dead: counter!("ambit_notifications_dead_total", "channel" => channel),
        }
    }
}
