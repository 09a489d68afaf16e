//! Tests the clock in virtual time, with freezes of any length at any moment.

use std::cell::Cell;
use std::io;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const ATTEMPT: Duration = Duration::from_secs(3);
const FREEZE: Duration = Duration::from_secs(60);

/// Checks how long an attempt goes on after these waits, if no freeze follows.
#[track_caller]
fn check(waits: &[(Duration, Waited)], left: Option<Duration>) {
    let start = Instant::now();
    let (mut clock, mut now) =
        (FreezeClock::start(TimeLimit::ExcludingFreezes(ATTEMPT), start), start);
    let goes_on = waits.iter().all(|(took, waited)| wait(&mut clock, &mut now, *took, *waited));
    let left_at = now;
    let rest = goes_on.then(|| {
        loop {
            let asked = clock.next_wait(now);
            if !wait(&mut clock, &mut now, asked, Waited::TimedOut) {
                return now - left_at;
            }
        }
    });
    assert_eq!(rest, left, "{waits:?}");
}

fn wait(clock: &mut FreezeClock, now: &mut Instant, took: Duration, waited: Waited) -> bool {
    let asked = (clock.next_wait(*now), *now);
    *now += took;
    clock.has_time(asked, waited, *now)
}

#[test]
fn running_time_counts_however_each_wait_ends() {
    check(&[], Some(ATTEMPT));
    check(&[(MS, Waited::Done), (MS * 9, Waited::Done)], Some(MS * 2_990));
    check(&[(MS * 200, Waited::Done); 15], Some(WAIT_MIN));
    check(&[(MS * 200, Waited::Done); 16], Some(WAIT_MIN));
    let late_checks = vec![(MS * 200, Waited::Done); 15 + LATE_CHECKS_MAX as usize];
    check(&late_checks, Some(WAIT_MIN));
    check(&[late_checks, vec![(MS, Waited::Done)]].concat(), None);
    check(&[(WAIT_MAX, Waited::TimedOut); 11], Some(WAIT_MAX));
    check(&[(WAIT_MAX, Waited::TimedOut); 12], None);
    check(&[(WAIT_MAX, Waited::Interrupted); 11], Some(WAIT_MAX));
}

#[test]
fn a_freeze_uses_no_more_time_than_the_wait_that_it_interrupts() {
    for waited in [Waited::Interrupted, Waited::TimedOut, Waited::Done] {
        check(&[(FREEZE, waited)], Some(MS * 2_750));
        check(&[(MS, Waited::Done), (FREEZE, waited), (FREEZE, waited)], Some(MS * 2_499));
    }
}

#[test]
fn a_freeze_before_the_first_wait_uses_no_time() {
    let start = Instant::now();
    let (mut clock, mut now) =
        (FreezeClock::start(TimeLimit::ExcludingFreezes(ATTEMPT), start), start + FREEZE);
    while wait(&mut clock, &mut now, WAIT_MAX, Waited::TimedOut) {}
    assert_eq!(now - start, FREEZE + ATTEMPT);
}

#[test]
fn an_attempt_with_repeated_freezes_ends() {
    check(&[(FREEZE, Waited::Interrupted); 11], Some(WAIT_MAX));
    check(&[(FREEZE, Waited::TimedOut); 12], Some(WAIT_MIN));
}

#[test]
fn a_freeze_does_not_move_a_final_limit_and_leaves_one_last_wait() {
    let start = Instant::now();
    let mut clock = FreezeClock::start(TimeLimit::WallClock(start + ATTEMPT), start);
    let mut now = start;
    assert!(wait(&mut clock, &mut now, FREEZE, Waited::Interrupted));
    assert_eq!(clock.next_wait(now), WAIT_MIN);
    assert!(!wait(&mut clock, &mut now, WAIT_MIN, Waited::TimedOut));
}

#[test]
fn a_second_attempt_has_the_rest_of_the_time_and_after_a_freeze_all_of_it() {
    let limit = TimeLimit::ExcludingFreezes(ATTEMPT);
    for (took, left) in [(MS, MS * 2_999), (ATTEMPT + MS, Duration::ZERO), (FREEZE, ATTEMPT)] {
        assert_eq!(limit.after(took), TimeLimit::ExcludingFreezes(left), "{took:?}");
    }
    let end = TimeLimit::WallClock(Instant::now());
    assert_eq!(end.after(FREEZE), end);
}

/// A process that is frozen at times, and a remote that is not.
#[derive(Debug)]
struct World {
    start: Instant,
    now: Cell<Duration>,
    /// The start and length of each freeze, in order.
    freezes: Vec<(Duration, Duration)>,
    /// Whether signals freeze the process, which interrupts system calls. A freeze of the machine does not.
    is_by_signals: bool,
}

impl World {
    fn now(&self) -> Instant {
        self.pass(Duration::from_micros(1));
        self.start + self.now.get()
    }

