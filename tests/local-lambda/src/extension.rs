//! One registered extension and its states (names from the emulator's
//! `internal/lambda/core/externalagent_states.go`).

use std::time::Instant;

use uuid::Uuid;

use crate::arrival::Arrival;
use crate::call::Registration;
use crate::event_type::EventType;
use crate::extensions_api::Application;
use crate::http::Headers;
use crate::reply::Reply;
use crate::telemetry::vocabulary::{ErrorType, ExtensionState};

pub struct Extension {
    pub identifier: Uuid,
    pub kind: Kind,
    pub registration: Registration,
    reported_error: Option<String>,
    state: State,
    nexts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A separate process, started from a file with the extension's name.
    External,
    /// A part of the runtime's process.
    Internal,
}

pub enum State {
    Registered,
    /// A `next` waits for an event. `None` if its connection was closed.
    Ready(Option<Arrival>),
    /// It has an event or a scripted answer.
    Running,
    ShutDown,
    InitError,
    ExitError,
    /// Its process has ended, or is being killed.
    Exited,
}

/// Why the extension can get no event, now or ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    NoNext,
    Fatal(String),
}

impl Extension {
    pub fn register(application: Application, at: Instant, headers: Headers) -> Self {
        let Application { name, kind, events, .. } = application;
        Self {
            identifier: Uuid::new_v4(),
            kind,
            registration: Registration { name, events, at, headers },
            reported_error: None,
            state: State::Registered,
            nexts: 0,
        }
    }

    pub fn name(&self) -> &str {
        &self.registration.name
    }

    pub fn wants(&self, event: EventType) -> bool {
        self.registration.events.contains(&event)
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// How many calls of `next` were accepted so far.
    pub fn nexts(&self) -> usize {
        self.nexts
    }

    /// The type of the error that it reported.
    pub fn error_reported(&self) -> Option<&str> {
        self.reported_error.as_deref()
    }

    pub fn is_ready(&self) -> bool {
        self.ready_since().is_some()
    }

    /// When the waiting `next` arrived.
    pub fn ready_since(&self) -> Option<Instant> {
        match &self.state {
            State::Ready(poll) => poll.as_ref().map(|poll| poll.at),
            _ => None,
        }
    }

    /// Records a `next`. False if this state allows none.
    pub fn poll(&mut self, poll: &Arrival) -> bool {
        let allowed = matches!(self.state, State::Registered | State::Running);
        if allowed {
            self.nexts += 1;
            self.state = State::Ready(Some(poll.clone()));
        }
        allowed
    }

    /// The waiting `next` got an answer that is no event.
    pub fn answered(&mut self) {
        self.state = State::Running;
    }

    /// Its connection was closed. True if a `next` waited on it.
    pub fn hang_up(&mut self, connection: usize) -> bool {
        match &mut self.state {
            State::Ready(poll) => poll.take_if(|poll| poll.from.number == connection).is_some(),
            _ => false,
        }
    }

    /// Answers the waiting `next` and returns the number of its call. `reply` is made at that moment because it
    /// contains a deadline.
    pub fn hand_out(
        &mut self,
        event: EventType,
        reply: impl FnOnce() -> Reply,
    ) -> Result<(usize, u16), Obstacle> {
        let State::Ready(poll) = &self.state else { return Err(self.obstacle()) };
        let Some(poll) = poll else { return Err(Obstacle::Fatal("the next was abandoned".into())) };
        if !self.wants(event) {
            return Err(Obstacle::Fatal(format!("the extension never asked for {event}")));
        }
        let answered = poll.answer(reply());
        self.state = match event {
            EventType::Invoke => State::Running,
            EventType::Shutdown => State::ShutDown,
        };
        Ok(answered)
    }

    /// It reports that its init failed. False if this state allows no such report.
    pub fn init_error(&mut self, error_type: &str) -> bool {
        let allowed = matches!(self.state, State::Registered | State::InitError);
        if allowed {
            self.fail(State::InitError, error_type);
        }
        allowed
    }

    /// It reports why it is about to exit. False if this state allows no such report.
    pub fn exit_error(&mut self, error_type: &str) -> bool {
        match self.state {
            State::InitError | State::Exited => return false,
            State::ShutDown => {}
            _ => self.fail(State::ExitError, error_type),
        }
        true
    }

    /// Its process has ended or is about to be killed. From now on, an omission is not its fault. After
    /// SHUTDOWN it need not poll again, alive or not.
    pub fn exited(&mut self) {
        if !matches!(self.state, State::ShutDown) {
            self.state = State::Exited;
        }
    }

    /// Only the first report counts.
    fn fail(&mut self, state: State, error_type: &str) {
        self.state = state;
        self.reported_error.get_or_insert_with(|| error_type.to_owned());
    }

    fn obstacle(&self) -> Obstacle {
        match self.state {
            State::ShutDown => Obstacle::Fatal("SHUTDOWN was handed out before".to_owned()),
            State::InitError | State::ExitError | State::Exited => {
                Obstacle::Fatal(format!("the extension is in state {}", self.state.name()))
            }
            _ => Obstacle::NoNext,
        }
    }
}

impl State {
    /// The state's name in telemetry.
    pub fn standing(&self, reported_error: Option<&str>) -> ExtensionState {
        let error = || ErrorType::new(reported_error.unwrap_or_default());
        match self {
            Self::Registered => ExtensionState::Registered,
            Self::Ready(..) => ExtensionState::Ready,
            Self::Running | Self::ShutDown => ExtensionState::Running,
            Self::InitError => ExtensionState::InitError(error()),
            Self::ExitError => ExtensionState::ExitError(error()),
            Self::Exited => ExtensionState::Exited,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Registered => "Registered",
            Self::Ready(..) => "Ready",
            Self::Running | Self::ShutDown => "Running",
            Self::InitError => "InitError",
            Self::ExitError => "ExitError",
            Self::Exited => "Exited",
        }
    }
}
