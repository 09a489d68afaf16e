//! The memory ceiling: bytes of reports are held only by owning a permit of one budget.
//!
//! Invariant: the permits that are out never add up to more than the budget's size, and what a
//! permit took comes back when it is dropped, wherever that happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::share::Share;

/// A count of bytes that may be held. Clones share it.
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

    /// A permit for `bytes`, or `None` if so much is not free now.
    pub fn take(&self, bytes: usize) -> Option<Permit> {
        self.take_of(None, bytes)
    }

    /// As [`Self::take`], of a share of it.
    pub fn take_of(&self, share: Option<&Share>, bytes: usize) -> Option<Permit> {
        let mut permit = Permit { budget: self.clone(), share: share.cloned(), bytes: 0 };
        permit.grow(bytes).then_some(permit)
    }
}

/// The right to hold some bytes, given back when dropped.
#[derive(Debug)]
#[must_use = "dropping the permit gives its bytes back"]
pub struct Permit {
    budget: Budget,
    share: Option<Share>,
    bytes: usize,
}

impl Permit {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `bytes` more; false, and nothing taken, if so much is not free now.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        if self.share.as_ref().is_some_and(|share| !share.take(bytes)) {
            return false;
        }
        // Relaxed: the number alone is the limit, no other memory is published by it.
        let taken = self
            .budget
            .0
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes));
        if taken.is_ok() {
            self.bytes += bytes;
        } else if let Some(share) = &self.share {
            share.give_back(bytes);
        }
        taken.is_ok()
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.budget.0.free.fetch_add(surplus, Ordering::Relaxed);
        if let Some(share) = &self.share {
            share.give_back(surplus);
        }
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
    fn a_permit_takes_and_its_drop_gives_back() {
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
    fn what_is_taken_of_a_share_is_taken_of_both_or_of_none() {
        let (budget, share) = (Budget::of(10), Share::of(8, 1).next().unwrap());
        let mut permit = budget.take_of(Some(&share), 5).unwrap();
        assert!(!permit.grow(4));
        let others = budget.take(4);
        assert!(!permit.grow(2) && permit.grow(1));
        assert_eq!((share.held(), budget.held()), (6, 10));
        permit.shrink_to(1);
        assert_eq!((share.held(), budget.held()), (1, 5));
        drop((permit, others));
        assert_eq!((share.held(), budget.held()), (0, 0));
    }

    #[test]
    fn growing_stops_at_the_size_and_shrinking_gives_back() {
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
    fn threads_together_never_hold_more_than_the_size() {
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
