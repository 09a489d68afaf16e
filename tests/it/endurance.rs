//! Properties that must hold for thousands of invocations and hundreds of shutdowns. The longest tests are slow
//! ones (`--ignored`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use local_lambda::{
    Answer, End, Fate, Footprint, Freezer, Item, KeepAlive, Lambda, Moment, Received, Remote,
    Status, free_port,
};
use rstest::rstest;

use crate::support::closing_line::ClosingLine;
use crate::support::fixture::{
    ARRAY, Fixture, PATIENCE, SHUTDOWN, array_of, binary, memory_is_its_own, nowhere, pass,
    retry_after_standstill,
};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

const ITEMS: usize = 2;
const REPORTED: &str = r#"{"items":2}"#;

/// Pseudo-random numbers, the same in each run (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Freezes at about every fifth request, at a random position, for up to 20 ms.
fn freeze_often(remote: &Remote, freezer: &Freezer, requests: usize, dice: &mut Dice) {
    for request in 0..requests {
        let moment = match dice.below(25) {
            0 => Moment::HeadRead,
            1 => Moment::BytesRead(1 + usize::try_from(dice.below(400)).unwrap()),
            // A report is longer than this, also in gzip.
            2 => Moment::BodyRead(1 + usize::try_from(dice.below(300)).unwrap()),
            3 => Moment::BeforeAnswer,
            4 => Moment::AfterAnswer,
            _ => continue,
        };
        let (freezer, lasts) = (freezer.clone(), Duration::from_millis(dice.below(20)));
        remote.at(moment, request, move |_| {
            // If Lambda has frozen the environment after an invocation, only Lambda may thaw it.
            if freezer.freeze() {
                pass(lasts);
                freezer.thaw();
            }
        });
    }
}

/// One request in ten gets no answer, an incomplete one, or a failure.
fn fail_sometimes(remote: &Remote) {
    remote.keep_alive(KeepAlive::default().idle(Duration::from_millis(15)));
    remote.answer_with(|it| match it.number % 40 {
        7 => Answer::status(503),
        17 => Answer::Reset,
        27 => Answer::ok().cut_after(0, End::Reset),
        37 => Answer::HalfAnswer(b"HTTP/1.1 5".to_vec()),
        _ => Answer::ok(),
    });
}

fn start(protocol: Protocol, remote: &Remote, strategy: &str) -> Lambda {
    let setup = protocol.lambda(&protocol.url(remote), free_port()).timeout(PATIENCE);
    let lambda = setup.env("THUNDRA_EXTENSION_FLUSH", strategy).start().unwrap();
    assert!(lambda.wait_for_init());
    lambda
}

fn play_invocations(protocol: Protocol, strategy: &str, invocations: usize) {
    /// Longer than an attempt may take.
    const LONG_FREEZE: Duration = Duration::from_millis(3_500);
    let remote = Remote::start();
    fail_sometimes(&remote);
    let lambda = start(protocol, &remote, strategy);
    freeze_often(&remote, &lambda.freezer(), 2 * invocations, &mut Dice(0x5eed));
    for nth in 1..=invocations {
        assert_eq!(lambda.invoke(REPORTED).status, Status::Success);
        if nth == invocations / 2 {
            // Everything is frozen at any point of its work. Connections and attempts end meanwhile.
            pass(LONG_FREEZE);
        }
    }
    assert_eq!(lambda.violations(), Vec::<String>::new());
    let (_, timeline) = lambda.shut_down("spindown");

    let line = ClosingLine::of(&timeline, protocol).unwrap();
    assert_eq!(line, ClosingLine { accepted: invocations, delivered: invocations, lost: 0 });
    let received = remote.received();
    let mut times_answered = HashMap::<Item, usize>::new();
    for request in received.iter().filter(|it| it.is_accepted()) {
        for item in request.items() {
            *times_answered.entry(item).or_default() += usize::from(request.fate == Fate::Answered);
        }
    }
    assert_eq!(times_answered.len(), invocations * ITEMS);
    let twice = times_answered.values().filter(|times| **times > 1).count();
    assert_eq!(twice, 0, "sent again although the answer was there");
}

/// As each report is sent, and as reports are collected.
#[rstest]
fn many_invocations_with_freezes_and_failures_lose_nothing(
    #[values((Thundra, "continuously"), (Otlp, "default"))] (protocol, strategy): (Protocol, &str),
) {
    play_invocations(protocol, strategy, 300);
}

#[rstest]
#[ignore = "takes a while"]
fn a_thousand_invocations_with_freezes_and_failures_lose_nothing(
    #[values(Thundra, Otlp)] protocol: Protocol,
    #[values("continuously", "default", "end", "periodically,50")] strategy: &str,
) {
    play_invocations(protocol, strategy, 1_000);
}

