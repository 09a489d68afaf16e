//! A local Lambda with the subject, and a function whose agent does not report.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::subject::{Far, Subject};
use super::verdict::Obstacle;
use crate::agent::{Agent, Endpoint, Family, Localhost};
use crate::failure::SANDBOX_FAILURE;
use crate::function::Function;
use crate::invocation::Invocation;
use crate::lambda::Lambda;
use crate::phases::Ended;
use crate::port::free_port;
use crate::setup::{Runtime, Setup};
use crate::timeline::{Event, Role, Status};
use crate::watch::Watch;

/// An event for a function that does nothing and reports nothing.
pub const QUIET: &str = r#"{"reports":0}"#;

/// An event at which the function works for 300 ms, so that the scenario can act meanwhile.
pub const WORKING: &str = r#"{"reports":0,"work_ms":300}"#;

/// The function's timeout. It passes only if something hangs. A loaded machine slows a good extension far less.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The prefix of the names of all other extensions.
pub const NEIGHBOUR: &str = "another-";

pub struct Fixture {
    pub lambda: Lambda,
    name: String,
    /// On Managed Instances, an extension learns from a refusal which events exist.
    registers_may_be_refused: bool,
    _far: Far,
}

impl Subject {
    /// Starts the subject, in a setup with these changes.
    pub(super) fn started(&self, change: impl FnOnce(Setup, &Far) -> Setup) -> Fixture {
        let prepared = self.prepare(self.plain());
        let setup = prepared.setup.runtime(Runtime::function(silent)).timeout(TIMEOUT);
        let setup = change(setup, &prepared.far);
        let name = setup.extensions.first().expect("the subject is an extension").name.clone();
        let managed = setup.configuration.initialization.is_managed_instances();
        let lambda = setup.start().unwrap_or_else(|error| Obstacle::not_started(&error));
        Fixture { lambda, name, registers_may_be_refused: managed, _far: prepared.far }
    }

    /// Starts the subject and waits for a successful init.
    pub(super) fn ready(&self, change: impl FnOnce(Setup, &Far) -> Setup) -> Fixture {
        let fixture = self.started(change);
        let ready = fixture.lambda.wait_for_init();
        assert!(ready, "{}{}", init_failure(&fixture.lambda), fixture.story());
        fixture
    }
}

/// The reason of a failed init, in one line. If the machine is the reason, this ends the scenario.
pub fn init_failure(lambda: &Lambda) -> String {
    let timeline = lambda.timeline();
    let is_the_machines = |event: &Event| matches!(event, Event::InitEnded { status: Status::Failure(it), .. } if it == SANDBOX_FAILURE);
    let find = |wanted: fn(&Event) -> bool| timeline.iter().find(|entry| wanted(&entry.event));
    let cause = find(|event| matches!(event, Event::NotExecuted { .. }));
    let end = || find(|event| matches!(event, Event::InitEnded { .. }));
    let told = cause.or_else(end).map(|entry| entry.event.to_string());
    let told = told.unwrap_or_else(|| "init never ended".to_owned()).trim_start().to_owned();
    if timeline.iter().any(|entry| is_the_machines(&entry.event)) {
        Obstacle::shortage(told)
    }
    told
}

/// A function whose agent never reports.
pub fn silent() -> Function {
    Function::of(Agent::to(Family::ThundraPython, Endpoint::local(free_port(), Localhost::V4First)))
}

/// Lets this time pass. Scenarios use it to prove that nothing happens.
pub fn pass(time: Duration) {
    Watch::<()>::default().wait(time, |()| None::<()>);
}

/// A time for people, with meaningful digits only.
pub fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

impl Fixture {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pid of the latest process.
    pub fn pid(&self) -> u32 {
        self.lambda.pid_of(&self.name).expect("it was started")
    }

    /// # Errors
    ///
    /// When the invocation does not succeed.
    pub fn invoke(&self) -> Result<Invocation, String> {
        self.succeeded(self.lambda.invoke(QUIET))
    }

