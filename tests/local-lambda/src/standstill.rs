//! Notices when the whole machine stands still, or has more threads to run than processors. A slow answer then
//! proves nothing about the server.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::watch::Watch;

const TICK: Duration = Duration::from_millis(5);
/// A tick that is later than this counts as a standstill.
const TICK_MAX: Duration = Duration::from_millis(15);

/// In its line `some`, `total` is how long some thread waited for a processor since the machine's start, in
/// microseconds ("PSI - Pressure Stall Information", Linux).
const PRESSURE: &str = "/proc/pressure/cpu";

/// Reads the clock regularly until it is dropped.
pub struct Standstills {
    began: Instant,
    /// `None` where the kernel does not count it.
    waited_before: Option<Duration>,
    found: Arc<Mutex<Vec<(Instant, Instant)>>>,
    is_over: Arc<AtomicBool>,
    looking: Option<JoinHandle<()>>,
}

impl Standstills {
    /// # Panics
    ///
    /// When the system refuses a thread.
    #[must_use]
    pub fn watch() -> Self {
        let (found, is_over) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(AtomicBool::new(false)));
        let (finds, ends) = (Arc::clone(&found), Arc::clone(&is_over));
        let look = move || {
            let mut before = Instant::now();
            while !ends.load(Ordering::Relaxed) {
                Watch::<()>::default().wait(TICK, |()| None::<()>);
                let now = Instant::now();
                if now - before > TICK_MAX {
                    finds.lock().expect("pushing never panics").push((before + TICK, now));
                }
                before = now;
            }
        };
        let looking = Builder::new().name("clock".to_owned()).spawn(look).expect("a thread");
        let (began, waited_before) = (Instant::now(), waited());
        Self { began, waited_before, found, is_over, looking: Some(looking) }
    }

    /// For which part of the time since the start of the watch some thread waited for a processor. 0 where the
    /// kernel does not count it.
    #[must_use]
    pub fn busy(&self) -> f64 {
        let counted = waited().zip(self.waited_before);
        let waited = counted.map_or(Duration::ZERO, |(now, before)| now.saturating_sub(before));
        waited.as_secs_f64() / self.began.elapsed().as_secs_f64()
    }

    /// How much of this time the machine stood still.
    ///
    /// # Panics
    ///
    /// Never, because no thread panics while it holds the lock.
    #[must_use]
    pub fn within(&self, from: Instant, to: Instant) -> Duration {
        within(&self.found.lock().expect("pushing never panics"), from, to)
    }
}

fn waited() -> Option<Duration> {
    waited_in(&fs::read_to_string(PRESSURE).ok()?)
}

fn waited_in(pressure: &str) -> Option<Duration> {
    let some = pressure.lines().find(|it| it.starts_with("some "))?;
    let total = some.split_once("total=")?.1.parse().ok()?;
    Some(Duration::from_micros(total))
}

fn within(found: &[(Instant, Instant)], from: Instant, to: Instant) -> Duration {
    let overlap = |(begin, end): &(Instant, Instant)| {
        to.min(*end).saturating_duration_since(from.max(*begin))
    };
    found.iter().map(overlap).sum()
}

impl Drop for Standstills {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let looked = self.looking.take().map(JoinHandle::join);
        debug_assert!(looked.is_some_and(|it| it.is_ok()), "looking never panics");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_threads_wait_for_a_processor_is_read_from_the_kernel() {
        let full = "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let some = "some avg10=0.64 avg60=36.04 avg300=65.14 total=3839418229\n";
        assert_eq!(waited_in(&format!("{some}{full}")), Some(Duration::from_micros(3_839_418_229)));
        assert_eq!([waited_in(full), waited_in("")], [None, None]);
    }

    #[test]
    fn only_what_lies_within_counts() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let found = [(at(10), at(20)), (at(30), at(50))];
        for (from, to, ms) in [(0, 10, 0), (0, 15, 5), (12, 40, 18), (0, 90, 30), (60, 90, 0)] {
            let within = within(&found, at(from), at(to));
            assert_eq!(within, Duration::from_millis(ms), "{from} to {to}");
        }
    }
}
