//! The Telemetry API, version 2022-07-01: has Lambda tell when an invocation is over for its
//! runtime ("Accessing real-time telemetry data for extensions using the Telemetry API").
//!
//! Invariant: every batch is answered with 200, whatever is in it: anything else makes the platform
//! send it again.

use std::borrow::Cow;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::value::RawValue;
use tiny_http::Request;

use crate::answer::Answer;
use crate::body::{self, Room};
use crate::budget::Budget;
use crate::doors::Suspicion;
use crate::extensions_api::{Extension, RequestId};
use crate::logging;
use crate::object;
use crate::outbox::Outbox;
use crate::readers;
use crate::sender::Message;

/// What is held of batches at a time, and of the ends in them, in bytes; of one that is larger
/// nothing is seen. Lambda says to expect twice the subscription's `maxBytes`, and what surrounds
/// the events.
const BATCHES_BYTES_MAX: usize = 1024 * 1024;

/// A UUID has 36; what is longer is none.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// What an end costs that waits for the sender, in bytes: its id and its place in the queue.
const END_COST: usize = 384;

/// A subscription to the platform's events.
#[derive(Debug)]
pub struct Telemetry {
    heard: Arc<Heard>,
    address: SocketAddr,
    suspicion: Suspicion,
}

#[derive(Debug, Default)]
struct Heard {
    batches: AtomicU64,
    ends: AtomicU64,
    crashes: AtomicU64,
    is_over: AtomicBool,
}

impl Telemetry {
    /// Subscribes, and has the senders told of each end of an invocation. To be called before the
    /// first poll, which closes subscriptions.
    ///
    /// # Errors
    /// There is no telemetry here, as in emulators, or no way to listen for it.
    pub fn subscribe(extension: &Extension, outboxes: Vec<Outbox>) -> io::Result<Self> {
        // On every address: the platform is not said to deliver over loopback, the sandbox's name
        // has no address in emulators, and nothing outside reaches into a sandbox.
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let address = listener.local_addr()?;
        let (heard, budget) = (Arc::new(Heard::default()), Budget::of(BATCHES_BYTES_MAX));
        let [taking, closing] = [Arc::clone(&heard), Arc::clone(&heard)];
        readers::serve(
            listener,
            Box::new(move |request| taking.take(request, &budget, &outboxes)),
            Arc::new(move |error| {
                logging::debug!("no telemetry can be taken any more: {error}");
                closing.is_over.store(true, Ordering::Relaxed);
            }),
        )?;
        let subscription = subscription(address.port());
        extension.subscribe(&subscription).map_err(io::Error::other)?;
        Ok(Self { heard, address, suspicion: Suspicion::default() })
    }

    /// Whether nothing can be told any more: its port had to close, for want of a descriptor or of a
    /// thread.
    pub fn is_over(&mut self) -> bool {
        if self.suspicion.arises() {
            match TcpListener::bind(self.address) {
                // What can be bound is not listened on.
                Ok(_) => self.heard.is_over.store(true, Ordering::Relaxed),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(_) => self.suspicion.stays(),
            }
        }
        self.heard.is_over.load(Ordering::Relaxed)
    }

    /// How many batches were delivered.
    pub fn batches(&self) -> u64 {
        self.heard.batches.load(Ordering::Relaxed)
    }

    /// How many ends of invocations were told of.
    pub fn ends(&self) -> u64 {
        self.heard.ends.load(Ordering::Relaxed)
    }

    /// How many invocations were told to have ended with their process.
    pub fn crashes(&self) -> u64 {
        self.heard.crashes.load(Ordering::Relaxed)
    }
}

impl Heard {
    fn take(&self, mut request: Request, budget: &Budget, outboxes: &[Outbox]) {
        if !body::is_readable(&request) {
            Answer::ACCEPTED.send_and_abandon(request);
            return;
        }
        match body::read(&mut request, Room { budget, share: None }, 0) {
            Ok(batch) => {
                self.batches.fetch_add(1, Ordering::Relaxed);
                for end in ended(&batch.bytes) {
                    self.ends.fetch_add(1, Ordering::Relaxed);
                    self.crashes.fetch_add(u64::from(end.is_a_crash()), Ordering::Relaxed);
                    for outbox in outboxes {
                        let Some(permit) = budget.take(END_COST) else {
                            logging::debug!("too many ends of invocations at a time");
                            break;
                        };
                        // The sender is gone only in the last moment of the process.
                        let request_id = end.request_id.clone();
                        drop(outbox.send(Message::RuntimeDone { request_id, _permit: permit }));
                    }
                }
            }
            Err(unread) => logging::debug!("cannot read telemetry: {unread:?}"),
        }
        Answer::ACCEPTED.send(request);
    }
}

