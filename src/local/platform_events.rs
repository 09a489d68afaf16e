//! Passes Lambda's telemetry events from the workers that receive them to the main thread, which waits for
//! them.
//!
//! Invariant: any number of events uses constant memory, because each event only updates the known state.
//! Only events that end a wait wake the main thread.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::lambda::extensions_api::RequestId;
use crate::lambda::telemetry::PlatformEvent;
use crate::relay::wakeup::{Waker, Wakeup, wakeup};

/// The workers' end.
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
    is_closed: bool,
    crashed: Option<RequestId>,
}

pub fn platform_events() -> (EventSender, PlatformEvents) {
    let (known, (waker, wakeup)) = (Arc::<Mutex<Known>>::default(), wakeup());
    (EventSender { known: Arc::clone(&known), waker }, PlatformEvents { known, wakeup })
}

impl EventSender {
    pub fn send(&self, event: PlatformEvent) {
        let mut known = lock(&self.known);
        match event {
            PlatformEvent::Batch => known.has_batch = true,
            PlatformEvent::RuntimeDone => known.has_end = true,
            PlatformEvent::Crashed(request_id) => {
                known.crashed = Some(request_id);
                self.waker.wake();
            }
            PlatformEvent::Closed => {
                known.is_closed = true;
                self.waker.wake();
            }
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

    /// Whether this invocation crashed, even before the wait began. True only once, because Lambda retries a
    /// failed event under the same identifier.
    pub fn take_crash(&self, of: &RequestId) -> bool {
        lock(&self.known).crashed.take_if(|it| it == of).is_some()
    }

    pub fn is_closed(&self) -> bool {
        lock(&self.known).is_closed
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RequestId {
        RequestId(text.to_owned())
    }

    #[test]
    fn a_crash_counts_once_and_for_its_invocation_only_however_early_it_is_reported() {
        let (sender, events) = platform_events();
        sender.send(PlatformEvent::Crashed(id("a-1")));
        assert!(events.wait(Instant::now()));
        assert!(!events.take_crash(&id("a-2")));
        assert_eq!([(); 2].map(|()| events.take_crash(&id("a-1"))), [true, false]);
    }

    #[test]
    fn only_a_crash_and_the_close_of_the_port_end_a_wait() {
        let (sender, events) = platform_events();
        for (event, ends) in [
            (PlatformEvent::Batch, false),
            (PlatformEvent::RuntimeDone, false),
            (PlatformEvent::Crashed(id("a-1")), true),
            (PlatformEvent::Closed, true),
        ] {
            sender.send(event);
            assert_eq!(events.wait(Instant::now()), ends);
        }
        assert!(events.has_batch() && events.is_closed());
        assert_eq!([(); 2].map(|()| events.take_end()), [true, false]);
    }
}
