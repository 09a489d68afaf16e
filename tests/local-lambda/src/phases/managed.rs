//! Managed Instances: several invocations at once. Extensions are no part of an invocation. Nothing is ever
//! frozen or restarted: when a process ends, the environment ends (order of the steps from the emulator's
//! `internal/lambda-managed-instances/invoke`).

use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use super::run::Run;
use super::{Order, Phases, crash, wait};
use crate::apis::Apis;
use crate::failure::Failure;

impl Phases {
    /// Returns at once. The invocation runs beside others.
    pub(super) fn invoke_beside_others(&mut self, order: Order) {
        let mut run = Run::start(&self.ground, order);
        let generation = match self.idle() {
            Ok(generation) => generation,
            Err(failure) => return run.refuse(&failure),
        };
        run.hand_out();
        self.in_flight.retain(|thread| !thread.is_finished());
        let thread = thread::Builder::new()
            .name(format!("invocation {}", run.request_id()))
            .spawn(move || run.finish(generation))
            .expect("a thread for an invocation");
        self.in_flight.push(thread);
    }

    /// Ends the environment, because one of its processes has ended.
    pub(super) fn lose(&mut self, generation: usize) {
        let is_living = self.generation.as_ref().is_some_and(|it| it.number() == generation);
        if !self.is_concurrent() || !is_living {
            return;
        }
        if let Some(failure) = self.ground.apis.read(|apis| crash(apis, generation)) {
            self.fail(failure);
        }
    }

    /// Ends the running invocations, each with its reply.
    pub(super) fn abort_invocations(&mut self) {
        self.ground.apis.update(|apis| apis.shutting_down = true);
        for thread in mem::take(&mut self.in_flight) {
            // Each thread's wait has ended. A thread that panicked has already printed its message.
            let _ = thread.join();
        }
    }

    /// The number of the only generation, if one of its workers waits for an event. A worker that is still
    /// starting counts as busy.
    fn idle(&self) -> Result<usize, Failure> {
        if let Some(failure) = &self.over {
            return Err(failure.clone());
        }
        let generation = self.generation_number();
        self.ground.apis.read(|apis| match crash(apis, generation) {
            Some(failure) => Err(failure),
            None if apis.runtime.is_ready() => Ok(generation),
            None => Err(Failure::Unavailable),
        })
    }
}

impl Run {
    fn finish(mut self, generation: usize) {
        let failure = self.await_reply(generation).err();
        if let Some(Failure::TimedOut(_)) = failure {
            self.ground.apis.update(|apis| apis.runtime.withdraw(self.request_id()));
        }
        let invocation = self.settle(Instant::now(), failure.as_ref(), Duration::ZERO);
        // The caller may rely on the worker for its next invocation. If the worker does not come back, that is
        // no failure of this one.
        let is_back = |apis: &mut Apis| apis.runtime.is_back(self.request_id()).then_some(());
        let _ = wait(&self.ground, generation, self.deadline, is_back);
        self.end(invocation);
    }
}
