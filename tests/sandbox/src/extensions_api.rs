//! The Extensions API, version 2020-01-01, for one external extension: its states, and what each
//! call does to them (AWS docs "Using the Lambda Extensions API"; order of the checks and texts
//! from the emulator's `internal/lambda/rapi/handler` and `core/externalagent_states.go`).

use std::time::Instant;

use serde::Deserialize;
use uuid::Uuid;

use crate::call::{Call, Registration};
use crate::http::Request;
use crate::listener::Accepted;
use crate::reply::Reply;
use crate::script::PlatformScript;

pub struct ExtensionsApi {
    script: PlatformScript,
    state: State,
    identifier: Uuid,
    nexts: usize,
    pub registration: Option<Registration>,
    pub calls: Vec<Call>,
    pub violations: Vec<String>,
}

enum State {
    Started,
    Registered,
    /// A next waits for an event: the call's number, and where to answer unless it was abandoned.
    Ready(usize, Option<Accepted>),
    Running,
    ShutDown,
    InitError,
    ExitError,
}

/// Why an event can't be handed to the extension, now or ever.
pub enum Obstacle {
    NoNext,
    Fatal(String),
}

impl ExtensionsApi {
    pub fn new(script: PlatformScript) -> Self {
        Self {
            script,
            state: State::Started,
            identifier: Uuid::new_v4(),
            nexts: 0,
            registration: None,
            calls: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Takes a call and gives its answer; `None` for a next, which is answered with an event.
    pub fn call(&mut self, request: Request, at: Instant, from: &Accepted) -> Option<Reply> {
        if matches!(self.state, State::ShutDown) {
            self.violate(format!("{} {} after SHUTDOWN", request.method, request.target));
        }
        let reply = self.route(&request, at, from);
        let status = reply.as_ref().map(|reply| reply.status);
        self.calls.push(Call::new(request, at, from.number, status));
        reply
    }

    /// A connection was closed by the extension.
    pub fn hang_up(&mut self, connection: usize) {
        if let State::Ready(_, poll) = &mut self.state {
            if poll.take_if(|poll| poll.number == connection).is_some() {
                self.violate(format!(
                    "connection {connection} was closed while its next was pending"
                ));
            }
        }
    }

    pub fn next_is_pending(&self) -> bool {
        matches!(self.state, State::Ready(_, Some(_)))
    }

    /// Answers the pending next. `reply` is made at that moment because it holds a deadline.
    pub fn hand_out(&mut self, event: &str, reply: impl FnOnce() -> Reply) -> Result<(), Obstacle> {
        let State::Ready(call, poll) = &self.state else { return Err(self.obstacle()) };
        let Some(poll) = poll else { return Err(Obstacle::Fatal("the next was abandoned".into())) };
        let asked =
            self.registration.as_ref().is_some_and(|it| it.events.iter().any(|e| e == event));
        if !asked {
            return Err(Obstacle::Fatal(format!("the extension never asked for {event}")));
        }
        let reply = reply();
        self.calls[*call].status = Some(reply.status);
        // A write that fails is seen by the thread that reads the connection.
        let _ = reply.write(&poll.stream);
        self.state = if event == "SHUTDOWN" { State::ShutDown } else { State::Running };
        Ok(())
    }

    pub fn violate(&mut self, violation: String) {
        self.violations.push(violation);
    }

    fn obstacle(&self) -> Obstacle {
        match self.state {
            State::ShutDown => Obstacle::Fatal("SHUTDOWN was handed out before".to_owned()),
            State::InitError | State::ExitError => {
                Obstacle::Fatal(format!("the extension is in state {}", self.state.name()))
            }
            _ => Obstacle::NoNext,
        }
    }

    fn route(&mut self, request: &Request, at: Instant, from: &Accepted) -> Option<Reply> {
        if request.header("Host").is_none() {
            return Some(Reply::bad_request("missing required Host header"));
        }
        let path = request.target.strip_prefix("/2020-01-01/extension");
        Some(match (request.method.as_str(), path) {
            ("POST", Some("/register")) => self.register(request, at),
            ("GET", Some("/event/next")) => return self.next(request, from),
            ("POST", Some("/init/error")) => self.init_error(request),
            ("POST", Some("/exit/error")) => self.exit_error(request),
            (_, Some("/event/next")) => Reply::method_not_allowed("GET"),
            (_, Some("/register" | "/init/error" | "/exit/error")) => {
                Reply::method_not_allowed("POST")
            }
            _ => Reply::not_found(),
        })
    }

    fn register(&mut self, request: &Request, at: Instant) -> Reply {
        let scripted = self.script.register_answer.clone();
        if let Some((status, body)) = scripted.clone().filter(|(status, _)| *status != 200) {
            return Reply::json(status, body);
        }
        let name = match request.header("Lambda-Extension-Name") {
            None | Some("") => {
                return Reply::refusal("Extension.InvalidExtensionName", "Empty extension name");
            }
            Some(name) => name.to_owned(),
        };
        let events = match asked_events(&request.body) {
            Ok(events) => events,
            Err(message) => return Reply::refusal("InvalidRequestFormat", &message),
        };
        // Events are looked at before the state changes, so a refused register can be followed by
        // one that asks for less.
        if let Some(message) = events.iter().find_map(|event| self.objection(&name, event)) {
            return Reply::refusal("Extension.InvalidEventType", &message);
        }
        if !matches!(self.state, State::Started) {
            return self.refuse_transition("Registered", &name);
        }
        self.state = State::Registered;
        self.registration =
            Some(Registration { name, events, at, headers: request.headers.clone() });
        match scripted {
            Some((status, body)) => Reply::json(status, body).identified(self.identifier),
            None => Reply::registered(self.identifier, asks_for_account(request)),
        }
    }

    fn objection(&self, name: &str, event: &str) -> Option<String> {
        let external = self.script.expected_name.as_ref().is_none_or(|expected| expected == name);
        match (external, self.script.managed_instances, event) {
            (true, _, "SHUTDOWN") | (_, false, "INVOKE") => None,
            (false, true, _) => Some("No events allowed for internal extensions".to_owned()),
            (false, false, "SHUTDOWN") => {
                Some("SHUTDOWN: ShutdownEventNotSupportedForInternalExtension".to_owned())
            }
            _ => Some(format!("{event}: ErrorInvalidEventType")),
        }
    }

    fn next(&mut self, request: &Request, from: &Accepted) -> Option<Reply> {
        if let Err(refusal) = self.identify(request) {
            return Some(refusal);
        }
        match self.state {
            State::Registered | State::Running => {}
            // Hangs, as on Lambda, until the process is killed.
            State::ShutDown => return None,
            _ => return Some(self.refuse_transition("Ready", &self.identifier.to_string())),
        }
        self.nexts += 1;
        if let Some((status, body)) = self.script.answer_to_next(self.nexts) {
            self.state = State::Running;
            return Some(Reply::json(status, body));
        }
        self.state = State::Ready(self.calls.len(), Some(from.clone()));
        None
    }

    fn init_error(&mut self, request: &Request) -> Reply {
        if let Err(refusal) = self.identify(request).and_then(|()| error_type(request)) {
            return refusal;
        }
        match self.state {
            State::Registered | State::InitError => self.state = State::InitError,
            _ => return self.refuse_transition("InitError", &self.identifier.to_string()),
        }
        Reply::accepted()
    }

    fn exit_error(&mut self, request: &Request) -> Reply {
        if let Err(refusal) = self.identify(request).and_then(|()| error_type(request)) {
            return refusal;
        }
        match self.state {
            State::ShutDown => {}
            State::Started | State::InitError => {
                // The daemon's own text names the state after this one.
                return self.refuse_transition("Exited", &self.identifier.to_string());
            }
            _ => self.state = State::ExitError,
        }
        Reply::accepted()
    }

    fn identify(&mut self, request: &Request) -> Result<(), Reply> {
        let given = request.header("Lambda-Extension-Identifier").unwrap_or_default();
        let (error_type, message) = match given.parse::<Uuid>() {
            Ok(id) if id == self.identifier && self.registration.is_some() => return Ok(()),
            Ok(id) => ("Extension.UnknownExtensionIdentifier", format!("Unknown extension {id}")),
            Err(_) if given.is_empty() => (
                "Extension.MissingExtensionIdentifier",
                "Missing Lambda-Extension-Identifier header".to_owned(),
            ),
            Err(_) => (
                "Extension.InvalidExtensionIdentifier",
                "Invalid Lambda-Extension-Identifier".to_owned(),
            ),
        };
        self.violate(format!("{} {}: {message}", request.method, request.target));
        Err(Reply::refusal(error_type, &message))
    }

    fn refuse_transition(&mut self, to: &str, who: &str) -> Reply {
        let from = self.state.name();
        let message = format!(
            "State transition from {from} to {to} failed for extension {who}. \
             Error: State transition is not allowed"
        );
        self.violate(message.clone());
        Reply::refusal("Extension.InvalidExtensionState", &message)
    }
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::Registered => "Registered",
            Self::Ready(..) => "Ready",
            Self::Running | Self::ShutDown => "Running",
            Self::InitError => "InitError",
            Self::ExitError => "ExitError",
        }
    }
}

fn asked_events(body: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Asked {
        events: Option<Vec<String>>,
        configuration_keys: Option<Vec<String>>,
    }
    let asked: Asked = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if asked.configuration_keys.is_some_and(|keys| !keys.is_empty()) {
        return Err(
            "configurationKeys are deprecated; use environment variables instead".to_owned()
        );
    }
    Ok(asked.events.unwrap_or_default())
}

fn asks_for_account(request: &Request) -> bool {
    let features = request.header("Lambda-Extension-Accept-Feature").unwrap_or_default();
    features.split(',').any(|feature| feature.trim() == "accountId")
}

fn error_type(request: &Request) -> Result<(), Reply> {
    match request.header("Lambda-Extension-Function-Error-Type") {
        None | Some("") => Err(Reply::refusal(
            "Extension.MissingHeader",
            "Lambda-Extension-Function-Error-Type not found",
        )),
        Some(_) => Ok(()),
    }
}
