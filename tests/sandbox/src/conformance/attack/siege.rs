//! One attack, the healthy agents beside it, and what must hold during and after it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::healthy::{Habit, Seen, report_until};
use super::standstill::Standstills;
use crate::conformance::relay::{Scene, counts, play};
use crate::conformance::stage::{ms, pass};
use crate::conformance::verdict::Obstacle;
use crate::conformance::{Speech, Subject, Verdict};
use crate::footprint::Footprint;
use crate::process;

/// What Lambda gives a function and its extensions together ("Lambda quotas").
const DESCRIPTORS_MAX: u64 = 1_024;
/// One invocation follows another, as an extension may mend itself at each.
const INVOCATION: Duration = Duration::from_millis(100);
/// The longest that a healthy agent waits for an answer.
const ANSWER_MAX: Duration = Duration::from_millis(50);
/// Of memory that is no file's, at any moment: the buffer of a function of 128 MB, and as much again.
const ANONYMOUS_KB_MAX: u64 = 8 * 1024;
/// For what the attack left to be gone.
const IDLE_WITHIN: Duration = Duration::from_secs(60);
/// What of threads and descriptors may come and go beside it: those of the agents' last reports, and
/// workers that stay to wait for more.
const BESIDE: usize = 4;

/// What the besieged has shown.
struct Siege {
    attackers: usize,
    keeps: Seen,
    reconnects: Seen,
    anonymous_kb: u64,
}

/// Attacks the subject's port; `attack` returns how many attackers got through to it.
pub fn besiege(subject: &Subject, attack: impl Fn(u16) -> usize + Sync) -> Verdict {
    /// That an answer came late, and nothing else, may be the machine's fault.
    const ATTEMPTS: usize = 3;
    take_all_descriptors();
    let is_late = Cell::new(false);
    let mut verdict = Verdict::does_not_apply("");
    for attempt in 1..=ATTEMPTS {
        is_late.set(false);
        verdict = play(subject, |mut scene| {
            let standstills = Standstills::watch();
            scene.invoke(|scene| drop(scene.report(1)));
            limit_descriptors(&scene);
            let idle = scene.footprint();
            let siege = hold_out(&mut scene, subject.speech, &attack);
            let idle_after = wait_until_idle(&mut scene, &idle);
            let (faults, last_words) = faults(scene, &siege, &idle_after, &standstills);
            is_late.set(faults.late.is_some() && faults.others.is_empty());
            let told = siege.told(&standstills, idle_after.unwrap_or(IDLE_WITHIN));
            let seen = format!("{told}; run {attempt}; its last words: {last_words}");
            match faults.told() {
                Some(faults) => Verdict::broke(format!("{faults}; {seen}")),
                None => Verdict::held(seen),
            }
        });
        if !is_late.get() {
            break;
        }
    }
    verdict
}

/// An attacker must not run out of what it takes from others. What can't be had is not.
fn take_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn limit_descriptors(scene: &Scene) {
    for pid in scene.pids() {
        process::limit(pid, "nofile", DESCRIPTORS_MAX)
            .unwrap_or_else(|why| Obstacle::shortage(why));
    }
}

fn hold_out(scene: &mut Scene, speech: Speech, attack: &(impl Fn(u16) -> usize + Sync)) -> Siege {
    let (port, is_over) = (scene.port, &AtomicBool::new(false));
    let mut anonymous_kb = 0;
    thread::scope(|scope| {
        // Also where an invocation fails, and with it this: nobody reports to whom it may concern.
        let _end = EndsAgents(is_over);
        let thread = |name: &str| Builder::new().name(name.to_owned());
        let agent = |habit| {
            let report = move || report_until(is_over, port, speech, habit);
            thread("agent").spawn_scoped(scope, report).expect("a thread")
        };
        let agents = [agent(Habit::Keeps), agent(Habit::Reconnects)];
        let attackers = thread("attacker").spawn_scoped(scope, || attack(port)).expect("a thread");
        while !attackers.is_finished() {
            scene.invoke(|_| pass(INVOCATION));
            anonymous_kb = anonymous_kb.max(scene.footprint().anonymous_kb);
        }
        // What comes back by itself does so at one of these.
        for _ in 0..3 {
            scene.invoke(|_| pass(INVOCATION));
        }
        // Between two invocations nobody is answered.
        let end = |_: &Scene| {
            is_over.store(true, Ordering::Relaxed);
            agents.map(|it| it.join().expect("an agent never panics"))
        };
        let ([keeps, reconnects], _) = scene.invoke(end);
        let attackers = attackers.join().expect("an attacker never panics");
        Siege { attackers, keeps, reconnects, anonymous_kb }
    })
}

