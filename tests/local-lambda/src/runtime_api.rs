//! The Runtime API, version 2018-06-01: gives events to the runtime and takes its responses (AWS docs "Using
//! the Lambda runtime API for custom runtimes"; texts and order of the checks from the emulator's
//! `internal/lambda/rapi`).

mod outcome;
mod state;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::arrival::Arrival;
use crate::configuration::{Configuration, Initialization};
use crate::http::Request;
use crate::reply::Reply;
use crate::runtime_event::RuntimeEvent;
use crate::wire::Wire;
use outcome::{PAYLOAD_BYTES_MAX, too_large};
use state::State;

pub use outcome::Outcome;

pub struct RuntimeApi {
    configuration: Arc<Configuration>,
    wire: Wire,
    state: State,
    nexts: usize,
    /// The calls of `next` that wait for an event, in the order of arrival.
    polls: VecDeque<Arrival>,
    restore_poll: Option<Arrival>,
    queued: VecDeque<RuntimeEvent>,
    handed_out: Vec<HandedOut>,
    init_error: Option<Outcome>,
}

struct HandedOut {
    event: RuntimeEvent,
    outcome: Option<Outcome>,
    /// The connection of the worker that has the invocation.
    worker: usize,
    /// Whether that worker waits for its next event.
    is_back: bool,
    timed_out: bool,
}

/// The number and status of each call that was answered late.
pub type Answered = Vec<(usize, u16)>;

impl RuntimeApi {
    pub fn new(configuration: Arc<Configuration>, wire: Wire) -> Self {
        Self {
            configuration,
            wire,
            state: State::Started,
            nexts: 0,
            polls: VecDeque::new(),
            restore_poll: None,
            queued: VecDeque::new(),
            handed_out: Vec::new(),
            init_error: None,
        }
    }

    /// Answers the call. A `next` is answered later, with an event.
    pub fn call(&mut self, request: &Request, path: &str, arrival: &Arrival) -> Option<Reply> {
        if path.starts_with("/runtime/restore/") && !self.is_from_snapshot() {
            return Some(Reply::not_found());
        }
        let about = path.strip_prefix("/runtime/invocation/").and_then(|it| it.split_once('/'));
        let reply = match (request.method.as_str(), path, about) {
            ("GET", "/runtime/invocation/next", _) => return self.next(arrival),
            ("GET", "/runtime/restore/next", _) => return self.restore_next(arrival).err(),
            ("POST", _, Some((id, "response"))) => self.response(request, id, arrival.at),
            ("POST", _, Some((id, "error"))) => self.error(request, id, arrival.at),
            ("POST", "/runtime/init/error" | "/runtime/restore/error", _) => {
                self.init_error(request, arrival.at)
            }
            ("GET", "/ping", _) => Ok(Reply::text("pong")),
            (_, "/runtime/invocation/next" | "/runtime/restore/next" | "/ping", _) => {
                Err(Reply::method_not_allowed("GET"))
            }
            (_, "/runtime/init/error" | "/runtime/restore/error", _)
            | (_, _, Some((_, "response" | "error"))) => Err(Reply::method_not_allowed("POST")),
            _ => Err(Reply::not_found()),
        };
        Some(reply.unwrap_or_else(|refusal| refusal))
    }

    pub fn hang_up(&mut self, connection: usize) {
        self.polls.retain(|poll| poll.from.number != connection);
        self.restore_poll.take_if(|poll| poll.from.number == connection);
    }

    /// How often the runtime has polled for an event, or asked for the restore.
    pub fn nexts(&self) -> usize {
        self.nexts
    }

    /// Whether the runtime waits for an event.
    pub fn is_ready(&self) -> bool {
        self.ready_since().is_some()
    }

    /// When the oldest waiting `next` arrived.
    pub fn ready_since(&self) -> Option<Instant> {
        self.polls.front().map(|poll| poll.at)
    }

    /// Whether the runtime waits to be restored from a snapshot.
    pub fn awaits_restore(&self) -> bool {
        self.restore_poll.is_some()
    }

    /// Answers a runtime that waits for the restore.
    pub fn restore(&mut self) -> Answered {
        let Some(poll) = self.restore_poll.take() else { return Vec::new() };
        self.state = State::Restoring;
        vec![poll.answer(Reply::empty().over(self.wire))]
    }

    /// Gives the event to the runtime, now or at its next poll.
    pub fn deliver(&mut self, event: RuntimeEvent) -> Answered {
        self.queued.push_back(event);
        self.dispatch()
    }

    pub fn dispatch(&mut self) -> Answered {
        let mut answered = Vec::new();
        while !self.polls.is_empty() {
            let Some(event) = self.queued.pop_front() else { break };
            // The latest poll, because earlier ones may be on dead connections.
            let Some(poll) = self.polls.pop_back() else { break };
            let reply = Reply::runtime_event(&self.configuration, &event);
            let worker = poll.from.number;
            answered.push(poll.answer(reply.over(self.wire)));
            self.state = State::Running;
            if !self.is_concurrent() {
                self.handed_out.clear();
                // Otherwise a poll on a dead connection would make the runtime look ready.
                self.polls.clear();
            }
            let (is_back, timed_out) = (false, false);
            self.handed_out.push(HandedOut { event, outcome: None, worker, is_back, timed_out });
        }
        answered
    }

