//! Shutdown. First the runtime gets SIGTERM and its part of the time, then the extensions get SHUTDOWN. The
//! platform kills the rest at the deadline. External extensions never get SIGTERM.

use std::time::{Duration, Instant, SystemTime};

use super::Phases;
use super::shutdown_report::{Ended, ShutdownReport};
use crate::apis::Apis;
use crate::event_type::EventType;
use crate::extension::{Extension, Kind};
use crate::generation::{Exit, Generation};
use crate::limits::ShutdownBudget;
use crate::process::Process;
use crate::reply::Reply;
use crate::timeline::{Event, Role};

/// How long the kernel may take to end a killed process.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// How long the last bytes of ended processes may take to be read. They have already arrived. Unread ones are
/// forgotten then.
const HEARD_OUT_WITHIN: Duration = Duration::from_secs(1);

/// If the machine stands still shortly before the deadline, both this program and the extensions would wake up
/// after it, and the kill might come first. So from this long before the deadline on, the time is checked
/// often, and each delay of a check is added to the deadline.
const STALLS_COUNT_WITHIN: Duration = Duration::from_millis(250);
const LOOKS_EVERY: Duration = Duration::from_millis(10);

struct Fate {
    role: Role,
    told: bool,
    killed: bool,
}

impl Phases {
    /// Ends the current generation, if there is one.
    pub(super) fn shut_down(&mut self, reason: &str) -> ShutdownReport {
        self.ground.thaw();
        let started = Instant::now();
        if self.ground.apis.read(|apis| apis.abandoned) {
            self.kill();
        }
        let Some(mut generation) = self.generation.take() else {
            let (reason, strays) = (reason.to_owned(), self.ground.container.strays());
            let (duration, processes) = (Duration::ZERO, Vec::new());
            return ShutdownReport { reason, duration, processes, strays };
        };
        self.ground.recorder.add(Event::ShutdownStarted { reason: reason.to_owned() });
        self.abort_invocations();
        let budget = self.budget();
        let (deadline, share) = (started + budget.whole, started + budget.runtime);
        let mut fates = vec![self.end_runtime(&generation, share)];
        generation.stop_function();
        // A subscriber that accepts no more events must not use the others' time.
        let left = share.saturating_duration_since(Instant::now());
        self.ground.recorder.telemetry.flush(left);
        fates.extend(self.end_extensions(&generation, reason, deadline));
        let processes = self.reap(&generation, fates);
        // Processes that they left behind are killed, so that no old process makes a call any more.
        let strays = self.ground.container.strays();
        drop(generation);
        self.ground.container.kill_strays();
        self.ground.acceptor.hear_out(HEARD_OUT_WITHIN);
        // Reset here, because the next init's first calls may come before its thread runs. It needs the lock of
        // the APIs, so that each connection belongs to either the old or the new generation.
        self.ground.apis.update(|apis| apis.reset(self.ground.acceptor.cut_off()));
        self.ground.recorder.telemetry.reset();
        let duration = started.elapsed();
        self.ground.recorder.add(Event::ShutdownEnded { duration });
        ShutdownReport { reason: reason.to_owned(), duration, processes, strays }
    }

    /// Kills all processes without a shutdown phase.
    pub(super) fn kill(&mut self) {
        self.abort_invocations();
        self.ground.container.thaw();
        if let Some(mut generation) = self.generation.take() {
            self.ground.apis.update(|apis| {
                apis.extensions.registered_mut().iter_mut().for_each(Extension::exited);
            });
            generation.stop_function();
        }
    }

    fn budget(&self) -> ShutdownBudget {
        let kinds: Vec<Kind> = self
            .ground
            .apis
            .read(|apis| apis.extensions.registered().iter().map(|it| it.kind).collect());
        self.ground.setup.limits.of_shutdown(&kinds)
    }

    /// Ends the runtime. Without time, it is killed at once and gets no signal.
    fn end_runtime(&self, generation: &Generation, deadline: Instant) -> Fate {
        let mut fate = Fate { role: Role::Runtime, told: false, killed: false };
        let Some(process) = generation.process(&Role::Runtime) else { return fate };
        let gone = |apis: &mut Apis| has_exited(apis, generation, &Role::Runtime).then_some(());
        if self.ground.apis.wait(Duration::ZERO, gone).is_some() {
            return fate;
        }
        if deadline > Instant::now() {
            process.terminate();
            fate.told = true;
            self.ground.recorder.add(Event::Terminated { process: Role::Runtime });
            let left = deadline.saturating_duration_since(Instant::now());
            if self.ground.apis.wait(left, gone).is_some() {
                return fate;
            }
        }
        fate.killed = true;
        self.ground.recorder.add(Event::Killed { process: Role::Runtime });
        process.kill();
        fate
    }

    fn end_extensions(
        &self,
        generation: &Generation,
        reason: &str,
        deadline: Instant,
    ) -> Vec<Fate> {
        let names = self.ground.setup.extensions.iter().map(|file| &file.name);
        let fate = |name: &String| Fate {
            role: Role::Extension(name.clone()),
            told: false,
            killed: false,
        };
        let mut fates: Vec<Fate> = names.map(fate).collect();
        // An extension that did not register for SHUTDOWN gets none.
        let wants_notice = |role: &Role| self.ground.apis.read(|apis| wants_notice(apis, role));
        for fate in fates.iter_mut().filter(|fate| !wants_notice(&fate.role)) {
            self.kill_if_left(generation, fate);
        }
        self.tell_all(generation, &mut fates, reason, deadline);
        for fate in fates.iter_mut().filter(|fate| !fate.killed) {
            self.kill_if_left(generation, fate);
        }
        fates
    }

