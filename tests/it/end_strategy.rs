//! The strategy `end`: an invocation lasts until all its reports are at the remote, and no longer.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use local_lambda::{
    Answer, Invocation, Lambda, Moment, PlatformScript, Remote, Setup, Status, free_port,
};
use rstest::rstest;

use crate::support::closing_line::ClosingLine;
use crate::support::fixture::{
    ARRAY, PATIENCE, each_at_once, ended_well, nowhere, retry_after_standstill,
};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

/// The time of a round trip to the remote. It is much longer than any step inside the execution environment.
const FAR: Duration = Duration::from_millis(200);

/// How long Lambda may buffer its telemetry, and some time for all other steps.
const SIGNAL: Duration = Duration::from_millis(30);

const INVOCATIONS: usize = 6;

const REPORTED: &str = r#"{"items":2}"#;
const UNREPORTED: &str = r#"{"reports":0}"#;

/// A function whose agent reports to the extension, which forwards to this URL.
pub fn start(protocol: Protocol, url: &str, change: impl FnOnce(Setup) -> Setup) -> Lambda {
    let setup = protocol.lambda(url, free_port()).env("THUNDRA_EXTENSION_FLUSH", "end");
    let lambda = change(setup).start().unwrap();
    assert!(lambda.wait_for_init());
    lambda
}

pub fn invoke(lambda: &Lambda, payload: &str) -> Invocation {
    let invocation = lambda.invoke(payload);
    assert_eq!(invocation.status, Status::Success);
    invocation
}

