use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::script::{Kind, OVERHEAD, Script, World};
use crate::net::freeze::TimeLimit;
use crate::payload::ledger::Loss;
use crate::payload::route::Route;
use crate::relay::flush::{Strategy, Traffic};

const CONTINUOUSLY: Strategy = Strategy::Continuously;
const COMPOSITE: Route = Route::CompositeMonitoringData;

/// A report of one item, this many bytes long.
fn long(bytes: usize) -> String {
    format!("[\"{}\"]", "x".repeat(bytes - 4))
}

/// How many reports are accepted, delivered, dropped for this reason, and pending.
fn counts(world: &World, loss: Loss) -> (u64, u64, u64, u64) {
    let balance = world.balance();
    (balance.accepted, balance.delivered, balance.dropped(loss), balance.pending())
}

#[test]
fn pauses_grow_while_a_remote_is_down_and_it_gets_everything_when_it_is_up() {
    let run = Script::new()
        .remote(|post| {
            if post.at_ms < 10_000 { Kind::Unreachable.at_once() } else { Kind::Taken.at_once() }
        })
        .report(0, "[1]")
        .report(3_000, "[2]")
        .shutdown(20_000, 1_000)
        .play(CONTINUOUSLY);
    assert_eq!(run.times(), [0, 100, 300, 700, 1_500, 3_100, 6_300, 12_700]);
    assert_eq!(run.taken(), ["1", "2"]);
    assert_eq!(counts(&run, Loss::Unsent), (2, 2, 0, 0));
}

#[test]
fn a_pause_that_the_remote_requests_is_granted_up_to_half_a_minute() {
    for (asked, pause) in [(50, 100), (7_000, 7_000), (120_000, 30_000)] {
        for kind in [Kind::Throttled(Some(asked)), Kind::Busy(Some(asked))] {
            let run = Script::new().answers([kind.at_once()]).report(0, "[1]").play(CONTINUOUSLY);
            assert_eq!(run.times(), [0, pause], "{kind:?}");
        }
    }
}

#[test]
fn jitter_selects_a_part_of_each_pause() {
    let script = Script::new().jitter(0.5);
    let script = script.answers([(); 4].map(|()| Kind::Throttled(None).at_once()));
    assert_eq!(script.report(0, "[1]").play(CONTINUOUSLY).times(), [0, 50, 150, 350, 750]);
}

#[test]
fn each_strategy_sends_at_its_own_time() {
    let periodically = Strategy::Periodically(Duration::from_millis(700));
    for (strategy, traffic, times) in [
        (Strategy::Default, Traffic::Sparse, [0, 500, 2_000].as_slice()),
        (Strategy::Default, Traffic::Busy, &[10_000]),
        (CONTINUOUSLY, Traffic::Busy, &[0, 500, 2_000]),
        (Strategy::End, Traffic::Busy, &[0, 500, 2_000]),
        (periodically, Traffic::Sparse, &[700, 2_700]),
    ] {
        let run = Script::new()
            .traffic(0, traffic)
            .report(0, "[1]")
            .report(500, "[2]")
            .report(2_000, "[3]")
            .play(strategy);
        assert_eq!(run.times(), times, "{strategy:?} {traffic:?}");
        assert_eq!(run.taken(), ["1", "2", "3"]);
    }
}

#[test]
fn collected_reports_are_sent_early_if_they_are_many_or_traffic_becomes_sparse() {
    let quarter = long(64 << 10);
    let mut many = Script::new().traffic(0, Traffic::Busy);
    for second in 0..4 {
        many = many.report(second * 1_000, &quarter);
    }
    assert_eq!(many.play(Strategy::Default).times(), [3_000]);
    let rare = Script::new()
        .traffic(0, Traffic::Busy)
        .report(0, "[1]")
        .traffic(4_000, Traffic::Sparse)
        .play(Strategy::Default);
    assert_eq!(rare.times(), [4_000]);
}

