//! Property tests of the sender, with random reports, answers and times.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config as ProptestConfig;

use super::script::{Answer, Kind, Post, Script, World};
use crate::payload::ledger::Loss;
use crate::payload::route::Route;
use crate::relay::flush::{Strategy as Flush, Traffic};

/// An event, and its time after the event before.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Report {
        key: usize,
        is_composite: bool,
        items: usize,
    },
    Traffic(Traffic),
    /// The invocation with this number begins, or its runtime has finished.
    Flush(u32),
    RuntimeDone(u32),
    Freeze(u64),
}

type Timed<T> = (u64, T);

fn milliseconds() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), 0_u64..200, 0_u64..5_000, 0_u64..60_000]
}

fn report() -> impl Strategy<Value = Happening> {
    (0_usize..2, proptest::bool::weighted(0.2), 1_usize..5)
        .prop_map(|(key, is_composite, items)| Happening::Report { key, is_composite, items })
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => report(),
        1 => Just(Happening::Traffic(Traffic::Busy)),
        1 => Just(Happening::Traffic(Traffic::Sparse)),
        1 => (0_u32..3).prop_map(Happening::Flush),
        1 => (0_u32..3).prop_map(Happening::RuntimeDone),
        1 => (0_u64..600_000).prop_map(Happening::Freeze),
    ]
}

fn failure() -> impl Strategy<Value = Kind> {
    let asked = || proptest::option::of(milliseconds());
    prop_oneof![
        2 => asked().prop_map(Kind::Busy),
        1 => asked().prop_map(Kind::Throttled),
        1 => Just(Kind::Silent),
        1 => Just(Kind::Unreachable),
    ]
}

fn any_answer() -> impl Strategy<Value = Kind> {
    let refusals = [400, 401, 403, 404, 413].map(Kind::Refused);
    prop_oneof![
        4 => Just(Kind::Taken),
        6 => failure(),
        2 => proptest::sample::select(refusals.to_vec()),
        1 => Just(Kind::Panics),
    ]
}

fn flush() -> impl Strategy<Value = Flush> {
    let periodically = Flush::Periodically(Duration::from_millis(1_500));
    proptest::sample::select(vec![Flush::Default, Flush::Continuously, Flush::End, periodically])
}

/// The reports of a script, with a number for each item.
struct Numbered {
    script: Script,
    reports: Vec<Vec<String>>,
    at_ms: u64,
}

impl Numbered {
    fn of(script: Script, happenings: &[Timed<Happening>]) -> Self {
        let mut all = Self { script, reports: Vec::new(), at_ms: 0 };
        let mut numbers = 0..;
        for (gap, happening) in happenings {
            all.at_ms += gap;
            all.script = match *happening {
                Happening::Report { key, is_composite, items } => {
                    let items = if is_composite { 1 } else { items };
                    let items = numbers.by_ref().take(items).map(|it: u32| it.to_string());
                    let items: Vec<String> = items.collect();
                    let (route, body) = if is_composite {
                        (Route::CompositeMonitoringData, items[0].clone())
                    } else {
                        (Route::MonitoringData, format!("[{}]", items.join(",")))
                    };
                    all.reports.push(items);
                    all.script.report_with(all.at_ms, ["k", "l"][key], route, &body)
                }
                Happening::Traffic(traffic) => all.script.traffic(all.at_ms, traffic),
                Happening::Flush(id) => all.script.flush(all.at_ms, &format!("id-{id}")).0,
                Happening::RuntimeDone(id) => {
                    all.script.runtime_done(all.at_ms, &format!("id-{id}"))
                }
                Happening::Freeze(length) => all.script.at(all.at_ms, move |world| {
                    world.freeze(length);
                    None
                }),
            };
        }
        all
    }
}

/// Checks the accounts at the end, and the items that the remote accepted.
fn check_accounts(world: &World, numbered: &[Vec<String>]) -> Result<(), TestCaseError> {
    let balance = world.balance();
    prop_assert_eq!((balance.pending(), world.bytes_held()), (0, 0));
    let dropped: u64 = Loss::ALL.iter().map(|loss| balance.dropped(*loss)).sum();
    prop_assert_eq!(balance.accepted, balance.delivered + dropped);
    let taken = world.taken();
    let once: HashSet<&String> = taken.iter().collect();
    prop_assert_eq!(once.len(), taken.len(), "no accepted item is sent again");
    let is_taken = |report: &&Vec<String>| report.iter().all(|it| once.contains(it));
    let whole = numbered.iter().filter(is_taken).count() as u64;
    prop_assert_eq!(balance.delivered, whole);
    Ok(())
}

