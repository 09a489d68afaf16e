//! Freezes: between invocations, and at moments that a test chooses.

use std::fs;
use std::time::Duration;

use local_lambda::{Event, FreezeBy, Initialization, Lambda, Setup, Status};

use super::puppet::{Puppet, script, with_puppet};
use super::{NOTHING, healthy, in_a_process, in_threads, index_of, start};
use crate::FLOOR;
use crate::container::{cgroups_of, exists_somewhere};

fn events(lambda: &Lambda) -> Vec<&'static str> {
    let name = |event: &Event| match event {
        Event::Frozen => Some("frozen"),
        Event::Thawed => Some("thawed"),
        Event::InvokeStarted { .. } => Some("invoke"),
        Event::InvokeEnded { .. } => Some("end"),
        _ => None,
    };
    lambda.timeline().iter().filter_map(|entry| name(&entry.event)).collect()
}

#[test]
fn it_is_frozen_after_each_invocation_and_thawed_for_the_next() {
    let lambda = start(Setup::new().extension(FLOOR).runtime(in_a_process(&[])));
    for _ in 0..2 {
        assert_eq!(lambda.invoke(NOTHING).status, Status::Success);
    }
    let expected = ["invoke", "end", "frozen", "thawed", "invoke", "end", "frozen"];
    wait_until_frozen(&lambda);
    assert_eq!(events(&lambda), expected);
}

/// Waits for the freeze, which comes after the caller has the invocation's end.
fn wait_until_frozen(lambda: &Lambda) {
    lambda.wait_for("freeze", |event| matches!(event, Event::Frozen).then_some(()));
    while !lambda.freezer().is_frozen() {
        std::thread::yield_now();
    }
}

#[test]
fn a_frozen_extension_that_never_rests_uses_no_cpu() {
    let (_home, path) = script("#!/bin/sh\nwhile :; do :; done\n");
    for freeze_by in [FreezeBy::CgroupV2, FreezeBy::CgroupV1, FreezeBy::Signals] {
        let setup = Setup::new().extension_named(&path, "spinner").runtime(in_threads());
        let lambda = start(setup.freeze_by(freeze_by));
        let mut spinner = Puppet::registered(&lambda, "spinner", &["INVOKE"]);
        spinner.poll();
        assert!(lambda.wait_for_init());
        let pid = lambda.pid_of("spinner").unwrap();
        let freezer = lambda.freezer();
        freezer.freeze();
        let before = cpu_ns(pid);
        burn(Duration::from_millis(200));
        assert_eq!(cpu_ns(pid), before, "{freeze_by:?}");
        freezer.thaw();
        while cpu_ns(pid) == before {
            std::thread::yield_now();
        }
    }
}

/// The CPU time that the process has used, from the scheduler, in nanoseconds.
fn cpu_ns(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

/// Uses this much CPU time, which proves that other processes could have run meanwhile.
fn burn(time: Duration) {
    let own = || {
        let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
    };
    let end = own() + time;
    while own() < end {}
}

#[test]
fn freezes_and_thaws_of_several_threads_are_recorded_in_turn() {
    let lambda = start(healthy());
    assert_eq!(lambda.invoke(NOTHING).status, Status::Success);
    wait_until_frozen(&lambda);
    let turn = || {
        let freezer = lambda.freezer();
        for _ in 0..100 {
            freezer.freeze();
            freezer.thaw();
        }
    };
    std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(turn));
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let told = events(&lambda);
    let turns: Vec<_> = told.iter().skip_while(|it| **it != "frozen").collect();
    assert!(turns.len() >= 4, "{turns:?}");
    for (index, turn) in turns.into_iter().enumerate() {
        assert_eq!(*turn, if index % 2 == 0 { "frozen" } else { "thawed" }, "at {index}");
    }
}

#[test]
fn a_freezer_that_outlives_its_lambda_keeps_nothing_of_it() {
    let lambda = start(healthy());
    assert_eq!(lambda.invoke(NOTHING).status, Status::Success);
    wait_until_frozen(&lambda);
    let (freezer, timeline) = (lambda.freezer(), lambda.live_timeline());
    let cgroups = cgroups_of(lambda.pid_of("floor").unwrap());
    assert!(cgroups.iter().all(|name| exists_somewhere(name)), "{cgroups:?}");
    drop(lambda);
    assert!(!cgroups.iter().any(|name| exists_somewhere(name)), "{cgroups:?}");
    let count = timeline.entries().len();
    freezer.freeze();
    assert!(!freezer.is_frozen() && timeline.entries().len() == count);
}

#[test]
fn an_environment_that_nobody_waits_for_is_frozen_before_its_first_invocation() {
    let lambda = start(healthy().initialization(Initialization::ProvisionedConcurrency));
    assert!(lambda.wait_for_init());
    wait_until_frozen(&lambda);
    assert_eq!(lambda.invoke(NOTHING).status, Status::Success);
    assert_eq!(events(&lambda)[..3], ["frozen", "thawed", "invoke"]);
}

#[test]
fn a_shutdown_thaws_first() {
    let lambda = start(with_puppet(healthy(), "sleeper"));
    let mut sleeper = Puppet::registered(&lambda, "sleeper", &["INVOKE"]);
    sleeper.poll();
    assert!(lambda.wait_for_init());
    lambda.freezer().freeze();
    let (report, timeline) = lambda.shut_down("spindown");
    assert_eq!(report.extension("floor").unwrap().status, "exit status: 0");
    let thawed = index_of(&timeline, "thaw", |event| matches!(event, Event::Thawed));
    let told = index_of(&timeline, "SHUTDOWN", |it| matches!(it, Event::ShutdownSent { .. }));
    assert!(thawed < told);
}
