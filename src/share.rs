//! What of the buffer one remote's reports may take: an equal part, and as long as nothing comes for
//! the others, theirs too, but for a reserve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What of the buffer is kept for each remote that nothing has come for: its first reports must not
/// find it full of what another does not take.
const RESERVE: usize = 8;

/// Clones are the same share.
#[derive(Clone, Debug)]
pub struct Share {
    /// Bytes.
    buffer: usize,
    all: Arc<All>,
    own: Arc<Own>,
}

/// The shares of one buffer.
#[derive(Debug)]
struct All {
    shares: usize,
    used: AtomicUsize,
}

#[derive(Debug, Default)]
struct Own {
    is_used: AtomicBool,
    /// Bytes.
    held: AtomicUsize,
}

impl Share {
    /// So many of one buffer.
    pub fn of(buffer: usize, shares: usize) -> impl Iterator<Item = Self> {
        let all = Arc::new(All { shares, used: AtomicUsize::default() });
        (0..shares).map(move |_| Self { buffer, all: Arc::clone(&all), own: Arc::default() })
    }

    /// To be told of each report. True if it is the first, and there is less for others from now on.
    #[must_use]
    pub fn is_news(&self) -> bool {
        let is_first = !self.own.is_used.load(Ordering::Relaxed)
            && !self.own.is_used.swap(true, Ordering::Relaxed);
        is_first && self.all.used.fetch_add(1, Ordering::Relaxed) > 0
    }

    /// An equal part, for each that is used.
    pub fn bytes(&self) -> usize {
        self.buffer / self.used()
    }

    /// How many are used, this one among them.
    fn used(&self) -> usize {
        let is_used = self.own.is_used.load(Ordering::Relaxed);
        self.all.used.load(Ordering::Relaxed) + usize::from(!is_used)
    }

    /// What it may hold: what is kept for others is taken from what arrives, and not from what waits.
    fn most(&self) -> usize {
        let unused = self.all.shares.saturating_sub(self.used()).min(RESERVE - 1);
        (self.buffer - self.buffer / RESERVE * unused) / self.used()
    }

    /// What it holds, in bytes.
    pub fn held(&self) -> usize {
        self.own.held.load(Ordering::Relaxed)
    }

    /// False, and nothing taken, if so many bytes are not free now.
    #[must_use]
    pub fn take(&self, bytes: usize) -> bool {
        let most = self.most();
        let with_it = |held: usize| Some(held + bytes).filter(|all| *all <= most);
        // Relaxed: the number alone is the limit, as in the budget.
        self.own.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_it).is_ok()
    }

    pub fn give_back(&self, bytes: usize) {
        self.own.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_has_all() {
        let only = Share::of(80, 1).next().unwrap();
        assert!(!only.is_news() && only.take(80) && !only.take(1));
        assert_eq!((only.bytes(), only.held()), (80, 80));
        only.give_back(1);
        assert!(only.take(1));
    }

    #[test]
    fn of_four_each_that_is_used_takes_from_the_others_and_an_eighth_stays_for_each_that_is_not() {
        let [one, two, three, four] = Share::of(80, 4).collect::<Vec<_>>().try_into().unwrap();
        assert!(!one.is_news() && one.take(50) && !one.take(1), "three eighths are kept");
        one.give_back(50);
        assert!(two.is_news());
        for share in [&one, &two] {
            assert!(share.take(30) && !share.take(1), "half of what is not kept");
            share.give_back(30);
        }
        assert!(three.is_news() && four.is_news());
        for share in [one, two, three, four] {
            assert_eq!(share.bytes(), 20);
            assert!(share.take(20) && !share.take(1));
        }
    }

    #[test]
    fn two_have_a_half_each_once_both_are_used_and_before_that_an_eighth_is_kept() {
        let [one, other] = Share::of(80, 2).collect::<Vec<_>>().try_into().unwrap();
        assert!(!one.is_news() && one.take(70) && !one.take(1));
        assert!(other.take(10), "it is kept for the first report");
        assert!(other.is_news() && !other.is_news());
        assert_eq!((one.bytes(), other.bytes()), (40, 40));
        assert!(other.take(30) && !other.take(1) && !one.take(1));
        one.give_back(31);
        assert!(one.clone().take(1) && !one.take(1));
    }
}
