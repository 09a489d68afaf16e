//! An extension that has asked for its first event, in a container; the measure is the platform
//! and the agent.

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

/// How long any step may take, in a 128 MB function too.
const STEP_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether an extension that does not ask still lives.
const LOOK_EACH: Duration = Duration::from_millis(200);
/// Of an invocation, which nobody lets run into it.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What Lambda gives external extensions to shut down.
const SHUTDOWN_BUDGET: Duration = Duration::from_secs(2);

pub struct Started {
    platform: Platform,
    /// The moment when the stopped shell that executes it was let go.
    pub executed_at: Instant,
    port: u16,
    protocol: Protocol,
    name: String,
    container: Container,
    process: Process,
    _remote: Remote,
    /// Its file is read when TLS is set up first.
    _authority: Option<Authority>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Tcp,
    Tls,
}

impl Started {
    /// Nothing for no extension.
    ///
    /// # Errors
    ///
    /// When it ends, or does not ask for an event in time.
    pub fn start(contender: &Contender, size: Size, over: Over) -> io::Result<Option<Self>> {
        Self::launch(contender, size, over, |launch| launch)
    }

    /// As [`Self::start`], launched otherwise.
    ///
    /// # Errors
    ///
    /// As well.
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

    /// When the first call to this path of the Extensions API came.
    pub fn first(&self, path: &str) -> Instant {
        let calls = self.platform.calls();
        let call = calls.iter().find(|call| call.path.ends_with(path));
        call.expect("a next is pending, and it has registered for that").at
    }

    /// One that asks again as soon as it has the event, and does not fail on the way.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn invoke(&self) -> io::Result<()> {
        self.platform.invoke(TIMEOUT);
        self.wait_for_next()
    }

    /// An agent, if reports are taken.
    pub fn agent(&self) -> Option<Agent> {
        Agent::at(self.port, self.protocol)
    }

    /// What of the size can't be had here.
    pub fn notes(&self, samples: &mut Samples) {
        self.container.notes().iter().for_each(|note| samples.note(note));
    }

    /// Of it and all that it has started.
    pub fn footprint(&self) -> Footprint {
        self.container.pids().into_iter().map(Footprint::of).sum()
    }

    pub fn cpu(&self) -> Cpu {
        Cpu { all: self.container.cpu_time(), kernel: self.container.cpu_time_in_kernel() }
    }

    /// What has been used when nothing more happens, or 5 s later.
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
        // Some of them never end, and are killed then.
        let ended = Instant::now() + SHUTDOWN_BUDGET;
        while self.process.is_running() && Instant::now() < ended {
            pause(Duration::from_millis(1));
        }
    }
}
