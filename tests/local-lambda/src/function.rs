//! A function with an agent in it, as Lambda's managed runtimes run one: in threads of a test, or
//! as the process that `local-lambda function` is.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::agent::{Agent, Reported};
use crate::watch::Watch;

mod end;
mod environment;
mod runtime_api;
mod serving;
mod shared;
mod task;
mod worker;

pub use end::End;
pub use environment::{Environment, Init};
pub use task::{Outcome, Task};

use shared::{Record, Shared};

/// A runtime with a handler that does what each event tells it ([`Task`]), and an agent.
#[must_use]
pub struct Function {
    agent: Agent,
    init: Init,
    init_takes: Duration,
    environment: Environment,
    verbose: bool,
}

/// Ends when it is dropped.
pub struct RunningFunction {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// One report of the agent.
#[derive(Debug, Clone)]
pub struct Report {
    pub request_id: String,
    pub moment: Moment,
    pub reported: Reported,
}

/// When in an invocation an agent reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Shortly before the deadline, while the handler still runs.
    Timeout,
    /// The handler is done, the response not sent yet.
    BeforeResponse,
    /// The response is sent, the next event not asked for.
    AfterResponse,
}

impl Function {
    pub fn of(agent: Agent) -> Self {
        Self {
            agent,
            init: Init::Succeeds,
            init_takes: Duration::ZERO,
            environment: Environment::OnDemand,
            verbose: false,
        }
    }

    pub fn init(mut self, init: Init) -> Self {
        self.init = init;
        self
    }

    /// How long the function's own set-up waits before its first call to the Runtime API.
    pub fn init_takes(mut self, init_takes: Duration) -> Self {
        self.init_takes = init_takes;
        self
    }

    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Writes a line for each invocation to standard error.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Runs in threads of this process; `runtime_api` is the value of `AWS_LAMBDA_RUNTIME_API`.
    #[must_use]
    pub fn start(self, runtime_api: &str) -> RunningFunction {
        RunningFunction::start(self, runtime_api, Some(Vec::new()))
    }

    /// Runs until it ends. A process that stands for the function then ends as [`End`] says.
    pub fn run(self, runtime_api: &str) -> End {
        let running = RunningFunction::start(self, runtime_api, None);
        running.shared.wait_to_the_end()
    }
}

#[expect(
    clippy::missing_panics_doc,
    reason = "every wait of a double panics when its time is over"
)]
impl RunningFunction {
    fn start(function: Function, runtime_api: &str, reports: Option<Vec<Report>>) -> Self {
        let shared = Arc::new(Shared {
            function,
            runtime_api: runtime_api.to_owned(),
            sockets: Arc::default(),
            record: Watch::new(Record { reports, ..Record::default() }),
        });
        let living = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("function".to_owned())
            .spawn(move || living.live())
            .expect("a thread for the function");
        Self { shared, thread: Some(thread) }
    }

    /// Calls this once with the end, on a thread of its own.
    pub(crate) fn on_end(&self, then: impl FnOnce(End) + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let wait = move || then(shared.wait_to_the_end());
        let name = "end of the function".to_owned();
        thread::Builder::new().name(name).spawn(wait).expect("a thread to wait for the end");
    }

    /// Every report so far. Each is in here before its invocation's response is sent.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.shared.record.read(|record| record.reports.clone().unwrap_or_default())
    }

    /// Waits until there are at least `count` reports, and returns all.
    #[expect(clippy::must_use_candidate, reason = "a test may want nothing but the wait")]
    pub fn wait_for_reports(&self, count: usize, within: Duration) -> Vec<Report> {
        let enough = |record: &mut Record| record.reports.clone().filter(|it| it.len() >= count);
        self.shared.record.wait(within, enough).unwrap_or_else(|| {
            panic!("not {count} reports within {within:?}; {}", self.seen());
        })
    }

    /// Waits until the function ends by itself.
    #[must_use]
    pub fn end(&self, within: Duration) -> End {
        let end = self.shared.record.wait(within, |record| record.end.clone());
        end.unwrap_or_else(|| panic!("it still runs after {within:?}; {}", self.seen()))
    }

    /// Ends it as SIGKILL would: in the middle of whatever it does.
    pub fn stop(self) {}

    fn seen(&self) -> String {
        self.shared.record.read(|record| {
            let reports = record.reports.as_ref().map_or(0, Vec::len);
            format!(
                "seen instead: {} invocations, {reports} reports, end: {:?}",
                record.invocations, record.end
            )
        })
    }
}

impl Drop for RunningFunction {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}
