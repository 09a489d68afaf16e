//! The main loop: polls for events, and handles INVOKE and SHUTDOWN.
//!
//! Invariants:
//! * After registration the loop ends only at SHUTDOWN or if `/event/next` fails. If the process ends at
//!   another time, Lambda counts that as a crash of the function.
//! * Between an event and the next poll, the loop waits only for senders: at SHUTDOWN, and with a
//!   [`FlushWait`].

pub mod flush_wait;
pub mod registration;

use std::time::{Duration, Instant};

use crate::lambda::deadline::{Deadline, Now};
use crate::lambda::extensions_api::{ApiError, Event, Extension, Invocation};
use crate::lifecycle::flush_wait::FlushWait;
use crate::local::opening::Opening;
use crate::logging;
use crate::payload::ledger::Closing;
use crate::relay::flush::{Rate, Traffic};
use crate::relay::intake::Intake;
use crate::relay::pipeline::Pipeline;
use crate::relay::queue::Message;
use crate::relay::wakeup::{Wakeup, wakeup};

/// Time before the end of the shutdown phase that is left for the closing lines and the exit.
const SHUTDOWN_MARGIN: Duration = Duration::from_millis(100);
/// Divisor: the margin is at most the remaining time divided by this.
const SHUTDOWN_MARGIN_SHARE: u32 = 4;

/// The longest shutdown phase. A deadline further away is cut to this ("Lambda execution environment
/// lifecycle").
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// How long reports are still sent if the time of the end is unknown, such as after a failure of `/event/next`.
const FAILURE_FLUSH: Duration = Duration::from_millis(500);

/// How many unknown events in a row are accepted. After more, the process ends, because the platform answers
/// each poll at once with nonsense, and the loop would never rest.
const UNKNOWN_EVENTS_MAX: u32 = 100;

/// Relays until the end. Returns the time by which the process must have exited.
///
/// # Errors
/// `/event/next` failed. The process then exits with a failure.
pub fn relay(
    extension: &Extension,
    mut opening: Option<Opening>,
    intake: &Intake,
    mut flush_wait: Option<FlushWait>,
) -> Result<Deadline, ApiError> {
    let (mut rate, mut last_sent) = (Rate::default(), Traffic::Sparse);
    let end = poll(extension, |invocation| {
        opening.iter_mut().for_each(Opening::go_on);
        let traffic = rate.invoked(Instant::now());
        // Without a change the sender is not woken. It wakes up for a retry by itself.
        if traffic != last_sent {
            last_sent = traffic;
            for pipeline in intake.pipelines() {
                drop(pipeline.send(Message::Traffic(traffic))); // the sender ends only after this loop
            }
        }
        let wait = |it: FlushWait| it.wait_for_flush(&invocation, intake.pipelines());
        flush_wait = flush_wait.take().and_then(wait);
    });
    opening.iter().for_each(Opening::finish);
    settle(&end, intake.pipelines());
    intake.ledger().closings().iter().for_each(Closing::log);
    end
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
                let given = deadline_ms.map(|ms| Deadline::from_epoch_ms(ms, SHUTDOWN_MAX, now));
                // A past deadline comes from a clock that differs. At a real deadline, the platform
                // would have killed the process.
                let credible = given.filter(|it| !it.remaining(now.monotonic).is_zero());
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

/// Makes all senders send their remaining reports. Waits until they have finished or the time is over.
fn settle(end: &Result<Deadline, ApiError>, pipelines: &[Pipeline]) {
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
        pipelines.iter().filter_map(|pipeline| Asked::to_settle(pipeline, deadline)).collect();
    for Asked { pipeline, is_noticed, .. } in &asked {
        if !is_noticed.wait(Some(halfway.instant())) {
            // An attempt from before SHUTDOWN hangs. Its reports and the others get the second half of the
            // time, on a new connection. They get less if the remote has the request and may still answer.
            pipeline.interrupt();
        }
    }
    for Asked { is_settled, .. } in asked {
        is_settled.wait(Some(deadline.instant()));
    }
}

/// A pipeline whose sender was asked to send its remaining reports. Each wait ends when the sender drops its
/// waker, or at the wait's deadline.
struct Asked<'a> {
    pipeline: &'a Pipeline,
    is_noticed: Wakeup,
    is_settled: Wakeup,
}

impl<'a> Asked<'a> {
    /// Asks the pipeline's sender. `None` if the sender has ended.
    fn to_settle(pipeline: &'a Pipeline, deadline: Deadline) -> Option<Self> {
        let (noticed, is_noticed) = wakeup();
        let (settled, is_settled) = wakeup();
        pipeline.send(Message::Shutdown { deadline, noticed, settled }).ok()?;
        Some(Self { pipeline, is_noticed, is_settled })
    }
}