    /// Gives SHUTDOWN to each extension that polls by the deadline, or until all have ended.
    fn tell_all(
        &self,
        generation: &Generation,
        fates: &mut [Fate],
        reason: &str,
        mut deadline: Instant,
    ) {
        let begun = Instant::now();
        let ends_at = SystemTime::now() + deadline.saturating_duration_since(begun);
        let mut here_by = begun + LOOKS_EVERY;
        loop {
            let now = Instant::now();
            deadline += now.saturating_duration_since(here_by);
            let wait = next_wait(deadline.saturating_duration_since(now));
            here_by = now + wait + LOOKS_EVERY;
            let step = self.ground.apis.wait(wait, |apis| next_step(apis, generation, fates));
            match step {
                Some(Step::Tell(index)) => self.tell(&mut fates[index], reason, ends_at),
                Some(Step::End) => return,
                None if wait.is_zero() => return,
                None => {}
            }
        }
    }

    fn tell(&self, fate: &mut Fate, reason: &str, ends_at: SystemTime) {
        let name = fate.role.to_string();
        let script = &self.ground.setup.script;
        let event = || Reply::shutdown(reason, script.told(ends_at)).over(script.wire);
        fate.told = self
            .ground
            .apis
            .update(|apis| {
                // An extension that closed its connection may poll again.
                let handed_out =
                    apis.extensions.named(&name)?.hand_out(EventType::Shutdown, event).ok()?;
                apis.mark(&vec![handed_out]);
                self.ground.recorder.add(Event::ShutdownSent { extension: name });
                Some(())
            })
            .is_some();
    }

    fn kill_if_left(&self, generation: &Generation, fate: &mut Fate) {
        let Some(process) = generation.process(&fate.role) else { return };
        let left = self.ground.apis.update(|apis| {
            let left = !has_exited(apis, generation, &fate.role);
            if let Role::Extension(name) = &fate.role {
                if let Some(extension) = apis.extensions.named(name) {
                    extension.exited();
                }
            }
            left
        });
        if left {
            fate.killed = true;
            self.ground.recorder.add(Event::Killed { process: fate.role.clone() });
            process.kill();
        }
    }

    fn reap(&self, generation: &Generation, fates: Vec<Fate>) -> Vec<Ended> {
        let started = fates.into_iter().filter(|fate| generation.process(&fate.role).is_some());
        let ended = |fate: Fate| {
            let exit = self
                .ground
                .apis
                .wait(KILLED_WITHIN, |apis| exit_of(apis, generation, &fate.role).cloned());
            let status = exit.map_or("still there".to_owned(), |it| it.status.to_string());
            let process = generation.process(&fate.role).filter(|_| !fate.killed);
            let left_behind = process.map_or(0, Process::left_behind);
            let Fate { role: process, killed, told } = fate;
            Ended { process, status, killed, told, left_behind }
        };
        started.map(ended).collect()
    }
}

/// The next step while extensions are waited for.
enum Step {
    /// This extension polls, so it gets SHUTDOWN now.
    Tell(usize),
    End,
}

/// How long to wait until the next check. Near the deadline the wait is short, so that a delay of the check shows.
fn next_wait(left: Duration) -> Duration {
    match left.checked_sub(STALLS_COUNT_WITHIN) {
        Some(until_then) if !until_then.is_zero() => until_then,
        _ => left.min(LOOKS_EVERY),
    }
}

fn next_step(apis: &Apis, generation: &Generation, fates: &[Fate]) -> Option<Step> {
    let is_waited_for = |fate: &Fate| {
        let gone = fate.killed || has_exited(apis, generation, &fate.role);
        !gone && wants_notice(apis, &fate.role)
    };
    if apis.abandoned || !fates.iter().any(is_waited_for) {
        return Some(Step::End);
    }
    let is_to_be_told = |fate: &Fate| {
        let is_ready = registered(apis, &fate.role).is_some_and(Extension::is_ready);
        !fate.told && is_ready && is_waited_for(fate)
    };
    fates.iter().position(is_to_be_told).map(Step::Tell)
}

fn wants_notice(apis: &Apis, role: &Role) -> bool {
    registered(apis, role).is_some_and(|extension| extension.wants(EventType::Shutdown))
}

fn registered<'a>(apis: &'a Apis, role: &Role) -> Option<&'a Extension> {
    let Role::Extension(name) = role else { return None };
    apis.extensions.registered().iter().find(|extension| extension.name() == name)
}

fn has_exited(apis: &Apis, generation: &Generation, role: &Role) -> bool {
    exit_of(apis, generation, role).is_some()
}

fn exit_of<'a>(apis: &'a Apis, generation: &Generation, role: &Role) -> Option<&'a Exit> {
    apis.exits.iter().find(|exit| exit.generation == generation.number() && exit.process == *role)
}