#[test]
fn a_poison_report_is_found_by_halving_and_retried_at_growing_intervals() {
    let mut script = Script::new().remote(|post| {
        let has_poison = post.items().contains(&"5".to_owned());
        if has_poison { Kind::Busy(None).at_once() } else { Kind::Taken.at_once() }
    });
    for item in 1..=8 {
        script = script.report(0, &format!("[{item}]"));
    }
    let run = script.report(60_000, "[9]").shutdown(100_000, 0).play(CONTINUOUSLY);
    let (all, half) = ("[1,2,3,4,5,6,7,8]", "[5,6,7,8]");
    assert_eq!(
        run.posted()[..14],
        [
            (0, all),
            (100, all),
            (300, all),
            (700, all),
            (1_500, "[1,2,3,4]"),
            (1_500, half),
            (1_600, half),
            (1_800, half),
            (2_200, half),
            (3_000, "[5,6]"),
            (4_600, "[5]"),
            // A quarantined report waits for all others.
            (7_800, "[6]"),
            (7_800, "[7,8]"),
            (7_800, "[5]"),
        ]
    );
    let later = [7_900, 8_100, 8_500, 9_300, 10_900, 14_100, 20_500, 33_300, 58_900, 60_000];
    assert_eq!(run.times()[14..], later);
    assert_eq!(
        run.posts.last().map(|post| &*post.body),
        Some("[9]"),
        "no other report waits for it"
    );
    assert_eq!(counts(&run, Loss::Unsent), (9, 8, 1, 0));
}

#[test]
fn once_the_remote_accepts_a_quarantined_report_the_others_are_sent_at_once() {
    let run = Script::new()
        .remote(|post| {
            let is_down = post.at_ms < 30_000 && post.route == COMPOSITE;
            if is_down { Kind::Busy(None).at_once() } else { Kind::Taken.at_once() }
        })
        .report_with(0, "k", COMPOSITE, "{1}")
        .report_with(0, "k", COMPOSITE, "{2}")
        .report(20_000, "[3]")
        .play(CONTINUOUSLY);
    assert_eq!(run.posts[run.posts.len() - 2].at_ms, run.posts.last().unwrap().at_ms);
    let mut taken = run.taken();
    assert_eq!(taken.remove(0), "3");
    taken.sort_unstable();
    assert_eq!(taken, ["{1}", "{2}"]);
}

#[test]
fn a_too_large_request_is_split_and_a_too_large_item_is_lost() {
    let mut script = Script::new().remote(|post| {
        if post.body.len() > 5_000 { Kind::Refused(413).at_once() } else { Kind::Taken.at_once() }
    });
    for _ in 0..8 {
        script = script.report(0, &format!("[{0},{0}]", &long(1_000)[1..999]));
    }
    let run = script.report(0, &long(6_000)).play(CONTINUOUSLY);
    assert_eq!(run.taken().len(), 16);
    assert_eq!(counts(&run, Loss::TooLarge), (9, 8, 1, 0));
}

#[test]
fn a_refused_key_costs_one_request_in_five_minutes_and_does_not_affect_others() {
    let mut script = Script::new().remote(|post| {
        if post.key == "bad" { Kind::Refused(401).at_once() } else { Kind::Taken.at_once() }
    });
    for at in [0, 1_000, 299_999, 300_000, 300_001] {
        script = script.report_with(at, "bad", COMPOSITE, "{}").report(at, "[1]");
    }
    let run = script.play(CONTINUOUSLY);
    let bad = run.posts.iter().filter(|post| post.key == "bad").map(|post| post.at_ms);
    assert_eq!(bad.collect::<Vec<_>>(), [0, 300_000]);
    assert_eq!(counts(&run, Loss::Unauthorized), (10, 5, 5, 0));
}