#[test]
fn an_agents_post_takes_as_long_whatever_the_remote_does() {
    const POSTS: usize = 300;
    const FAR: Duration = Duration::from_secs(1);
    let fine = Fixture::start();
    let trials = [
        Fixture::with(&[(Thundra.url_variable(), &nowhere())]),
        Fixture::start(),
        Fixture::start(),
    ];
    trials[1].remote.answer_with(|_| Answer::ok().after(FAR));
    trials[2].remote.answer_with(|_| Answer::Hang);
    let report = Thundra.report(ARRAY, &array_of(3_000));
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); 1 + trials.len()];
    for _ in 0..POSTS {
        // The fixtures take turns, so that other load on the machine affects all of them.
        for (fixture, times) in std::iter::once(&fine).chain(&trials).zip(&mut times) {
            let started = Instant::now();
            assert_eq!(report.post(fixture.port).status, 200);
            times.push(started.elapsed());
        }
    }
    let share = |times: &mut Vec<Duration>, percent: usize| {
        times.sort_unstable();
        times[times.len() * percent / 100]
    };
    let [fine, others @ ..] = &mut times[..] else { unreachable!() };
    let (fine, fine_tail) = (share(fine, 50), share(fine, 99));
    for times in others {
        let (median, tail) = (share(times, 50), share(times, 99));
        assert!(median < fine * 2, "{median:?}, with a fine remote {fine:?}");
        // On a busy machine some take longer anyway, but not by the slow remote's round trip.
        assert!(tail < fine_tail + FAR / 2, "{tail:?}, with a fine remote {fine_tail:?}");
    }
}

/// Checks that nothing has grown, except by workers and connections that have just begun.
#[track_caller]
fn is_flat(before: &Footprint, after: &Footprint) {
    let is_flat = after.resident_kb <= before.resident_kb + 1_024
        && after.threads <= before.threads + 4
        && after.descriptors <= before.descriptors + 4;
    assert!(is_flat, "{before:?}, then {after:?}");
}

#[test]
fn an_outage_takes_no_more_memory_than_the_buffer_and_delays_no_poll() {
    const BUFFER_KB: u64 = 4_096;
    /// How long a busy machine may delay one or two invocations of a hundred.
    const NOISE: Duration = Duration::from_secs(1);
    let [fixture, healthy] =
        [(); 2].map(|()| Fixture::with(&[("THUNDRA_EXTENSION_BUFFER", "4MiB")]));
    let invoke = |fixture: &Fixture| {
        let started = Instant::now();
        fixture.platform.invoke(PATIENCE);
        fixture.report_when_there_is_room(ARRAY, &array_of(20_000));
        fixture.platform.wait_for_next(PATIENCE);
        started.elapsed()
    };
    let medians_and_tails = || {
        // The two take turns, so that other load on the machine affects both.
        let both = (0..200).map(|_| (invoke(&fixture), invoke(&healthy)));
        let (mut times, mut healthy): (Vec<Duration>, Vec<Duration>) = both.unzip();
        [&mut times, &mut healthy].map(|times| {
            times.sort_unstable();
            (times[100], times[197])
        })
    };
    medians_and_tails();
    fixture.wait_for_an_empty_buffer();
    let before = Footprint::of(fixture.process.pid());
    fixture.remote.go_down();
    let [(in_outage, tail), (without, tail_without)] = medians_and_tails();
    let after = Footprint::of(fixture.process.pid());
    assert!(in_outage < without * 2, "{in_outage:?}, without an outage {without:?}");
    assert!(tail < tail_without + NOISE, "{tail:?}, without an outage {tail_without:?}");
    let grown = after.resident_kb.saturating_sub(before.resident_kb);
    let is_bounded = grown <= BUFFER_KB + 2_048 || !memory_is_its_own();
    assert!(is_bounded, "{before:?}, then {after:?}");
    fixture.remote.come_back();
    let (log, accepted) = fixture.shut_down_leaving(|fixture| {
        fixture.remote.received().iter().filter(|it| it.is_accepted()).count()
    });
    assert!(accepted > 0 && log.contains(" evicted"), "{log}");
    healthy.shut_down();
}

/// With one protocol, because the counts are the same for both.
#[test]
#[ignore = "takes a while"]
fn ten_thousand_invocations_leave_memory_threads_and_descriptors_as_they_were() {
    const WARM_UP: usize = 1_000;
    const INVOCATIONS: usize = 10_000;
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_FLUSH", "continuously")]);
    let invoke = |times: usize| {
        for _ in 0..times {
            fixture.platform.invoke(PATIENCE);
            fixture.report(ARRAY, &array_of(3_000));
            fixture.platform.wait_for_next(PATIENCE);
        }
        fixture.wait_for_an_empty_buffer();
        Footprint::of(fixture.process.pid())
    };
    is_flat(&invoke(WARM_UP), &invoke(INVOCATIONS));
    fixture.shut_down();
}

