use std::time::SystemTime;

use super::*;
use crate::net::url::Url;
use crate::payload::protocol::Protocol;
use crate::relay::backlog::tests::Desk;
use crate::relay::flush::{Policy, Traffic};
use crate::remote::backoff::Jitter;
use crate::remote::destination::Endpoints;

const BUFFER: usize = 4_000;
const COMPOSITE: Route = Route::CompositeMonitoringData;
const BUSY: Terms = Terms {
    policy: Policy { strategy: Strategy::Default, traffic: Traffic::Busy },
    buffer: BUFFER,
    is_held: false,
};
const SPARSE: Terms =
    Terms { policy: Policy { strategy: Strategy::Default, traffic: Traffic::Sparse }, ..BUSY };

/// An exporter for a remote of Thundra's protocol.
pub fn exporter(health: RemoteHealth) -> Exporter {
    let base = Url::whole("http://collector.example/v1").unwrap();
    let destination = Destination {
        protocol: Protocol::Thundra,
        endpoints: Endpoints::below(&base, &Route::THUNDRA, &Vec::new(), ""),
        proxy: None,
        extra_roots: None,
        trust_all_certificates: false,
    };
    Exporter::to(Arc::new(destination), Withheld::default(), health)
}

fn at(now: Instant) -> Moment {
    Moment { now, wall: SystemTime::UNIX_EPOCH, jitter: Jitter(1.0) }
}

fn failed(is_answered: bool, may_be_poison: bool, after: Option<Duration>) -> Delivery {
    Delivery::Failed(Failure { why: String::new(), is_answered, after, may_be_poison })
}

const TAKEN: Delivery = Delivery::Delivered { rejected_items: 0 };

/// A backlog, an exporter, and a moment.
struct Fixture {
    desk: Desk,
    exporter: Exporter,
    now: Instant,
}

impl Fixture {
    fn with(bodies: &[&str]) -> Self {
        let mut desk = Desk::new();
        for body in bodies {
            desk.push(COMPOSITE, "k", body);
        }
        Self { desk, exporter: exporter(RemoteHealth::default()), now: Instant::now() }
    }

    fn attempt(&mut self, delivery: Delivery) -> Attempt {
        let batch = self.exporter.take(&mut self.desk.backlog, None, self.now).unwrap();
        self.exporter.on_delivery(batch, delivery, &mut self.desk.backlog, at(self.now))
    }

    fn wake(&self, terms: Terms) -> (Option<Duration>, usize) {
        let Wake { at, at_bytes } = self.exporter.next_wake(&self.desk.backlog, terms);
        (at.map(|at| at.saturating_duration_since(self.now)), at_bytes)
    }
}

#[test]
fn without_reports_only_the_next_report_wakes_the_sender() {
    assert_eq!(Fixture::with(&[]).wake(BUSY), (None, 0));
}

#[test]
fn collected_reports_are_due_by_age_or_by_half_of_the_buffer() {
    let fixture = Fixture::with(&["{}"]);
    let oldest = fixture.desk.backlog.oldest().unwrap();
    let wake = fixture.exporter.next_wake(&fixture.desk.backlog, BUSY);
    let ten_seconds = Duration::from_secs(10);
    assert_eq!(wake, Wake { at: Some(oldest + ten_seconds), at_bytes: BUFFER / 2 });
    assert_eq!(fixture.wake(SPARSE), (Some(Duration::ZERO), 0));
    assert_eq!(fixture.wake(Terms { is_held: true, ..BUSY }).1, 0, "each report may be the last");
}

#[test]
fn while_the_remote_fails_the_back_off_or_a_large_report_wakes_the_sender() {
    let mut fixture = Fixture::with(&["{}"]);
    let _ = fixture.attempt(failed(true, false, Some(Duration::from_secs(20))));
    assert_eq!(fixture.wake(SPARSE), (Some(Duration::from_secs(20)), BUFFER / 4 * 3 / 2));
    assert!(fixture.exporter.take(&mut fixture.desk.backlog, Some(SPARSE), fixture.now).is_none());
    let later = fixture.now + Duration::from_secs(20);
    let batch = fixture.exporter.take(&mut fixture.desk.backlog, Some(SPARSE), later).unwrap();
    fixture.desk.backlog.put_back(batch);
}

