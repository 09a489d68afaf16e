//! An extension in a container that has polled for its first event. The measure itself acts as the platform and
//! as the agent.

use std::io;
use std::time::{Duration, Instant};

use local_lambda::conformance::filled_in;
use local_lambda::{
    Answer, Authority, Container, Footprint, Launch, Platform, Process, Remote, free_port,
};

use super::agent::Agent;
use super::contender::Contender;
use super::cpu::Cpu;
use super::samples::Samples;
use super::size::Size;
use crate::command::pause::pause;
use crate::command::protocol::Protocol;

/// Time limit of each step, also in a 128 MB function.
const STEP_WITHIN: Duration = Duration::from_secs(30);
/// How often to check whether an extension that does not poll is still alive.
const LOOK_EACH: Duration = Duration::from_millis(200);
/// The timeout in each INVOKE. No invocation takes that long.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The time that Lambda gives external extensions to shut down.
const SHUTDOWN_BUDGET: Duration = Duration::from_secs(2);

pub struct Started {
    platform: Platform,
    /// When the stopped shell was resumed that executed the extension.
    pub executed_at: Instant,
    port: u16,
    protocol: Protocol,
    name: String,
    container: Container,
    process: Process,
    _remote: Remote,
    /// The authority, whose file is read when TLS is first needed.
    _authority: Option<Authority>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Tcp,
    Tls,
}

impl Started {
    /// Starts the extension. `None` if the contender has none.
    ///
    /// # Errors
    ///
    /// When it ends, or does not poll in time.
    pub fn start(contender: &Contender, size: Size, over: Over) -> io::Result<Option<Self>> {
        Self::launch(contender, size, over, |launch| launch)
    }

    /// Starts it with this launch. Otherwise as [`Self::start`].
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn launch(
        contender: &Contender,
        size: Size,
        over: Over,
        change: impl FnOnce(Launch) -> Launch,
    ) -> io::Result<Option<Self>> {
        let Some(path) = &contender.path else { return Ok(None) };
        let (platform, port) = (Platform::start(), free_port());
        let authority = (over == Over::Tls).then(Authority::create).transpose()?;
        let remote = authority.as_ref().map_or_else(Remote::start, Remote::start_tls);
        remote.answer_with(Answer::accepting_unread);
        let launch = Launch::of(path).on(&platform).stopped();
        let variables = filled_in(&contender.variables, port, &remote.origin(), authority.as_ref());
        let launch = variables.fold(launch, |launch, (name, value)| launch.env(name, value));
        let process = change(launch).start();
        process.wait_until_stopped(STEP_WITHIN);
        let container = Container::new(size.limits());
        container.admit(&process);
        let executed_at = Instant::now();
        process.resume();
        let (name, protocol) = (contender.name.clone(), contender.protocol);
        let started = Self {
            platform,
            executed_at,
            port,
            protocol,
            name,
            container,
            process,
            _remote: remote,
            _authority: authority,
        };
        started.wait_for_next()?;
        Ok(Some(started))
    }

    fn wait_for_next(&self) -> io::Result<()> {
        let deadline = Instant::now() + STEP_WITHIN;
        while !self.platform.has_next_within(LOOK_EACH) {
            let end = match self.process.is_running() {
                true if Instant::now() < deadline => continue,
                true => format!("does not ask for an event within {STEP_WITHIN:?}"),
                false => "has ended".to_owned(),
            };
            let log = self.process.log();
            return Err(io::Error::other(format!("{} {end}; its log:\n{log}", self.name)));
        }
        Ok(())
    }

    /// When the first call of this path of the Extensions API arrived.
    pub fn first(&self, path: &str) -> Instant {
        let calls = self.platform.calls();
        let call = calls.iter().find(|call| call.path.ends_with(path));
        call.expect("a next is pending, and it has registered for that").at
    }

    /// Sends an INVOKE and waits until the extension polls again.
    ///
    /// # Errors
    ///
    /// When it fails or does not poll.
    pub fn invoke(&self) -> io::Result<()> {
        self.platform.invoke(TIMEOUT);
        self.wait_for_next()
    }

    /// An agent, if the extension accepts reports.
    pub fn agent(&self) -> Option<Agent> {
        Agent::at(self.port, self.protocol)
    }

    /// Notes the limits of the size that this machine cannot provide.
    pub fn notes(&self, samples: &mut Samples) {
        self.container.notes().iter().for_each(|note| samples.note(note));
    }

    /// The footprint of the extension and its children.
    pub fn footprint(&self) -> Footprint {
        self.container.pids().into_iter().map(Footprint::of).sum()
    }

    pub fn cpu(&self) -> Cpu {
        Cpu { all: self.container.cpu_time(), kernel: self.container.cpu_time_in_kernel() }
    }

    /// The CPU time used once the extension is idle, or after 5 s.
    pub fn settled_cpu(&self) -> Cpu {
        const QUIET: Duration = Duration::from_millis(50);
        const SETTLED_WITHIN: Duration = Duration::from_secs(5);
        let deadline = Instant::now() + SETTLED_WITHIN;
        let mut before = self.cpu();
        loop {
            pause(QUIET);
            let after = self.cpu();
            if after.all == before.all || Instant::now() > deadline {
                return after;
            }
            before = after;
        }
    }

    pub fn shut_down(self) {
        self.platform.shutdown("spindown", SHUTDOWN_BUDGET);
        // Some extensions never end, and are killed then.
        let ended = Instant::now() + SHUTDOWN_BUDGET;
        while self.process.is_running() && Instant::now() < ended {
            pause(Duration::from_millis(1));
        }
    }
}
