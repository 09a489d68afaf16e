//! The memory limit for reports. The bytes of a report are kept only together with a permit of one budget.
//!
//! Invariant: all permits together never exceed the budget's size. A dropped permit returns its bytes, even
//! in a panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that may be in use. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    size: usize,
    free: AtomicUsize,
}

impl Budget {
    pub fn of(bytes: usize) -> Self {
        Self(Arc::new(Shared { size: bytes, free: AtomicUsize::new(bytes) }))
    }

    pub fn size(&self) -> usize {
        self.0.size
    }

    pub fn held(&self) -> usize {
        self.0.size - self.0.free.load(Ordering::Relaxed)
    }

    /// A permit for `bytes`, or `None` if fewer bytes are free now.
    pub fn take(&self, bytes: usize) -> Option<Permit> {
        let mut permit = Permit { budget: self.clone(), bytes: 0 };
        permit.grow(bytes).then_some(permit)
    }
}

/// The right to use some bytes. Dropping it returns them.
#[derive(Debug)]
#[must_use = "dropping the permit gives its bytes back"]
pub struct Permit {
    budget: Budget,
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
        let taken = self
            .budget
            .0
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes));
        if taken.is_ok() {
            self.bytes += bytes;
        }
        taken.is_ok()
    }

    /// Returns all bytes except `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.budget.0.free.fetch_add(surplus, Ordering::Relaxed);
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
        let budget = Budget::of(10);
        let permit = budget.take(7).unwrap();
        assert_eq!((budget.held(), budget.size()), (7, 10));
        assert!(budget.take(4).is_none());
        assert_eq!(budget.held(), 7, "a refused permit takes nothing");
        drop(permit);
        assert_eq!(budget.held(), 0);
        assert!(budget.take(10).is_some());
    }

    #[test]
    fn a_permit_grows_up_to_the_budget_and_returns_bytes_when_it_shrinks() {
        let budget = Budget::of(10);
        let mut permit = budget.take(2).unwrap();
        assert!(permit.grow(8));
        assert!(!permit.grow(1));
        assert!(!permit.grow(usize::MAX));
        permit.shrink_to(3);
        assert_eq!(budget.held(), 3);
        permit.shrink_to(9);
        assert_eq!(budget.held(), 3, "shrinking never takes");
    }

    #[test]
    fn all_threads_together_never_exceed_the_budget() {
        let budget = Budget::of(1_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for bytes in 1..2_000 {
                        let permit = budget.take(bytes % 400);
                        assert!(budget.held() <= budget.size());
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(budget.held(), 0);
    }
}
