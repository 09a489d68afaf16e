//! The event loop: what happens at INVOKE, at SHUTDOWN, and when there is nothing to do but poll.
//!
//! Invariants: after registration it ends only at SHUTDOWN or when `/event/next` fails, because the
//! end of the process at any other time is a crash of the function; and between an event and the
//! next poll it waits for nothing but the sender, at SHUTDOWN and where a [`Hold`] was asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::collector::Collector;
use crate::deadline::{Deadline, Now};
use crate::doors::Doors;
use crate::extensions_api::{ApiError, Event, Extension, Invocation};
use crate::flush::{Rate, Traffic};
use crate::hold::Hold;
use crate::line::Line;
use crate::logging;
use crate::sender::Message;

/// What is left of the shutdown phase for the closing line and the way out, where there is so much.
const SHUTDOWN_MARGIN: Duration = Duration::from_millis(100);
/// What of a short one is left at most.
const SHUTDOWN_MARGIN_SHARE: u32 = 4;

/// The whole shutdown phase: no deadline is further away ("Lambda execution environment
/// lifecycle").
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// How long reports are still sent when nothing credible tells when the end comes, as when
/// `/event/next` failed.
const FAILURE_FLUSH: Duration = Duration::from_millis(500);

/// So many events in a row that make no sense are a platform that answers polls with nonsense;
/// going on would be a busy loop.
const UNKNOWN_EVENTS_MAX: u32 = 100;

/// Relays until the end, and says by when to be gone. The error, if any, is the reason to exit with
/// a failure. Once the doors are open they are looked after at each invocation.
pub fn relay(
    extension: &Extension,
    opened: &Receiver<Doors>,
    collector: &Arc<Collector>,
    mut hold: Option<Hold>,
) -> Result<Deadline, ApiError> {
    let (mut rate, mut told, mut doors) = (Rate::default(), Traffic::Sparse, None);
    let end = poll(extension, |invocation| {
        if doors.is_none() {
            doors = opened.try_recv().ok();
        }
        if let Some(doors) = &mut doors {
            doors.open(collector);
        }
        let traffic = rate.invoked(Instant::now());
        // Else the sender sleeps on: when it has to try again it knows by itself.
        if traffic != told {
            told = traffic;
            for line in &collector.lines {
                drop(line.outbox.send(Message::Traffic(traffic))); // it ends after this loop only
            }
        }
        hold = hold.take().and_then(|hold| hold.until_done(&invocation, &collector.lines));
    });
    settle(&end, &collector.lines);
    let (line, lost) = collector.ledger.closing_line();
    let level = if lost { log::Level::Warn } else { log::Level::Info };
    logging::at!(level, "{line}");
    end
}

/// As [`relay`], but polls and does nothing else.
pub fn idle(extension: &Extension) -> Result<Deadline, ApiError> {
    poll(extension, |_| {})
}

/// Polls until SHUTDOWN, whose deadline it returns.
fn poll(
    extension: &Extension,
    mut on_invoke: impl FnMut(Invocation),
) -> Result<Deadline, ApiError> {
    let mut unknown_events = 0;
    loop {
        match extension.next()? {
            Event::Invoke(invocation) => {
                unknown_events = 0;
                on_invoke(invocation);
            }
            Event::Shutdown { reason, deadline_ms } => {
                logging::debug!("shutting down: {reason}");
                let now = Now::read();
                let told = deadline_ms.map(|ms| Deadline::from_epoch_ms(ms, SHUTDOWN_MAX, now));
                // A deadline that has passed was told by another clock: the platform would have
                // ended the process instead.
                let credible = told.filter(|it| !it.remaining(now.monotonic).is_zero());
                return Ok(
                    credible.unwrap_or_else(|| Deadline::after(FAILURE_FLUSH, now.monotonic))
                );
            }
            Event::Unknown if unknown_events < UNKNOWN_EVENTS_MAX => {
                unknown_events += 1;
                logging::debug!("ignored an event of unknown type");
            }
            Event::Unknown => return Err(ApiError::Unintelligible("no event of a known type")),
        }
    }
}

/// Has all senders send what is left, and waits until they are done or time is up.
fn settle(end: &Result<Deadline, ApiError>, lines: &[Line]) {
    let now = Instant::now();
    let deadline = match end {
        Ok(deadline) => {
            let share = deadline.remaining(now) / SHUTDOWN_MARGIN_SHARE;
            deadline.earlier_by(share.min(SHUTDOWN_MARGIN))
        }
        Err(_) => Deadline::after(FAILURE_FLUSH, now),
    };
    let halfway = Deadline::after(deadline.remaining(now) / 2, now);
    let asked: Vec<Asked> =
        lines.iter().filter_map(|line| Asked::to_settle(line, deadline)).collect();
    for Asked { line, is_noticed, .. } in &asked {
        if is_noticed.recv_deadline(halfway.instant()) == Err(RecvTimeoutError::Timeout) {
            // An attempt from before hangs: it, and what waits behind it, gets the other half on a
            // new connection.
            line.interrupt.end_attempt();
        }
    }
    for Asked { is_settled, .. } in asked {
        let _ = is_settled.recv_deadline(deadline.instant());
    }
}

/// A line whose sender is to send what is left. Nothing is ever sent on its channels: a wait ends
/// when the sender drops its end, or at its deadline.
struct Asked<'a> {
    line: &'a Line,
    is_noticed: Receiver<()>,
    is_settled: Receiver<()>,
}

impl<'a> Asked<'a> {
    /// `None` where the sender is gone.
    fn to_settle(line: &'a Line, deadline: Deadline) -> Option<Self> {
        let (noticed, is_noticed) = bounded(0);
        let (settled, is_settled) = bounded(0);
        line.outbox.send(Message::Shutdown { deadline, noticed, settled }).ok()?;
        Some(Self { line, is_noticed, is_settled })
    }
}
