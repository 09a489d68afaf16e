//! The end of an invocation near its deadline.

use std::time::Duration;

use local_lambda::agent::{Failure, Family};
use local_lambda::function::{Function, Moment, RunningFunction};
use local_lambda::{Answer, Remote};
use serde_json::{Value, json};

use super::agent;
use super::lambda::Lambda;
use crate::agents::{FAMILIES, OTLP};
use crate::{A_MOMENT, SOON, panic_of};

/// A function whose agent reports a timeout this long before the deadline.
fn close_to_its_deadline(family: Family, collector: &Remote, lambda: &Lambda) -> RunningFunction {
    let agent = agent(family, collector).timeout_margin(A_MOMENT);
    Function::of(agent).start(&lambda.authority())
}

#[test]
fn a_handler_that_hangs_is_reported_before_its_deadline_and_hangs_on() {
    for family in FAMILIES {
        let collector = Remote::start();
        let lambda = Lambda::with_deadlines([(json!({"outcome": "hang"}), 2 * A_MOMENT)]);
        let function = close_to_its_deadline(family, &collector, &lambda);
        let report = function.wait_for_reports(1, SOON).remove(0);
        assert_eq!(report.moment, Moment::Timeout);
        assert!(report.reported.items[0].contains("\"timeout\":true"), "{family:?}");
        let invoked = lambda.calls(1)[0].at;
        let after = collector.received()[0].at.duration_since(invoked);
        // The deadline is in whole milliseconds.
        assert!(after + Duration::from_millis(1) >= A_MOMENT, "{family:?}: {after:?}");
        let message = panic_of(|| lambda.0.wait_for(2, A_MOMENT));
        assert!(message.contains("not 2 requests"), "{message}");
        assert_eq!(function.reports().len(), 1, "{family:?}");
    }
}

#[test]
fn work_beyond_the_deadline_is_reported_as_a_timeout_too() {
    let collector = Remote::start();
    let lambda = Lambda::with_deadlines([(json!({"work_ms": 60_000}), A_MOMENT)]);
    let function = close_to_its_deadline(Family::Go, &collector, &lambda);
    assert_eq!(function.wait_for_reports(1, SOON)[0].moment, Moment::Timeout);
}

#[test]
fn python_reports_a_late_handler_twice() {
    let collector = Remote::start();
    let lambda = Lambda::with_deadlines([(json!({"outcome": "late"}), 2 * A_MOMENT)]);
    let function = close_to_its_deadline(Family::ThundraPython, &collector, &lambda);
    assert_eq!(lambda.result().0, "response");
    let reports = function.reports();
    let moments: Vec<Moment> = reports.iter().map(|report| report.moment).collect();
    assert_eq!(moments, [Moment::Timeout, Moment::BeforeResponse]);
    let (first, second) = (&reports[0].reported.items, &reports[1].reported.items);
    assert_eq!(second[..2], first[..]);
    assert_eq!(second.len(), 3);
    let id = |item: &str| serde_json::from_str::<Value>(item).unwrap()["id"].clone();
    assert_eq!(id(&second[2]), id(&first[0]));
}

#[test]
fn node_drops_the_result_of_a_late_handler() {
    let collector = Remote::start();
    let lambda = Lambda::with_deadlines([(json!({"outcome": "late"}), 2 * A_MOMENT)]);
    let function = close_to_its_deadline(Family::Node, &collector, &lambda);
    assert_eq!(function.wait_for_reports(1, SOON)[0].moment, Moment::Timeout);
    let message = panic_of(|| lambda.0.wait_for(2, 2 * A_MOMENT));
    assert!(message.contains("not 2 requests"), "{message}");
    assert_eq!(function.reports().len(), 1);
}

#[test]
fn go_answers_for_a_late_handler_and_reports_once() {
    let collector = Remote::start();
    let lambda = Lambda::with_deadlines([(json!({"outcome": "late"}), 2 * A_MOMENT)]);
    let function = close_to_its_deadline(Family::Go, &collector, &lambda);
    assert_eq!(lambda.result().0, "response");
    assert_eq!(function.reports().len(), 1);
}

#[test]
fn python_throws_a_report_of_a_timeout_that_fails_into_the_handler() {
    let collector = Remote::start();
    collector.answer_with(|_| Answer::Hang);
    let lambda = Lambda::with_deadlines([(json!({"outcome": "hang"}), A_MOMENT)]);
    let agent = agent(Family::ThundraPython, &collector).patience(A_MOMENT);
    let function = Function::of(agent).start(&lambda.authority());
    let (kind, error) = lambda.result();
    assert_eq!((kind.as_str(), &error["errorType"]), ("error", &"ReadTimeout".into()));
    let failures: Vec<_> =
        function.reports().iter().map(|it| it.reported.failure().cloned()).collect();
    assert_eq!(failures, [Some(Failure::TimedOut), Some(Failure::TimedOut)]);
}

#[test]
fn opentelemetrys_agents_report_nothing_of_a_handler_that_hangs() {
    for family in OTLP {
        let collector = Remote::start();
        let lambda = Lambda::with_deadlines([(json!({"outcome": "hang"}), 2 * A_MOMENT)]);
        let function = close_to_its_deadline(family, &collector, &lambda);
        lambda.calls(1);
        assert!(collector.is_silent_for(3 * A_MOMENT), "{family:?}");
        assert_eq!(function.reports().len(), 0);
    }
}

#[test]
fn opentelemetrys_agents_report_a_late_handler_once_when_it_returns() {
    for family in OTLP {
        let collector = Remote::start();
        let lambda = Lambda::with_deadlines([(json!({"outcome": "late"}), 2 * A_MOMENT)]);
        let function = close_to_its_deadline(family, &collector, &lambda);
        assert_eq!(lambda.result().0, "response", "{family:?}");
        let reports = function.reports();
        assert_eq!((reports.len(), reports[0].moment), (1, Moment::BeforeResponse));
    }
}
