//! Keeps the next poll back until everything of an invocation is at the remote: what the strategy
//! `end` asks for. The caller has its answer long before; what lasts longer is what is billed.
//!
//! Invariant: it never lasts beyond the function's own deadline, whatever the agent, the remote or
//! the platform leave undone.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::deadline::{Deadline, Now};
use crate::extensions_api::{Extension, Invocation, RequestId};
use crate::line::Line;
use crate::logging;
use crate::outbox::Outbox;
use crate::sender::Message;
use crate::telemetry_api::Telemetry;

/// What is left of the function's time for the poll to arrive: a poll that is late is a timeout of
/// the function.
const MARGIN: Duration = Duration::from_millis(200);

/// The longest timeout of a function ("Lambda quotas"): no deadline is further away.
const INVOCATION_MAX: Duration = Duration::from_secs(15 * 60);

/// How often to look whether the invocation crashed: the sender, in an attempt, can't tell.
const LOOKS_EVERY: Duration = Duration::from_millis(100);

/// Nothing is concluded from a shorter wait: telemetry takes a while, and clocks differ.
const TELLING: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Hold {
    /// Tells of ends. Without it nothing could be held, as an agent that does not report would hold
    /// it to the deadline.
    telemetry: Telemetry,
    /// How many ends had been told of when the last invocation was held to its deadline.
    in_vain: Option<u64>,
}

/// Whether the remote fails in a way that no invocation should wait for. Set by the sender, whose
/// attempts last too long to ask it.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<AtomicBool>);

impl Trouble {
    pub fn set(&self, is_trouble: bool) {
        self.0.store(is_trouble, Ordering::Relaxed);
    }

    pub fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a sender is told of an invocation that is held. It drops `done` once it is.
#[derive(Debug)]
pub struct Held {
    pub request_id: RequestId,
    pub done: Sender<()>,
    /// To the senders of other remotes, which are told of it too.
    pub others: Vec<Outbox>,
}

impl Hold {
    /// # Errors
    /// As [`Telemetry::subscribe`].
    pub fn subscribe(extension: &Extension, lines: &[Line]) -> std::io::Result<Self> {
        let outboxes = lines.iter().map(|line| line.outbox.clone()).collect();
        let telemetry = Telemetry::subscribe(extension, outboxes)?;
        Ok(Self { telemetry, in_vain: None })
    }

    /// Waits until all senders are done with this invocation, it has crashed, or there is no time
    /// left. `None` if no other is to be held.
    pub fn until_done(mut self, invocation: &Invocation, lines: &[Line]) -> Option<Self> {
        let lines: Vec<&Line> = lines.iter().filter(|line| !line.trouble.is_there()).collect();
        // Of an invocation without a name nothing tells the end.
        let may_hold = !lines.is_empty() && !invocation.request_id.0.is_empty();
        let Some(deadline_ms) = invocation.deadline_ms.filter(|_| may_hold) else {
            return Some(self);
        };
        if self.telemetry.is_over() {
            return give_up();
        }
        let deadline = Deadline::from_epoch_ms(deadline_ms, INVOCATION_MAX, Now::read());
        let until = deadline.earlier_by(MARGIN);
        let (done, is_done) = bounded(0);
        for line in &lines {
            let others = lines.iter().filter(|other| !ptr::eq(**other, *line));
            let held = Held {
                request_id: invocation.request_id.clone(),
                done: done.clone(),
                others: others.map(|other| other.outbox.clone()).collect(),
            };
            // Without its sender there is nothing to wait for.
            drop(line.outbox.send(Message::Held(held)));
        }
        drop(done);
        self.wait(&is_done, until.instant())
    }

    fn wait(mut self, is_done: &Receiver<()>, until: Instant) -> Option<Self> {
        let (began, crashes) = (Instant::now(), self.telemetry.crashes());
        loop {
            let now = Instant::now();
            // Nothing is ever sent on it.
            let is_over = is_done.recv_deadline(until.min(now + LOOKS_EVERY))
                == Err(RecvTimeoutError::Disconnected);
            if is_over || self.telemetry.crashes() != crashes {
                return Some(self);
            }
            if self.telemetry.is_over() {
                return give_up();
            }
            if now >= until {
                let is_telling = now.saturating_duration_since(began) >= TELLING;
                return if is_telling { self.held_in_vain() } else { Some(self) };
            }
        }
    }

    /// Gives it up where nothing tells of ends: no batch has ever come, although the start of this
    /// very invocation was to be told of, or no end between one invocation that was held to its
    /// deadline and another. A single one may be the function's own timeout.
    fn held_in_vain(mut self) -> Option<Self> {
        let ends = self.telemetry.ends();
        if self.telemetry.batches() == 0 || self.in_vain == Some(ends) {
            return give_up();
        }
        self.in_vain = Some(ends);
        Some(self)
    }
}

fn give_up() -> Option<Hold> {
    logging::warn!(
        "no telemetry tells when an invocation is over; reports are sent as they come, as by the \
         strategy continuously"
    );
    None
}
