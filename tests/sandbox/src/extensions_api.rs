//! The Extensions API, version 2020-01-01: what each call does to the states of the extensions (AWS
//! docs "Using the Lambda Extensions API"; order of the checks and texts from the emulator's
//! `internal/lambda/rapi/handler`).

use std::convert::identity;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use uuid::Uuid;

use crate::arrival::Arrival;
use crate::configuration::Configuration;
use crate::extension::{Extension, Kind, State};
use crate::http::Request;
use crate::reply::Reply;
use crate::script::PlatformScript;

/// External and internal ones together (AWS docs "Using the Lambda Extensions API").
pub const EXTENSIONS_MAX: usize = 10;

pub struct ExtensionsApi {
    configuration: Arc<Configuration>,
    script: PlatformScript,
    externals: Externals,
    registered: Vec<Extension>,
    registration_is_open: bool,
    violations: Vec<String>,
}

/// Who is an external extension; all others are internal ones.
pub enum Externals {
    Anyone,
    /// The names of the files in `/opt/extensions`.
    Named(Vec<String>),
}

impl ExtensionsApi {
    pub fn new(
        configuration: Arc<Configuration>,
        script: PlatformScript,
        externals: Externals,
    ) -> Self {
        Self {
            configuration,
            script,
            externals,
            registered: Vec::new(),
            registration_is_open: true,
            violations: Vec::new(),
        }
    }

    /// Answers the call, but for a next, which is answered with an event later.
    pub fn call(&mut self, request: &Request, path: &str, arrival: &Arrival) -> Option<Reply> {
        if self.caller(request).is_some_and(|it| matches!(it.state(), State::ShutDown)) {
            self.violate(format!("{} {} after SHUTDOWN", request.method, request.target));
        }
        Some(match (request.method.as_str(), path) {
            ("POST", "/register") => self.register(request, arrival.at),
            ("GET", "/event/next") => return self.next(request, arrival),
            ("POST", "/init/error") => {
                self.error(request, "InitError", Extension::init_error).unwrap_or_else(identity)
            }
            ("POST", "/exit/error") => {
                self.error(request, "Exited", Extension::exit_error).unwrap_or_else(identity)
            }
            (_, "/event/next") => Reply::method_not_allowed("GET"),
            (_, "/register" | "/init/error" | "/exit/error") => Reply::method_not_allowed("POST"),
            _ => Reply::not_found(),
        })
    }

    /// A connection was closed by the other side.
    pub fn hang_up(&mut self, connection: usize) {
        let hung_up = self.registered.iter_mut().find_map(|extension| {
            extension.hang_up(connection).then(|| extension.name().to_owned())
        });
        if let Some(name) = hung_up {
            let closed = format!("connection {connection} was closed while its next was pending");
            self.violate(format!("{name}: {closed}"));
        }
    }

    pub fn registered(&self) -> &[Extension] {
        &self.registered
    }

    pub fn registered_mut(&mut self) -> &mut [Extension] {
        &mut self.registered
    }

    pub fn named(&mut self, name: &str) -> Option<&mut Extension> {
        self.registered.iter_mut().find(|extension| extension.name() == name)
    }

    /// The runtime is ready: who has not registered by now can't any more.
    pub fn close_registration(&mut self) {
        self.registration_is_open = false;
    }

    /// A new generation of processes registers anew.
    pub fn reset(&mut self) {
        self.registered.clear();
        self.registration_is_open = true;
    }

    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    pub fn violate(&mut self, violation: String) {
        self.violations.push(violation);
    }