    /// Lets the process run for this time, plus a freeze that begins meanwhile.
    fn pass(&self, time: Duration) {
        self.now.set(self.thawed(self.now.get() + time));
    }

    /// When a process continues that would otherwise continue at this time.
    fn thawed(&self, at: Duration) -> Duration {
        let frozen =
            self.freezes.iter().find(|(from, length)| (*from..*from + *length).contains(&at));
        frozen.map_or(at, |(from, length)| *from + *length)
    }

    /// A system call that waits for bytes, which arrive at `comes_at`.
    fn wait(&self, within: Duration, comes_at: Duration) -> io::Result<()> {
        let deadline = self.now.get() + within;
        loop {
            let now = self.now.get();
            let wakes_at = comes_at.max(now).min(deadline.max(now));
            let freeze = self.freezes.iter().find(|(from, _)| (now..wakes_at).contains(from));
            let Some((from, length)) = freeze else {
                self.now.set(wakes_at);
                return if comes_at <= wakes_at {
                    Ok(())
                } else {
                    Err(ErrorKind::WouldBlock.into())
                };
            };
            self.now.set(*from + *length);
            if self.is_by_signals && comes_at > self.now.get() {
                return Err(ErrorKind::Interrupted.into());
            }
        }
    }

    fn ran_since(&self, since: Duration) -> Duration {
        let now = self.now.get();
        let overlap = |(from, length): &(Duration, Duration)| {
            (*from + *length).min(now).saturating_sub((*from).max(since))
        };
        let frozen: Duration = self.freezes.iter().map(overlap).sum();
        now.saturating_sub(since).saturating_sub(frozen)
    }

    fn freezes_since(&self, since: Duration) -> u32 {
        let is_since = |it: &&(Duration, Duration)| it.0 >= since && it.0 <= self.now.get();
        u32::try_from(self.freezes.iter().filter(is_since).count()).unwrap()
    }

    /// Plays one phase until all pieces have arrived or its time is over. False if the time was over.
    fn play(&self, limit: Duration, pieces: &[Duration]) -> bool {
        let began = self.now.get();
        let mut clock = FreezeClock::start(TimeLimit::ExcludingFreezes(limit), self.now());
        let mut comes_at = began;
        for (number, gap) in pieces.iter().enumerate() {
            comes_at += *gap;
            if comes_at <= self.now.get() && number % 4 != 0 {
                continue; // One read takes several pieces that have already arrived.
            }
            let looked_at = Cell::new(began);
            let step = |within| {
                let result = self.wait(within, comes_at);
                looked_at.set(self.now.get());
                result
            };
            let piece = clock.repeat(|| self.now(), step);
            let ran = self.ran_since(began);
            assert!(ran <= limit + WAIT_MAX, "ran for {ran:?} of {limit:?}");
            if piece.is_none() {
                let is_missed = comes_at <= looked_at.get();
                assert!(
                    !is_missed || ran >= limit,
                    "missed a piece, given up after {ran:?} of {limit:?}"
                );
                let taken = (WAIT_MAX + LATE) * self.freezes_since(began);
                assert!(ran + taken >= limit, "given up after {ran:?} of {limit:?}");
                return false;
            }
        }
        true
    }
}

/// Freezes of up to ten minutes. Most of them are short, because short ones are hard to notice.
fn freezes() -> impl Strategy<Value = Vec<(Duration, Duration)>> {
    let length = prop_oneof![100..900_u64, 100..10_000_u64, 10_000..600_000_u64];
    vec((0..4_000_u64, length), 0..5).prop_map(|pauses| {
        let mut at = Duration::ZERO;
        let place = |(running, length): (u64, u64)| {
            let from = at + MS * u32::try_from(running).unwrap();
            let length = MS * u32::try_from(length).unwrap();
            at = from + length;
            (from, length)
        };
        pauses.into_iter().map(place).collect()
    })
}

/// An answer in pieces: the gap before each one. A long gap may make a piece arrive after the limit.
fn pieces() -> impl Strategy<Value = Vec<Duration>> {
    let gap = prop_oneof![0..50_u64, 0..1_000_u64, 0..700_000_u64];
    let cut = vec(gap, 1..6);
    let endless = (10..100_u64).prop_map(|gap| vec![gap; 300]);
    prop_oneof![4 => cut, 1 => endless]
        .prop_map(|gaps| gaps.into_iter().map(Duration::from_millis).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_phase_runs_beyond_its_limit_or_misses_bytes_that_have_arrived(
        freezes in freezes(),
        is_by_signals: bool,
        handshake in pieces(),
        answer in pieces(),
        body in pieces(),
        between in 0..100_u64,
    ) {
        let now = Cell::new(Duration::ZERO);
        let world = World { start: Instant::now(), now, freezes, is_by_signals };
        let phases = [(MS * 1_000, handshake), (ATTEMPT, answer), (MS * 250, body)];
        for (limit, pieces) in phases {
            world.pass(Duration::from_millis(between));
            if !world.play(limit, &pieces) {
                break;
            }
        }
    }
}
