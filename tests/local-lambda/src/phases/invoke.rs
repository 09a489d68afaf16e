//! Invoke: the event goes to the runtime and to the extensions at once, the caller has its reply as
//! soon as the runtime has posted it, and the phase lasts until all have asked for the next event.

use std::time::{Duration, Instant};

use super::run::Run;
use super::{Order, Phases};
use crate::event_type::EventType;
use crate::extension::Extension;
use crate::failure::Failure;
use crate::telemetry::vocabulary::Phase;

impl Phases {
    pub(super) fn invoke(&mut self, order: Order) {
        let mut run = Run::start(&self.ground, order);
        let (ended, failure) = match self.take_through(&mut run) {
            Ok(ended) => (ended, None),
            Err(failure) => (Instant::now(), Some(failure)),
        };
        let init = std::mem::take(&mut self.unbilled_init);
        let invocation = run.settle(ended, failure.as_ref(), init);
        match failure {
            None => _ = self.ground.freeze(),
            Some(failure) => self.fail(failure),
        }
        run.end(invocation);
    }

    /// Gives the moment at which the last of them asked for the next event.
    fn take_through(&mut self, run: &mut Run) -> Result<Instant, Failure> {
        if self.generation.is_none() {
            self.init(Phase::Invoke, run.deadline)?;
            // It took place within the invocation, whose duration covers it.
            self.unbilled_init = Duration::ZERO;
        }
        self.ground.thaw();
        // One that was reset asks for it again.
        if self.is_snapshot || self.ground.apis.read(|apis| apis.runtime.awaits_restore()) {
            self.restore(run)?;
        }
        run.hand_out();
        run.await_reply(self.generation_number())?;
        self.await_ends(run)
    }

    /// The snapshot's runtime may have asked to be told; extensions never are.
    fn restore(&mut self, run: &mut Run) -> Result<(), Failure> {
        let started = Instant::now();
        let limit = self.ground.setup.limits.restore;
        let deadline = run.deadline.min(started + limit);
        self.is_snapshot = false;
        self.ground.recorder.restore_started();
        self.ground.apis.update(|apis| {
            let answered = apis.runtime.restore();
            apis.mark(&answered);
        });
        let restored = self.wait(deadline, |apis| match apis.runtime.reported_init_error() {
            Some(outcome) => Some(Err(Failure::Init(outcome.clone()))),
            None => apis.runtime.is_ready().then_some(Ok(())),
        });
        let restored = restored.and_then(|restored| restored).map_err(|failure| match failure {
            Failure::TimedOut(_) if deadline < run.deadline => Failure::RestoreTimedOut(limit),
            failure => failure,
        });
        let took = started.elapsed();
        self.ground.recorder.restored(&restored, took);
        restored?;
        // The snapshot was paid for when it was taken.
        self.unbilled_init = Duration::ZERO;
        run.restored(took);
        Ok(())
    }

    fn await_ends(&self, run: &mut Run) -> Result<Instant, Failure> {
        let runtime_done = self.wait(run.deadline, |apis| apis.runtime.ready_since())?;
        run.runtime_is_done(runtime_done);
        self.wait(run.deadline, |apis| {
            let mut waited_for = apis
                .extensions
                .registered()
                .iter()
                .filter(|extension| extension.wants(EventType::Invoke));
            waited_for
                .try_fold(runtime_done, |last, it: &Extension| Some(last.max(it.ready_since()?)))
        })
    }
}
