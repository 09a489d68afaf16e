//! One attack with the healthy agents beside it, and the conditions that must hold during and after it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::healthy::{ConnectionUse, Seen, report_until};
use crate::conformance::fixture::{ms, pass};
use crate::conformance::relay::{RelayFixture, counts, play};
use crate::conformance::verdict::Obstacle;
use crate::conformance::{Speech, Subject, Verdict};
use crate::footprint::Footprint;
use crate::process;
use crate::standstill::Standstills;

/// Limit of descriptors for a function and its extensions together ("Lambda quotas").
const DESCRIPTORS_MAX: u64 = 1_024;
/// The pause between invocations. They go on during the attack, because an extension may recover at each.
const INVOCATION: Duration = Duration::from_millis(100);
/// The longest time that a healthy agent may wait for an answer.
const ANSWER_MAX: Duration = Duration::from_millis(50);
/// Limit of memory that belongs to no file, at any moment: twice the buffer of a function of 128 MB.
const ANONYMOUS_KB_MAX: u64 = 8 * 1024;
/// Divisor: if the machine stood still for more than this part of the time, it may have caused any fault,
/// because waiting requests take memory and fill buffers. A late answer alone may always be the machine's
/// fault.
const BUSY_SHARE: u32 = 20;
/// Time limit for everything that the attack left to disappear.
const IDLE_WITHIN: Duration = Duration::from_secs(60);
/// How many more threads and descriptors than before may exist afterwards. They belong to the agents' last
/// reports, and to workers that wait for more.
const BESIDE: usize = 4;

/// The observations of one run of an attack.
struct AttackRun {
    attackers: usize,
    keeps: Seen,
    reconnects: Seen,
    anonymous_kb: u64,
}

/// Attacks the subject's port. `attack` returns how many attackers reached it.
pub fn run_attack(subject: &Subject, attack: impl Fn(u16) -> usize + Sync) -> Verdict {
    const ATTEMPTS: usize = 3;
    take_all_descriptors();
    let is_doubtful = Cell::new(false);
    let mut verdict = Verdict::does_not_apply("");
    for attempt in 1..=ATTEMPTS {
        is_doubtful.set(false);
        verdict = play(subject, |mut fixture| {
            let (began, standstills) = (Instant::now(), Standstills::watch());
            fixture.invoke(|fixture| drop(fixture.report(1)));
            limit_descriptors(&fixture);
            let idle = fixture.footprint();
            let run = run_beside_agents(&mut fixture, subject.speech, &attack);
            let idle_after = wait_until_idle(&mut fixture, &idle);
            let (faults, last_words) = faults(fixture, &run, &idle_after, &standstills);
            let stood_still = standstills.within(began, Instant::now());
            let is_busy = stood_still > began.elapsed() / BUSY_SHARE;
            is_doubtful.set(faults.told().is_some() && (faults.others.is_empty() || is_busy));
            let told = run.told(&standstills, idle_after.unwrap_or(IDLE_WITHIN));
            let seen = format!("{told}; run {attempt}; its last words: {last_words}");
            match faults.told() {
                Some(faults) => Verdict::broke(format!("{faults}; {seen}")),
                None => Verdict::held(seen),
            }
        });
        if !is_doubtful.get() {
            break;
        }
    }
    verdict
}

/// Raises this process's limit of descriptors, so that the attackers have enough. Without permission, the limit
/// stays.
fn take_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn limit_descriptors(fixture: &RelayFixture) {
    for pid in fixture.pids() {
        process::limit(pid, "nofile", DESCRIPTORS_MAX)
            .unwrap_or_else(|why| Obstacle::shortage(why));
    }
}

fn run_beside_agents(
    fixture: &mut RelayFixture,
    speech: Speech,
    attack: &(impl Fn(u16) -> usize + Sync),
) -> AttackRun {
    let (port, is_over) = (fixture.port, &AtomicBool::new(false));
    let mut anonymous_kb = 0;
    thread::scope(|scope| {
        // Ends the agents also when an invocation fails and ends this closure. Otherwise they would report for
        // ever.
        let _end = EndsAgents(is_over);
        let thread = |name: &str| Builder::new().name(name.to_owned());
        let agent = |connection_use| {
            let report = move || report_until(is_over, port, speech, connection_use);
            thread("agent").spawn_scoped(scope, report).expect("a thread")
        };
        let agents = [agent(ConnectionUse::Keeps), agent(ConnectionUse::Reconnects)];
        let attackers = thread("attacker").spawn_scoped(scope, || attack(port)).expect("a thread");
        while !attackers.is_finished() {
            fixture.invoke(|_| pass(INVOCATION));
            anonymous_kb = anonymous_kb.max(fixture.footprint().anonymous_kb);
        }
        // An extension that recovers by itself does so at one of these.
        for _ in 0..3 {
            fixture.invoke(|_| pass(INVOCATION));
        }
        // Between two invocations the environment is frozen and answers nobody.
        let end = |_: &RelayFixture| {
            is_over.store(true, Ordering::Relaxed);
            agents.map(|it| it.join().expect("an agent never panics"))
        };
        let ([keeps, reconnects], _) = fixture.invoke(end);
        let attackers = attackers.join().expect("an attacker never panics");
        AttackRun { attackers, keeps, reconnects, anonymous_kb }
    })
}

/// Ends the agents when it is dropped, or earlier.
struct EndsAgents<'a>(&'a AtomicBool);

impl Drop for EndsAgents<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The time until the extension is idle, or what is left after [`IDLE_WITHIN`].
fn wait_until_idle(fixture: &mut RelayFixture, idle: &Footprint) -> Result<Duration, String> {
    let began = Instant::now();
    loop {
        let Footprint { threads, descriptors, .. } = fixture.footprint();
        if threads <= idle.threads + BESIDE && descriptors <= idle.descriptors + BESIDE {
            return Ok(began.elapsed());
        }
        if began.elapsed() > IDLE_WITHIN {
            let threads = threads.saturating_sub(idle.threads);
            let descriptors = descriptors.saturating_sub(idle.descriptors);
            return Err(format!("{threads} threads and {descriptors} descriptors were left"));
        }
        fixture.invoke(|_| pass(INVOCATION));
    }
}

/// The beginning of a verdict in which only times did not hold.
pub const ONLY_LATE: &str = "only late";

/// The conditions that did not hold.
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

/// The faults, and the last line of the extension's log, in which a relay may count reports.
fn faults(
    fixture: RelayFixture,
    run: &AttackRun,
    idle_after: &Result<Duration, String>,
    standstills: &Standstills,
) -> (Faults, String) {
    let [kept, new] = run.slowest(standstills);
    let is_late = kept.max(new) > ANSWER_MAX;
    let late = is_late.then(|| "an answer took longer than 50 ms".to_owned());
    let mut others = Vec::new();
    for (which, seen) in [("kept", &run.keeps), ("new", &run.reconnects)] {
        if let Some(first) = seen.failures.first() {
            let count = seen.failures.len();
            others.push(format!("{count} reports on a {which} connection failed: {first}"));
        }
        fixture.accept(seen.accepted.clone());
    }
    if run.anonymous_kb > ANONYMOUS_KB_MAX {
        others.push(format!("more than {ANONYMOUS_KB_MAX} kB of memory"));
    }
    others.extend(idle_after.clone().err());
    let end = fixture.shut_down();
    let delivery = end.delivery();
    // Well-formed reports of the attackers must arrive too.
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

impl AttackRun {
    /// The longest wait of an agent for an answer, on a kept connection and on a new one.
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
