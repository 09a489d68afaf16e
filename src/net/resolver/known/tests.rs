//! Tests look-ups in virtual time, with a scripted resolver.

use proptest::prelude::*;

use super::super::order::Rank;
use super::*;

const MS: Duration = Duration::from_millis(1);

/// Roughly the time limit of a first attempt's look-up.
const WITHIN: Duration = Duration::from_millis(1_700);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Address,
    NoRoute,
    /// NXDOMAIN, or a name without an address of this family.
    No,
    /// SERVFAIL, REFUSED, NOTIMP, or time-outs.
    Trouble,
}

use Reply::{Address, No, NoRoute, Trouble};

/// The reply to each family's question, and its delay in milliseconds.
type Replies = [(Reply, u64); 2];

struct World {
    known: Known,
    now: Instant,
    in_flight: Vec<(Instant, Family, Reply)>,
    asked: usize,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self { known: Known::new(now), now, in_flight: Vec::new(), asked: 0 }
    }

    fn ask(&mut self, replies: Replies) {
        for family in self.known.take_due() {
            let is_in_flight = self.in_flight.iter().any(|(_, it, _)| *it == family);
            assert!(!is_in_flight, "{family:?} is asked for twice at once");
            let (reply, after) = replies[family as usize];
            self.in_flight.push((self.now + MS * u32::try_from(after).unwrap(), family, reply));
            self.asked += 1;
        }
    }

    /// Lets time pass, and delivers the answers that arrive meanwhile.
    fn pass_until(&mut self, until: Instant) {
        self.now = until;
        let (arrived, in_flight) = self.in_flight.drain(..).partition(|(at, ..)| *at <= until);
        self.in_flight = in_flight;
        let mut arrived: Vec<_> = arrived;
        arrived.sort_by_key(|(at, ..)| *at);
        for (at, family, reply) in arrived {
            self.known.answered(family, answer(family, reply), at);
        }
    }

    /// Runs a look-up. Returns its verdict and how long it takes.
    fn look_up(&mut self, replies: Replies, within: Duration) -> (Verdict, Duration) {
        let (began, by) = (self.now, self.now + within);
        self.known.begin(began);
        loop {
            self.ask(replies);
            let until = match self.known.verdict(self.now) {
                Verdict::Wait(until) => until,
                verdict => return (verdict, self.now - began),
            };
            let answers = self.in_flight.iter().map(|(at, ..)| *at);
            let next = answers.chain(until).min().unwrap_or(by).min(by);
            self.pass_until(next);
            if next == by {
                return (self.known.end(by), within);
            }
        }
    }

    /// Runs a look-up, and connects to its first address.
    fn connect(&mut self, replies: Replies, within: Duration) -> (Option<Found>, Duration) {
        let (verdict, took) = self.look_up(replies, within);
        let Verdict::Found(found) = verdict else { return (None, took) };
        self.known.connected(found.clone(), found.addresses[0], self.now);
        self.known.attempted(true);
        (Some(found), took)
    }
}

fn address_of(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => "192.0.2.1".parse().unwrap(),
        Family::Ipv6 => "2001:db8::1".parse().unwrap(),
    }
}

fn answer(family: Family, reply: Reply) -> Answer {
    let address = address_of(family);
    let rank = if family == Family::Ipv4 { Rank::Ipv4 } else { Rank::Ipv6 };
    let failure = |is_definite| Failure { is_definite, why: "no".to_owned() };
    match reply {
        Address => Ok(vec![Candidate { rank, address }]),
        NoRoute => Ok(vec![Candidate { rank: Rank::NoRoute, address }]),
        No => Err(failure(true)),
        Trouble => Err(failure(false)),
    }
}

#[track_caller]
fn check(replies: Replies, addresses: &[Family], after: u64) {
    let (verdict, took) = World::new().look_up(replies, WITHIN);
    let found = match verdict {
        Verdict::Found(Found { addresses, age: None }) => addresses,
        Verdict::Failed(_) => Vec::new(),
        verdict => panic!("{replies:?}: {verdict:?}"),
    };
    let addresses: Vec<IpAddr> = addresses.iter().copied().map(address_of).collect();
    assert_eq!((found, took.as_millis()), (addresses, u128::from(after)), "{replies:?}");
}

const V4: Family = Family::Ipv4;
const V6: Family = Family::Ipv6;
const NEVER: u64 = 1_000_000;

#[test]
fn an_address_of_one_family_is_used_however_the_other_question_ends() {
    for bad in [No, Trouble] {
        check([(Address, 5), (bad, 5)], &[V4], 5);
        check([(Address, 5), (bad, 3)], &[V4], 5);
        check([(Address, 5), (bad, 30)], &[V4], 30);
        check([(Address, 1_500), (bad, 5)], &[V4], 1_500);
        check([(bad, 5), (Address, 5)], &[V6], 5);
        check([(bad, 1_400), (Address, 5)], &[V6], 55);
    }
    for slow in [56, 1_200, 5_000, NEVER] {
        check([(Address, 5), (Address, slow)], &[V4], 55);
        check([(Address, slow), (Address, 5)], &[V6], 55);
    }
    check([(Address, 20), (Address, 5)], &[V6, V4], 20);
    check([(Address, 1_200), (Address, 1_240)], &[V6, V4], 1_240);
    check([(Address, 1_690), (Address, NEVER)], &[V4], 1_700);
}

