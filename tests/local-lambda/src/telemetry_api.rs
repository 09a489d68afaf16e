//! The Telemetry API, version 2022-07-01, of one environment: the subscribers, and what they get
//! (AWS docs "Accessing real-time telemetry data for extensions using the Telemetry API"; texts of
//! the answers from the emulator's `rapi/handler/runtimelogs.go`, seen with version 1.170.0 of
//! aws-sam-cli).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::configuration::LogFormat;
use crate::reply::Reply;
use crate::telemetry::early::Early;
use crate::telemetry::event::{Event, Lines};
use crate::telemetry::record::TelemetrySubscription;
use crate::telemetry::subscriber::{Flush, Subscriber};
use crate::telemetry::subscription::{Schema, Subscription};
use crate::telemetry::time_scale::TimeScale;
use crate::telemetry::vocabulary::SubscriptionState;
use crate::watch::Watch;

/// Clones are the same API. The threads of its subscribers end with the last of them.
#[derive(Clone)]
pub struct TelemetryApi {
    rules: Rules,
    shared: Arc<Watch<Shared>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Only schema 2025-01-29, and no `platform.runtimeDone`.
    pub managed_instances: bool,
    pub support: Support,
    pub log_format: LogFormat,
    /// Of `timeoutMs`, and of the waits before a delivery is tried again.
    pub time_scale: TimeScale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    Supported,
    /// As in the emulator: whatever is asked is answered with 202, and nothing is ever delivered.
    Unsupported,
}

struct Shared {
    subscribers: Vec<Subscriber>,
    early: Early,
    closed: bool,
    held: bool,
}

impl TelemetryApi {
    /// For a platform that answers as the emulator does.
    pub fn unsupported() -> Self {
        Self::new(Rules {
            managed_instances: false,
            support: Support::Unsupported,
            log_format: LogFormat::Text,
            time_scale: TimeScale::REAL,
        })
    }

    pub fn new(rules: Rules) -> Self {
        let shared =
            Shared { subscribers: Vec::new(), early: Early::default(), closed: false, held: false };
        Self { rules, shared: Arc::new(Watch::new(shared)) }
    }

    /// The answer to everybody, known or not, where telemetry is not supported.
    pub fn stub(&self) -> Option<Reply> {
        (self.rules.support == Support::Unsupported).then(|| not_supported("Telemetry"))
    }

    /// Answers `PUT /2022-07-01/telemetry` of an extension that is known by its identifier.
    ///
    /// A second subscription of the same extension is a 500, as in the code for Managed Instances,
    /// and changes nothing; what Lambda does on demand is not documented.
    pub fn subscribe(&self, extension: &str, body: &[u8]) -> Reply {
        if let Some(stub) = self.stub() {
            return stub;
        }
        match Subscription::of(body, self.rules.managed_instances) {
            Ok(subscription) => {
                self.shared.update(|shared| shared.subscribe(extension, subscription, self.rules))
            }
            Err(message) => self.invalid(&message),
        }
    }

    /// Answers `PUT /2020-08-15/logs`, the older API: not there on Managed Instances, and never
    /// supported here.
    pub fn subscribe_logs(&self) -> Reply {
        if self.rules.managed_instances { Reply::not_found() } else { not_supported("Logs") }
    }

    /// From now on nobody can subscribe, and nothing is kept for who might.
    pub fn close_subscriptions(&self) {
        self.shared.update(|shared| {
            shared.closed = true;
            shared.early.clear();
        });
    }

    /// A new generation of extensions may subscribe; those of the old one are gone.
    pub fn reset(&self) {
        let gone = self.shared.update(|shared| {
            shared.closed = false;
            shared.early.clear();
            std::mem::take(&mut shared.subscribers)
        });
        // Their threads are waited for, and may want what is locked above.
        drop(gone);
    }

    /// Takes the event for whom it concerns. Never waits for a subscriber.
    pub fn record(&self, event: Event) {
        if self.rules.managed_instances && matches!(event, Event::RuntimeDone(_)) {
            return;
        }
        self.shared.update(|shared| shared.record(event));
    }

    /// All is frozen: no delivery begins until the release. One that is under way goes on,
    /// and has its deadline again after the release.
    pub fn hold(&self) {
        self.shared.update(|shared| {
            shared.held = true;
            shared.subscribers.iter().for_each(Subscriber::hold);
        });
    }

    pub fn release(&self) {
        self.shared.update(|shared| {
            shared.held = false;
            shared.subscribers.iter().for_each(Subscriber::release);
        });
    }

    /// Delivers all that is recorded now without waiting for `timeoutMs`, as before a SHUTDOWN; a
    /// wait before another try is not cut short. False if a subscriber did not take it in time.
    pub fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let flushes: Vec<Flush> =
            self.shared.read(|shared| shared.subscribers.iter().map(Subscriber::flush).collect());
        flushes.iter().all(|flush| flush.wait(deadline))
    }

    fn invalid(&self, message: &str) -> Reply {
        // The code for Managed Instances forgets to escape the message, which may have quotes.
        let quoted = if self.rules.managed_instances {
            format!("\"{message}\"")
        } else {
            serde_json::Value::from(message).to_string()
        };
        let body = format!(r#"{{"errorType": "ValidationError", "errorMessage": {quoted}}}"#);
        Reply::plain(400, body)
    }
}

impl Shared {
    fn subscribe(&mut self, extension: &str, subscription: Subscription, rules: Rules) -> Reply {
        if self.closed {
            return Reply::refusal(
                "Telemetry.SubscriptionClosed",
                "Telemetry API subscription is closed",
            );
        }
        if self.subscribers.iter().any(|subscriber| subscriber.name() == extension) {
            return internal_error();
        }
        let types = subscription.types.clone();
        let lines = shown_lines(subscription.schema, rules.log_format);
        let Ok(subscriber) = Subscriber::start(extension, subscription, lines, rules.time_scale)
        else {
            return internal_error();
        };
        if self.held {
            subscriber.hold();
        }
        self.early.iter().for_each(|(at, event)| subscriber.take(*at, event));
        self.subscribers.push(subscriber);
        let (name, state) = (extension.to_owned(), SubscriptionState::Subscribed);
        self.record(Event::TelemetrySubscription(TelemetrySubscription { name, state, types }));
        Reply::plain(200, "\"OK\"")
    }

    fn record(&mut self, event: Event) {
        let at = SystemTime::now();
        self.subscribers.iter().for_each(|subscriber| subscriber.take(at, &event));
        if !self.closed {
            self.early.push(at, event);
        }
    }
}

fn shown_lines(schema: Schema, log_format: LogFormat) -> Lines {
    match (log_format, schema) {
        (LogFormat::Text, _) | (LogFormat::Json, Schema::V2022_07_01) => Lines::AsStrings,
        (LogFormat::Json, Schema::V2022_12_13 | Schema::V2025_01_29) => Lines::AsObjects,
    }
}

fn not_supported(api: &str) -> Reply {
    let body = format!(
        "{{\"errorMessage\":\"{api} API is not supported\",\"errorType\":\"{api}.NotSupported\"}}\n"
    );
    Reply::json(202, body)
}

fn internal_error() -> Reply {
    let body =
        "{\"errorMessage\":\"Internal Server Error\",\"errorType\":\"InternalServerError\"}\n";
    Reply::json(500, body)
}

#[cfg(test)]
#[path = "telemetry/tests.rs"]
mod tests;
