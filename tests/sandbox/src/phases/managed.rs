//! Managed Instances: several invocations at once. Extensions are no part of an invocation, nothing
//! is ever frozen, and nothing is repaired: when a process ends, so does the environment.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::{Order, Phases, crash};
use crate::failure::Failure;
use crate::generation::Ground;
use crate::invocation::{Invocation, Reply};
use crate::runtime_api::Outcome;
use crate::runtime_event::RuntimeEvent;
use crate::timeline::{Event, Status};

impl Phases {
    /// Returns at once; the invocation goes on beside others.
    pub(super) fn invoke_beside_others(&mut self, order: Order) {
        let ground = Arc::clone(&self.ground);
        let generation = self.living();
        thread::Builder::new()
            .name(format!("invocation {}", order.request_id))
            .spawn(move || invoke(&ground, generation, &order))
            .expect("a thread for an invocation");
    }

    /// The number of the one generation there ever is, or why it is over. What a process has ended
    /// ends here, with the next invocation at the latest.
    fn living(&mut self) -> Result<usize, Failure> {
        if let Some(failure) = &self.failed_init {
            return Err(failure.clone());
        }
        let generation = self.generation_number();
        match self.ground.apis.read(|apis| crash(apis, generation)) {
            None => Ok(generation),
            Some(failure) => {
                drop(self.shut_down(failure.shutdown_reason()));
                Err(failure)
            }
        }
    }
}

fn invoke(ground: &Ground, generation: Result<usize, Failure>, order: &Order) {
    let started = Instant::now();
    ground.chronicle.invoke_started(&order.request_id, &order.context);
    let outcome = generation.and_then(|generation| outcome(ground, generation, order));
    let (payload, status, at) = match outcome {
        Ok(posted) => {
            let status = posted.error_type.map_or(Status::Success, Status::Error);
            (posted.payload, status, posted.at)
        }
        Err(failure) => (failure.payload(&order.request_id), failure.status(), Instant::now()),
    };
    let replied = Event::Replied { request_id: order.request_id.clone(), status: status.clone() };
    ground.chronicle.add_at(at, replied);
    let latency = at.saturating_duration_since(started);
    let reply = Reply { payload, status: status.clone(), latency };
    let invocation = Invocation {
        request_id: order.request_id.clone(),
        reply: reply.clone(),
        status,
        duration: latency,
        // Instances are billed by their time, not by invocation.
        billed: Duration::ZERO,
        extension_overhead: Duration::ZERO,
    };
    ground.chronicle.invoke_ended(&invocation, &order.context, Duration::ZERO, None);
    // Nobody waits for them when the test has no use for them.
    let _ = order.replied.send(reply);
    let _ = order.ended.send(invocation);
}

fn outcome(ground: &Ground, generation: usize, order: &Order) -> Result<Outcome, Failure> {
    let timeout = ground.setup.configuration.timeout;
    let event = RuntimeEvent {
        request_id: order.request_id.clone(),
        payload: order.payload.clone(),
        deadline: SystemTime::now() + timeout,
        context: order.context.clone(),
    };
    ground.apis.update(|apis| {
        let answered = apis.runtime.deliver(event);
        apis.mark(&answered);
    });
    let outcome = ground.apis.wait(timeout, |apis| {
        if apis.abandoned {
            return Some(Err(Failure::Abandoned));
        }
        let posted = apis.runtime.outcome(&order.request_id).cloned().map(Ok);
        posted.or_else(|| crash(apis, generation).map(Err))
    });
    outcome.unwrap_or(Err(Failure::TimedOut(timeout)))
}
