//! A local Lambda: one execution environment of one function, from init to shutdown.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use uuid::Uuid;

use crate::call::Call;
use crate::container::{Container, Limits};
use crate::extensions_api::Externals;
use crate::freezer::Freezer;
use crate::generation::Ground;
use crate::invocation::{InFlight, Invocation};
use crate::listener;
use crate::opt::Opt;
use crate::phases::{Command, Order, Phases, ShutdownReport};
use crate::platform::Platform;
use crate::recorder::Recorder;
use crate::runtime_event::CallerContext;
use crate::setup::{ExtensionFile, OnPanic, Setup, User};
use crate::telemetry_api::{Rules, TelemetryApi};
use crate::timeline::{Entry, Event, Role, Status, Timeline};

/// Time limit of a wait, in addition to the function's timeout and the platform's limits.
const PATIENCE: Duration = Duration::from_secs(60);

/// Dropping it kills all processes without a shutdown.
pub struct Lambda {
    inbox: Sender<Command>,
    thread: Option<JoinHandle<()>>,
    platform: Platform,
    ground: Arc<Ground>,
}

#[expect(
    clippy::missing_panics_doc,
    reason = "every wait of a double panics when its time is over"
)]
impl Lambda {
    pub(crate) fn start(mut setup: Setup) -> io::Result<Self> {
        has_each_name_once(&setup)?;
        let no_root = setup.user == User::Lambda && !rustix::process::geteuid().is_root();
        if no_root {
            setup.user = User::Own;
        }
        let configuration = Arc::new(setup.configuration.clone());
        let telemetry = TelemetryApi::new(rules_of(&setup));
        let names = setup.extensions.iter().map(|file| file.name.clone()).collect();
        let timeline = Timeline::start();
        let platform = Platform::serve(
            listener::bind(setup.address)?,
            &configuration,
            setup.script.clone(),
            Externals::Named(names),
            (telemetry.clone(), timeline.clone()),
        );
        let container = Arc::new(container_for(&setup));
        let recorder = Recorder::new(configuration, telemetry, timeline);
        container.notes().iter().for_each(|note| recorder.note(note.clone()));
        if no_root {
            recorder.note(
                "processes run as this user: only root can start them as Lambda's".to_owned(),
            );
        }
        let ground = Arc::new(Ground {
            runtime_api: platform.runtime_api(),
            opt: Opt::with(&setup.extensions, setup.user == User::Lambda)?,
            setup,
            container,
            recorder,
            apis: Arc::clone(platform.apis()),
            acceptor: platform.acceptor().clone(),
            turn: Mutex::default(),
        });
        let (inbox, orders) = mpsc::channel();
        let phases = Phases::new(Arc::clone(&ground), inbox.clone());
        let thread =
            thread::Builder::new().name("phases".to_owned()).spawn(move || phases.run(&orders))?;
        let lambda = Self { inbox, thread: Some(thread), platform, ground };
        // After this, anything that the caller does happens during init or later.
        lambda.wait_for("init", |event| matches!(event, Event::InitStarted { .. }).then_some(()));
        Ok(lambda)
    }

    /// Invokes the function and waits until the invocation is over, for extensions too.
    pub fn invoke(&self, payload: impl Into<Vec<u8>>) -> Invocation {
        self.invoke_with(payload, CallerContext::default())
    }

    /// Invokes the function with the caller's trace and client context beside the payload.
    pub fn invoke_with(&self, payload: impl Into<Vec<u8>>, context: CallerContext) -> Invocation {
        let within = self.ground.setup.configuration.timeout + self.patience();
        self.begin_with(payload, context).end(within)
    }

    /// Invokes the function and returns at once.
    pub fn begin(&self, payload: impl Into<Vec<u8>>) -> InFlight {
        self.begin_with(payload, CallerContext::default())
    }

    pub fn begin_with(&self, payload: impl Into<Vec<u8>>, context: CallerContext) -> InFlight {
        let request_id = Uuid::new_v4().to_string();
        let (replied, reply) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        let (id, payload) = (request_id.clone(), payload.into());
        self.order(Command::Invoke(Order { request_id: id, payload, context, replied, ended }));
        InFlight { request_id, replied: reply, ended: end }
    }

    /// Ends the environment. Lambda's reasons are `spindown`, `timeout` and `failure`.
    #[expect(clippy::must_use_candidate, reason = "a test may want nothing but the end")]
    pub fn shut_down(mut self, reason: &str) -> (ShutdownReport, Vec<Entry>) {
        let report = self.take_down(reason);
        self.end();
        (report, self.timeline())
    }

    /// Ends the environment. The timeline and the calls can still be read.
    pub(crate) fn take_down(&self, reason: &str) -> ShutdownReport {
        let (done, report) = mpsc::channel();
        self.order(Command::Shutdown { reason: reason.to_owned(), done });
        report
            .recv_timeout(self.patience())
            .unwrap_or_else(|error| panic!("no end of the shutdown: {error}; {}", self.seen()))
    }

    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    #[must_use]
    pub fn runtime_api(&self) -> String {
        self.platform.runtime_api()
    }

