//! Delays the next poll until all reports of an invocation are delivered, for the strategy `end`. The
//! function's caller has its response long before. Only the billed time gets longer.
//!
//! Invariant: the wait ends before the function's deadline, even if the agent, the remote or the platform
//! never answers.

use std::io;
use std::time::{Duration, Instant};

use crate::lambda::deadline::{Deadline, Now};
use crate::lambda::extensions_api::{Extension, Invocation, RequestId};
use crate::local::event_loop::EventLoop;
use crate::local::telemetry::Telemetry;
use crate::logging;
use crate::relay::pipeline::Pipeline;
use crate::relay::queue::{FlushRequest, Message};
use crate::relay::wakeup::WakerWatch;

/// Time before the function's deadline that is left for the poll to arrive. With a later poll, the function
/// times out.
const MARGIN: Duration = Duration::from_millis(200);

/// The longest timeout of a function ("Lambda quotas"). A deadline further away is cut to this.
const INVOCATION_MAX: Duration = Duration::from_secs(15 * 60);

/// The shortest wait that counts as held in vain. A shorter one proves nothing, because telemetry takes a
/// while, and clocks differ.
const SIGNIFICANT: Duration = Duration::from_millis(500);

pub struct FlushWait {
    /// Reports when an invocation ends. Without telemetry, an invocation without a report would be held until
    /// its deadline.
    telemetry: Telemetry,
    /// Whether an earlier invocation was held until its deadline.
    was_in_vain: bool,
}

impl FlushWait {
    /// Subscribes to telemetry, which reports when an invocation ends. `None` if that fails.
    pub fn subscribe(
        extension: &Extension,
        pipelines: &[Pipeline],
        event_loop: &EventLoop,
    ) -> Option<Self> {
        let outboxes = pipelines.iter().map(Pipeline::outbox).collect();
        let no_telemetry = |error: &io::Error| {
            logging::warn!(
                "cannot subscribe to telemetry: {error}; the strategy end now works as continuously"
            );
        };
        let telemetry = Telemetry::subscribe(extension, outboxes, event_loop);
        let telemetry = telemetry.inspect_err(no_telemetry).ok()?;
        Some(Self { telemetry, was_in_vain: false })
    }

    /// Waits until all senders are done with this invocation, it has crashed, or the time is over. `None` if
    /// no further invocation can be held.
    pub fn wait_for_flush(self, invocation: &Invocation, pipelines: &[Pipeline]) -> Option<Self> {
        let healthy: Vec<&Pipeline> =
            pipelines.iter().filter(|pipeline| !pipeline.is_failing()).collect();
        // The end of an invocation without a request id cannot be recognised.
        let may_hold = !healthy.is_empty() && !invocation.request_id.0.is_empty();
        let Some(deadline_ms) = invocation.deadline_ms.filter(|_| may_hold) else {
            return Some(self);
        };
        let deadline = Deadline::from_epoch_ms(deadline_ms, INVOCATION_MAX, Now::read());
        let until = deadline.earlier_by(MARGIN);
        let done = self.telemetry.events.waker();
        for pipeline in &healthy {
            let request =
                FlushRequest { request_id: invocation.request_id.clone(), done: done.clone() };
            // If the sender has ended, nothing is left to wait for.
            drop(pipeline.send(Message::Flush(request)));
        }
        let done = done.into_watch();
        logging::debug!("waits until the reports of the invocation are delivered");
        self.wait(&invocation.request_id, &done, until.instant())
    }

    /// Waits for the senders. The waker of `done` is dropped after all senders have acknowledged.
    fn wait(self, request_id: &RequestId, done: &WakerWatch, until: Instant) -> Option<Self> {
        let began = Instant::now();
        loop {
            if done.is_dropped() || self.telemetry.events.take_crash(request_id) {
                return Some(self);
            }
            let now = Instant::now();
            if now >= until {
                let is_significant = now.saturating_duration_since(began) >= SIGNIFICANT;
                return if is_significant { self.held_in_vain() } else { Some(self) };
            }
            self.telemetry.events.wait(until);
        }
    }

    /// Stops holding invocations if telemetry does not work. That is so if no batch has ever arrived,
    /// although this invocation's start is an event. It is also so if two invocations were held until their
    /// deadlines with no `runtimeDone` between them. A single one may be the function's own timeout.
    fn held_in_vain(mut self) -> Option<Self> {
        let (events, was_in_vain) = (&self.telemetry.events, self.was_in_vain);
        self.was_in_vain = true;
        let has_end = events.take_end();
        if !events.has_batch() || (was_in_vain && !has_end) {
            return self.give_up();
        }
        Some(self)
    }

    fn give_up(self) -> Option<Self> {
        logging::warn!(
            "cannot hold invocations: no telemetry reports their ends; the strategy end now works as \
             continuously"
        );
        self.telemetry.close();
        None
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn receive() -> Telemetry {
        Telemetry::receive(Vec::new(), &EventLoop::default()).unwrap()
    }

    const CRASH: &str = r#"[{"type":"platform.runtimeDone","record":
        {"requestId":"a-1","status":"failure","errorType":"Runtime.ExitError"}}]"#;

    #[test]
    fn a_crash_that_was_reported_before_the_senders_were_asked_ends_the_wait() {
        let telemetry = receive();
        telemetry.deliver(CRASH);
        let never_done = telemetry.events.waker();
        let watch = never_done.clone().into_watch();
        let (wait, began) = (FlushWait { telemetry, was_in_vain: false }, Instant::now());
        let held = RequestId("a-1".to_owned());
        assert!(wait.wait(&held, &watch, began + PATIENCE).is_some());
        assert!(began.elapsed() < PATIENCE);
    }

    #[test]
    fn invocations_are_no_longer_held_once_telemetry_proves_useless() {
        const EVENT: &str = r#"[{"type":"platform.start","record":{}}]"#;
        const END: &str = r#"[{"type":"platform.runtimeDone","record":{"requestId":"a-1"}}]"#;
        for (batches, was_in_vain, goes_on) in [
            (&[] as &[&str], false, false),
            (&[EVENT], false, true),
            (&[EVENT], true, false),
            (&[END], true, true),
        ] {
            let telemetry = receive();
            for batch in batches {
                telemetry.deliver(batch);
            }
            let wait = FlushWait { telemetry, was_in_vain }.held_in_vain();
            assert_eq!(wait.map(|it| it.was_in_vain), goes_on.then_some(true), "{batches:?}");
        }
    }

    #[test]
    fn an_end_of_an_invocation_counts_for_one_wait_in_vain_only() {
        let telemetry = receive();
        telemetry.deliver(CRASH);
        let wait = FlushWait { telemetry, was_in_vain: true }.held_in_vain().unwrap();
        assert!(wait.held_in_vain().is_none());
    }

    #[test]
    fn the_last_sender_that_acknowledges_ends_the_wait() {
        let telemetry = receive();
        let done = telemetry.events.waker();
        let [first, last] = [done.clone(), done.clone()];
        let (watch, began) = (done.into_watch(), Instant::now());
        drop(first);
        assert!(!watch.is_dropped());
        thread::scope(|scope| {
            thread::Builder::new().spawn_scoped(scope, || drop(last)).unwrap();
            let wait = FlushWait { telemetry, was_in_vain: false };
            let held = RequestId("a-1".to_owned());
            assert!(wait.wait(&held, &watch, began + PATIENCE).is_some());
        });
        assert!(began.elapsed() < PATIENCE);
    }
}