    /// The index of the extension that a request names, or the refusal.
    pub fn identify(&mut self, request: &Request) -> Result<usize, Reply> {
        let given = request.header("Lambda-Extension-Identifier").unwrap_or_default();
        let identifier = given.parse::<Uuid>();
        let known = |it: &Extension| identifier.as_ref().is_ok_and(|id| *id == it.identifier);
        if let Some(index) = self.registered.iter().position(known) {
            return Ok(index);
        }
        let (error_type, message) = match identifier {
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

    fn caller(&self, request: &Request) -> Option<&Extension> {
        let id = identifier(request)?;
        self.registered.iter().find(|extension| extension.identifier == id)
    }

    fn register(&mut self, request: &Request, at: Instant) -> Reply {
        let scripted = self.script.register_answer.clone();
        if let Some((status, body)) = scripted.clone().filter(|(status, _)| *status != 200) {
            return Reply::json(status, body);
        }
        let asked = match self.asked(request) {
            Ok(asked) => asked,
            Err(refusal) => return refusal,
        };
        let extension =
            Extension::register(asked.kind, asked.name, asked.events, at, request.headers.clone());
        let identifier = extension.identifier;
        self.registered.push(extension);
        match scripted {
            Some((status, body)) => Reply::json(status, body).identified(identifier),
            None => Reply::registered(identifier, &self.configuration, asks_for_account(request)),
        }
    }

    /// What a register asks for, or why it is refused. Nothing changes before all is checked, so a
    /// refused register can be followed by one that asks for less.
    fn asked(&mut self, request: &Request) -> Result<Asked, Reply> {
        let name = match request.header("Lambda-Extension-Name") {
            None | Some("") => {
                return Err(Reply::refusal(
                    "Extension.InvalidExtensionName",
                    "Empty extension name",
                ));
            }
            Some(name) => name.to_owned(),
        };
        let events = asked_events(&request.body)
            .map_err(|message| Reply::refusal("InvalidRequestFormat", &message))?;
        let kind = self.kind_of(&name);
        if let Some(message) = events.iter().find_map(|event| self.objection(kind, event)) {
            return Err(Reply::refusal("Extension.InvalidEventType", &message));
        }
        let known = self.registered.iter().position(|it| it.name() == name);
        if let (Kind::External, Some(index)) = (kind, known) {
            return Err(self.refuse_transition(index, "Registered", &name));
        }
        if !self.registration_is_open {
            let message = "Extension registration closed already";
            self.violate(format!("{name} registered after init"));
            return Err(Reply::refusal("Extension.RegistrationClosed", message));
        }
        if known.is_some() {
            let message = "Extension with this name already registered";
            return Err(Reply::refusal("Extension.InvalidExtensionState", message));
        }
        if self.registered.len() >= EXTENSIONS_MAX {
            let message = format!("Extension limit ({EXTENSIONS_MAX}) reached");
            return Err(Reply::refusal("Extension.TooManyExtensions", &message));
        }
        Ok(Asked { kind, name, events })
    }

    fn kind_of(&self, name: &str) -> Kind {
        match &self.externals {
            Externals::Named(names) if !names.iter().any(|it| it == name) => Kind::Internal,
            _ => Kind::External,
        }
    }

    fn objection(&self, kind: Kind, event: &str) -> Option<String> {
        let managed = self.configuration.initialization.is_managed_instances();
        match (kind, managed, event) {
            (Kind::External, _, "SHUTDOWN") | (_, false, "INVOKE") => None,
            (Kind::Internal, true, _) => {
                Some("No events allowed for internal extensions".to_owned())
            }
            (Kind::Internal, false, "SHUTDOWN") => {
                Some("SHUTDOWN: ShutdownEventNotSupportedForInternalExtension".to_owned())
            }
            _ => Some(format!("{event}: ErrorInvalidEventType")),
        }
    }

    fn next(&mut self, request: &Request, arrival: &Arrival) -> Option<Reply> {
        let index = match self.identify(request) {
            Ok(index) => index,
            Err(refusal) => return Some(refusal),
        };
        let extension = &mut self.registered[index];
        // Hangs, as on Lambda, until the process is killed.
        if matches!(extension.state(), State::ShutDown) {
            return None;
        }
        if !extension.poll(arrival) {
            let identifier = extension.identifier.to_string();
            return Some(self.refuse_transition(index, "Ready", &identifier));
        }
        let (status, body) = self.script.answer_to_next(extension.nexts())?;
        extension.answered();
        Some(Reply::json(status, body))
    }

    fn error(
        &mut self,
        request: &Request,
        to: &str,
        report: fn(&mut Extension, &str) -> bool,
    ) -> Result<Reply, Reply> {
        let known = self.identify(request);
        // An identifier that is none is complained of first, one that nobody has last.
        if identifier(request).is_some() {
            error_type(request)?;
        }
        let index = known?;
        let extension = &mut self.registered[index];
        if report(extension, error_type(request)?) {
            return Ok(Reply::accepted());
        }
        let identifier = extension.identifier.to_string();
        Err(self.refuse_transition(index, to, &identifier))
    }

    fn refuse_transition(&mut self, index: usize, to: &str, who: &str) -> Reply {
        let from = self.registered[index].state().name();
        let message = format!(
            "State transition from {from} to {to} failed for extension {who}. \
             Error: State transition is not allowed"
        );
        self.violate(message.clone());
        Reply::refusal("Extension.InvalidExtensionState", &message)
    }
}

struct Asked {
    kind: Kind,
    name: String,
    events: Vec<String>,
}

fn asked_events(body: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        events: Option<Vec<String>>,
        configuration_keys: Option<Vec<String>>,
    }
    if body.is_empty() {
        return Err("unexpected end of JSON input".to_owned());
    }
    let asked: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
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

fn identifier(request: &Request) -> Option<Uuid> {
    request.header("Lambda-Extension-Identifier")?.parse().ok()
}

fn error_type(request: &Request) -> Result<&str, Reply> {
    match request.header("Lambda-Extension-Function-Error-Type") {
        None | Some("") => Err(Reply::refusal(
            "Extension.MissingHeader",
            "Lambda-Extension-Function-Error-Type not found",
        )),
        Some(error_type) => Ok(error_type),
    }
}
