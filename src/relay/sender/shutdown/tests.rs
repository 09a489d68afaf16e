use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::net::freeze::TimeLimit;
use crate::payload::ledger::Loss;
use crate::payload::route::Route;
use crate::relay::flush::Strategy;
use crate::relay::sender::script::{Answer, Kind, Post, Script, World};
use crate::relay::wakeup::wakeup;

const NEVER: Strategy = Strategy::Periodically(Duration::from_secs(3_600));
const COMPOSITE: Route = Route::CompositeMonitoringData;

/// Adds composites. Each needs its own request.
fn composites(script: Script, bodies: &[&str]) -> Script {
    bodies.iter().fold(script, |script, body| script.report_with(0, "k", COMPOSITE, body))
}

fn delivered_and_unsent(world: &World) -> (u64, u64) {
    let balance = world.balance();
    assert_eq!(balance.pending(), 0);
    (balance.delivered, balance.dropped(Loss::Unsent))
}

#[test]
fn the_remaining_reports_are_sent_in_one_request_by_the_deadline() {
    let script = Script::new().report(0, "[1]").report(10, "[2]").report(20, "[3]");
    let run = script.shutdown(100, 500).play(NEVER);
    assert_eq!(run.posted(), [(100, "[1,2,3]")]);
    assert!(matches!(run.posts[0].limit, TimeLimit::WallClock(_)));
    assert!(run.is_uninterruptible && run.reconnects == 0);
    assert_eq!(run.now_ms(), 150, "the wait for late reports");
}

#[test]
fn a_slightly_late_report_is_sent_too() {
    let script = Script::new().report(0, "[1]").shutdown(100, 500);
    let run = script.report(140, "[2]").report(185, "[3]").play(NEVER);
    assert_eq!(run.posted(), [(100, "[1]"), (140, "[2]"), (185, "[3]")]);
    assert_eq!(delivered_and_unsent(&run), (3, 0));
}

#[test]
fn an_unreachable_remote_gets_five_attempts_on_a_new_connection() {
    let script = Script::new().remote(|_| Kind::Unreachable.at_once()).report(0, "[1]");
    let run = script.shutdown(100, 2_000).play(NEVER);
    assert_eq!(run.times(), [100, 200, 400, 800, 1_600]);
    assert_eq!((delivered_and_unsent(&run), run.reconnects), ((0, 1), 0));
    let script = Script::new().remote(|_| Kind::Unreachable.at_once()).report(0, "[1]");
    let run = script.shutdown(10_000, 2_000).play(Strategy::Continuously);
    assert_eq!(run.times()[7..], [10_000], "after a long outage the pause ends after the deadline");
    assert_eq!((delivered_and_unsent(&run), run.reconnects), ((0, 1), 1));
}

#[test]
fn a_remote_that_hangs_delays_the_end_only_until_the_deadline() {
    let script = Script::new().remote(|_| Kind::Silent.after(60_000)).report(0, "[1]");
    let run = script.shutdown(100, 700).play(NEVER);
    assert_eq!((run.times(), run.now_ms()), (vec![100], 800));
    assert_eq!(delivered_and_unsent(&run), (0, 1));
}

fn busy_over(poison: &'static [&'static str]) -> impl FnMut(&Post) -> Answer {
    move |post| {
        let is_poison = poison.contains(&post.body.as_str());
        if is_poison { Kind::Busy(None).at_once() } else { Kind::Taken.at_once() }
    }
}

#[test]
fn a_poison_report_is_sent_last_and_costs_the_others_nothing() {
    let script = composites(Script::new(), &["{bad}", "{1}", "{2}", "{3}"]);
    let run = script.remote(busy_over(&["{bad}"])).shutdown(100, 2_000).play(NEVER);
    let expected = [(100, "{bad}"), (100, "{1}"), (100, "{2}"), (100, "{3}"), (100, "{bad}")];
    assert_eq!(run.posted()[..5], expected);
    assert!(run.posts[5..].iter().all(|post| post.body == "{bad}"));
    assert_eq!(delivered_and_unsent(&run), (3, 1));
}

#[test]
fn after_three_failures_in_a_row_the_next_round_begins_with_reports_not_tried_yet() {
    const BAD: [&str; 3] = ["{bad 1}", "{bad 2}", "{bad 3}"];
    let script = composites(Script::new(), &["{bad 1}", "{bad 2}", "{bad 3}", "{4}"]);
    let run = script.remote(busy_over(&BAD)).shutdown(100, 2_000).play(NEVER);
    let first: Vec<&str> = run.posts[..4].iter().map(|post| post.body.as_str()).collect();
    assert_eq!(first, ["{bad 1}", "{bad 2}", "{bad 3}", "{4}"]);
    assert!(run.posts[2].at_ms < run.posts[3].at_ms, "a pause between the rounds");
    assert_eq!(delivered_and_unsent(&run), (1, 3));
}