#[test]
fn while_a_remote_is_down_three_quarters_of_the_buffer_are_kept_and_the_oldest_dropped() {
    let mut script = Script::with_buffer(1_000).remote(|post| {
        if post.at_ms < 5_000 { Kind::Unreachable.at_once() } else { Kind::Taken.at_once() }
    });
    for nth in 0..10 {
        let body = format!("[{}]", 1_000 + nth);
        script = script.report_with(nth, "k", COMPOSITE, &(body + &" ".repeat(100 - OVERHEAD - 6)));
    }
    let run = script.play(CONTINUOUSLY);
    let taken = run.taken();
    let taken: Vec<&str> = taken.iter().map(|it| it.trim_end()).collect();
    assert_eq!(taken, ["[1003]", "[1004]", "[1005]", "[1006]", "[1007]", "[1008]", "[1009]"]);
    assert_eq!(counts(&run, Loss::Evicted), (10, 7, 3, 0));
}

#[test]
fn while_the_remote_fails_no_reports_are_dropped_for_a_large_one() {
    let down = [(); 3].map(|()| Kind::Unreachable.at_once());
    let script = Script::with_buffer(1_000).answers(down).report(0, "[1]").report(0, "[2]");
    let run = script.report(10, &long(400)).play(CONTINUOUSLY);
    assert_eq!(
        (run.taken(), counts(&run, Loss::Evicted)),
        (vec!["1".into(), "2".into()], (3, 2, 1, 0))
    );
    let alone = Script::with_buffer(1_000).report(0, &long(900)).play(CONTINUOUSLY);
    assert_eq!(counts(&alone, Loss::Evicted), (1, 1, 0, 0));
}

/// Whether the flush was acknowledged at these times.
fn acknowledged(script: impl FnOnce(Script) -> Script, flush: u64, times: [u64; 2]) -> Vec<bool> {
    let (first, is_done) = Script::new().flush(flush, "a-1");
    let (is_done, seen) = (Rc::new(is_done), Rc::new(RefCell::new(Vec::new())));
    let mut script = script(first);
    for at in times {
        let (is_done, seen) = (Rc::clone(&is_done), Rc::clone(&seen));
        script = script.at(at, move |_| {
            seen.borrow_mut().push(is_done.wait(Some(Instant::now())));
            None
        });
    }
    script.play(Strategy::End);
    seen.take()
}

#[test]
fn a_flush_is_acknowledged_when_the_invocation_is_over_and_its_reports_are_settled() {
    const REPORT: &str = r#"["a-1"]"#;
    let end = |script: fn(Script) -> Script, times: [u64; 2]| acknowledged(script, 0, times);
    let reported = end(|it| it.answers([Kind::Taken.after(30)]).report(50, REPORT), [79, 81]);
    assert_eq!(reported, [false, true]);
    let no_report = end(|it| it.runtime_done(100, "a-1"), [99, 101]);
    assert_eq!(no_report, [false, true]);
    let other = end(|it| it.runtime_done(100, "a-2").report(100, "[]"), [101, 900_000]);
    assert_eq!(other, [false, false]);
}

#[test]
fn an_invocation_waits_for_a_second_attempt_that_is_near_and_for_no_remote_in_trouble() {
    const REPORT: &str = r#"["a-1"]"#;
    let end = |script: fn(Script) -> Script, times: [u64; 2]| acknowledged(script, 0, times);
    let near = end(|it| it.answers([Kind::Busy(None).at_once()]).report(0, REPORT), [99, 101]);
    assert_eq!(near, [false, true]);
    let far = end(|it| it.answers([Kind::Busy(Some(501)).after(5)]).report(0, REPORT), [4, 6]);
    assert_eq!(far, [false, true]);
    let silent =
        end(|it| it.answers([Kind::Silent.after(9_000)]).report(0, REPORT), [2_999, 3_001]);
    assert_eq!(silent, [false, true]);
    let in_trouble = |it: Script| {
        let script = it.answers([Kind::Unreachable.at_once(), Kind::Taken.after(2_000)]);
        script.report(0, "[]").report(10, REPORT)
    };
    assert_eq!(end(in_trouble, [9, 11]), [false, true]);
}

