//! One running invocation: the event is handed out, the reply is received, the result is recorded. It is the
//! same on demand and on Managed Instances. Those modules know which other processes must be waited for.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Order, wait};
use crate::apis::Apis;
use crate::event_type::EventType;
use crate::failure::Failure;
use crate::generation::Ground;
use crate::invocation::{Invocation, Reply};
use crate::recorder::Usage;
use crate::reply;
use crate::runtime_api::Outcome;
use crate::runtime_event::RuntimeEvent;
use crate::timeline::{Event, Status};

pub struct Run {
    pub(super) ground: Arc<Ground>,
    order: Order,
    started: Instant,
    pub(super) deadline: Instant,
    reply: Option<Reply>,
    restore: Option<Duration>,
    is_handed_out: bool,
    runtime_done: Option<Instant>,
}

impl Run {
    pub fn start(ground: &Arc<Ground>, order: Order) -> Self {
        let started = Instant::now();
        Self {
            ground: Arc::clone(ground),
            order,
            started,
            deadline: started + ground.setup.configuration.timeout,
            reply: None,
            restore: None,
            is_handed_out: false,
            runtime_done: None,
        }
    }

    pub fn request_id(&self) -> &str {
        &self.order.request_id
    }

    /// The snapshot for this invocation is restored, which took this time. The invocation's own time begins
    /// now.
    pub fn restored(&mut self, took: Duration) {
        self.started = Instant::now();
        self.deadline = self.started + self.ground.setup.configuration.timeout;
        self.restore = Some(took);
    }

    /// Gives the event to the runtime, and to the extensions with INVOKE. On Managed Instances no extension has
    /// it.
    pub fn hand_out(&mut self) {
        self.is_handed_out = true;
        let Order { request_id, payload, context, .. } = &self.order;
        self.ground.recorder.invoke_started(request_id, context);
        let configuration = &self.ground.setup.configuration;
        let script = &self.ground.setup.script;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let deadline = SystemTime::now() + left;
        let invoke = || {
            let trace = context.trace_id.as_deref();
            let told = script.told(deadline);
            reply::Reply::invoke(configuration, request_id, told, trace).over(script.wire)
        };
        let (request_id, payload) = (request_id.clone(), payload.clone());
        let event = RuntimeEvent { request_id, payload, deadline, context: context.clone() };
        self.ground.apis.update(|apis| {
            // With several workers, no `next` can be attributed to one invocation.
            let alone = !configuration.initialization.is_managed_instances();
            apis.serving = alone.then(|| event.request_id.clone());
            let listening = apis.extensions.registered_mut().iter_mut();
            // If an extension's `next` was abandoned, it cannot get the event, and the invocation times out.
            let answered = listening
                .filter(|extension| extension.wants(EventType::Invoke))
                .filter_map(|extension| extension.hand_out(EventType::Invoke, invoke).ok())
                .collect();
            apis.mark(&answered);
            let answered = apis.runtime.deliver(event);
            apis.mark(&answered);
        });
    }

    /// Waits until the runtime of this generation has posted the reply.
    pub fn await_reply(&mut self, generation: usize) -> Result<(), Failure> {
        let id = &self.order.request_id;
        let posted = |apis: &mut Apis| apis.runtime.outcome(id).cloned();
        let outcome = wait(&self.ground, generation, self.deadline, posted);
        let Outcome { payload, error_type, at } = outcome?;
        let status = error_type.map_or(Status::Success, Status::Error);
        self.reply(at, payload, status);
        Ok(())
    }

    /// The runtime polled for the next event at this time.
    pub fn runtime_is_done(&mut self, at: Instant) {
        self.runtime_done = Some(at);
        if let Some(reply) = &self.reply {
            self.tell_runtime_done(reply, at);
        }
    }

    /// Records the end of the runtime for an invocation that is reset, as the emulator's `handleReset` does.
    /// The result is an error, unless the type is one of AWS's `Sandbox.` errors.
    fn runtime_has_failed(&self, reply: &Reply, failure: &Failure, at: Instant) {
        let status = match failure.status() {
            Status::Failure(it) if !it.starts_with("Sandbox.") => Status::Error(it),
            status => status,
        };
        self.tell_runtime_done(&Reply { status, ..reply.clone() }, at);
    }

    fn tell_runtime_done(&self, reply: &Reply, at: Instant) {
        let Order { request_id, context, .. } = &self.order;
        let took = at.saturating_duration_since(self.started);
        self.ground.recorder.runtime_done(request_id, context, reply, took);
    }

    /// Ends the invocation: a caller without a reply gets the failure, and the invocation is recorded. `init`
    /// is the part of an init that is billed with it.
    pub fn settle(
        &mut self,
        ended: Instant,
        failure: Option<&Failure>,
        init: Duration,
    ) -> Invocation {
        if let Some(failure) = failure.filter(|_| self.reply.is_none()) {
            self.fail(failure);
        }
        let duration = ended.saturating_duration_since(self.started);
        let reply = self.reply.clone().expect("a failure is a reply too");
        let overhead = self.runtime_done.map(|done| ended.saturating_duration_since(done));
        // On Managed Instances, the bill counts their time and not invocations.
        let managed = self.ground.setup.configuration.initialization.is_managed_instances();
        let is_reset = self.is_handed_out && self.runtime_done.is_none() && !managed;
        if let Some(failure) = failure.filter(|_| is_reset) {
            self.runtime_has_failed(&reply, failure, ended);
        }
        let invocation = Invocation {
            request_id: self.order.request_id.clone(),
            status: failure.map_or_else(|| reply.status.clone(), Failure::status),
            reply,
            duration,
            billed: if managed { Duration::ZERO } else { whole_ms(duration + init) },
            extension_overhead: overhead.unwrap_or_default(),
        };
        let usage = Usage {
            init: Some(init).filter(|init| !init.is_zero()),
            restore: self.restore,
            memory_peak_bytes: self.ground.container.memory_peak_bytes(),
        };
        self.ground.recorder.invoke_ended(&invocation, &self.order.context, &usage);
        invocation
    }

    /// Ends an invocation that was not begun. Only its reply is recorded.
    pub fn refuse(mut self, failure: &Failure) {
        self.fail(failure);
        let reply = self.reply.clone().expect("it was just given");
        let invocation = Invocation {
            request_id: self.order.request_id.clone(),
            status: reply.status.clone(),
            duration: reply.latency,
            reply,
            billed: Duration::ZERO,
            extension_overhead: Duration::ZERO,
        };
        self.end(invocation);
    }

    /// Notifies the caller that waits for the invocation's end.
    pub fn end(self, invocation: Invocation) {
        // This fails if the test does not wait for it.
        let _ = self.order.ended.send(invocation);
    }

    fn fail(&mut self, failure: &Failure) {
        self.reply(Instant::now(), failure.payload(&self.order.request_id), failure.status());
    }

    fn reply(&mut self, at: Instant, payload: Vec<u8>, status: Status) {
        let request_id = self.order.request_id.clone();
        self.ground.recorder.add_at(at, Event::Replied { request_id, status: status.clone() });
        let latency = at.saturating_duration_since(self.started);
        let reply = Reply { payload, status, latency };
        // This fails if the test does not wait for it.
        let _ = self.order.replied.send(reply.clone());
        self.reply = Some(reply);
    }
}

/// Rounds up, because Lambda bills each begun millisecond.
fn whole_ms(duration: Duration) -> Duration {
    let begun = duration + Duration::from_nanos(999_999);
    Duration::from_secs(begun.as_secs()) + Duration::from_millis(begun.subsec_millis().into())
}
