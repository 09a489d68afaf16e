//! Lets one thread sleep until another one wakes it. A sender sleeps until a message arrives. The main thread
//! sleeps until the senders have finished.
//!
//! A channel would need more code. It would also spin before it sleeps, on a small function's part of a CPU.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Instant;

/// Wakes the thread. The drop of its last clone wakes it too.
#[derive(Clone, Debug)]
pub struct Waker(Arc<End>);

/// Observes whether all clones of one waker are dropped.
#[derive(Debug)]
pub struct WakerWatch(Weak<End>);

/// The end for the one thread that waits.
#[derive(Debug)]
pub struct Wakeup(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    is_set: AtomicBool,
    sleeper: Mutex<Option<Thread>>,
}

#[derive(Debug)]
struct End(Arc<Signal>);

pub fn wakeup() -> (Waker, Wakeup) {
    let signal = Arc::new(Signal::default());
    (Waker(Arc::new(End(Arc::clone(&signal)))), Wakeup(signal))
}

impl Waker {
    /// Wakes the thread. Several calls before its next wait count as one.
    pub fn wake(&self) {
        self.0.0.wake();
    }

    /// Drops this clone, and observes the others.
    pub fn into_watch(self) -> WakerWatch {
        WakerWatch(Arc::downgrade(&self.0))
    }
}

impl WakerWatch {
    /// Whether all clones are dropped. The last drop wakes the thread, which then finds this true.
    pub fn is_dropped(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl Wakeup {
    /// A separate waker for the same thread. The drop of its own last clone wakes the thread, independently
    /// of other wakers.
    pub fn another_waker(&self) -> Waker {
        Waker(Arc::new(End(Arc::clone(&self.0))))
    }

    /// Waits for a waker until this time, or without a limit. True if one woke the thread, now or since the
    /// last wait.
    pub fn wait(&self, until: Option<Instant>) -> bool {
        while !self.take_set() {
            *self.0.sleeper() = Some(thread::current());
            // Checked again, because `wake` sets the flag before it looks for a sleeper. So one of the two
            // threads always sees the other.
            if self.take_set() {
                return true;
            }
            match until.map(|it| it.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => return false,
                Some(left) => thread::park_timeout(left),
            }
        }
        true
    }

    fn take_set(&self) -> bool {
        self.0.is_set.swap(false, Ordering::SeqCst)
    }
}

impl Signal {
    fn wake(&self) {
        self.is_set.store(true, Ordering::SeqCst);
        let sleeper = self.sleeper().take();
        sleeper.iter().for_each(Thread::unpark);
    }

    fn sleeper(&self) -> MutexGuard<'_, Option<Thread>> {
        self.sleeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn several_calls_before_a_wait_wake_the_thread_once() {
        let (waker, wakeup) = wakeup();
        let now = Some(Instant::now());
        assert!(!wakeup.wait(now));
        waker.wake();
        waker.clone().wake();
        assert_eq!([wakeup.wait(now), wakeup.wait(now)], [true, false]);
    }

    #[test]
    fn the_drop_of_the_last_clone_wakes_the_thread() {
        let (waker, wakeup) = wakeup();
        let now = Some(Instant::now());
        drop(waker.clone());
        assert!(!wakeup.wait(now));
        drop(waker);
        assert!(wakeup.wait(now));
    }

    #[test]
    fn a_dropped_waker_is_distinguished_from_other_wakers_of_the_same_wait() {
        let (_kept, wakeup) = wakeup();
        let another = wakeup.another_waker();
        let (clone, watch, now) = (another.clone(), another.into_watch(), Some(Instant::now()));
        assert!(!wakeup.wait(now) && !watch.is_dropped());
        drop(clone);
        assert!(wakeup.wait(now) && watch.is_dropped());
    }

    #[test]
    fn no_wake_of_another_thread_is_missed() {
        let [(there, at_there), (back, at_back)] = [wakeup(), wakeup()];
        thread::scope(|scope| {
            let answers = move || {
                for _ in 0..10_000 {
                    assert!(at_there.wait(Some(Instant::now() + PATIENCE)));
                    back.wake();
                }
            };
            thread::Builder::new().spawn_scoped(scope, answers).unwrap();
            for _ in 0..10_000 {
                there.wake();
                assert!(at_back.wait(Some(Instant::now() + PATIENCE)));
            }
        });
    }
}
