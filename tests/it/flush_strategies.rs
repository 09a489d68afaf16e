//! When reports are sent, by `THUNDRA_EXTENSION_FLUSH` and by the rhythm of invocations.

use std::time::{Duration, Instant};

use local_lambda::{Platform, PlatformScript, Remote};
use rstest::rstest;

use crate::support::fixture::{ARRAY, Fixture, PATIENCE, array_of};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

/// How long to watch for an event that must not happen.
const A_MOMENT: Duration = Duration::from_millis(300);

/// After this many invocations in quick succession, the traffic counts as busy.
const BUSY: usize = 12;

fn invoke(fixture: &Fixture, times: usize) {
    for _ in 0..times {
        fixture.platform.invoke(PATIENCE);
        fixture.platform.wait_for_next(PATIENCE);
    }
}

#[test]
fn by_default_the_first_invocations_reports_are_sent_at_once() {
    let fixture = Fixture::start();
    for n in 1..=5 {
        invoke(&fixture, 1);
        fixture.report(ARRAY, "[1]");
        fixture.items_received(n);
    }
    fixture.shut_down();
}

#[test]
fn by_default_each_report_of_a_rare_invocation_is_sent_at_once() {
    let fixture = Fixture::start();
    for nth in 0..2 {
        fixture.platform.invoke(PATIENCE);
        for n in 1..=3 {
            fixture.report(ARRAY, "[1]");
            fixture.items_received(4 * nth + n);
        }
        // The exporter flushes after the function's end, and its report waits for the next invocation.
        fixture.platform.wait_for_next(PATIENCE);
        fixture.report(ARRAY, "[1]");
        fixture.items_received(4 * nth + 4);
        assert!(fixture.platform.next_is_pending());
    }
    fixture.shut_down();
}

#[rstest]
fn by_default_a_busy_functions_reports_are_collected_and_the_rest_is_sent_at_shutdown(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start();
    invoke(&fixture, BUSY);
    for n in 0..5 {
        fixture.report(ARRAY, &format!("[{n}]"));
        invoke(&fixture, 1);
    }
    assert!(fixture.remote.is_silent_for(A_MOMENT), "{:?}", fixture.remote.received());
    let (log, bodies) = fixture.shut_down_leaving(|fixture| fixture.bodies_received(1));
    assert_eq!((log.as_str(), bodies), ("", vec!["[0,1,2,3,4]".to_owned()]));
}

#[test]
fn by_default_many_bytes_of_a_busy_functions_reports_are_sent_at_once() {
    let fixture = Fixture::start();
    invoke(&fixture, BUSY);
    for _ in 0..5 {
        fixture.report(ARRAY, &array_of(50_000));
    }
    assert!(fixture.remote.is_silent_for(A_MOMENT), "{:?}", fixture.remote.received());
    fixture.report(ARRAY, &array_of(50_000));
    fixture.items_received(6);
    assert_eq!(fixture.remote.received().len(), 1);
    fixture.shut_down();
}

#[test]
fn by_default_a_busy_functions_reports_wait_no_longer_than_ten_seconds() {
    let fixture = Fixture::start();
    invoke(&fixture, BUSY);
    let reported = Instant::now();
    fixture.report(ARRAY, "[1]");
    fixture.items_received(1);
    let waited = reported.elapsed();
    assert!((9_900..15_000).contains(&waited.as_millis()), "{waited:?}");
    fixture.shut_down();
}

#[test]
fn continuously_a_busy_functions_reports_are_sent_at_once() {
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_FLUSH", "continuously")]);
    invoke(&fixture, BUSY);
    for n in 1..=5 {
        fixture.report(ARRAY, "[1]");
        fixture.items_received(n);
    }
    fixture.shut_down();
}

#[test]
fn periodically_all_reports_are_sent_when_the_oldest_is_as_old_as_the_period() {
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_FLUSH", "periodically,700")]);
    for n in 1..=3 {
        let reported = Instant::now();
        fixture.report(ARRAY, "[1]");
        fixture.report(ARRAY, "[2]");
        let bodies = fixture.bodies_received(n);
        let waited = reported.elapsed();
        assert!(waited >= Duration::from_millis(700), "{waited:?}");
        assert_eq!(bodies[n - 1], "[1,2]");
    }
    fixture.shut_down();
}

#[test]
fn managed_instances_collect_from_the_start() {
    let platform = Platform::start_with(PlatformScript::default().managed_instances(true));
    let fixture = Fixture::on(platform, Remote::start(), &[]);
    fixture.report(ARRAY, "[1]");
    assert!(fixture.remote.is_silent_for(A_MOMENT), "{:?}", fixture.remote.received());
    fixture.report(ARRAY, "[2]");
    let (_, bodies) = fixture.shut_down_leaving(|fixture| fixture.bodies_received(1));
    assert_eq!(bodies, ["[1,2]"]);
}