/// The items of reports that were sent alone and failed, perhaps because of themselves. Such a report may
/// have waited in quarantine, so that later reports were sent first.
fn may_have_been_in_quarantine(world: &World, reports: &[Vec<String>]) -> HashSet<String> {
    let is_failure = |post: &&Post| matches!(post.answer, Kind::Busy(_) | Kind::Silent);
    let failed = world.posts.iter().filter(is_failure).map(Post::items);
    let of_one = failed.filter_map(|items| {
        reports.iter().find(|report| items.iter().all(|it| report.contains(it)))
    });
    of_one.flatten().cloned().collect()
}

fn in_order(world: &World, reports: &[Vec<String>]) -> bool {
    let exempt = may_have_been_in_quarantine(world, reports);
    let taken = world.posts.iter().filter(|post| post.answer == Kind::Taken);
    let mut last: HashMap<(&str, &str), u32> = HashMap::new();
    for post in taken {
        for item in post.items().iter().filter(|it| !exempt.contains(*it)) {
            let item: u32 = item.parse().unwrap();
            let before = last.insert((&post.key, post.route.path()), item);
            if before.is_some_and(|before| before > item) {
                return false;
            }
        }
    }
    true
}

fn answers(kinds: &[Timed<Kind>]) -> Vec<Answer> {
    kinds.iter().map(|(takes_ms, kind)| kind.after(*takes_ms)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_report_is_settled_once_whatever_the_remote_does(
        happenings in vec((milliseconds(), happening()), 0..30),
        kinds in vec((milliseconds(), any_answer()), 0..60),
        (flush, jitter, buffer) in
            (flush(), 0.0_f64..=1.0, proptest::sample::select(vec![100_usize, 4 << 20])),
        shutdown_within in 0_u64..2_000,
    ) {
        let script = Script::with_buffer(buffer).jitter(jitter).answers(answers(&kinds));
        let Numbered { script, reports, at_ms } = Numbered::of(script, &happenings);
        let world = script.shutdown(at_ms + 1, shutdown_within).play(flush);
        check_accounts(&world, &reports)?;
    }

    #[test]
    fn a_remote_that_refuses_nothing_gets_everything_in_order(
        happenings in vec((milliseconds(), happening()), 0..30),
        kinds in vec((milliseconds(), prop_oneof![Just(Kind::Taken), failure()]), 0..60),
        (flush, jitter) in (flush(), 0.0_f64..=1.0),
    ) {
        let script = Script::new().jitter(jitter).answers(answers(&kinds));
        let Numbered { script, reports, at_ms } = Numbered::of(script, &happenings);
        // Even the longest pauses after all answers are over by then.
        let long_after = at_ms + 700_000 * 60;
        let world = script.shutdown(long_after, 2_000).play(flush);
        check_accounts(&world, &reports)?;
        prop_assert_eq!(world.balance().delivered, reports.len() as u64);
        prop_assert!(in_order(&world, &reports), "{:?}", world.posted());
    }

    #[test]
    fn all_reports_except_poison_ones_are_delivered(
        happenings in vec((milliseconds(), report()), 1..40),
        poison in proptest::collection::hash_set(0_u32..60, 0..4),
        flush in flush(),
    ) {
        let poison: HashSet<String> = poison.iter().map(ToString::to_string).collect();
        let known = poison.clone();
        let script = Script::new().remote(move |post| {
            let has_poison = post.items().iter().any(|it| known.contains(it));
            if has_poison { Kind::Busy(None).at_once() } else { Kind::Taken.at_once() }
        });
        let Numbered { script, reports, at_ms } = Numbered::of(script, &happenings);
        let world = script.shutdown(at_ms + 3_600_000, 0).play(flush);
        check_accounts(&world, &reports)?;
        let is_good = |report: &&Vec<String>| !report.iter().any(|it| poison.contains(it));
        let good = reports.iter().filter(is_good).count() as u64;
        prop_assert_eq!(world.balance().delivered, good);
        prop_assert!(in_order(&world, &reports), "{:?}", world.posted());
    }
}
