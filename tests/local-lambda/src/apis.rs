//! The three APIs of the platform at one address. Passes each request to its API, and records every call.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::arrival::Arrival;
use crate::call::Call;
use crate::configuration::Configuration;
use crate::connection::Connection;
use crate::extension::Extension;
use crate::extensions_api::{ExtensionsApi, Externals};
use crate::generation::Exit;
use crate::http::Request;
use crate::reply::Reply;
use crate::runtime_api::{Answered, RuntimeApi};
use crate::script::PlatformScript;
use crate::telemetry_api::TelemetryApi;
use crate::timeline::{Event, Timeline};
use crate::wire::Wire;

pub struct Apis {
    pub extensions: ExtensionsApi,
    pub runtime: RuntimeApi,
    telemetry: TelemetryApi,
    timeline: Timeline,
    calls: Vec<Call>,
    /// The id of the invocation in progress.
    pub serving: Option<String>,
    /// The number of connections that sent at least one byte.
    pub heard: usize,
    /// The [`crate::Lambda`] was dropped, so no wait goes on.
    pub abandoned: bool,
    /// The current phase must end now, and none may begin.
    pub shutting_down: bool,
    /// The processes that ended, of all generations.
    pub exits: Vec<Exit>,
    wire: Wire,
    /// Connections with a lower number belong to processes that are gone.
    past: usize,
}

impl Apis {
    pub fn new(
        configuration: &Arc<Configuration>,
        script: PlatformScript,
        externals: Externals,
        telemetry: TelemetryApi,
        timeline: Timeline,
    ) -> Self {
        let wire = script.wire;
        Self {
            extensions: ExtensionsApi::new(Arc::clone(configuration), script, externals),
            runtime: RuntimeApi::new(Arc::clone(configuration), Wire { additions: false, ..wire }),
            telemetry,
            timeline,
            calls: Vec::new(),
            serving: None,
            heard: 0,
            abandoned: false,
            shutting_down: false,
            exits: Vec::new(),
            wire,
            past: 0,
        }
    }

    /// Records a call and answers it. A `next` may be answered later. False if the connection ends with this
    /// call.
    pub fn call(&mut self, request: Request, at: Instant, from: &Connection) -> bool {
        if self.is_past(from) {
            return false;
        }
        let arrival = Arrival { call: self.calls.len(), at, from: from.clone() };
        let before = self.polls();
        let registered = self.extensions.registered().len();
        let reply = self.route(&request, &arrival).map(|reply| reply.over(self.wire));
        for extension in &self.extensions.registered()[registered..] {
            let events = extension.registration.events.clone();
            self.timeline.add(Event::Registered { extension: extension.name().to_owned(), events });
        }
        self.tell_polls(&before);
        let status = reply.as_ref().map(|reply| reply.status);
        self.calls.push(Call::new(request, at, from.number, status));
        let answered = self.runtime.dispatch();
        self.mark(&answered);
        reply.is_none_or(|reply| {
            let closes = reply.closes();
            from.send(reply.render());
            !closes
        })
    }

    /// A connection sent an incomplete request, or bytes that are no request.
    pub fn broken(&mut self, connection: &Connection, error: &io::Error) {
        if !self.is_past(connection) {
            self.extensions.violate(format!("connection {}: {error}", connection.number));
        }
    }

    pub fn hang_up(&mut self, connection: usize) {
        self.extensions.hang_up(connection);
        self.runtime.hang_up(connection);
    }

    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// All processes are new. Connections below this number belong to the old processes, so their late requests
    /// are ignored.
    pub fn reset(&mut self, past: usize) {
        self.past = past;
        self.extensions.reset();
        self.runtime.reset();
        self.serving = None;
        self.shutting_down = false;
    }

    /// Records that earlier calls were answered now.
    pub fn mark(&mut self, answered: &Answered) {
        for (call, status) in answered {
            self.calls[*call].status = Some(*status);
        }
    }

    fn is_past(&self, connection: &Connection) -> bool {
        connection.number < self.past
    }

    /// How often the runtime and each extension have polled for an event.
    fn polls(&self) -> (usize, Vec<usize>) {
        (self.runtime.nexts(), self.extensions.registered().iter().map(Extension::nexts).collect())
    }

    /// Announces each process that has polled since then.
    fn tell_polls(&self, (runtime, extensions): &(usize, Vec<usize>)) {
        let done = self.serving.clone();
        if self.runtime.nexts() > *runtime {
            self.timeline.add(match &done {
                Some(request_id) => Event::RuntimeDone { request_id: request_id.clone() },
                None => Event::RuntimeReady,
            });
        }
        for (extension, before) in self.extensions.registered().iter().zip(extensions) {
            if extension.nexts() > *before {
                let (extension, request_id) = (extension.name().to_owned(), done.clone());
                self.timeline.add(match request_id {
                    Some(request_id) => Event::ExtensionDone { extension, request_id },
                    None => Event::ExtensionReady { extension },
                });
            }
        }
    }