#[test]
fn reports_that_failed_together_are_sent_in_smaller_requests() {
    let script = Script::new().remote(|post| {
        let has_poison = post.items().contains(&"2".to_owned());
        if has_poison { Kind::Busy(None).at_once() } else { Kind::Taken.at_once() }
    });
    let script = script.report(0, "[1]").report(0, "[2]").report(0, "[3]").report(0, "[4]");
    let run = script.shutdown(100, 2_000).play(NEVER);
    let bodies: Vec<&str> = run.posts.iter().take(3).map(|post| post.body.as_str()).collect();
    assert_eq!(bodies, ["[1,2,3,4]", "[1,2]", "[1]"]);
    assert_eq!(delivered_and_unsent(&run), (3, 1));
}

#[test]
fn a_report_that_arrives_between_two_rounds_is_sent() {
    let script = Script::new().answers([Kind::Unreachable.at_once()]).report(0, "[1]");
    let run = script.shutdown(100, 2_000).report(150, "[2]").play(NEVER);
    assert_eq!(run.posted(), [(100, "[1]"), (200, "[1,2]")]);
    assert_eq!(delivered_and_unsent(&run), (2, 0));
}

#[test]
fn a_refusal_counts_as_an_answer_and_allows_five_more_rounds() {
    let script = Script::new().remote(|post| match (post.body.as_str(), post.at_ms) {
        ("{refused}", 400..) => Kind::Refused(400).at_once(),
        _ => Kind::Throttled(None).at_once(),
    });
    let run = composites(script, &["{refused}", "{busy}"]).shutdown(100, 60_000).play(NEVER);
    // Pauses of 100, 200 and 400 ms. Then the report is refused, and the pauses start again.
    assert_eq!(run.times(), [100, 200, 400, 400, 500, 700, 1_100, 1_900, 3_500]);
}

#[test]
fn dropped_reports_with_a_refused_key_allow_no_further_rounds() {
    let mut script = Script::new().remote(|post| {
        if post.key == "bad" { Kind::Refused(401).at_once() } else { Kind::Busy(None).at_once() }
    });
    script = script.report_with(0, "bad", COMPOSITE, "{}").shutdown(100, 2_000);
    for at in (125..2_000).step_by(25) {
        script = script.report_with(at, "bad", COMPOSITE, "{}");
    }
    let run = script.report(60, "[1]").play(Strategy::Continuously);
    let rounds = run.posts.iter().filter(|post| post.key == "k" && post.at_ms >= 100);
    assert_eq!(rounds.count(), 5);
    assert_eq!(run.posts.iter().filter(|post| post.key == "bad").count(), 1);
}

#[test]
fn after_a_panic_the_rest_is_sent_before_the_deadline() {
    let script = composites(Script::new(), &["{1}", "{2}", "{3}"]);
    let answers = [Kind::Taken.at_once(), Kind::Panics.at_once()];
    let run = script.answers(answers).shutdown(100, 1_000).play(NEVER);
    assert_eq!((delivered_and_unsent(&run), run.balance().dropped(Loss::Failed)), ((2, 0), 1));
}

#[test]
fn after_a_second_panic_the_process_ends_without_the_rest() {
    let script = composites(Script::new(), &["{1}", "{2}", "{3}"]);
    let (settled, is_settled) = wakeup();
    let seen = Rc::new(Cell::new(None));
    let looks = Rc::clone(&seen);
    script
        .answers([Kind::Panics.at_once(), Kind::Panics.at_once()])
        .shutdown_with(100, 1_000, settled)
        .at(120, move |world| {
            let has_settled = is_settled.wait(Some(Instant::now()));
            looks.set(Some((has_settled, world.posts.len(), world.balance().pending())));
            None
        })
        .play(NEVER);
    assert_eq!(seen.get(), Some((true, 2, 1)));
}

#[test]
fn without_anybody_who_reports_no_late_report_is_waited_for() {
    let script = Script::new().report(0, "[1]").shutdown(100, 500);
    let run = script.at(100, World::without_reporters).play(NEVER);
    assert_eq!((run.posted(), run.now_ms()), (vec![(100, "[1]")], 100));
    assert_eq!(delivered_and_unsent(&run), (1, 0));
}

#[test]
fn without_time_nothing_is_sent_and_everything_is_counted() {
    let run = Script::new().report(0, "[1]").shutdown(100, 0).play(NEVER);
    assert_eq!((run.times(), delivered_and_unsent(&run)), (vec![], (0, 1)));
}