#[test]
fn no_invocation_waits_for_a_report_that_came_after_its_end() {
    let late = |it: Script| {
        let [near, taken] = [Kind::Busy(None), Kind::Taken].map(Kind::at_once);
        let script = it.answers([near, taken, Kind::Taken.after(500)]).report(0, r#"["a-1"]"#);
        script.report_with(60, "another", Route::MonitoringData, "[]")
    };
    assert_eq!(acknowledged(late, 0, [99, 101]), [false, true]);
}

#[test]
fn no_invocation_waits_for_a_quarantined_report() {
    let poison = |it: Script| {
        let script = it.remote(|post| {
            assert!(!(20_000..30_000).contains(&post.at_ms), "it waits until the invocation ends");
            let is_poison = post.route == COMPOSITE;
            if is_poison { Kind::Busy(None).at_once() } else { Kind::Taken.at_once() }
        });
        let script = script.report_with(0, "k", COMPOSITE, "{}").report(5_000, "[1]");
        script.runtime_done(30_000, "a-1").shutdown(40_000, 0)
    };
    assert_eq!(acknowledged(poison, 20_000, [29_999, 30_001]), [false, true]);
}

#[test]
fn an_attempt_may_take_longer_after_failures_unless_its_time_is_billed() {
    let seconds = |strategy, kind: Kind| {
        let script = Script::new().answers([(); 3].map(|()| kind.after(1)));
        let run = script.report_with(0, "k", COMPOSITE, "{}").play(strategy);
        let length = |limit| match limit {
            TimeLimit::ExcludingFreezes(length) => length.as_secs(),
            TimeLimit::WallClock(_) => 0,
        };
        run.posts.iter().map(|post| length(post.limit)).collect::<Vec<_>>()
    };
    assert_eq!(seconds(CONTINUOUSLY, Kind::Busy(None)), [3, 6, 12, 12]);
    assert_eq!(seconds(Strategy::End, Kind::Busy(None)), [3, 3, 12, 12]);
    assert_eq!(seconds(Strategy::End, Kind::Unreachable), [3, 6, 12, 12]);
}

#[test]
fn a_panic_loses_the_current_reports_and_no_others() {
    let run = Script::new()
        .answers([Kind::Taken.at_once(), Kind::Panics.at_once()])
        .report(0, "[1]")
        .report(1_000, "[2]")
        .report(1_000, "[3]")
        .report(2_000, "[4]")
        .play(CONTINUOUSLY);
    assert_eq!(run.taken(), ["1", "4"]);
    assert_eq!(counts(&run, Loss::Failed), (4, 2, 2, 0));
}

#[test]
fn a_request_during_a_freeze_is_sent_once_and_a_pause_begins_after_the_thaw() {
    const FREEZE: u64 = 600_000;
    let taken = Script::new().answers([Kind::Taken.frozen_for(FREEZE)]).report(0, "[1]");
    let taken = taken.play(CONTINUOUSLY);
    assert_eq!(taken.times(), [0]);
    let three_seconds = TimeLimit::ExcludingFreezes(Duration::from_secs(3));
    assert_eq!(taken.posts[0].limit, three_seconds, "the freeze counts for no limit");
    let failed = Script::new().answers([Kind::Unreachable.frozen_for(FREEZE)]).report(0, "[1]");
    assert_eq!(failed.play(CONTINUOUSLY).times(), [0, FREEZE + 100]);
}

#[test]
fn after_a_freeze_an_attempt_that_became_due_is_made_at_once() {
    let script = Script::new().answers([Kind::Throttled(Some(20_000)).at_once()]).report(0, "[1]");
    let run = script.at(5_000, |world| {
        world.freeze(600_000);
        None
    });
    assert_eq!(run.play(CONTINUOUSLY).times(), [0, 605_000]);
}
