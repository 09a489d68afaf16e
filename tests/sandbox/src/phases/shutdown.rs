//! Shutdown: first the runtime, by SIGTERM and within its share, then the extensions, by SHUTDOWN;
//! who is left at the deadline is killed. External extensions never get SIGTERM.

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::Phases;
use crate::apis::Apis;
use crate::extension::{Extension, Kind, Obstacle};
use crate::generation::Generation;
use crate::process::Process;
use crate::reply::Reply;
use crate::timeline::{Event, Role, as_ms};

/// How long a killed process may take to be gone, which is the kernel's business.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// How the processes of an environment ended.
#[derive(Debug, Clone, Serialize)]
pub struct ShutdownReport {
    pub reason: String,
    #[serde(rename = "duration_ms", serialize_with = "as_ms")]
    pub duration: Duration,
    pub processes: Vec<Ended>,
    /// Processes that still live and left the group they were forked in: whose they are, nobody can
    /// tell any more.
    pub strays: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct Ended {
    pub process: Role,
    /// As the system tells it, such as `exit status: 0`.
    pub status: String,
    /// It was still there when its time was over.
    pub killed: bool,
    /// It was told, by SHUTDOWN or SIGTERM.
    pub told: bool,
    /// Processes of its group that outlived its own end.
    pub left_behind: usize,
}

impl ShutdownReport {
    /// How the extension of this name ended.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&Ended> {
        let wanted = Role::Extension(name.to_owned());
        self.processes.iter().find(|ended| ended.process == wanted)
    }
}

struct Fate {
    role: Role,
    told: bool,
    killed: bool,
}

impl Phases {
    /// Ends this generation, if there is one.
    pub(super) fn shut_down(&mut self, reason: &str) -> ShutdownReport {
        self.ground.thaw();
        let started = Instant::now();
        if self.ground.apis.read(|apis| apis.abandoned) {
            self.kill();
        }
        let Some(mut generation) = self.generation.take() else {
            let (reason, strays) = (reason.to_owned(), self.ground.cage.strays());
            let (duration, processes) = (Duration::ZERO, Vec::new());
            return ShutdownReport { reason, duration, processes, strays };
        };
        self.ground.chronicle.add(Event::ShutdownStarted { reason: reason.to_owned() });
        let budget = self.budget();
        let deadline = started + budget;
        let mut fates = vec![self.end_runtime(&generation, started, budget)];
        generation.stop_function();
        // A subscriber that takes nothing any more must not eat the others' time.
        let share = started + self.ground.setup.limits.runtime_shutdown.min(budget);
        let left = share.saturating_duration_since(Instant::now());
        self.ground.chronicle.telemetry.flush(left);
        fates.extend(self.end_extensions(&generation, reason, deadline));
        let processes = self.reap(&generation, fates);
        let strays = self.ground.cage.strays();
        // Here and not at the next init, whose first calls may come before its thread has a turn.
        self.ground.apis.update(Apis::reset);
        self.ground.chronicle.telemetry.reset();
        let duration = started.elapsed();
        self.ground.chronicle.add(Event::ShutdownEnded { duration });
        ShutdownReport { reason: reason.to_owned(), duration, processes, strays }
    }

    /// Without a phase.
    pub(super) fn kill(&mut self) {
        self.ground.cage.thaw();
        if let Some(mut generation) = self.generation.take() {
            self.ground.apis.update(|apis| {
                apis.extensions.registered_mut().iter_mut().for_each(Extension::exited);
            });
            generation.stop_function();
        }
    }

    fn budget(&self) -> Duration {
        let limits = &self.ground.setup.limits;
        let has = |kind| {
            self.ground
                .apis
                .read(|apis| apis.extensions.registered().iter().any(|it| it.kind == kind))
        };
        if has(Kind::External) {
            limits.shutdown
        } else if has(Kind::Internal) {
            limits.internal_shutdown
        } else {
            Duration::ZERO
        }
    }

