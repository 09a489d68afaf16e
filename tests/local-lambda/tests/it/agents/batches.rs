//! More items than fit into one request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use local_lambda::agent::{Agent, Family};
use local_lambda::{Answer, Remote};

use super::{FAMILIES, OTLP, items, sent_items};
use crate::SOON;
use crate::remote::port;

/// Checks how many items each request contains, in the order of the batches.
#[track_caller]
fn check_batches(family: Family, expected: &[usize]) {
    let remote = Remote::start();
    // Each answer waits for all requests, so they must be sent at the same time.
    let all = Arc::new(Barrier::new(expected.len()));
    remote.answer_with(move |_| {
        all.wait();
        Answer::ok()
    });
    let agent = Agent::local(family, port(&remote)).patience(SOON);
    let reported = agent.report(&items(&agent, 250));
    assert_eq!(reported.failure(), None, "{family:?}");
    let mut received: Vec<String> = remote.received().iter().map(sent_items).collect();
    let place = |text: &String| reported.items.iter().position(|item| text.starts_with(item));
    received.sort_by_key(place);
    let mut rest = reported.items.as_slice();
    for (text, count) in received.iter().zip(expected) {
        let (batch, others) = rest.split_at(*count);
        assert_eq!(*text, batch.join(","), "{family:?}");
        rest = others;
    }
    assert_eq!((received.len(), rest.len()), (expected.len(), 0), "{family:?}");
}

#[test]
fn a_hundred_items_are_a_batch_and_batches_go_in_parallel() {
    for family in [Family::ThundraPython, Family::CatchpointPython, Family::Node, Family::Go] {
        check_batches(family, &[100, 100, 50]);
    }
    check_batches(Family::NodeComposite, &[250]);
}

#[test]
fn python_has_at_most_20_requests_in_flight() {
    let remote = Remote::start();
    let (arrived, under_way) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (first_20, seen) = (Barrier::new(20), Arc::clone(&most));
    remote.answer_with(move |_| {
        let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
        seen.fetch_max(now, Ordering::SeqCst);
        if arrived.fetch_add(1, Ordering::SeqCst) < 20 {
            first_20.wait();
        }
        under_way.fetch_sub(1, Ordering::SeqCst);
        Answer::ok()
    });
    let agent = Agent::local(Family::ThundraPython, port(&remote)).patience(SOON);
    let reported = agent.report(&items(&agent, 4001));
    assert_eq!((reported.failure(), reported.attempts.len()), (None, 41));
    assert_eq!(most.load(Ordering::SeqCst), 20);
    assert_eq!(remote.connections(), 20);
}

#[test]
fn an_empty_report_is_an_empty_array_from_node_and_nothing_from_others() {
    for family in FAMILIES.into_iter().chain(OTLP) {
        let remote = Remote::start();
        let reported = Agent::local(family, port(&remote)).report(&[]);
        assert!(reported.is_success());
        let bodies: Vec<Vec<u8>> = remote.received().into_iter().map(|it| it.body).collect();
        let expected = if family == Family::Node { vec![b"[]".to_vec()] } else { Vec::new() };
        assert_eq!(bodies, expected, "{family:?}");
    }
}
