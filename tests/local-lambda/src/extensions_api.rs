//! The Extensions API, version 2020-01-01, and how each call changes the states of the extensions (AWS docs
//! "Using the Lambda Extensions API"; order of the checks and texts from the emulator's
//! `internal/lambda/rapi/handler`).

mod application;

use std::convert::identity;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use crate::arrival::Arrival;
use crate::configuration::Configuration;
use crate::extension::{Extension, Kind, State};
use crate::http::Request;
use crate::reply::Reply;
use crate::script::PlatformScript;

pub use application::{Application, Externals};

/// Limit of extensions, external and internal ones together (AWS docs "Using the Lambda Extensions API").
pub const EXTENSIONS_MAX: usize = 10;

pub struct ExtensionsApi {
    configuration: Arc<Configuration>,
    script: PlatformScript,
    externals: Externals,
    registered: Vec<Extension>,
    registration_is_open: bool,
    violations: Vec<String>,
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

    /// Answers the call. A `next` is answered later, with an event.
    pub fn call(&mut self, request: &Request, path: &str, arrival: &Arrival) -> Option<Reply> {
        // An extension may report why it ends, until it has ended.
        let is_farewell = path == "/exit/error";
        let is_shut_down = |it: &Extension| matches!(it.state(), State::ShutDown);
        if !is_farewell && self.caller(request).is_some_and(is_shut_down) {
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

    /// The client closed a connection.
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

    /// The runtime is ready, so no more extensions can register.
    pub fn close_registration(&mut self) {
        self.registration_is_open = false;
    }

    /// The processes are new, and register again.
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

    /// The index of the extension that sent a request, or the refusal.
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
        let managed_instances = self.configuration.initialization.is_managed_instances();
        let admitted = Application::of(request, &self.externals, managed_instances)
            .and_then(|application| self.admit(&application).map(|()| application));
        let application = match admitted {
            Ok(application) => application,
            Err(refusal) => return refusal,
        };
        let with_account = application.with_account;
        let extension = Extension::register(application, at, request.headers.clone());
        let identifier = extension.identifier;
        self.registered.push(extension);
        match scripted {
            Some((status, body)) => Reply::json(status, body).identified(identifier),
            None => Reply::registered(identifier, &self.configuration, with_account),
        }
    }

    /// Changes nothing until all checks have passed. So an extension can register again for less after a
    /// refusal.
    fn admit(&mut self, application: &Application) -> Result<(), Reply> {
        let name = &application.name;
        let known = self.registered.iter().position(|it| it.name() == name);
        if let (Kind::External, Some(index)) = (application.kind, known) {
            return Err(self.refuse_transition(index, "Registered", name));
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
        Ok(())
    }

    fn next(&mut self, request: &Request, arrival: &Arrival) -> Option<Reply> {
        let index = match self.identify(request) {
            Ok(index) => index,
            Err(refusal) => return Some(refusal),
        };
        let extension = &mut self.registered[index];
        // As on Lambda, the call has no answer until the process is killed. For the platform, an exited one is
        // killed already.
        if matches!(extension.state(), State::ShutDown | State::Exited) {
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
        // A malformed identifier is refused first, an unknown one last.
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
        let from = self.registered[index].state();
        let is_being_killed = matches!(from, State::Exited);
        let message = format!(
            "State transition from {} to {to} failed for extension {who}. \
             Error: State transition is not allowed",
            from.name()
        );
        // The extension cannot know that the signal is on its way.
        if !is_being_killed {
            self.violate(message.clone());
        }
        Reply::refusal("Extension.InvalidExtensionState", &message)
    }
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
