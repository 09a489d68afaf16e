//! A remote's quota of the buffer: an equal part, fixed at the start. The bytes of a report are kept only
//! together with a permit of a quota.
//!
//! Invariant: all permits together never exceed the quota's size. The quotas of all remotes together never
//! exceed the buffer. Telemetry's quota is not part of the buffer. A dropped permit returns its bytes, even in
//! a panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The largest part of a quota for one report, as a fraction. A larger one is answered with 413.
/// The rest is room for other reports while this one is read and sent.
const REPORT_PART_MAX: (usize, usize) = (3, 4);

/// A number of bytes that may be in use. Clones share it.
#[derive(Clone, Debug)]
pub struct Quota(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    size: usize,
    free: AtomicUsize,
}

impl Quota {
    /// The quotas of this many remotes: equal parts of a buffer.
    pub fn of_each(buffer: usize, remotes: usize) -> impl Iterator<Item = Self> {
        (0..remotes).map(move |_| Self::of(buffer / remotes))
    }

    /// A quota of this many bytes.
    pub fn of(size: usize) -> Self {
        Self(Arc::new(Shared { size, free: AtomicUsize::new(size) }))
    }

    /// The size of the quota, in bytes.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// How many bytes of the quota are in use.
    pub fn held(&self) -> usize {
        self.0.size - self.0.free.load(Ordering::Relaxed)
    }

    /// Size limit of one report, in bytes.
    pub fn report_max(&self) -> usize {
        let (part, whole) = REPORT_PART_MAX;
        self.0.size / whole * part
    }

    /// A permit for `bytes`, or `None` if fewer bytes are free now.
    pub fn take(&self, bytes: usize) -> Option<Permit> {
        let mut permit = Permit { quota: self.clone(), bytes: 0 };
        permit.grow(bytes).then_some(permit)
    }
}

/// The right to use some bytes. Dropping it returns them.
#[derive(Debug)]
#[must_use = "dropping the permit gives its bytes back"]
pub struct Permit {
    quota: Quota,
    bytes: usize,
}

impl Permit {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `bytes` more. False if fewer bytes are free now; then nothing is taken.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        // Relaxed is enough, because no other memory depends on this number.
        let free = &self.quota.0.free;
        let taken =
            free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes));
        if taken.is_ok() {
            self.bytes += bytes;
        }
        taken.is_ok()
    }

    /// Returns all bytes except `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.quota.0.free.fetch_add(surplus, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_permit_returns_its_bytes() {
        let quota = Quota::of(10);
        let permit = quota.take(7).unwrap();
        assert_eq!((quota.held(), quota.size()), (7, 10));
        assert!(quota.take(4).is_none());
        assert_eq!(quota.held(), 7, "a refused permit takes nothing");
        drop(permit);
        assert_eq!(quota.held(), 0);
        assert!(quota.take(10).is_some());
    }

    #[test]
    fn a_permit_grows_up_to_the_quota_and_returns_bytes_when_it_shrinks() {
        let quota = Quota::of(10);
        let mut permit = quota.take(2).unwrap();
        assert!(permit.grow(8));
        assert!(!permit.grow(1));
        assert!(!permit.grow(usize::MAX));
        permit.shrink_to(3);
        assert_eq!(quota.held(), 3);
        permit.shrink_to(9);
        assert_eq!(quota.held(), 3, "shrinking never takes");
    }

    #[test]
    fn all_threads_together_never_exceed_the_quota() {
        let quota = Quota::of(1_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for bytes in 1..2_000 {
                        let permit = quota.take(bytes % 400);
                        assert!(quota.held() <= quota.size());
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(quota.held(), 0);
    }

    #[test]
    fn each_remote_has_an_equal_part_however_much_the_others_take() {
        let quotas: Vec<Quota> = Quota::of_each(83, 4).collect();
        let permits: Vec<Permit> = quotas.iter().map(|it| it.take(20).unwrap()).collect();
        assert!(quotas.iter().all(|it| it.size() == 20 && it.take(1).is_none()));
        assert_eq!(quotas[0].held(), 20);
        drop(permits);
        assert_eq!(quotas[0].held(), 0);
    }

    #[test]
    fn one_report_takes_at_most_three_quarters_of_its_remotes_part() {
        let report_max = |remotes| Quota::of_each(80, remotes).next().unwrap().report_max();
        assert_eq!([1, 2, 4].map(report_max), [60, 30, 15]);
    }
}
