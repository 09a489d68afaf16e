//! What of the buffer one remote's reports may take: all of it, until another's come too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Clones are the same share.
#[derive(Clone, Debug)]
pub struct Share {
    /// Bytes.
    buffer: usize,
    /// How many of the shares are used.
    used: Arc<AtomicUsize>,
    own: Arc<Own>,
}

#[derive(Debug, Default)]
struct Own {
    is_used: AtomicBool,
    /// Bytes.
    held: AtomicUsize,
}

/// What a report takes of a share, until it is dropped with it.
#[derive(Debug)]
#[must_use = "dropping it gives back what it takes"]
pub struct Place {
    own: Arc<Own>,
    bytes: usize,
}

impl Share {
    pub fn of(buffer: usize) -> Self {
        Self { buffer, used: Arc::default(), own: Arc::default() }
    }

    /// Another one of the same buffer.
    pub fn another(&self) -> Self {
        Self { own: Arc::default(), ..self.clone() }
    }

    /// Equal parts, for those that are used: one that is full of what its remote does not take leaves
    /// the others theirs.
    pub fn bytes(&self) -> usize {
        self.buffer / self.used.load(Ordering::Relaxed).max(1)
    }

    /// A place for a report of so many bytes; `None` if they are not free now. One that is larger than
    /// the share has to be alone.
    pub fn take(&self, bytes: usize) -> Option<Place> {
        if !self.own.is_used.load(Ordering::Relaxed)
            && !self.own.is_used.swap(true, Ordering::Relaxed)
        {
            self.used.fetch_add(1, Ordering::Relaxed);
        }
        let most = self.bytes();
        let with_it = |held| (held == 0 || held + bytes <= most).then_some(held + bytes);
        // Relaxed: the number alone is the limit, as in the budget.
        self.own.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_it).ok()?;
        Some(Place { own: Arc::clone(&self.own), bytes })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.own.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_has_all_and_two_have_a_half_each() {
        let one = Share::of(100);
        let other = one.another();
        let all = one.take(100);
        assert_eq!((all.is_some(), one.bytes(), other.bytes()), (true, 100, 100));
        let half = other.take(50);
        assert_eq!((half.is_some(), one.bytes(), other.bytes()), (true, 50, 50));
        assert!(one.take(1).is_none() && other.take(1).is_none());
        drop(all);
        let (ten, forty) = (one.take(10), one.clone().take(40));
        assert!(ten.is_some() && forty.is_some() && one.take(1).is_none());
    }

    #[test]
    fn what_is_larger_than_a_share_has_to_be_alone() {
        let one = Share::of(100);
        let _other = one.another().take(1);
        let small = one.take(1);
        assert!(one.take(60).is_none());
        drop(small);
        assert!(one.take(60).is_some());
    }
}
