//! What Lambda, agents and remotes require of an extension, as scenarios for any binary. Each scenario proves
//! one sentence and names its source.

mod attack;
mod catalogue;
mod environments;
mod resource_use;
mod initializations;
mod kind;
mod neighbours;
mod protocol_variants;
mod polling;
mod registration;
mod relay;
mod resets;
mod host_limits;
mod shutdown;
mod speech;
mod fixture;
mod subject;
mod raw_requests;
mod verdict;

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

pub use attack::ONLY_LATE;
pub use host_limits::host_limits;
pub use kind::Kind;
pub use speech::Speech;
pub use subject::{Subject, filled_in};
pub use verdict::Verdict;

use crate::timeline::as_ms;
use verdict::Obstacle;

/// One situation with a name, and what an extension must do in it.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub kind: Kind,
    pub name: &'static str,
    /// The sentence that the scenario proves.
    pub proves: &'static str,
    /// The source: a page of AWS's documentation, or the issue of an extension that broke.
    pub source: &'static str,
    pub(crate) play: fn(&Subject) -> Verdict,
}

/// The result of a scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    pub kind: Kind,
    pub scenario: &'static str,
    pub proves: &'static str,
    pub source: &'static str,
    #[serde(flatten)]
    pub verdict: Verdict,
    #[serde(rename = "took_ms", serialize_with = "as_ms")]
    pub took: Duration,
}

/// All scenarios except [`attacks`], in the order of an extension's life.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    catalogue::all()
}

/// The scenarios that attack. They measure times, so they must run one at a time.
#[must_use]
pub fn attacks() -> Vec<Scenario> {
    catalogue::attacks()
}

/// How many scenarios can run at a time. If the subject has a fixed port, only one can, because a second copy
/// would take that port.
#[must_use]
pub fn at_once(subject: &Subject, wanted: NonZeroUsize) -> NonZeroUsize {
    if subject.fixed_port.is_some() { NonZeroUsize::MIN } else { wanted }
}

/// Runs the scenarios and returns their findings in order. As many run at a time as [`at_once`] allows. A
/// scenario that mostly waits runs beside them, unless [`at_once`] allows only one. `told` gets each finding as
/// soon as it is known.
///
/// # Panics
///
/// When the system refuses a thread.
pub fn play(
    subject: &Subject,
    scenarios: &[Scenario],
    at_once: NonZeroUsize,
    told: impl Fn(&Finding) + Sync,
) -> Vec<Finding> {
    let at_once = self::at_once(subject, at_once);
    let beside = |scenario: &Scenario| at_once.get() > 1 && catalogue::sleeps(scenario);
    let (asleep, awake): (Vec<_>, Vec<_>) =
        scenarios.iter().enumerate().partition(|(_, scenario)| beside(scenario));
    let next = AtomicUsize::new(0);
    let findings = Mutex::new(Vec::new());
    let play = |(index, scenario): &(usize, &Scenario)| {
        let finding = scenario.play(subject);
        told(&finding);
        findings.lock().expect("pushing never panics").push((*index, finding));
    };
    thread::scope(|scope| {
        let thread = || thread::Builder::new().name(PLAYING.to_owned());
        for scenario in &asleep {
            thread().spawn_scoped(scope, || play(scenario)).expect(A_THREAD);
        }
        for _ in 0..at_once.get().min(awake.len()) {
            let play_all = || {
                while let Some(scenario) = awake.get(next.fetch_add(1, Ordering::Relaxed)) {
                    play(scenario);
                }
            };
            thread().spawn_scoped(scope, play_all).expect(A_THREAD);
        }
    });
    let mut findings = findings.into_inner().expect("pushing never panics");
    findings.sort_by_key(|(index, _)| *index);
    findings.into_iter().map(|(_, finding)| finding).collect()
}

/// Whether this thread runs scenarios. A panic of such a thread is a verdict and is reported as one.
#[must_use]
pub fn is_playing() -> bool {
    thread::current().name() == Some(PLAYING)
}

const PLAYING: &str = "conformance";
const A_THREAD: &str = "a thread to play scenarios";

impl Scenario {
    /// Runs the scenario once. A wait that runs out is a breach, because the extension did not do its part. If
    /// the local Lambda cannot start on this machine, that is no breach.
    #[must_use]
    pub fn play(&self, subject: &Subject) -> Finding {
        let started = Instant::now();
        let played = catch_unwind(AssertUnwindSafe(|| (self.play)(subject)));
        let verdict = played.unwrap_or_else(|panic| judged(panic.as_ref()));
        let Self { kind, name: scenario, proves, source, .. } = *self;
        Finding { kind, scenario, proves, source, verdict, took: started.elapsed() }
    }
}

fn judged(panic: &(dyn Any + Send)) -> Verdict {
    if let Some(Obstacle(why)) = panic.downcast_ref() {
        return Verdict::not_played(why);
    }
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    Verdict::broke(message.unwrap_or("the scenario panicked without a message"))
}
