//! Init. The extensions start together. The runtime starts when all of them have registered. Init ends when all
//! of them and the runtime have polled for their first event.

use std::time::Instant;

use super::Phases;
use crate::configuration::Initialization;
use crate::extension::{Extension, Kind};
use crate::extensions_api::EXTENSIONS_MAX;
use crate::failure::Failure;
use crate::generation::Generation;
use crate::setup::ExtensionFile;
use crate::telemetry::record;
use crate::telemetry::vocabulary::{ErrorType, ExtensionState, Phase};
use crate::timeline::Role;

impl Phases {
    /// Runs the init that no invocation waits for. If it fails, the first invocation repeats it.
    pub(super) fn first_init(&mut self) {
        let configuration = &self.ground.setup.configuration;
        let (phase, freezes) = match configuration.initialization {
            // On demand, an invocation is the reason of the init.
            Initialization::OnDemand => (Phase::Init, false),
            Initialization::SnapStart => (Phase::SnapStart, true),
            _ => (Phase::Init, true),
        };
        let deadline = Instant::now() + self.ground.setup.limits.of_init(configuration);
        match self.init(phase, deadline) {
            Ok(()) if freezes => _ = self.ground.freeze(),
            Ok(()) => {}
            Err(failure) => self.fail(failure),
        }
    }

    /// Runs an init. A failed one must still be shut down, after its caller has the result.
    pub(super) fn init(&mut self, phase: Phase, deadline: Instant) -> Result<(), Failure> {
        let started = Instant::now();
        self.generations += 1;
        self.ground.recorder.init_started(phase);
        let mut generation = Generation::new(self.generations, self.inbox.clone());
        let launched = generation.start_extensions(&self.ground);
        self.generation = Some(generation);
        let limit = deadline.saturating_duration_since(started);
        let initialised = launched.and_then(|()| self.initialise(phase, deadline));
        let initialised = initialised.map_err(|failure| match failure {
            // Within an invocation, the function's timeout is the limit instead.
            Failure::TimedOut(_) if phase != Phase::Invoke => Failure::InitTimedOut(limit),
            failure => failure,
        });
        let duration = started.elapsed();
        let standings = self.standings(&initialised);
        self.ground.recorder.init_ended(phase, &initialised, duration, standings);
        if initialised.is_ok() {
            self.unbilled_init = duration;
        }
        initialised
    }

    fn initialise(&mut self, phase: Phase, deadline: Instant) -> Result<(), Failure> {
        if self.ground.setup.extensions.len() > EXTENSIONS_MAX {
            return Err(Failure::TooManyExtensions);
        }
        self.await_registrations(deadline)?;
        let ready = match &mut self.generation {
            Some(generation) => generation.start_runtime(&self.ground),
            None => Ok(()),
        };
        let ready = ready.and_then(|()| self.await_runtime(deadline));
        self.ground.recorder.runtime_initialised(phase, &ready);
        ready?;
        self.ground.apis.update(|apis| apis.extensions.close_registration());
        self.await_first_nexts(deadline)?;
        self.ground.recorder.telemetry.close_subscriptions();
        Ok(())
    }

    fn await_registrations(&self, deadline: Instant) -> Result<(), Failure> {
        self.wait(deadline, |apis| {
            let registered = apis.extensions.registered().iter();
            let externals = registered.filter(|extension| extension.kind == Kind::External);
            (externals.count() == self.ground.setup.extensions.len()).then_some(())
        })
    }

    fn await_runtime(&self, deadline: Instant) -> Result<(), Failure> {
        self.wait(deadline, |apis| {
            if let Some(outcome) = apis.runtime.reported_init_error() {
                return Some(Err(Failure::Init(outcome.clone())));
            }
            (apis.runtime.is_ready() || apis.runtime.awaits_restore()).then_some(Ok(()))
        })?
    }

    fn await_first_nexts(&self, deadline: Instant) -> Result<(), Failure> {
        self.wait(deadline, |apis| {
            apis.extensions.registered().iter().all(Extension::is_ready).then_some(())
        })
    }

    /// Reports the state of each extension, as a line in the log and as a telemetry record.
    fn standings(&self, initialised: &Result<(), Failure>) -> Vec<record::Extension> {
        let error = |error_type: String| ErrorType { error_type };
        self.ground.apis.read(|apis| {
            let standing = |file: &ExtensionFile| {
                let name = file.name.clone();
                let registered = apis.extensions.registered().iter().find(|it| it.name() == name);
                let state = match (registered, initialised) {
                    (Some(extension), _) => extension.state().standing(extension.error_reported()),
                    (None, Err(failure)) if is_of_launch(failure, &name) => {
                        ExtensionState::LaunchError(error(failure.error_type()))
                    }
                    (None, _) => ExtensionState::Started,
                };
                let events =
                    registered.map(|it| it.registration.events.clone()).unwrap_or_default();
                record::Extension { name, state, events }
            };
            self.ground.setup.extensions.iter().map(standing).collect()
        })
    }
}

/// Whether this failure is the reason why this extension could not start.
fn is_of_launch(failure: &Failure, extension: &str) -> bool {
    match failure {
        Failure::Launch { process: Role::Extension(name), .. } => name == extension,
        Failure::TooManyExtensions => true,
        _ => false,
    }
}