/// Ends the agents at the latest when it is dropped.
struct EndsAgents<'a>(&'a AtomicBool);

impl Drop for EndsAgents<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long it took, or what is left after [`IDLE_WITHIN`].
fn wait_until_idle(scene: &mut Scene, idle: &Footprint) -> Result<Duration, String> {
    let began = Instant::now();
    loop {
        let Footprint { threads, descriptors, .. } = scene.footprint();
        if threads <= idle.threads + BESIDE && descriptors <= idle.descriptors + BESIDE {
            return Ok(began.elapsed());
        }
        if began.elapsed() > IDLE_WITHIN {
            let threads = threads.saturating_sub(idle.threads);
            let descriptors = descriptors.saturating_sub(idle.descriptors);
            return Err(format!("{threads} threads and {descriptors} descriptors were left"));
        }
        scene.invoke(|_| pass(INVOCATION));
    }
}

/// Begins what is told where all but times held.
pub const ONLY_LATE: &str = "only late";

/// What did not hold.
struct Faults {
    late: Option<String>,
    others: Vec<String>,
}

impl Faults {
    fn told(&self) -> Option<String> {
        let all: Vec<&str> = self.late.iter().chain(&self.others).map(String::as_str).collect();
        let told = (!all.is_empty()).then(|| all.join("; "))?;
        Some(if self.others.is_empty() { format!("{ONLY_LATE}: {told}") } else { told })
    }
}

/// And the last line of its log: a relay may tell there what became of the reports.
fn faults(
    scene: Scene,
    siege: &Siege,
    idle_after: &Result<Duration, String>,
    standstills: &Standstills,
) -> (Faults, String) {
    let [kept, new] = siege.slowest(standstills);
    let is_late = kept.max(new) > ANSWER_MAX;
    let late = is_late.then(|| "an answer took longer than 50 ms".to_owned());
    let mut others = Vec::new();
    for (which, seen) in [("kept", &siege.keeps), ("new", &siege.reconnects)] {
        if let Some(first) = seen.failures.first() {
            let count = seen.failures.len();
            others.push(format!("{count} reports on a {which} connection failed: {first}"));
        }
        scene.accept(seen.accepted.clone());
    }
    if siege.anonymous_kb > ANONYMOUS_KB_MAX {
        others.push(format!("more than {ANONYMOUS_KB_MAX} kB of memory"));
    }
    others.extend(idle_after.clone().err());
    let end = scene.shut_down();
    let delivery = end.delivery();
    // What attackers sent properly arrives too.
    if !delivery.missing.is_empty() || !delivery.repeated.is_empty() {
        others.push(counts(&delivery));
    }
    let (well, seen) = end.ended_well();
    if !well {
        others.push(seen);
    }
    let last_words = end.log().pop().unwrap_or_else(|| "none".to_owned());
    (Faults { late, others }, last_words)
}

impl Siege {
    /// The longest that an agent waited, on a connection that it kept and on a new one.
    fn slowest(&self, standstills: &Standstills) -> [Duration; 2] {
        [&self.keeps, &self.reconnects].map(|seen| seen.slowest(standstills))
    }

    fn told(&self, standstills: &Standstills, idle_after: Duration) -> String {
        let [kept, new] = self.slowest(standstills).map(ms);
        format!(
            "{} attackers; {} healthy reports, the slowest answer {kept} on a kept connection, \
             {new} on a new one; {} kB; idle after {:.0} s",
            self.attackers,
            self.keeps.waits.len() + self.reconnects.waits.len(),
            self.anonymous_kb,
            idle_after.as_secs_f64()
        )
    }
}
