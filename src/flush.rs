//! When to send what waits: pure, the time is an argument.

use std::time::{Duration, Instant};

/// Busy functions' reports wait so long, for others to go with them …
const COLLECT_FOR: Duration = Duration::from_secs(10);
/// … or for so many bytes of them …
const COLLECT_BYTES: usize = 256 * 1024;
/// … or until this part of the buffer is taken: what comes when it is full is lost.
const COLLECT_SHARE: usize = 2;

/// Invocations that come further apart than this on average are sparse: the environment may end
/// before the next one.
const SPARSE_GAP: Duration = Duration::from_secs(60);

/// The first invocations are taken for sparse: how many follow, and how soon, is not known yet.
const WARM_UP: u32 = 10;

/// What each new gap counts in the average: the last dozen make nearly all of it.
const GAP_WEIGHT: f64 = 0.2;

/// What `THUNDRA_EXTENSION_FLUSH` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// At once while invocations are sparse, else in batches.
    Default,
    /// At once.
    Continuously,
    /// When the oldest report has waited so long.
    Periodically(Duration),
    /// At once, and the invocation lasts until it is done (see [`crate::hold`]).
    End,
}

/// How often invocations come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    Sparse,
    /// Also of Managed Instances, which never freeze.
    Busy,
}

impl Strategy {
    /// When reports that take so many bytes of the buffer are to be sent, of which the oldest came
    /// at that moment.
    pub fn due(self, traffic: Traffic, oldest: Instant, bytes: usize, buffer: usize) -> Instant {
        match self.gathers(traffic, buffer) {
            Some((period, below)) if bytes < below => oldest + period,
            _ => oldest,
        }
    }

    /// How long reports wait for others, while they take fewer than so many bytes; `None` where they
    /// do not.
    pub fn gathers(self, traffic: Traffic, buffer: usize) -> Option<(Duration, usize)> {
        let room = buffer / COLLECT_SHARE;
        match (self, traffic) {
            (Self::Default, Traffic::Busy) => Some((COLLECT_FOR, room.min(COLLECT_BYTES))),
            (Self::Periodically(period), _) => Some((period, room)),
            _ => None,
        }
    }
}

/// The rate of invocations: an exponentially weighted average of the gaps between them.
#[derive(Debug, Default)]
pub struct Rate {
    last: Option<Instant>,
    gaps: u32,
    average: Duration,
}

impl Rate {
    /// To be told of each invocation.
    pub fn invoked(&mut self, now: Instant) -> Traffic {
        if let Some(last) = self.last.replace(now) {
            let gap = now.saturating_duration_since(last);
            let weight = if self.gaps == 0 { 1.0 } else { GAP_WEIGHT };
            self.average = self.average.mul_f64(1.0 - weight) + gap.mul_f64(weight);
            self.gaps = self.gaps.saturating_add(1);
        }
        if self.gaps < WARM_UP || self.average >= SPARSE_GAP {
            Traffic::Sparse
        } else {
            Traffic::Busy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::proptest;
    use proptest::test_runner::Config as ProptestConfig;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_strategy_has_its_moment() {
        const BUFFER: usize = 4 << 20;
        let (oldest, period) = (Instant::now(), Duration::from_millis(700));
        let periodically = Strategy::Periodically(period);
        for (strategy, traffic, bytes, wait) in [
            (Strategy::Default, Traffic::Sparse, 1, Duration::ZERO),
            (Strategy::Default, Traffic::Busy, 1, COLLECT_FOR),
            (Strategy::Default, Traffic::Busy, COLLECT_BYTES - 1, COLLECT_FOR),
            (Strategy::Default, Traffic::Busy, COLLECT_BYTES, Duration::ZERO),
            (Strategy::Continuously, Traffic::Busy, 1, Duration::ZERO),
            (Strategy::Continuously, Traffic::Sparse, 1, Duration::ZERO),
            (periodically, Traffic::Sparse, COLLECT_BYTES, period),
            (periodically, Traffic::Busy, 1, period),
            (periodically, Traffic::Busy, BUFFER / 2, Duration::ZERO),
            (Strategy::End, Traffic::Busy, 1, Duration::ZERO),
        ] {
            let due = strategy.due(traffic, oldest, bytes, BUFFER);
            assert_eq!(due, oldest + wait, "{strategy:?} {traffic:?} {bytes}");
        }
    }

    #[test]
    fn nothing_is_collected_beyond_half_of_a_small_buffer() {
        const BUFFER: usize = 64 << 10;
        let due = |bytes| {
            let oldest = Instant::now();
            Strategy::Default.due(Traffic::Busy, oldest, bytes, BUFFER) - oldest
        };
        assert_eq!((due(BUFFER / 2 - 1), due(BUFFER / 2)), (COLLECT_FOR, Duration::ZERO));
    }

    /// The traffic after each of these gaps.
    fn traffic(gaps: impl IntoIterator<Item = Duration>) -> Vec<Traffic> {
        let (mut rate, mut now) = (Rate::default(), Instant::now());
        assert_eq!(rate.invoked(now), Traffic::Sparse);
        let next = |gap| {
            now += gap;
            rate.invoked(now)
        };
        gaps.into_iter().map(next).collect()
    }

    #[test]
    fn quick_invocations_are_busy_once_they_have_lasted() {
        let traffic = traffic([SECOND; 12]);
        assert_eq!(traffic.iter().position(|it| *it == Traffic::Busy), Some(WARM_UP as usize - 1));
        assert_eq!(traffic[11], Traffic::Busy);
    }

    #[test]
    fn slow_invocations_stay_sparse_however_long_they_go_on() {
        assert!(traffic([SPARSE_GAP; 100]).iter().all(|it| *it == Traffic::Sparse));
    }

    #[test]
    fn an_hours_pause_makes_them_sparse_and_a_burst_after_it_busy_again() {
        let burst = || std::iter::repeat_n(SECOND, 20);
        let traffic = traffic(burst().chain([SECOND * 3_600]).chain(burst()));
        assert_eq!(traffic[19..=20], [Traffic::Busy, Traffic::Sparse]);
        assert_eq!(traffic[40], Traffic::Busy);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn after_the_first_ones_gaps_below_a_minute_are_busy_and_others_sparse(
            short in vec(0_u64..60_000, 10..200),
            long in vec(60_000_u64..10_000_000, 10..200),
        ) {
            let of = |gaps: Vec<u64>| traffic(gaps.into_iter().map(Duration::from_millis));
            proptest::prop_assert!(of(short)[WARM_UP as usize - 1..].iter().all(|it| *it == Traffic::Busy));
            proptest::prop_assert!(of(long).iter().all(|it| *it == Traffic::Sparse));
        }
    }
}