    /// An invocation in which a process was killed. The function works long enough for the kill to be noticed.
    /// Lambda does not wait for every extension, and a frozen process ends only after the thaw.
    ///
    /// # Errors
    ///
    /// When the invocation does not fail.
    pub fn invoke_with_a_dead_process(&self) -> Result<Invocation, String> {
        let failed = self.lambda.invoke(r#"{"reports":0,"work_ms":5000}"#);
        match failed.status {
            Status::Failure(_) => Ok(failed),
            status => Err(format!("the invocation ends in {status}: {}", self.story())),
        }
    }

    pub fn succeeded(&self, invocation: Invocation) -> Result<Invocation, String> {
        match invocation.status {
            Status::Success => Ok(invocation),
            status => Err(format!("an invocation ended in {status}: {}", self.story())),
        }
    }

    /// Whether its last registration included this event.
    pub fn asks_for(&self, wanted: &str) -> bool {
        let timeline = self.lambda.timeline();
        let asked = timeline.iter().rev().find_map(|entry| match &entry.event {
            Event::Registered { extension, events } if *extension == self.name => Some(events),
            _ => None,
        });
        asked.is_some_and(|events| events.iter().any(|event| event.name() == wanted))
    }

    /// How often it was started.
    pub fn starts(&self) -> usize {
        let ours = Role::Extension(self.name.clone());
        let is_start =
            |event: &Event| matches!(event, Event::Started { process, .. } if *process == ours);
        self.lambda.timeline().iter().filter(|entry| is_start(&entry.event)).count()
    }

    /// How many calls of this kind extensions made.
    pub fn calls(&self, path: &str) -> usize {
        let path = format!("/2020-01-01/extension{path}");
        self.lambda.calls().iter().filter(|call| call.path == path).count()
    }

    /// How many calls of this kind were answered.
    pub fn answers(&self, path: &str) -> usize {
        let path = format!("/2020-01-01/extension{path}");
        let calls = self.lambda.calls();
        calls.iter().filter(|call| call.path == path && call.status.is_some()).count()
    }

    /// Sends a signal to the process of this extension.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn signal(&self, extension: &str, signal: Signal) -> Result<(), String> {
        let pid = self.lambda.pid_of(extension);
        let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.ok_or_else(|| format!("{extension} has no process"))?;
        kill_process(pid, signal).map_err(|error| format!("can't signal {extension}: {error}"))
    }

    /// Ends the environment. Other scenarios judge how well the extension leaves.
    ///
    /// # Errors
    ///
    /// When the extension made a call that Lambda refuses.
    pub fn finish(self) -> Result<String, String> {
        self.is_blameless()?;
        let report = self.lambda.take_down("spindown");
        let ended = report.extension(&self.name).ok_or("it was gone before the shutdown")?;
        Ok(format!("at the end {}", ended.status))
    }

    /// Runs three invocations, and any end.
    ///
    /// # Errors
    ///
    /// When an invocation fails, or the extension was restarted.
    pub fn goes_on(self) -> Result<String, String> {
        self.serve()?;
        let end = self.finish()?;
        Ok(format!("3 invocations succeed; {end}"))
    }

    /// Ends the environment for this reason.
    ///
    /// # Errors
    ///
    /// When the extension does not end as it must, or made a call that Lambda refuses.
    pub fn shut_down(self, reason: &str) -> Result<String, String> {
        let asked = self.asks_for("SHUTDOWN");
        let report = self.lambda.take_down(reason);
        self.is_blameless()?;
        let ended = report.extension(&self.name).ok_or("it was gone before the shutdown")?;
        let Ended { status, killed, left_behind, .. } = ended;
        let took = report.duration;
        match (asked, killed, status.as_str(), left_behind + report.strays) {
            (false, ..) => Ok("it does not ask for SHUTDOWN, and is killed".to_owned()),
            (true, false, "exit status: 0", 0) => {
                Ok(format!("exit status: 0, the shutdown took {}", ms(took)))
            }
            (true, true, ..) => {
                Err(format!("killed {} after the shutdown began: {}", ms(took), self.story()))
            }
            (true, false, "exit status: 0", left) => {
                Err(format!("{left} processes outlive it: {}", self.story()))
            }
            (true, false, status, _) => Err(format!("ended by {status}: {}", self.story())),
        }
    }

    /// # Errors
    ///
    /// When the platform refused a call of an extension, or recorded another violation.
    pub fn is_blameless(&self) -> Result<(), String> {
        let mut violations = self.lambda.violations();
        // A neighbour that is killed abandons its `next`.
        violations.retain(|violation| !violation.starts_with(NEIGHBOUR));
        if !violations.is_empty() {
            return Err(format!("Lambda forbids what it did: {}", violations.join("; ")));
        }
        let calls = self.lambda.calls();
        let may_be_refused = self.registers_may_be_refused;
        let refused = calls.iter().find(|call| {
            let excused = may_be_refused && call.path.ends_with("/register");
            let ours = call.path.starts_with("/2020-01-01/extension/") && !excused;
            ours && call.status.is_some_and(|it| it >= 400)
        });
        refused.map_or(Ok(()), |call| {
            let status = call.status.unwrap_or_default();
            Err(format!("{} {} was answered {status}", call.method, call.path))
        })
    }

    /// Runs three invocations, and requires a good end.
    ///
    /// # Errors
    ///
    /// When an invocation fails, the extension was restarted, or it does not end as it must.
    pub fn live(self) -> Result<String, String> {
        self.serve()?;
        let end = self.shut_down("spindown")?;
        Ok(format!("3 invocations succeed; {end}"))
    }

    fn serve(&self) -> Result<(), String> {
        for _ in 0..3 {
            self.invoke()?;
        }
        match self.starts() {
            1 => Ok(()),
            starts => Err(format!("it was started {starts} times: {}", self.story())),
        }
    }

    /// The timeline, as text.
    pub fn story(&self) -> String {
        let timeline = self.lambda.timeline();
        let lines: Vec<String> = timeline.iter().map(ToString::to_string).collect();
        format!("\n{}", lines.join("\n"))
    }
}
