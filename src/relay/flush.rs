//! The strategy: how long and up to how many bytes reports may wait. Pure: the time is an argument.

use std::fmt::{self, Display};
use std::time::{Duration, Instant};

use crate::logging::in_ms;

/// With busy traffic, the longest time that a report waits for others to be merged with.
const COLLECT_FOR: Duration = Duration::from_secs(10);
/// With busy traffic, reports of this many bytes are sent at once.
const COLLECT_BYTES: usize = 256 * 1024;
/// Divisor: reports are sent at once if they use the buffer divided by this. A full buffer refuses new reports.
const COLLECT_SHARE: usize = 2;

/// From this average gap between invocations on, traffic is sparse. The environment may then end before the
/// next invocation.
const SPARSE_GAP: Duration = Duration::from_secs(60);

/// The number of first gaps that count as sparse, because the rate is still unknown.
const WARM_UP: u32 = 10;

/// The weight of each new gap in the average. The last dozen gaps make up nearly all of it.
const GAP_WEIGHT: f64 = 0.2;

/// The strategy, which `THUNDRA_EXTENSION_FLUSH` sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Sends at once while traffic is sparse, otherwise in batches.
    Default,
    /// Sends at once.
    Continuously,
    /// Sends when the oldest report has waited for this time.
    Periodically(Duration),
    /// Sends at once, and delays the next poll until the reports are delivered.
    End,
}

/// Formats a strategy as the variable spells it.
impl Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Continuously => f.write_str("continuously"),
            Self::Periodically(period) => write!(f, "periodically,{}", in_ms(*period)),
            Self::End => f.write_str("end"),
        }
    }
}

/// The strategy, and the traffic that it depends on.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub strategy: Strategy,
    pub traffic: Traffic,
}

/// How often invocations happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    Sparse,
    /// Also the traffic on Managed Instances, which never freeze.
    Busy,
}

impl Strategy {
    /// When to send reports that use this many `bytes` of the `buffer`. The oldest one was accepted at
    /// `oldest`.
    pub fn due(self, traffic: Traffic, oldest: Instant, bytes: usize, buffer: usize) -> Instant {
        match self.gathers(traffic, buffer) {
            Some((period, below)) if bytes < below => oldest + period,
            _ => oldest,
        }
    }

    /// How long reports wait for others, and the number of bytes from which they no longer wait. `None` if
    /// they never wait.
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
    /// Records an invocation. Returns the traffic from now on.
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
    fn each_strategy_sends_at_its_own_time() {
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
    fn frequent_invocations_are_busy_after_the_first_ones() {
        let traffic = traffic([SECOND; 12]);
        assert_eq!(traffic.iter().position(|it| *it == Traffic::Busy), Some(WARM_UP as usize - 1));
        assert_eq!(traffic[11], Traffic::Busy);
    }

    #[test]
    fn rare_invocations_stay_sparse_however_many_there_are() {
        assert!(traffic([SPARSE_GAP; 100]).iter().all(|it| *it == Traffic::Sparse));
    }

    #[test]
    fn an_hours_pause_makes_traffic_sparse_and_a_burst_makes_it_busy_again() {
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
