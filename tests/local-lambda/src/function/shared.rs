//! The data that all threads of a running function share.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::end::End;
use super::environment::{Environment, Init};
use super::runtime_api::Failed;
use super::worker::Worker;
use super::{Function, Moment, Report};
use crate::agent::{Reported, Sockets};
use crate::watch::Watch;

/// A wait without an end is split into waits of this length, because a watch needs a limit.
const LONG: Duration = Duration::from_secs(3600);

pub struct Shared {
    pub function: Function,
    pub runtime_api: String,
    /// The connections to the Runtime API.
    pub sockets: Arc<Sockets>,
    pub record: Watch<Record>,
}

#[derive(Default)]
pub struct Record {
    /// The reports. `None` if nobody will read them.
    pub reports: Option<Vec<Report>>,
    pub invocations: usize,
    pub stopping: bool,
    pub end: Option<End>,
}

impl Shared {
    /// Runs the function, from its init on.
    pub fn live(&self) {
        let mut first = Worker::new(self);
        match self.init(&mut first) {
            Err(end) => self.end(end),
            Ok(()) => thread::scope(|scope| {
                for number in 1..self.function.environment.concurrency() {
                    let serve = || self.serve(Worker::new(self));
                    thread::Builder::new()
                        .name(format!("function {number}"))
                        .spawn_scoped(scope, serve)
                        .expect("a thread for the function");
                }
                self.serve(first);
            }),
        }
    }

    fn init(&self, worker: &mut Worker<'_>) -> Result<(), End> {
        self.pass_until(Some(Instant::now() + self.function.init_takes))?;
        match self.function.init {
            Init::Succeeds if self.function.environment == Environment::SnapStart => {
                worker.api().restored()
            }
            Init::Succeeds => Ok(()),
            // This returns only with an error, when the function is stopped.
            Init::Hangs => self.pass_until(None),
            Init::Fails => {
                let kind = "Sandbox.InitError".to_owned();
                let message = "the function was told to fail its init".to_owned();
                worker.api().fail_init(&Failed { kind, message })?;
                Err(End::InitFailed)
            }
        }
    }

    fn serve(&self, mut worker: Worker<'_>) {
        let Err(end) = worker.serve();
        self.end(end);
    }

    /// Records the end. Only the first one counts, because a process ends with the first of its parts.
    fn end(&self, end: End) {
        self.record.update(|record| {
            let end = if record.stopping { End::Stopped } else { end };
            record.end.get_or_insert(end);
        });
        self.stop();
    }

    /// Waits for the end without a limit, because Lambda's runtimes wait for events without one.
    pub fn wait_to_the_end(&self) -> End {
        loop {
            if let Some(end) = self.record.wait(LONG, |record| record.end.clone()) {
                return end;
            }
        }
    }

    pub fn stop(&self) {
        self.record.update(|record| record.stopping = true);
        self.sockets.close();
        self.function.agent.close();
    }

    /// Waits until this time. Without a time, waits until the function is stopped.
    pub fn pass_until(&self, end: Option<Instant>) -> Result<(), End> {
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let stopping = |record: &mut Record| record.stopping.then_some(());
            match self.record.wait(left.unwrap_or(LONG).min(LONG), stopping) {
                Some(()) => return Err(End::Stopped),
                None if end.is_some_and(|end| end <= Instant::now()) => return Ok(()),
                None => {}
            }
        }
    }

    /// Uses this much CPU time. The smaller the function's CPU share, the longer this takes.
    pub fn compute(&self, cpu: Duration) {
        let used = || {
            let used = clock_gettime(ClockId::ThreadCPUTime);
            Duration::try_from(used).expect("a thread's time is above zero")
        };
        let done = used() + cpu;
        let is_stopping = || self.record.read(|record| record.stopping);
        while used() < done && !is_stopping() {
            black_box(
                (0..1000_u32).fold(0, |sum: u32, number| sum.wrapping_add(black_box(number))),
            );
        }
    }

    pub fn keep(&self, request_id: &str, moment: Moment, reported: &Reported) {
        self.record.update(|record| {
            if let Some(reports) = &mut record.reports {
                let (request_id, reported) = (request_id.to_owned(), reported.clone());
                reports.push(Report { request_id, moment, reported });
            }
        });
    }
}
