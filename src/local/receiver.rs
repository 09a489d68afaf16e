//! Receives batches of the Telemetry API.
//!
//! Invariants:
//! * Each batch is answered with 200, even a malformed one. Any other answer makes the platform send the batch
//!   again.
//! * A batch is parsed after its response is sent. The platform sends one batch at a time, and drops events
//!   while it waits.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::lambda::telemetry::ended;
use crate::local::body::{Body, ReadError};
use crate::local::platform_events::EventSender;
use crate::local::response::Response;
use crate::logging;
use crate::payload::quota::Quota;
use crate::relay::queue::{Message, Outbox};

/// Memory limit for batches and for the ends of invocations in them, in bytes. A batch that does not fit is
/// ignored. Lambda's documentation announces up to twice the subscription's `maxBytes`, plus the JSON around
/// the events.
const BATCHES_BYTES_MAX: usize = 1024 * 1024;

/// The memory of an invocation's end in a sender's queue, in bytes: its request id and its place.
const END_COST: usize = 384;

/// Answers batches, and passes the ends of invocations on.
#[derive(Debug)]
pub struct Receiver {
    events: EventSender,
    quota: Quota,
    outboxes: Vec<Outbox>,
    is_closing: AtomicBool,
}

impl Receiver {
    pub fn new(events: EventSender, outboxes: Vec<Outbox>) -> Self {
        let quota = Quota::of(BATCHES_BYTES_MAX);
        Self { events, quota, outboxes, is_closing: false.into() }
    }

    /// Makes the platform close its connections.
    pub fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Answers a batch. Returns it to be parsed after that.
    pub fn answer(&self, batch: Result<Body, ReadError>) -> (Response, Option<Body>) {
        let explain = |error: &ReadError| {
            logging::debug!("cannot read telemetry: {}; the batch is ignored", reason(error));
        };
        // If the port closes, the platform must connect again, and then finds it closed.
        let is_closing = self.is_closing.load(Ordering::Relaxed);
        let response = Response::ACCEPTED;
        let response = if is_closing { response.closing() } else { response };
        (response, batch.inspect_err(explain).ok())
    }

    /// Tells the senders and the main thread about the ends of invocations in a batch.
    pub fn report(&self, batch: &[u8]) {
        let ends = ended(batch);
        self.events.batch(&ends);
        for end in ends {
            for outbox in &self.outboxes {
                let Some(permit) = self.quota.take(END_COST) else {
                    logging::debug!(
                        "cannot keep an invocation's end: too many wait; it is ignored"
                    );
                    break;
                };
                // A send fails only if the sender has ended, at the end of the process.
                let request_id = end.request_id.clone();
                drop(outbox.send(Message::RuntimeDone { request_id, _permit: permit }));
            }
        }
    }
}

fn reason(error: &ReadError) -> &'static str {
    match error {
        ReadError::Full | ReadError::TooLarge => "batches of more than 1 MiB",
        ReadError::Malformed(reason) => reason,
    }
}