/// `timeoutMs` is the least that Lambda allows: an invocation without a report is held so long.
fn subscription(port: u16) -> String {
    format!(
        r#"{{"schemaVersion":"2022-12-13","types":["platform"],"buffering":{{"maxItems":1000,"maxBytes":262144,"timeoutMs":25}},"destination":{{"protocol":"HTTP","URI":"http://sandbox.localdomain:{port}"}}}}"#
    )
}

/// The end of an invocation for its runtime. What else is said of it may be of any kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeDone<'a> {
    pub request_id: RequestId,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    error_type: Option<&'a RawValue>,
}

impl RuntimeDone<'_> {
    /// Whether the runtime's process is gone, or will be: SHUTDOWN follows at once. A function's own
    /// error has the status `error` too, and a type of its own.
    fn is_a_crash(&self) -> bool {
        let [status, kind] = [self.status, self.error_type]
            .map(|value| value.map_or("", |it| it.get().trim_matches('"')));
        matches!(status, "failure" | "timeout")
            || matches!(kind, "Runtime.ExitError" | "Extension.Crash")
    }
}

/// The ends that are in a batch, whatever else is. A record that is not understood is none.
pub fn ended(batch: &[u8]) -> Vec<RuntimeDone<'_>> {
    let events: Vec<&RawValue> = serde_json::from_slice(batch).unwrap_or_default();
    events.into_iter().filter_map(end_in).collect()
}

fn end_in(event: &RawValue) -> Option<RuntimeDone<'_>> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        record: &'a RawValue,
    }
    let Event { kind, record } = object::parse(event.get().as_bytes())?;
    if kind != "platform.runtimeDone" {
        return None;
    }
    let end: RuntimeDone<'_> = object::parse(record.get().as_bytes())?;
    (end.request_id.0.len() <= REQUEST_ID_BYTES_MAX).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(batch: &str, ids: &[&str]) {
        let ended: Vec<String> =
            ended(batch.as_bytes()).into_iter().map(|it| it.request_id.0).collect();
        assert_eq!(ended, ids, "{batch}");
    }

    #[test]
    fn the_end_of_a_runtime_is_found_among_whatever_else_there_is() {
        let done = |id| {
            format!(
                r#"{{"time":"2026-11-23T11:01:11.132Z","type":"platform.runtimeDone","record":{{"requestId":"{id}","status":"success","metrics":{{"durationMs":1.5}}}}}}"#
            )
        };
        let others = r#"{"type":"platform.start","record":{"requestId":"other"}},
            {"type":"function","record":"a line"},{"type":"function","record":{"requestId":"x"}},
            {"type":"platform.runtimeDone","record":"no object"},
            {"type":"platform.runtimeDone","record":{"status":"success"}},
            {"type":"platform.runtimeDone","record":["x","success",null]},
            ["platform.runtimeDone",{"requestId":"x"}],
            {"type":7,"record":{}},{"type":"platform.unheardOf"},null,[],{}"#;
        check(&format!("[{},{others},{}]", done("a"), done("b")), &["a", "b"]);
        check(&format!("[{others}]"), &[]);
        check(&format!("[{}", done("torn")), &[]);
        for batch in ["", "[]", "{}", "null", "x"] {
            check(batch, &[]);
        }
    }

    #[test]
    fn the_end_of_a_process_is_told_from_an_error_of_the_function() {
        for (outcome, is_a_crash) in [
            (r#""status":"success""#, false),
            (r#""status":"error","errorType":"ValueError""#, false),
            (r#""status":"error","errorType":"Function.Unknown""#, false),
            (r#""status":"error","errorType":"Runtime.Unknown""#, false),
            (r#""status":null"#, false),
            (r#""status":7,"errorType":{"a":[]}"#, false),
            (r#""status":"error","errorType":"Runtime.ExitError""#, true),
            (r#""status":"failure","errorType":"Extension.Crash""#, true),
            (r#""status":"timeout","errorType":"Sandbox.Timeout""#, true),
        ] {
            let record = format!(r#"{{"requestId":"a",{outcome}}}"#);
            let batch = format!(r#"[{{"type":"platform.runtimeDone","record":{record}}}]"#);
            assert_eq!(ended(batch.as_bytes())[0].is_a_crash(), is_a_crash, "{outcome}");
        }
    }

    #[test]
    fn the_subscription_keeps_to_lambdas_limits() {
        let asked: serde_json::Value = serde_json::from_str(&subscription(4_243)).unwrap();
        assert_eq!(asked["destination"]["URI"], "http://sandbox.localdomain:4243");
        assert_eq!(asked["buffering"]["timeoutMs"], 25);
        assert_eq!(asked["types"], serde_json::json!(["platform"]));
    }
}