    fn route(&mut self, request: &Request, arrival: &Arrival) -> Option<Reply> {
        if request.header("Host").is_none() {
            return Some(Reply::bad_request("missing required Host header"));
        }
        let target = request.target.as_str();
        if let Some(path) = target.strip_prefix("/2020-01-01/extension") {
            return self.extensions.call(request, path, arrival);
        }
        if let Some(path) = target.strip_prefix("/2018-06-01") {
            return self.runtime.call(request, path, arrival);
        }
        Some(match (request.method.as_str(), target) {
            ("PUT", "/2022-07-01/telemetry") => self.subscribe(request),
            (_, "/2022-07-01/telemetry") => Reply::method_not_allowed("PUT"),
            ("PUT", "/2020-08-15/logs") => self.telemetry.subscribe_logs(),
            ("GET", "/2021-04-23/credentials") => Reply::credentials(),
            ("GET", "/2026-01-15/metadata/execution-environment") => Reply::metadata(request),
            _ => Reply::not_found(),
        })
    }

    fn subscribe(&mut self, request: &Request) -> Reply {
        if let Some(stub) = self.telemetry.stub() {
            return stub;
        }
        match self.extensions.identify(request) {
            Ok(index) => {
                let name = self.extensions.registered()[index].name();
                self.telemetry.subscribe(name, &request.body)
            }
            Err(refusal) => refusal,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::acceptor::Acceptor;
    use crate::event_type::EventType;
    use crate::listener::ANY_PORT;

    fn apis() -> Apis {
        let configuration = Arc::new(Configuration::default());
        let (script, externals) = (PlatformScript::default(), Externals::Anyone);
        let (telemetry, timeline) = (TelemetryApi::unsupported(), Timeline::start());
        Apis::new(&configuration, script, externals, telemetry, timeline)
    }

    fn acceptor() -> Acceptor {
        Acceptor::on(&Arc::new(TcpListener::bind(ANY_PORT).unwrap()))
    }

    fn connect(acceptor: &Acceptor) -> (TcpStream, Connection) {
        let client = TcpStream::connect(acceptor.address()).unwrap();
        (client, Connection::of(acceptor.next().unwrap().unwrap()))
    }

    fn request(method: &str, path: &str, name: &str, value: &str) -> Request {
        let headers = [("Host", "x"), (name, value)];
        Request {
            method: method.to_owned(),
            target: format!("/2020-01-01/extension/{path}"),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            body: br#"{"events":["SHUTDOWN"]}"#.to_vec(),
        }
    }

    fn register() -> Request {
        request("POST", "register", "Lambda-Extension-Name", "x")
    }

    #[test]
    fn a_request_on_a_connection_from_before_the_reset_is_no_call() {
        let (mut apis, acceptor) = (apis(), acceptor());
        let (_client, old) = connect(&acceptor);
        apis.reset(acceptor.cut_off());
        assert!(!apis.call(register(), Instant::now(), &old));
        apis.broken(&old, &io::ErrorKind::UnexpectedEof.into());
        assert!(apis.calls().is_empty() && apis.extensions.registered().is_empty());
        assert!(apis.extensions.violations().is_empty());
    }

    #[test]
    fn a_next_after_shutdown_is_a_violation_even_when_it_is_read_after_the_end_of_the_process() {
        let (mut apis, acceptor) = (apis(), acceptor());
        let (_client, connection) = connect(&acceptor);
        apis.call(register(), Instant::now(), &connection);
        let identifier = apis.extensions.registered()[0].identifier.to_string();
        let next = request("GET", "event/next", "Lambda-Extension-Identifier", &identifier);
        apis.call(next.clone(), Instant::now(), &connection);
        let extension = &mut apis.extensions.registered_mut()[0];
        extension.hand_out(EventType::Shutdown, Reply::empty).unwrap();
        extension.exited();
        apis.call(next, Instant::now(), &connection);
        let violation = "GET /2020-01-01/extension/event/next after SHUTDOWN";
        assert_eq!(apis.extensions.violations(), [violation]);
    }

    #[test]
    fn a_request_of_an_extension_that_is_being_killed_gets_no_answer_and_is_no_violation() {
        let (mut apis, acceptor) = (apis(), acceptor());
        let (_client, connection) = connect(&acceptor);
        apis.call(register(), Instant::now(), &connection);
        let extension = &mut apis.extensions.registered_mut()[0];
        extension.exited();
        let identifier = extension.identifier.to_string();
        let next = request("GET", "event/next", "Lambda-Extension-Identifier", &identifier);
        apis.call(next, Instant::now(), &connection);
        assert_eq!(apis.calls().last().unwrap().status, None);
        assert_eq!(apis.extensions.violations(), Vec::<String>::new());
    }
}
