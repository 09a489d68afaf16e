//! The items that the remote accepted, and how often it accepted each.

use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use local_lambda::{Answer, Delivery, End, Item, Moment, Remote, agent};

use crate::remote::{check_reset, connect, port};
use crate::{A_MOMENT, SOON, panic_of};

fn post(remote: &Remote, body: &str) {
    let _ = agent::post(port(remote), "/v1/monitoring-data", body.as_bytes());
}

fn items(items: &[&str]) -> Vec<Item> {
    items.iter().map(Item::from).collect()
}

#[test]
fn items_are_classed_by_how_often_they_were_accepted() {
    let remote = Remote::start_scripted([Answer::ok(), Answer::ok(), Answer::status(500)]);
    post(&remote, r#"[{"id": 1},{"id": 2}]"#);
    post(&remote, r#"{"data":{"allMonitoringData":[{"id": 2},{"id":3}]}}"#);
    post(&remote, r#"[{"id": 4}]"#);
    remote.wait_for_fates(3, SOON);
    let expected = [r#"{"id": 1}"#, r#"{"id": 2}"#, r#"{"id": 3}"#, r#"{"id": 4}"#];
    let delivery = remote.delivery(&expected);
    let known = Delivery {
        once: items(&[r#"{"id": 1}"#]),
        repeated: items(&[r#"{"id": 2}"#]),
        missing: items(&[r#"{"id": 3}"#, r#"{"id": 4}"#]),
        unknown: items(&[r#"{"id":3}"#]),
        unconfirmed: Vec::new(),
    };
    assert_eq!(delivery, known);
    assert!(!delivery.is_exact());
    let counts = "items: 1 once, 1 repeated, 2 missing, 1 unknown, 0 unconfirmed\n  repeated: ";
    assert!(delivery.to_string().starts_with(counts), "{delivery}");
}

#[test]
fn an_item_that_was_accepted_without_the_client_knowing_is_unconfirmed_until_it_comes_again() {
    let remote = Remote::start_scripted([Answer::ok().cut_after(0, End::Reset)]);
    let request = b"POST /v1/monitoring-data HTTP/1.1\r\nContent-Length: 3\r\n\r\n[7]";
    let mut stream = connect(&remote);
    stream.write_all(request).unwrap();
    check_reset(&mut stream);
    remote.wait_for_fates(1, SOON);
    let delivery = remote.delivery(&["7"]);
    assert_eq!((delivery.once, delivery.unconfirmed), (items(&["7"]), items(&["7"])));
    post(&remote, "[7]");
    remote.wait_for_fates(2, SOON);
    let delivery = remote.delivery(&["7"]);
    assert_eq!((delivery.repeated, delivery.unconfirmed), (items(&["7"]), items(&[])));
}

#[test]
fn an_item_expected_twice_counts_as_one() {
    let remote = Remote::start();
    post(&remote, "[1]");
    let delivery = remote.wait_for_items(&["1", "1"], SOON);
    assert_eq!(delivery.once, items(&["1"]));
    assert!(delivery.is_exact());
}

#[test]
fn a_wait_for_items_ends_with_the_last_of_them() {
    let remote = Remote::start();
    post(&remote, "[1]");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| remote.wait_for_items(&["1", "2"], SOON));
        post(&remote, "[2]");
        assert_eq!(waiting.join().unwrap().once, items(&["1", "2"]));
    });
}

#[test]
fn a_wait_for_items_names_those_that_were_not_accepted() {
    let remote = Remote::start();
    remote.answer_with(|_| Answer::status(503));
    post(&remote, "[1]");
    let message = panic_of(|| remote.wait_for_items(&["1"], A_MOMENT));
    let start = "not all items within 100ms: items: 0 once, 0 repeated, 1 missing, 0 unknown, 0 \
                 unconfirmed\n  missing: 1; seen instead: 1 connections";
    assert!(message.starts_with(start), "{message}");
}

#[test]
fn an_answer_that_is_on_its_way_does_not_confirm_yet() {
    let remote = Remote::start_scripted([Answer::ok().after(Duration::from_secs(3600))]);
    let (recorded, is_recorded) = mpsc::channel();
    remote.at(Moment::BeforeAnswer, 0, move |_| recorded.send(()).unwrap());
    let mut stream = connect(&remote);
    let request = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n[1]";
    stream.write_all(request).unwrap();
    is_recorded.recv_timeout(SOON).unwrap();
    assert_eq!(remote.delivery(&["1"]).unconfirmed, items(&["1"]));
}
