//! A value that threads change and other threads wait for, always with a deadline.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct Watch<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watch<T> {
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    pub fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.lock())
    }

    pub fn update<R>(&self, update: impl FnOnce(&mut T) -> R) -> R {
        let updated = update(&mut self.lock());
        self.changed.notify_all();
        updated
    }

    /// Waits until `find` returns something. `None` when the time is over.
    ///
    /// `find` must not panic, because it holds the lock that the platform's threads need.
    pub fn wait<R>(
        &self,
        within: Duration,
        mut find: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let deadline = Instant::now() + within;
        let mut value = self.lock();
        loop {
            if let Some(found) = find(&mut value) {
                self.changed.notify_all();
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            value = self.changed.wait_timeout(value, left).expect(UNPOISONED).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "a thread of this double panicked; its message is above";

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_change_in_another_thread_ends_the_wait() {
        let watch = Watch::new(0);
        let found = thread::scope(|scope| {
            scope.spawn(|| watch.update(|value| *value = 7));
            watch.wait(Duration::from_secs(10), |value| (*value == 7).then_some("seven"))
        });
        assert_eq!(found, Some("seven"));
    }

    #[test]
    fn a_wait_for_nothing_ends_at_its_deadline() {
        let started = Instant::now();
        let within = Duration::from_millis(20);
        assert_eq!(Watch::new(0).wait(within, |_| None::<()>), None);
        assert!(started.elapsed() >= within);
    }
}
