//! Keeps the next poll back until everything of an invocation is at the remote: what the strategy
//! `end` asks for. The caller has its answer long before; what lasts longer is what is billed.
//!
//! Invariant: it never lasts beyond the function's own deadline, whatever the agent, the remote or
//! the platform leave undone.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::deadline::{Deadline, Now};
use crate::extensions_api::{Invocation, RequestId};
use crate::sender::Message;
use crate::telemetry_api::Telemetry;

/// What is left of the function's time for the poll to arrive: a poll that is late is a timeout of
/// the function.
const MARGIN: Duration = Duration::from_millis(200);

/// The longest timeout of a function ("Lambda quotas"): no deadline is further away.
const INVOCATION_MAX: Duration = Duration::from_secs(15 * 60);

#[derive(Debug)]
pub struct Hold {
    /// Tells of ends. Without it nothing could be held, as an agent that does not report would hold
    /// it to the deadline.
    telemetry: Telemetry,
}

/// What the sender is told of an invocation that is held. It drops `done` once it is.
#[derive(Debug)]
pub struct Held {
    pub request_id: RequestId,
    pub done: Sender<()>,
}

impl Hold {
    pub fn by(telemetry: Telemetry) -> Self {
        Self { telemetry }
    }

    /// Waits until the sender is done with this invocation, or there is no time left. `None` if no
    /// other is to be held.
    pub fn until_done(self, invocation: Invocation, outbox: &Sender<Message>) -> Option<Self> {
        let Some(deadline_ms) = invocation.deadline_ms else { return Some(self) };
        let deadline = Deadline::from_epoch_ms(deadline_ms, INVOCATION_MAX, Now::read());
        let until = deadline.earlier_by(MARGIN);
        let (done, is_done) = bounded(0);
        let request_id = invocation.request_id;
        if outbox.send(Message::Held(Held { request_id, done })).is_err() {
            return None;
        }
        self.wait(&is_done, until)
    }

    fn wait(self, is_done: &Receiver<()>, until: Deadline) -> Option<Self> {
        let before = self.telemetry.batches();
        let in_vain = is_done.recv_deadline(until.instant()) == Err(RecvTimeoutError::Timeout);
        // The start of this very invocation has been told long ago, where anything is.
        if in_vain && self.telemetry.batches() == before {
            log::warn!(
                "no telemetry is delivered, so nothing tells when an invocation is over; reports \
                 are sent as they come, as by the strategy continuously"
            );
            return None;
        }
        Some(self)
    }
}
