//! Passes Lambda's telemetry events from the event loop, which receives them, to the main thread, which waits
//! for them.
//!
//! Invariant: any number of events uses constant memory, because each event only updates the known state.
//! Only events that end a wait wake the main thread.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::lambda::extensions_api::RequestId;
use crate::lambda::telemetry::RuntimeDone;
use crate::relay::wakeup::{Waker, Wakeup, wakeup};

/// The event loop's end.
#[derive(Clone, Debug)]
pub struct EventSender {
    known: Arc<Mutex<Known>>,
    waker: Waker,
}

/// The waiting thread's end.
#[derive(Debug)]
pub struct PlatformEvents {
    known: Arc<Mutex<Known>>,
    wakeup: Wakeup,
}

#[derive(Debug, Default)]
struct Known {
    has_batch: bool,
    has_end: bool,
    crashed: Option<RequestId>,
}

pub fn platform_events() -> (EventSender, PlatformEvents) {
    let (known, (waker, wakeup)) = (Arc::<Mutex<Known>>::default(), wakeup());
    (EventSender { known: Arc::clone(&known), waker }, PlatformEvents { known, wakeup })
}

impl EventSender {
    /// Records a batch of events, with these ends of invocations in it.
    pub fn batch(&self, ends: &[RuntimeDone]) {
        let mut known = lock(&self.known);
        known.has_batch = true;
        known.has_end |= !ends.is_empty();
        if let Some(crash) = ends.iter().rfind(|it| it.is_a_crash()) {
            known.crashed = Some(crash.request_id.clone());
            self.waker.wake();
        }
    }
}

impl PlatformEvents {
    /// A waker with which another thread can end a wait.
    pub fn waker(&self) -> Waker {
        self.wakeup.another_waker()
    }

    /// Waits for a waker, at most until this time. True if one woke this thread.
    pub fn wait(&self, until: Instant) -> bool {
        self.wakeup.wait(Some(until))
    }

    pub fn has_batch(&self) -> bool {
        lock(&self.known).has_batch
    }

    /// Whether an invocation has ended since the last call.
    pub fn take_end(&self) -> bool {
        mem::take(&mut lock(&self.known).has_end)
    }

    /// Whether the runtime's process ended during this invocation, even before the wait began. True only once:
    /// an emulator may go on after a crash, and retry the event under the same identifier. Lambda shuts down.
    pub fn take_crash(&self, of: &RequestId) -> bool {
        lock(&self.known).crashed.take_if(|it| it == of).is_some()
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::telemetry::ended;

    fn id(text: &str) -> RequestId {
        RequestId(text.to_owned())
    }

    /// Sends a batch with an end of the invocation `a-1`.
    fn send(events: &EventSender, status: &str) {
        let record = format!(r#"{{"requestId":"a-1","status":"{status}"}}"#);
        let batch = format!(r#"[{{"type":"platform.runtimeDone","record":{record}}}]"#);
        events.batch(&ended(batch.as_bytes()));
    }

    #[test]
    fn a_crash_counts_once_and_for_its_invocation_only_however_early_it_is_reported() {
        let (sender, events) = platform_events();
        send(&sender, "failure");
        assert!(events.wait(Instant::now()));
        assert!(!events.take_crash(&id("a-2")));
        assert_eq!([(); 2].map(|()| events.take_crash(&id("a-1"))), [true, false]);
    }

    #[test]
    fn only_a_crash_ends_a_wait() {
        let (sender, events) = platform_events();
        let has_ended = || events.wait(Instant::now());
        sender.batch(&[]);
        assert!(events.has_batch() && !events.take_end() && !has_ended());
        send(&sender, "success");
        assert_eq!([(); 2].map(|()| events.take_end()), [true, false]);
        assert!(!has_ended());
        send(&sender, "timeout");
        assert!(has_ended());
    }
}