    /// All that has happened so far.
    #[must_use]
    pub fn timeline(&self) -> Vec<Entry> {
        self.ground.recorder.timeline.entries()
    }

    /// The timeline for other threads. It can still be read during and after the shutdown.
    #[must_use]
    pub fn live_timeline(&self) -> Timeline {
        self.ground.recorder.timeline.clone()
    }

    /// Waits for an event, past or future. `find` gets each event once.
    pub fn wait_for<R>(&self, what: &str, find: impl FnMut(&Event) -> Option<R>) -> R {
        self.ground
            .recorder
            .timeline
            .wait_for(self.patience(), find)
            .unwrap_or_else(|| panic!("no {what} within {:?}; {}", self.patience(), self.seen()))
    }

    /// Waits until init is over. Returns whether it succeeded.
    #[expect(clippy::must_use_candidate, reason = "a test may want nothing but the wait")]
    pub fn wait_for_init(&self) -> bool {
        self.wait_for("end of init", |event| match event {
            Event::InitEnded { status, .. } => Some(*status == Status::Success),
            _ => None,
        })
    }

    /// All calls of extensions and of the runtime so far, in the order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.platform.calls()
    }

    /// A sentence for each act of an extension that Lambda forbids or punishes.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.platform.violations()
    }

    /// Waits for the first violation, for tests that provoke one.
    #[must_use]
    pub fn wait_for_violation(&self) -> String {
        self.platform.wait_for_violation(PATIENCE)
    }

    /// A note for each part of the setup that this machine cannot provide, with its replacement.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.ground.recorder.notes()
    }

    /// Freezes processes at moments that the platform would not choose.
    #[must_use]
    pub fn freezer(&self) -> Freezer {
        Freezer::of(&self.ground)
    }

    /// The pid of the extension's latest process.
    #[must_use]
    pub fn pid_of(&self, extension: &str) -> Option<u32> {
        self.ground.recorder.pid_of(&Role::Extension(extension.to_owned()))
    }

    /// The pid of the runtime's latest process, if the runtime is a process.
    #[must_use]
    pub fn runtime_pid(&self) -> Option<u32> {
        self.ground.recorder.pid_of(&Role::Runtime)
    }

    /// The pids of all live processes, also of children and of those that left their group.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.ground.container.pids()
    }

    /// The CPU time that all processes have used so far, from the scheduler.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        self.ground.container.cpu_time()
    }

    /// The time limit of a wait. It includes an init, because the first one may still be running.
    fn patience(&self) -> Duration {
        let Setup { limits, configuration, .. } = &self.ground.setup;
        PATIENCE + limits.of_init(configuration)
    }

    fn order(&self, command: Command) {
        let ordered = self.inbox.send(command);
        ordered.unwrap_or_else(|_| panic!("the local Lambda has ended; {}", self.seen()));
    }

    fn end(&mut self) {
        // This fails when the environment has already ended.
        let _ = self.inbox.send(Command::Kill);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has already printed its message.
            let _ = thread.join();
        }
        // A freezer may outlive this value, and must keep no process alive.
        self.ground.container.end();
    }

    fn seen(&self) -> String {
        let lines: Vec<String> = self.timeline().iter().map(ToString::to_string).collect();
        format!("seen so far (violations {:?}):\n{}", self.violations(), lines.join("\n"))
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        // Otherwise an invocation that hangs would run until its timeout.
        self.ground.apis.update(|apis| apis.abandoned = true);
        self.end();
        if thread::panicking() && self.ground.setup.on_panic == OnPanic::Print {
            eprintln!("the local Lambda; {}", self.seen());
        }
    }
}

/// All extensions are files of one directory, so no two may have the same name.
fn has_each_name_once(setup: &Setup) -> io::Result<()> {
    let mut names = BTreeSet::new();
    match setup.extensions.iter().find(|file| !names.insert(&file.name)) {
        None => Ok(()),
        Some(ExtensionFile { name, .. }) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("two extensions have the name {name:?}, which must be one file's"),
        )),
    }
}

fn rules_of(setup: &Setup) -> Rules {
    Rules {
        managed_instances: setup.configuration.initialization.is_managed_instances(),
        support: setup.telemetry,
        log_format: setup.configuration.log_format,
        time_scale: setup.telemetry_time_scale,
    }
}

fn container_for(setup: &Setup) -> Container {
    let limits = if setup.confined {
        Limits::of_memory_mb(setup.configuration.memory_mb)
    } else {
        Limits::default()
    };
    match setup.freeze_by {
        Some(freeze_by) => Container::freezing_by(freeze_by, limits),
        None => Container::new(limits),
    }
}
