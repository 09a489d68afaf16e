//! A function with an agent, behaving as Lambda's managed runtimes do. It runs as threads of a test, or as the
//! process `local-lambda function`.

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

/// A runtime and an agent. The handler does what each event orders ([`Task`]).
#[must_use]
pub struct Function {
    agent: Agent,
    init: Init,
    init_takes: Duration,
    environment: Environment,
    verbose: bool,
}

/// The function ends when this is dropped.
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

/// The moment in an invocation at which an agent reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Shortly before the deadline, while the handler still runs.
    Timeout,
    /// After the handler, before the response is sent.
    BeforeResponse,
    /// After the response is sent, before the next event is requested.
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

    /// Delays the function's first call of the Runtime API, as slow initialization code does.
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

    /// Runs in threads of this process. `runtime_api` is the value of `AWS_LAMBDA_RUNTIME_API`.
    #[must_use]
    pub fn start(self, runtime_api: &str) -> RunningFunction {
        RunningFunction::start(self, runtime_api, Some(Vec::new()))
    }

    /// Runs until the function ends. The function's process must then end as [`End`] says.
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

    /// Calls `then` once with the end, on another thread.
    pub(crate) fn on_end(&self, then: impl FnOnce(End) + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let wait = move || then(shared.wait_to_the_end());
        let name = "end of the function".to_owned();
        thread::Builder::new().name(name).spawn(wait).expect("a thread to wait for the end");
    }

    /// All reports so far. A report is added before its invocation's response is sent.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.shared.record.read(|record| record.reports.clone().unwrap_or_default())
    }

    /// Waits until there are at least `count` reports, and returns all of them.
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

    /// Ends it at any point of its work, as SIGKILL would.
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
            // A thread that panicked has already printed its message.
            let _ = thread.join();
        }
    }
}
