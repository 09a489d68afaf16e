//! Invoke. The runtime and the extensions get the event at once. The caller gets its reply as soon as the
//! runtime has posted it. The phase lasts until all have polled for the next event.

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

    /// Runs the phase. Returns when the last of them polled for the next event.
    fn take_through(&mut self, run: &mut Run) -> Result<Instant, Failure> {
        if self.generation.is_none() {
            self.init(Phase::Invoke, run.deadline)?;
            // The init ran within the invocation, so the invocation's duration contains it.
            self.unbilled_init = Duration::ZERO;
        }
        self.ground.thaw();
        // After a reset, the runtime asks for the restore again.
        if self.is_snapshot || self.ground.apis.read(|apis| apis.runtime.awaits_restore()) {
            self.restore(run)?;
        }
        run.hand_out();
        run.await_reply(self.generation_number())?;
        self.await_ends(run)
    }

    /// Restores the snapshot. Its runtime may have asked to be notified. Extensions are never notified.
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
        // The init was billed when the snapshot was taken.
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