    /// With no extension registered it is killed at once, and learns of nothing.
    fn end_runtime(&self, generation: &Generation, started: Instant, budget: Duration) -> Fate {
        let mut fate = Fate { role: Role::Runtime, told: false, killed: false };
        let Some(process) = generation.process(&Role::Runtime) else { return fate };
        let gone = |apis: &mut Apis| has_exited(apis, generation, &Role::Runtime).then_some(());
        if self.ground.apis.wait(Duration::ZERO, gone).is_some() {
            return fate;
        }
        if !budget.is_zero() {
            process.terminate();
            fate.told = true;
            self.ground.chronicle.add(Event::Terminated { process: Role::Runtime });
            let deadline = started + self.ground.setup.limits.runtime_shutdown.min(budget);
            let left = deadline.saturating_duration_since(Instant::now());
            if self.ground.apis.wait(left, gone).is_some() {
                return fate;
            }
        }
        fate.killed = true;
        self.ground.chronicle.add(Event::Killed { process: Role::Runtime });
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
        // Who did not ask for notice gets none.
        for fate in fates.iter_mut().filter(|fate| !self.wants_notice(&fate.role)) {
            self.kill_if_left(generation, fate);
        }
        let ends_at = SystemTime::now() + deadline.saturating_duration_since(Instant::now());
        let left = deadline.saturating_duration_since(Instant::now());
        self.ground.apis.wait(left, |apis| {
            let mut all = true;
            for fate in &mut fates {
                let over = has_exited(apis, generation, &fate.role)
                    || self.tell(apis, fate, reason, ends_at) == Told::Never;
                all &= over;
            }
            (all || apis.abandoned).then_some(())
        });
        for fate in fates.iter_mut().filter(|fate| !fate.killed) {
            self.kill_if_left(generation, fate);
        }
        fates
    }

    fn wants_notice(&self, role: &Role) -> bool {
        self.ground.apis.read(|apis| {
            let mut registered = apis.extensions.registered().iter();
            registered
                .any(|it| Role::Extension(it.name().to_owned()) == *role && it.wants("SHUTDOWN"))
        })
    }

    /// Hands SHUTDOWN out to an extension that is ready for it.
    fn tell(&self, apis: &mut Apis, fate: &mut Fate, reason: &str, ends_at: SystemTime) -> Told {
        let Role::Extension(name) = &fate.role else { return Told::Never };
        let Some(extension) = apis.extensions.named(name) else { return Told::Never };
        if !extension.wants("SHUTDOWN") {
            return Told::Never;
        }
        if fate.told {
            return Told::Yes;
        }
        let wire = self.ground.setup.script.wire;
        match extension.hand_out("SHUTDOWN", || Reply::shutdown(reason, ends_at).over(wire)) {
            Ok(answered) => {
                apis.mark(&vec![answered]);
                fate.told = true;
                self.ground.chronicle.add(Event::ShutdownSent { extension: name.clone() });
                Told::Yes
            }
            // It is waited for until the deadline: it may still ask for its next event.
            Err(Obstacle::NoNext | Obstacle::Fatal(_)) => Told::NotYet,
        }
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
            self.ground.chronicle.add(Event::Killed { process: fate.role.clone() });
            process.kill();
        }
    }

    fn reap(&self, generation: &Generation, fates: Vec<Fate>) -> Vec<Ended> {
        let started = fates.into_iter().filter(|fate| generation.process(&fate.role).is_some());
        let ended = |fate: Fate| {
            let exit = self.ground.apis.wait(KILLED_WITHIN, |apis| {
                let ours = |exit: &&crate::generation::Exit| {
                    exit.generation == generation.number() && exit.process == fate.role
                };
                apis.exits.iter().find(ours).cloned()
            });
            let status = exit.map_or("still there".to_owned(), |it| it.status.to_string());
            let process = generation.process(&fate.role).filter(|_| !fate.killed);
            let left_behind = process.map_or(0, Process::left_behind);
            let Fate { role: process, killed, told } = fate;
            Ended { process, status, killed, told, left_behind }
        };
        started.map(ended).collect()
    }
}

#[derive(PartialEq)]
enum Told {
    Yes,
    NotYet,
    /// It did not ask for it, or is not there to ask.
    Never,
}

fn has_exited(apis: &Apis, generation: &Generation, role: &Role) -> bool {
    apis.exits.iter().any(|exit| exit.generation == generation.number() && exit.process == *role)
}