#[test]
fn an_address_without_a_route_does_not_end_the_wait_for_the_other_family() {
    check([(Address, 1_000), (NoRoute, 5)], &[V4], 1_000);
    check([(NoRoute, 5), (Address, 1_000)], &[V6], 1_000);
    check([(No, 9), (NoRoute, 5)], &[V6], 9);
    check([(NoRoute, 9), (NoRoute, 5)], &[V4, V6], 9);
    check([(Trouble, 9), (NoRoute, 5)], &[], 9);
    check([(Address, NEVER), (NoRoute, 5)], &[], 1_700);
}

#[test]
fn a_look_up_without_an_address_fails_at_the_last_answer_or_the_time_limit() {
    check([(No, 5), (No, 9)], &[], 9);
    check([(Trouble, 900), (No, 9)], &[], 900);
    check([(No, 5), (Address, NEVER)], &[], 1_700);
    check([(Address, NEVER), (Address, NEVER)], &[], 1_700);
}

#[test]
fn a_failure_of_the_resolver_is_the_reason_rather_than_a_missing_address() {
    let failure = |why: &str, is_definite| Err(Failure { is_definite, why: why.to_owned() });
    for (v4, v6, reason) in [(true, false, "v6"), (false, true, "v4"), (true, true, "v4")] {
        let mut world = World::new();
        world.ask([(No, NEVER); 2]);
        world.known.answered(V4, failure("v4", v4), world.now);
        world.known.answered(V6, failure("v6", v6), world.now);
        let verdict = world.known.verdict(world.now);
        assert!(matches!(&verdict, Verdict::Failed(Some(it)) if it == reason));
    }
}

#[test]
fn a_late_answer_serves_the_next_look_up_and_no_other() {
    let slow = [(Address, 5_000), (Address, NEVER)];
    let mut world = World::new();
    assert!(world.connect(slow, WITHIN).0.is_none());
    world.pass_until(world.now + MS * 100);
    let (found, took) = world.connect(slow, WITHIN * 3);
    assert_eq!((found.unwrap().addresses, took), (vec![address_of(V4)], MS * 3_250));
    assert_eq!(world.asked, 2, "no question is asked twice");

    let mut world = World::new();
    assert!(world.connect(slow, WITHIN).0.is_none());
    world.pass_until(world.now + MS * 30_000);
    let (found, took) = world.connect(slow, WITHIN);
    assert_eq!((found.unwrap().age, took), (None, RESOLUTION_DELAY));
    let (_, took) = world.connect(slow, WITHIN * 10);
    assert_eq!((world.asked, took), (3, STALE_AFTER), "asked again");

    let mut world = World::new();
    assert!(world.connect(slow, WITHIN).0.is_none());
    world.pass_until(world.now + LATE_ANSWER_MAX + MS * 5_000);
    assert!(world.connect(slow, WITHIN).0.is_none(), "too old");
}

#[test]
fn while_the_resolver_fails_the_last_good_address_is_used() {
    let good = [(Address, 5), (No, 5)];
    for (replies, after) in [
        ([(Trouble, 5), (Trouble, 9)], 9),
        ([(Trouble, 5), (No, 9)], 9),
        ([(No, 5), (Address, NEVER)], 500),
        ([(Address, NEVER), (Address, NEVER)], 500),
        ([(Trouble, 5), (NoRoute, 9)], 9),
    ] {
        let mut world = World::new();
        world.connect(good, WITHIN).0.unwrap();
        for _ in 0..3 {
            world.pass_until(world.now + MS * 3_600_000);
            let age = world.now - world.known.last.as_ref().unwrap().at;
            let (found, took) = world.connect(replies, WITHIN);
            let found = found.unwrap();
            assert_eq!((found.addresses, took), (vec![address_of(V4)], MS * after), "{replies:?}");
            assert_eq!(found.age, Some(age + took), "using an address does not renew its age");
        }
        world.pass_until(world.now + STALE_MAX);
        let (found, _) = world.connect(replies, WITHIN);
        assert!(found.is_none_or(|it| it.age.is_none()), "{replies:?}: too old");
    }
}

#[test]
fn a_name_that_no_longer_exists_has_no_address() {
    let mut world = World::new();
    world.connect([(Address, 5), (No, 5)], WITHIN).0.unwrap();
    assert!(world.connect([(No, 5), (No, 5)], WITHIN).0.is_none());
}