#[test]
fn a_quarantined_report_has_its_own_pause_and_holds_no_invocation() {
    let mut fixture = Fixture::with(&["{}"]);
    for _ in 0..4 {
        let _ = fixture.attempt(failed(true, true, None));
    }
    assert_eq!(fixture.desk.backlog.quarantined(), 1);
    fixture.desk.push(COMPOSITE, "k", "{1}");
    assert_eq!(fixture.attempt(TAKEN), Attempt::Answered);
    assert_eq!(fixture.wake(SPARSE).0, Some(Duration::ZERO), "the remote may accept it now");
    let _ = fixture.attempt(failed(true, true, None));
    assert_eq!(fixture.wake(SPARSE).0, Some(Duration::from_millis(100)));
    assert!(!fixture.exporter.is_backing_off(), "its failure proves nothing about others");
    assert_eq!(fixture.wake(Terms { is_held: true, ..SPARSE }).0, None);
}

#[test]
fn an_attempt_ends_answered_or_with_the_reports_in_the_backlog_again() {
    let status = StatusCode::BAD_REQUEST;
    let fails = |fails_for_all| Attempt::Failed { was_alone: true, fails_for_all };
    for (delivery, attempt, left) in [
        (TAKEN, Attempt::Answered, false),
        (Delivery::Dropped(Loss::Rejected, status), Attempt::Answered, false),
        (failed(true, true, None), fails(false), true),
        (failed(true, true, Some(Duration::ZERO)), fails(true), true),
        (failed(false, false, None), fails(true), true),
    ] {
        let mut fixture = Fixture::with(&["{}"]);
        let shown = format!("{delivery:?}");
        assert_eq!(fixture.attempt(delivery), attempt, "{shown}");
        assert_eq!(fixture.desk.backlog.is_empty(), !left, "{shown}");
        assert_eq!(fixture.desk.account.balance().pending(), u64::from(left), "{shown}");
    }
}

#[test]
fn items_that_the_remote_rejects_are_counted_and_their_report_is_delivered() {
    let mut fixture = Fixture::with(&["{}"]);
    let _ = fixture.attempt(Delivery::Delivered { rejected_items: 3 });
    let balance = fixture.desk.account.balance();
    assert_eq!((balance.delivered, balance.rejected_items), (1, 3));
}

#[test]
fn a_remote_is_in_trouble_after_no_answer_or_two_failures_until_it_answers() {
    let mut fixture = Fixture::with(&["{1}", "{2}"]);
    let is_worth_it = |fixture: &Fixture| fixture.exporter.is_worth_waiting_for(fixture.now);
    assert!(is_worth_it(&fixture));
    let _ = fixture.attempt(failed(true, false, None));
    assert!(!fixture.exporter.is_unhealthy() && is_worth_it(&fixture));
    let _ = fixture.attempt(failed(true, false, None));
    assert!(fixture.exporter.is_unhealthy() && !is_worth_it(&fixture));
    let _ = fixture.attempt(TAKEN);
    assert!(!fixture.exporter.is_unhealthy());
    let _ = fixture.attempt(failed(false, true, None));
    assert!(fixture.exporter.is_unhealthy());
}

#[test]
fn an_attempt_that_is_half_a_second_away_is_worth_waiting_for_and_a_later_one_is_not() {
    for (asked, is_worth_it) in [(500, true), (501, false)] {
        let mut fixture = Fixture::with(&["{}"]);
        let _ = fixture.attempt(failed(true, false, Some(Duration::from_millis(asked))));
        assert_eq!(fixture.exporter.is_worth_waiting_for(fixture.now), is_worth_it, "{asked}");
    }
}

#[test]
fn taking_a_batch_drops_reports_with_a_refused_key() {
    let mut fixture = Fixture::with(&["{}"]);
    let _ = fixture.attempt(Delivery::Dropped(Loss::Unauthorized, StatusCode::UNAUTHORIZED));
    for key in ["k", "k", "other"] {
        fixture.desk.push(COMPOSITE, key, "{}");
    }
    let batch =
        fixture.exporter.take(&mut fixture.desk.backlog, Some(SPARSE), Instant::now()).unwrap();
    assert_eq!(batch.headers().authorization.as_ref().unwrap(), "other");
    assert!(fixture.desk.backlog.is_empty());
    fixture.desk.backlog.settle(batch, None);
    assert_eq!(fixture.desk.account.balance().dropped(Loss::Unauthorized), 3);
}