    pub fn outcome(&self, request_id: &str) -> Option<&Outcome> {
        let found = self.handed_out.iter().find(|it| it.event.request_id == request_id);
        found.and_then(|it| it.outcome.as_ref())
    }

    /// The result of this invocation is no longer needed.
    pub fn withdraw(&mut self, request_id: &str) {
        self.queued.retain(|event| event.request_id != request_id);
        let mut handed_out = self.handed_out.iter_mut();
        if let Some(found) = handed_out.find(|it| it.event.request_id == request_id) {
            found.timed_out = true;
        }
    }

    /// Whether the worker that had this event waits for another one.
    pub fn is_back(&self, request_id: &str) -> bool {
        let found = self.handed_out.iter().find(|it| it.event.request_id == request_id);
        found.is_none_or(|it| it.is_back)
    }

    pub fn reported_init_error(&self) -> Option<&Outcome> {
        self.init_error.as_ref()
    }

    /// A new runtime starts. Calls of the old one are ignored from now on.
    pub fn reset(&mut self) {
        *self = Self::new(Arc::clone(&self.configuration), self.wire);
    }

    /// A runtime that polls again before it has answered gets the same event again.
    fn next(&mut self, arrival: &Arrival) -> Option<Reply> {
        if let Initialization::ManagedInstances { max_concurrency } =
            self.configuration.initialization
        {
            if self.polls.len() >= max_concurrency {
                return Some(Reply::error(500, "InternalServerError", "Internal Server Error"));
            }
            self.take_back(arrival.from.number);
        } else {
            match self.state {
                State::Responding | State::InitError => {
                    return Some(self.state.refuse("Ready"));
                }
                State::Running => {
                    let handed_out = self.handed_out.last()?;
                    return Some(Reply::runtime_event(&self.configuration, &handed_out.event));
                }
                _ => {}
            }
        }
        self.polls.push_back(arrival.clone());
        self.nexts += 1;
        self.state = State::Ready;
        None
    }

    /// Marks the worker as back. It may have polled on another connection.
    fn take_back(&mut self, worker: usize) {
        let away = |is: &dyn Fn(&HandedOut) -> bool| {
            self.handed_out.iter().position(|it| !it.is_back && is(it))
        };
        let same = away(&|it| it.worker == worker);
        if let Some(index) = same.or_else(|| away(&|it| it.outcome.is_some())) {
            self.handed_out[index].is_back = true;
        }
    }

    fn restore_next(&mut self, arrival: &Arrival) -> Result<(), Reply> {
        if self.state != State::Started {
            return Err(self.state.refuse("RestoreReady"));
        }
        self.restore_poll = Some(arrival.clone());
        self.nexts += 1;
        self.state = State::RestoreReady;
        Ok(())
    }

    fn response(&mut self, request: &Request, id: &str, at: Instant) -> Result<Reply, Reply> {
        let index = self.answerable(id, "InvocationResponse")?;
        let (outcome, reply) = match request.header("Lambda-Runtime-Function-Response-Mode") {
            Some(mode) if !mode.is_empty() && mode != "streaming" => {
                let error_type = "Runtime.InvalidResponseModeHeader";
                self.settle(index, Outcome::error(error_type, Vec::new(), at));
                // The runtime cannot leave this state, so it can do nothing any more.
                self.state = State::Responding;
                let message = "Invalid function response mode";
                return Err(Reply::error(400, "InvalidFunctionResponseMode", message));
            }
            None if request.body.len() > PAYLOAD_BYTES_MAX => too_large(at),
            _ => {
                let payload = request.body.clone();
                (Outcome { payload, error_type: None, at }, Reply::accepted())
            }
        };
        self.settle(index, outcome);
        Ok(reply)
    }

    fn error(&mut self, request: &Request, id: &str, at: Instant) -> Result<Reply, Reply> {
        let index = self.answerable(id, "InvocationErrorResponse")?;
        self.settle(index, Outcome::reported(request, at));
        Ok(Reply::accepted())
    }

    fn init_error(&mut self, request: &Request, at: Instant) -> Result<Reply, Reply> {
        if !matches!(self.state, State::Started | State::Restoring) {
            return Err(self.state.refuse("InitError"));
        }
        self.state = State::InitError;
        self.init_error = Some(Outcome::reported(request, at));
        Ok(Reply::accepted())
    }

    /// The index of the invocation with this id that can be answered, or the refusal.
    fn answerable(&mut self, id: &str, to: &str) -> Result<usize, Reply> {
        let index = self.handed_out.iter().position(|it| it.event.request_id == id);
        let index =
            index.ok_or_else(|| Reply::error(400, "InvalidRequestID", "Invalid request ID"))?;
        match self.handed_out[index] {
            HandedOut { timed_out: true, .. } => {
                Err(Reply::error(410, "InvokeTimeout", "Invoke timeout"))
            }
            HandedOut { outcome: None, .. } => Ok(index),
            _ => Err(self.state.refuse(to)),
        }
    }

    fn settle(&mut self, index: usize, outcome: Outcome) {
        self.handed_out[index].outcome = Some(outcome);
        self.state = State::ResponseSent;
    }

    fn is_from_snapshot(&self) -> bool {
        self.configuration.initialization == Initialization::SnapStart
    }

    fn is_concurrent(&self) -> bool {
        self.configuration.initialization.is_managed_instances()
    }
}
