//! The delay that the extension adds to invocations. The tests check the slowest ones, because an average hides
//! the one that a customer notices.

use std::time::Duration;

use local_lambda::{Answer, Remote, Status, free_port};

use crate::support::fixture::each_at_once;
use crate::support::protocol::Protocol::Thundra;

const INVOCATIONS: usize = 100;

/// The function works long enough for the extension to poll meanwhile.
const TASK: &str = r#"{"items":2,"work_ms":50}"#;

/// Half of an attempt at a remote that hangs: a busy machine does not take this for two of a hundred.
const HALF_AN_ATTEMPT: Duration = Duration::from_millis(1_500);

/// As long as the function works. A poll that begins in this time adds nothing.
const WORK: Duration = Duration::from_millis(50);

#[test]
fn not_two_invocations_in_a_hundred_are_held_while_the_remote_hangs() {
    each_at_once(["default", "continuously", "periodically,50"], |strategy| {
        let (remote, port) = (Remote::start(), free_port());
        remote.answer_with(|_| Answer::Hang);
        let lambda = Thundra
            .lambda(&Thundra.url(&remote), port)
            .env("THUNDRA_EXTENSION_FLUSH", strategy)
            .start()
            .unwrap();
        assert!(lambda.wait_for_init());
        let held = |_| {
            let invocation = lambda.invoke(TASK);
            assert_eq!(invocation.status, Status::Success);
            invocation.extension_overhead
        };
        let mut held: Vec<Duration> = (0..INVOCATIONS).map(held).collect();
        held.sort();
        // In most invocations, the extension polls before the function has finished.
        assert!(held[INVOCATIONS / 2] < WORK, "{strategy}: {held:?}");
        let longest = &held[INVOCATIONS - 5..];
        assert!(held[INVOCATIONS - 2] < HALF_AN_ATTEMPT, "{strategy}: {longest:?}");
    });
}
