//! What the threads of a running function have in common.

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

/// Waits without an end are cut into such pieces, which a watch can count.
const LONG: Duration = Duration::from_secs(3600);

pub struct Shared {
    pub function: Function,
    pub runtime_api: String,
    /// To the Runtime API.
    pub sockets: Arc<Sockets>,
    pub record: Watch<Record>,
}

#[derive(Default)]
pub struct Record {
    /// `None` where nobody will read them.
    pub reports: Option<Vec<Report>>,
    pub invocations: usize,
    pub stopping: bool,
    pub end: Option<End>,
}

impl Shared {
    /// The life of the function, from its init on.
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
            // Comes back only with an error: the function was stopped.
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

    /// The first end is the function's: nothing of a process outlives a part of it that ended.
    fn end(&self, end: End) {
        self.record.update(|record| {
            let end = if record.stopping { End::Stopped } else { end };
            record.end.get_or_insert(end);
        });
        self.stop();
    }

    /// Lambda's runtimes wait for events without a limit; so this wait starts over.
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

    /// Lets the time pass until then, or without an end until the function is stopped.
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

    /// Uses up this much CPU time; the more wall time the less of a CPU the function has.
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