/// Checks that the extension adds no more than this to most invocations. The median of one of several series
/// must be below the limit, because the machine may be busy in the others.
#[track_caller]
fn adds_at_most(limit: Duration, lambda: &Lambda, payload: &str) {
    let began = Instant::now();
    loop {
        let added = (0..INVOCATIONS).map(|_| invoke(lambda, payload).extension_overhead);
        let mut added: Vec<Duration> = added.collect();
        added.sort_unstable();
        if added[INVOCATIONS / 2] <= limit {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{payload} {added:?}");
    }
}

fn items_of(remote: &Remote) -> usize {
    remote.received().iter().map(|it| it.items().len()).sum()
}

#[rstest]
fn all_reports_of_an_invocation_arrive_before_the_freeze_and_no_caller_waits(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let remote = Remote::start();
    let lambda = start(protocol, &protocol.url(&remote), |setup| setup);
    for nth in 1..=INVOCATIONS {
        let (go_on, going_on) = mpsc::channel();
        remote.at(Moment::BeforeAnswer, nth - 1, move |_| {
            // The sender is dropped if the test has panicked.
            let _ = going_on.recv_timeout(PATIENCE);
        });
        let in_flight = lambda.begin(REPORTED);
        // The remote does not answer before the caller has its response.
        assert_eq!(in_flight.reply(PATIENCE).status, Status::Success);
        go_on.send(()).unwrap();
        assert_eq!(in_flight.end(PATIENCE).status, Status::Success);
        assert_eq!(items_of(&remote), 2 * nth);
    }
    assert_eq!(lambda.violations(), Vec::<String>::new());
}

#[test]
fn a_clock_that_is_hours_off_holds_no_invocation_and_loses_nothing() {
    const HOURS: Duration = Duration::from_secs(5 * 60 * 60);
    /// Half of the function's timeout, which only a wait for the deadline reaches.
    const HELD_IN_VAIN: Duration = Duration::from_secs(30);
    let set: [fn(PlatformScript, Duration) -> PlatformScript; 2] =
        [PlatformScript::clock_ahead, PlatformScript::clock_behind];
    for set in set {
        let remote = Remote::start();
        let script = set(PlatformScript::default(), HOURS);
        let lambda =
            start(Otlp, &Otlp.url(&remote), |setup| setup.script(script).timeout(2 * HELD_IN_VAIN));
        for payload in [REPORTED, UNREPORTED, REPORTED] {
            let invocation = invoke(&lambda, payload);
            assert!(invocation.extension_overhead < HELD_IN_VAIN, "{invocation:?}");
        }
        let (report, timeline) = lambda.shut_down("spindown");
        assert!(report.processes.iter().all(|ended| !ended.killed), "{report:?}");
        ended_well(&timeline).unwrap();
        assert_eq!(items_of(&remote), 4);
    }
}

#[rstest]
fn a_second_report_of_an_invocation_is_waited_for_however_long_the_first_took(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    // The second report has to arrive while the remote still answers the first.
    retry_after_standstill(|| {
        let remote = Remote::start();
        remote.answer_with(|_| Answer::ok().after(FAR));
        let lambda = start(protocol, &protocol.url(&remote), |setup| setup);
        for nth in 1..=3 {
            invoke(&lambda, r#"{"items":2,"reports":2}"#);
            assert_eq!(items_of(&remote), 4 * nth);
        }
    });
}

#[test]
fn an_invocation_without_a_report_lasts_until_lambda_reports_its_end() {
    let remote = Remote::start();
    let lambda = start(Otlp, &Otlp.url(&remote), |setup| setup);
    adds_at_most(SIGNAL, &lambda, UNREPORTED);
}

#[test]
fn without_telemetry_no_invocation_is_held() {
    let remote = Remote::start();
    remote.answer_with(|_| Answer::ok().after(FAR));
    let lambda = start(Otlp, &Otlp.url(&remote), Setup::without_telemetry);
    for payload in [UNREPORTED, REPORTED] {
        adds_at_most(FAR / 10, &lambda, payload);
    }
}

#[test]
fn a_remote_that_is_down_holds_no_invocation() {
    let lambda = start(Otlp, &nowhere(), |setup| setup);
    for payload in [REPORTED, UNREPORTED] {
        adds_at_most(SIGNAL, &lambda, payload);
    }
}

#[test]
fn a_remote_that_hangs_holds_an_invocation_to_its_deadline_at_most() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    retry_after_standstill(|| {
        let remote = Remote::start();
        remote.answer_with(|_| Answer::Hang);
        let lambda = start(Otlp, &Otlp.url(&remote), |setup| setup.timeout(TIMEOUT));
        for _ in 0..3 {
            let invocation = invoke(&lambda, REPORTED);
            assert!(invocation.duration < TIMEOUT, "{invocation:?}");
        }
    });
}

#[test]
fn an_invocation_waits_for_a_hanging_remote_only_once() {
    const TWO_ATTEMPTS: Duration = Duration::from_secs(6);
    retry_after_standstill(|| {
        let remote = Remote::start();
        remote.answer_with(|_| Answer::Hang);
        let lambda = start(Otlp, &Otlp.url(&remote), |setup| setup.timeout(PATIENCE));
        let invocation = invoke(&lambda, r#"{"reports":5,"items":2}"#);
        assert!(invocation.duration < TWO_ATTEMPTS, "{invocation:?}");
    });
}

#[test]
fn while_a_remote_hangs_or_fails_later_invocations_wait_for_nothing() {
    /// How long the remote takes to refuse. An attempt may take 3 s or more.
    const SLOW_NO: Duration = Duration::from_secs(2);
    each_at_once([Answer::Hang, Answer::status(503).after(SLOW_NO)], |answer| {
        let remote = Remote::start();
        remote.answer_with(move |_| answer.clone());
        let lambda = start(Otlp, &Otlp.url(&remote), |setup| setup.timeout(PATIENCE));
        // This ends when two attempts have failed.
        invoke(&lambda, REPORTED);
        invoke(&lambda, REPORTED);
        for payload in [UNREPORTED, REPORTED] {
            // A busy machine holds up some.
            let held = [(); 3].map(|()| invoke(&lambda, payload).extension_overhead);
            assert!(held.iter().any(|it| *it < SLOW_NO / 2), "{payload} {held:?}");
        }
    });
}

#[test]
fn a_crash_during_a_hanging_attempt_misses_no_shutdown() {
    retry_after_standstill(|| {
        let (remote, port) = (Remote::start(), free_port());
        remote.answer_with(|_| Answer::Hang);
        let setup = Otlp.lambda(&Otlp.url(&remote), port).env("THUNDRA_EXTENSION_FLUSH", "end");
        let lambda = setup.timeout(Duration::from_secs(60)).start().unwrap();
        assert!(lambda.wait_for_init());
        // A busy machine has to take the report before the crash.
        let in_flight = lambda.begin(r#"{"outcome":"crash","work_ms":2000}"#);
        assert_eq!(Otlp.report(ARRAY, "[1]").post(port).status, 200);
        let status = in_flight.end(PATIENCE).status;
        assert!(matches!(status, Status::Failure(_)), "{status:?}");
        let (_, timeline) = lambda.shut_down("spindown");
        ended_well(&timeline).unwrap();
        ClosingLine::of(&timeline, Otlp).unwrap();
    });
}

/// OpenTelemetry's agents do not watch the deadline.
#[test]
fn a_function_that_times_out_does_so_as_without_it_and_its_report_arrives() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let remote = Remote::start();
    let lambda = start(Thundra, &remote.base_url(), |setup| setup.timeout(TIMEOUT));
    let invocation = lambda.invoke(r#"{"outcome":"hang"}"#);
    assert_eq!(invocation.status, Status::Timeout);
    assert!(items_of(&remote) > 0, "the agent reports shortly before");
    invoke(&lambda, REPORTED);
}
