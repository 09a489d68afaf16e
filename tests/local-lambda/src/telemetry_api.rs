//! The Telemetry API, version 2022-07-01, of one environment: its subscribers, and their events (AWS docs
//! "Accessing real-time telemetry data for extensions using the Telemetry API"; texts of the answers from the
//! emulator's `rapi/handler/runtimelogs.go`, seen with version 1.170.0 of aws-sam-cli).

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

/// Clones are the same API. The threads of its subscribers end with the last clone.
#[derive(Clone)]
pub struct TelemetryApi {
    rules: Rules,
    shared: Arc<Watch<Shared>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether only schema 2025-01-29 exists, and no `platform.runtimeDone`.
    pub managed_instances: bool,
    pub support: Support,
    pub log_format: LogFormat,
    /// Scales `timeoutMs`, and the waits before a delivery is repeated.
    pub time_scale: TimeScale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    Supported,
    /// As in the emulator: each request gets 202, and nothing is delivered.
    Unsupported,
}

struct Shared {
    subscribers: Vec<Subscriber>,
    early: Early,
    closed: bool,
    held: bool,
}

impl TelemetryApi {
    /// The rules of a platform that answers as the emulator does.
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

    /// The answer to all clients, known or not, if telemetry is not supported.
    pub fn stub(&self) -> Option<Reply> {
        (self.rules.support == Support::Unsupported).then(|| not_supported("Telemetry"))
    }

    /// Answers `PUT /2022-07-01/telemetry` of an extension with a known identifier.
    ///
    /// A second subscription of the same extension gets 500 and changes nothing, as in the code for Managed
    /// Instances. Lambda's answer on demand is not documented.
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

    /// Answers `PUT /2020-08-15/logs`, the older API. It does not exist on Managed Instances, and is never
    /// supported here.
    pub fn subscribe_logs(&self) -> Reply {
        if self.rules.managed_instances { Reply::not_found() } else { not_supported("Logs") }
    }

    /// From now on nobody can subscribe, so no events are kept for later subscribers.
    pub fn close_subscriptions(&self) {
        self.shared.update(|shared| {
            shared.closed = true;
            shared.early.clear();
        });
    }

    /// A new generation of extensions may subscribe. Subscriptions of the old one end.
    pub fn reset(&self) {
        let gone = self.shared.update(|shared| {
            shared.closed = false;
            shared.early.clear();
            std::mem::take(&mut shared.subscribers)
        });
        // This waits for their threads, which may need the locks above.
        drop(gone);
    }

    /// Queues the event for its subscribers. Never waits for a subscriber.
    pub fn record(&self, event: Event) {
        if self.rules.managed_instances && matches!(event, Event::RuntimeDone(_)) {
            return;
        }
        self.shared.update(|shared| shared.record(event));
    }

    /// The environment freezes, so no delivery begins until the release. A running delivery continues, and has
    /// its whole time limit again after the release.
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

    /// Delivers all recorded events without waiting for `timeoutMs`, as before a SHUTDOWN. The wait before a
    /// repeated delivery is not shortened. False if a subscriber did not accept its events in time.
    pub fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let flushes: Vec<Flush> =
            self.shared.read(|shared| shared.subscribers.iter().map(Subscriber::flush).collect());
        flushes.iter().all(|flush| flush.wait(deadline))
    }

    fn invalid(&self, message: &str) -> Reply {
        // The code for Managed Instances does not escape the message, which may contain quotes.
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
