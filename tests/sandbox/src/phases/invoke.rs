//! Invoke: the event goes to the runtime and to the extensions at once, the caller has its reply as
//! soon as the runtime has posted it, and the phase lasts until all have asked for the next event.

use std::time::{Duration, Instant, SystemTime};

use super::{Order, Phases};
use crate::event_type::EventType;
use crate::extension::Extension;
use crate::failure::Failure;
use crate::invocation::{Invocation, Reply};
use crate::reply;
use crate::runtime_api::Outcome;
use crate::runtime_event::RuntimeEvent;
use crate::telemetry::term::Phase;
use crate::timeline::{Event, Status};

/// An invocation on its way through the phase.
struct Run<'a> {
    order: &'a Order,
    started: Instant,
    deadline: Instant,
    reply: Option<Reply>,
    runtime_done: Option<Instant>,
}

impl Run<'_> {
    fn reply(&mut self, reply: Reply) {
        // Nobody waits for it when the test has no use for it.
        let _ = self.order.replied.send(reply.clone());
        self.reply = Some(reply);
    }
}

impl Phases {
    pub(super) fn invoke(&mut self, order: &Order) {
        let started = Instant::now();
        let timeout = self.ground.setup.configuration.timeout;
        let deadline = started + timeout;
        let mut run = Run { order, started, deadline, reply: None, runtime_done: None };
        let failure = self.take_through(&mut run).err();
        let ended = Instant::now();
        if let Some(failure) = &failure {
            self.reply_failure(&mut run, failure);
        }
        let invocation = self.settle(run, ended, failure.as_ref());
        match &failure {
            None => self.ground.freeze(),
            Some(failure) => drop(self.shut_down(failure.shutdown_reason())),
        }
        // Nobody waits for it when the test has no use for it.
        let _ = order.ended.send(invocation);
    }

    fn take_through(&mut self, run: &mut Run<'_>) -> Result<(), Failure> {
        if self.generation.is_none() {
            self.init(Phase::Invoke, run.deadline)?;
            // It took place within the invocation, whose duration covers it.
            self.unbilled_init = Duration::ZERO;
        }
        self.ground.thaw();
        // One that was reset asks for it again.
        if self.is_snapshot || self.ground.apis.read(|apis| apis.runtime.awaits_restore()) {
            self.restore(run.deadline)?;
        }
        self.ground.chronicle.invoke_started(&run.order.request_id, &run.order.context);
        self.hand_out(run.order, run.deadline);
        self.await_reply(run)?;
        self.await_ends(run)
    }

    /// The snapshot's runtime may have asked to be told; extensions never are.
    fn restore(&mut self, deadline: Instant) -> Result<(), Failure> {
        let started = Instant::now();
        let deadline = deadline.min(started + self.ground.setup.limits.restore);
        self.is_snapshot = false;
        self.ground.chronicle.restore_started();
        self.ground.apis.update(|apis| {
            let answered = apis.runtime.restore();
            apis.mark(&answered);
        });
        let restored = self.wait(deadline, |apis| match apis.runtime.reported_init_error() {
            Some(outcome) => Some(Err(Failure::Init(outcome.clone()))),
            None => apis.runtime.is_ready().then_some(Ok(())),
        });
        let restored = restored.and_then(|restored| restored);
        self.ground.chronicle.restored(&restored, started.elapsed());
        restored
    }

    fn hand_out(&self, order: &Order, deadline: Instant) {
        let configuration = &self.ground.setup.configuration;
        let wire = self.ground.setup.script.wire;
        let left = deadline.saturating_duration_since(Instant::now());
        let deadline = SystemTime::now() + left;
        let event = RuntimeEvent {
            request_id: order.request_id.clone(),
            payload: order.payload.clone(),
            deadline,
            context: order.context.clone(),
        };
        self.ground.apis.update(|apis| {
            apis.serving = Some(order.request_id.clone());
            let trace = event.context.trace_id.clone();
            let invoke = || {
                let id = &event.request_id;
                reply::Reply::invoke(configuration, id, deadline, trace.as_deref()).over(wire)
            };
            let listening = apis.extensions.registered_mut().iter_mut();
            // To one whose next was abandoned nothing can be handed: it runs into the timeout.
            let answered = listening
                .filter(|extension| extension.wants(EventType::Invoke))
                .filter_map(|extension| extension.hand_out(EventType::Invoke, invoke).ok())
                .collect();
            apis.mark(&answered);
            let answered = apis.runtime.deliver(event.clone());
            apis.mark(&answered);
        });
    }

    fn await_reply(&self, run: &mut Run<'_>) -> Result<(), Failure> {
        let id = &run.order.request_id;
        let outcome = self.wait(run.deadline, |apis| apis.runtime.outcome(id).cloned())?;
        let status = match &outcome.error_type {
            None => Status::Success,
            Some(error_type) => Status::Error(error_type.clone()),
        };
        let latency = outcome.at.saturating_duration_since(run.started);
        let Outcome { payload, at, .. } = outcome;
        self.ground
            .chronicle
            .add_at(at, Event::Replied { request_id: id.clone(), status: status.clone() });
        run.reply(Reply { payload, status, latency });
        Ok(())
    }

    fn await_ends(&self, run: &mut Run<'_>) -> Result<(), Failure> {
        let Order { request_id, context, .. } = run.order;
        let (started, reply, runtime_done) = (run.started, &run.reply, &mut run.runtime_done);
        self.wait(run.deadline, |apis| {
            if runtime_done.is_none() && apis.runtime.is_ready() {
                let at = Instant::now();
                *runtime_done = Some(at);
                if let Some(reply) = reply {
                    self.ground.chronicle.runtime_done(request_id, context, reply, at - started);
                }
            }
            let waited_for = |extension: &&Extension| extension.wants(EventType::Invoke);
            let mut waited_for = apis.extensions.registered().iter().filter(waited_for);
            (runtime_done.is_some() && waited_for.all(Extension::is_ready)).then_some(())
        })
    }

    fn reply_failure(&self, run: &mut Run<'_>, failure: &Failure) {
        if run.reply.is_none() {
            let reply = Reply {
                payload: failure.payload(&run.order.request_id),
                status: failure.status(),
                latency: run.started.elapsed(),
            };
            let (request_id, status) = (run.order.request_id.clone(), reply.status.clone());
            self.ground.chronicle.add(Event::Replied { request_id, status });
            run.reply(reply);
        }
    }

    fn settle(&mut self, run: Run<'_>, ended: Instant, failure: Option<&Failure>) -> Invocation {
        let duration = ended - run.started;
        let init = std::mem::take(&mut self.unbilled_init);
        let reply = run.reply.expect("a failure is a reply too");
        let invocation = Invocation {
            request_id: run.order.request_id.clone(),
            status: failure.map_or_else(|| reply.status.clone(), Failure::status),
            reply,
            duration,
            billed: whole_ms(duration + init),
            extension_overhead: run.runtime_done.map_or(Duration::ZERO, |done| ended - done),
        };
        let peak = self.ground.cage.memory_peak_bytes();
        self.ground.chronicle.invoke_ended(&invocation, &run.order.context, init, peak);
        invocation
    }
}

/// Lambda bills each millisecond that was begun.
fn whole_ms(duration: Duration) -> Duration {
    let begun = duration + Duration::from_nanos(999_999);
    Duration::from_secs(begun.as_secs()) + Duration::from_millis(begun.subsec_millis().into())
}