#[test]
fn the_address_that_answered_last_is_tried_first() {
    let both = [(Address, 5), (Address, 5)];
    let mut world = World::new();
    let (found, _) = world.connect(both, WITHIN);
    let found = found.unwrap();
    assert_eq!(found.addresses, [address_of(V6), address_of(V4)]);
    world.known.connected(found, address_of(V4), world.now);
    world.known.attempted(true);
    let (found, _) = world.connect(both, WITHIN);
    assert_eq!(found.unwrap().addresses, [address_of(V4), address_of(V6)]);
}

#[test]
fn an_address_that_gives_no_answer_is_tried_last_until_it_answers() {
    let mut world = World::new();
    let both = [address_of(V6), address_of(V4)];
    let swapped = [address_of(V4), address_of(V6)];
    for (tried, is_answered, next) in [
        (V6, false, swapped),
        (V4, false, both),
        (V6, true, both),
        (V6, false, swapped),
        (V4, true, swapped),
        (V6, true, both),
    ] {
        let found = Found { addresses: both.to_vec(), age: None };
        world.known.connected(found, address_of(tried), world.now);
        world.known.attempted(is_answered);
        world.known.attempted(!is_answered); // an attempt on the open connection
        for replies in [[(Address, 5), (Address, 5)], [(Trouble, 5), (Trouble, 5)]] {
            let Verdict::Found(found) = world.look_up(replies, WITHIN).0 else { continue };
            assert_eq!(found.addresses, next, "{tried:?} {is_answered}");
        }
    }
}

#[test]
fn of_many_addresses_untried_ones_are_tried_first_until_one_accepts_a_connection() {
    let addresses: Vec<IpAddr> = (0..20).map(|n| [192, 0, 2, n].into()).collect();
    let candidates = addresses.iter().map(|it| Candidate { rank: Rank::Ipv4, address: *it });
    let candidates: Vec<_> = candidates.collect();
    let mut known = Known::new(Instant::now());
    let look_up = |known: &mut Known| {
        let now = Instant::now();
        known.begin(now);
        known.take_due();
        known.answered(V4, Ok(candidates.clone()), now);
        known.answered(V6, answer(V6, No), now);
        let Verdict::Found(found) = known.verdict(now) else { panic!("nothing is found") };
        found
    };
    for first in [0, 8, 16, 4] {
        let found = look_up(&mut known);
        assert_eq!((found.addresses[0], found.addresses.len()), (addresses[first], 20));
    }
    let found = look_up(&mut known);
    let to = found.addresses[3];
    known.connected(found, to, Instant::now());
    known.attempted(true);
    assert_eq!(look_up(&mut known).addresses[..2], [to, addresses[0]]);
}

#[test]
fn a_question_that_a_freeze_interrupted_is_asked_once_more() {
    for fails_before_it_is_seen in [false, true] {
        let mut world = World::new();
        world.known.begin(world.now);
        world.ask([(Trouble, 60_000), (Trouble, 60_000)]);
        assert!(matches!(world.known.verdict(world.now), Verdict::Wait(None)));
        let thawed = world.now + MS * 60_000;
        if fails_before_it_is_seen {
            world.pass_until(thawed);
            world.known.thawed();
        } else {
            world.known.thawed();
            world.pass_until(thawed);
        }
        assert!(matches!(world.known.verdict(world.now), Verdict::Wait(None)));
        world.ask([(Trouble, 5), (Trouble, 5)]);
        assert_eq!(world.asked, 4);
        world.pass_until(world.now + MS * 5);
        assert!(matches!(world.known.verdict(world.now), Verdict::Failed(Some(_))));
    }
}

fn any_reply() -> impl Strategy<Value = (Reply, u64)> {
    let delay = prop_oneof![0_u64..100, 0_u64..3_000, 0_u64..20_000];
    (prop_oneof![Just(Address), Just(NoRoute), Just(No), Just(Trouble)], delay)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// `World::ask` checks that no question is asked twice at once.
    #[test]
    fn no_look_up_exceeds_its_limit_or_misses_an_address(
        rounds in prop::collection::vec(
            ([any_reply(), any_reply()], 1_u64..10_000, 0_u64..100_000),
            1..12,
        )
    ) {
        let mut world = World::new();
        for (replies, within, pause) in rounds {
            let within = Duration::from_millis(within);
            let had_last = world.known.last.is_some();
            // A late answer is used instead of asking again.
            let is_answered = |it: &Question| matches!(it, Question::Found(..));
            let is_idle = world.in_flight.is_empty() && !world.known.questions.iter().any(is_answered);
            let (found, took) = world.connect(replies, within);
            prop_assert!(took <= within);
            let in_time = |(reply, after): (Reply, u64)| {
                reply == Address && Duration::from_millis(after) < within
            };
            if is_idle && replies.into_iter().any(in_time) {
                prop_assert!(found.is_some());
            }
            if had_last {
                prop_assert!(took <= STALE_AFTER + RESOLUTION_DELAY);
            }
            let pause = Duration::from_millis(pause);
            world.pass_until(world.now + pause);
        }
    }
}
