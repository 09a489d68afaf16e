//! When reports are sent: what `THUNDRA_EXTENSION_FLUSH` and the rhythm of invocations make of it.

use std::time::{Duration, Instant};

use local_lambda::{Platform, PlatformScript, Remote};
use rstest::rstest;

use crate::dialect::Dialect::{self, Otlp, Thundra};
use crate::trial::{ARRAY, PATIENCE, Trial, array_of};

/// Long enough to see what must not happen, if it does.
const A_MOMENT: Duration = Duration::from_millis(300);

/// So many invocations one after the other are busy, whatever comes then.
const BUSY: usize = 12;

fn invoke(trial: &Trial, times: usize) {
    for _ in 0..times {
        trial.platform.invoke(PATIENCE);
        trial.platform.wait_for_next(PATIENCE);
    }
}

#[test]
fn by_default_the_first_invocations_reports_are_sent_at_once() {
    let trial = Trial::start();
    for n in 1..=5 {
        invoke(&trial, 1);
        trial.report(ARRAY, "[1]");
        trial.items_received(n);
    }
    trial.shut_down();
}

#[test]
fn by_default_each_report_of_a_sparse_invocation_is_sent_at_once_whenever_in_it_it_comes() {
    let trial = Trial::start();
    for nth in 0..2 {
        trial.platform.invoke(PATIENCE);
        for n in 1..=3 {
            trial.report(ARRAY, "[1]");
            trial.items_received(4 * nth + n);
        }
        // What an exporter flushes when the function is done, and this waits for the next one.
        trial.platform.wait_for_next(PATIENCE);
        trial.report(ARRAY, "[1]");
        trial.items_received(4 * nth + 4);
        assert!(trial.platform.next_is_pending());
    }
    trial.shut_down();
}

#[rstest]
fn by_default_a_busy_functions_reports_are_collected_and_the_rest_is_sent_at_shutdown(
    #[values(Thundra, Otlp)] dialect: Dialect,
) {
    let trial = dialect.start();
    invoke(&trial, BUSY);
    for n in 0..5 {
        trial.report(ARRAY, &format!("[{n}]"));
        invoke(&trial, 1);
    }
    assert!(trial.remote.is_silent_for(A_MOMENT), "{:?}", trial.remote.received());
    let (log, bodies) = trial.shut_down_leaving(|trial| trial.bodies_received(1));
    assert_eq!((log.as_str(), bodies), ("", vec!["[0,1,2,3,4]".to_owned()]));
}

#[test]
fn by_default_a_busy_functions_reports_are_sent_when_there_are_many_bytes_of_them() {
    let trial = Trial::start();
    invoke(&trial, BUSY);
    for _ in 0..5 {
        trial.report(ARRAY, &array_of(50_000));
    }
    assert!(trial.remote.is_silent_for(A_MOMENT), "{:?}", trial.remote.received());
    trial.report(ARRAY, &array_of(50_000));
    trial.items_received(6);
    assert_eq!(trial.remote.received().len(), 1);
    trial.shut_down();
}

#[test]
fn by_default_a_busy_functions_reports_wait_no_longer_than_ten_seconds() {
    let trial = Trial::start();
    invoke(&trial, BUSY);
    let reported = Instant::now();
    trial.report(ARRAY, "[1]");
    trial.items_received(1);
    let waited = reported.elapsed();
    assert!((9_900..15_000).contains(&waited.as_millis()), "{waited:?}");
    trial.shut_down();
}

#[test]
fn continuously_a_busy_functions_reports_are_sent_at_once() {
    let trial = Trial::with(&[("THUNDRA_EXTENSION_FLUSH", "continuously")]);
    invoke(&trial, BUSY);
    for n in 1..=5 {
        trial.report(ARRAY, "[1]");
        trial.items_received(n);
    }
    trial.shut_down();
}

#[test]
fn periodically_the_oldest_report_waits_for_the_period_and_all_go_with_it() {
    let trial = Trial::with(&[("THUNDRA_EXTENSION_FLUSH", "periodically,700")]);
    for n in 1..=3 {
        let reported = Instant::now();
        trial.report(ARRAY, "[1]");
        trial.report(ARRAY, "[2]");
        let bodies = trial.bodies_received(n);
        let waited = reported.elapsed();
        assert!(waited >= Duration::from_millis(700), "{waited:?}");
        assert_eq!(bodies[n - 1], "[1,2]");
    }
    trial.shut_down();
}

#[test]
fn managed_instances_collect_from_the_start() {
    let platform = Platform::start_with(PlatformScript::default().managed_instances(true));
    let trial = Trial::on(platform, Remote::start(), &[]);
    trial.report(ARRAY, "[1]");
    assert!(trial.remote.is_silent_for(A_MOMENT), "{:?}", trial.remote.received());
    trial.report(ARRAY, "[2]");
    let (_, bodies) = trial.shut_down_leaving(|trial| trial.bodies_received(1));
    assert_eq!(bodies, ["[1,2]"]);
}