#[test]
#[ignore = "takes a while"]
fn thousands_of_held_invocations_with_failures_leave_memory_threads_and_descriptors_as_they_were() {
    const WARM_UP: usize = 500;
    const INVOCATIONS: usize = 3_000;
    let remote = Remote::start();
    fail_sometimes(&remote);
    let lambda = start(Thundra, &remote, "end");
    let pid = lambda.pid_of(binary().file_name().unwrap().to_str().unwrap()).unwrap();
    let invoke = |times: usize| {
        for nth in 0..times {
            let payload = if nth % 4 == 0 { r#"{"reports":0}"# } else { REPORTED };
            assert_eq!(lambda.invoke(payload).status, Status::Success);
        }
        Footprint::of(pid)
    };
    is_flat(&invoke(WARM_UP), &invoke(INVOCATIONS));
    assert_eq!(lambda.violations(), Vec::<String>::new());
}

/// Each wake-up of a thread ends with another sleep, which the kernel counts.
#[test]
#[ignore = "takes two minutes"]
fn no_thread_wakes_up_in_a_minute_without_an_event() {
    const SETTLED: Duration = Duration::from_secs(6); // tiny_http's spare threads end after five
    const MINUTE: Duration = Duration::from_secs(60);
    let fixture = Fixture::start();
    let in_a_minute = || {
        pass(SETTLED);
        let before = Footprint::of(fixture.process.pid());
        pass(MINUTE);
        let after = Footprint::of(fixture.process.pid());
        (after.wakes - before.wakes, after.threads)
    };
    // From then on the port for OTLP, which nobody configured, has its threads.
    fixture.platform.invoke(PATIENCE);
    fixture.platform.wait_for_next(PATIENCE);
    let (unused, threads) = in_a_minute();
    fixture.platform.invoke(PATIENCE);
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    fixture.wait_for_an_empty_buffer();
    let (used, threads_then) = in_a_minute();
    assert_eq!((unused, used), (0, 0));
    assert_eq!(threads_then, threads);
    fixture.shut_down();
}

/// A full backlog, a remote 50 ms away, and the time that Lambda leaves after the runtime's part.
fn end_with_a_full_backlog(protocol: Protocol) {
    const FAR: Duration = Duration::from_millis(50);
    const LEFT: Duration = Duration::from_millis(1_400);
    const REPORT_BYTES: usize = 100_000;
    let fixture = protocol.start_with(&[("THUNDRA_EXTENSION_LOG_LEVEL", "info")]);
    fixture.remote.answer_with(|_| Answer::status(503).header("Retry-After", "60"));
    fixture.report(ARRAY, &array_of(REPORT_BYTES));
    fixture.wait_for_log("cannot deliver to http");
    let reports = 3 * 1024 * 1024 / (REPORT_BYTES + 1_000);
    for _ in 1..reports {
        fixture.report(ARRAY, &array_of(REPORT_BYTES));
    }
    fixture.remote.answer_with(|_| Answer::ok().after(FAR));
    let started = Instant::now();
    fixture.platform.shutdown("spindown", LEFT);
    assert!(fixture.process.exit(PATIENCE).success());
    let took = started.elapsed();
    assert!(took < LEFT, "{took:?}");
    let accepted: Vec<_> =
        fixture.remote.received().into_iter().filter(Received::is_accepted).collect();
    let items: usize = accepted.iter().map(|it| it.items().len()).sum();
    let (log, line) = (fixture.process.log(), format!("{reports} accepted, {reports} delivered"));
    assert!(items == reports && log.contains(&line), "{items} of {reports}; {log}");
    assert_eq!(accepted.len(), reports.div_ceil(1_000_000 / REPORT_BYTES));
}

#[rstest]
fn a_full_backlog_is_sent_in_time_and_in_few_requests(#[values(Thundra, Otlp)] protocol: Protocol) {
    retry_after_standstill(|| {
        end_with_a_full_backlog(protocol);
    });
}

#[test]
#[ignore = "takes a while"]
fn two_hundred_of_two_hundred_shutdowns_are_in_time() {
    const ENDS: usize = 200;
    const AT_ONCE: usize = 4;
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < ENDS {
                    retry_after_standstill(|| end_with_a_full_backlog(Thundra));
                }
            });
        }
    });
}

#[test]
fn reports_that_miss_the_shutdown_are_logged_as_lost() {
    retry_after_standstill(|| {
        let fixture = Fixture::start();
        fixture.remote.answer_with(|_| Answer::Hang);
        for _ in 0..20 {
            fixture.report(ARRAY, &array_of(100_000));
        }
        let started = Instant::now();
        let log = fixture.shut_down();
        assert!(started.elapsed() < SHUTDOWN + Duration::from_secs(1));
        assert!(log.contains("20 accepted, 0 delivered, lost: 20 unsent"), "{log}");
    });
}
