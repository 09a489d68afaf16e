//! Lambda's side of the APIs, without processes. The test triggers each event. `Lambda` also starts processes
//! and triggers events as Lambda does.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use crate::acceptor::Acceptor;
use crate::apis::Apis;
use crate::call::{Call, Registration};
use crate::configuration::{Configuration, Initialization};
use crate::connection::Connection;
use crate::event_type::EventType;
use crate::extension::{Extension, Obstacle};
use crate::extensions_api::Externals;
use crate::listener::{self, ANY_PORT, Listener};
use crate::messages::Messages;
use crate::reply::Reply;
use crate::script::PlatformScript;
use crate::telemetry_api::TelemetryApi;
use crate::timeline::Timeline;
use crate::watch::Watch;

/// How long an extension may take to poll again. That is much longer than any extension needs.
const NEXT_WITHIN: Duration = Duration::from_secs(60);

pub struct Platform {
    listener: Listener,
    configuration: Arc<Configuration>,
    script: PlatformScript,
    apis: Arc<Watch<Apis>>,
}

#[expect(
    clippy::missing_panics_doc,
    reason = "every wait of a double panics when its time is over"
)]
impl Platform {
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(PlatformScript::default())
    }

    #[must_use]
    pub fn start_with(script: PlatformScript) -> Self {
        let managed = Initialization::ManagedInstances { max_concurrency: 1 };
        let initialization =
            if script.managed_instances { managed } else { Initialization::OnDemand };
        let configuration = Configuration { initialization, ..Configuration::default() };
        let externals = match &script.expected_name {
            Some(name) => Externals::Named(vec![name.clone()]),
            None => Externals::Anyone,
        };
        let socket = listener::bind(ANY_PORT).expect("a free port on loopback");
        let told = (TelemetryApi::unsupported(), Timeline::start());
        Self::serve(socket, &Arc::new(configuration), script, externals, told)
    }

    pub(crate) fn serve(
        socket: TcpListener,
        configuration: &Arc<Configuration>,
        script: PlatformScript,
        externals: Externals,
        (telemetry, timeline): (TelemetryApi, Timeline),
    ) -> Self {
        let apis = Apis::new(configuration, script.clone(), externals, telemetry, timeline);
        let apis = Arc::new(Watch::new(apis));
        let serving = Arc::clone(&apis);
        let listener = Listener::start_on(socket, "platform", move |accepted| {
            serve(&Connection::of(accepted), &serving);
        });
        Self { listener, configuration: Arc::clone(configuration), script, apis }
    }

    pub(crate) fn apis(&self) -> &Arc<Watch<Apis>> {
        &self.apis
    }

    pub(crate) fn acceptor(&self) -> &Acceptor {
        self.listener.acceptor()
    }

    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    #[must_use]
    pub fn runtime_api(&self) -> String {
        self.listener.address().to_string()
    }

    /// Waits for an accepted registration.
    #[must_use]
    pub fn registration(&self, within: Duration) -> Registration {
        let first = |apis: &mut Apis| {
            apis.extensions.registered().first().map(|extension| extension.registration.clone())
        };
        self.apis
            .wait(within, first)
            .unwrap_or_else(|| panic!("no registration within {within:?}; {}", self.seen()))
    }

    /// Waits for a `next`, answers it with INVOKE, and returns the request id.
    #[expect(clippy::must_use_candidate, reason = "a test may want nothing but the invocation")]
    pub fn invoke(&self, timeout: Duration) -> String {
        let request_id = Uuid::new_v4().to_string();
        self.hand_out(EventType::Invoke, || {
            let deadline = SystemTime::now() + timeout;
            Reply::invoke(&self.configuration, &request_id, deadline, None)
        });
        request_id
    }

    /// Waits for a `next`, and answers it with SHUTDOWN, whose deadline is `budget` away. Lambda's reasons are
    /// `spindown`, `timeout` and `failure`.
    pub fn shutdown(&self, reason: &str, budget: Duration) {
        self.hand_out(EventType::Shutdown, || Reply::shutdown(reason, SystemTime::now() + budget));
    }

    pub fn wait_for_next(&self, within: Duration) {
        self.apis
            .wait(within, |apis| next_is_pending(apis).then_some(()))
            .unwrap_or_else(|| panic!("no pending next within {within:?}; {}", self.seen()));
    }

    /// Whether a `next` waits or arrives within this time. For callers with their own message if none does.
    #[must_use]
    pub fn has_next_within(&self, within: Duration) -> bool {
        self.apis.wait(within, |apis| next_is_pending(apis).then_some(())).is_some()
    }

    #[must_use]
    pub fn next_is_pending(&self) -> bool {
        self.apis.read(next_is_pending)
    }

    /// All calls so far, in the order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.apis.read(|apis| apis.calls().to_vec())
    }

    /// A sentence for each act of the extension that Lambda forbids or punishes.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.apis.read(|apis| apis.extensions.violations().to_vec())
    }

    /// Waits for the first violation, for tests that provoke one.
    #[must_use]
    pub fn wait_for_violation(&self, within: Duration) -> String {
        self.apis
            .wait(within, |apis| apis.extensions.violations().first().cloned())
            .unwrap_or_else(|| panic!("no violation within {within:?}; {}", self.seen()))
    }

    /// How many TCP connections were accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.listener.accepted()
    }

    /// How many of the connections never sent a byte.
    #[must_use]
    pub fn silent_connections(&self) -> usize {
        let heard = self.apis.read(|apis| apis.heard);
        self.connections() - heard
    }

    /// Gives the event to the only extension.
    fn hand_out(&self, event: EventType, reply: impl Fn() -> Reply) {
        let wire = self.script.wire;
        let handed_out = self.apis.wait(NEXT_WITHIN, |apis| {
            let extension = apis.extensions.registered_mut().first_mut()?;
            match extension.hand_out(event, || reply().over(wire)) {
                Ok(answered) => {
                    apis.mark(&vec![answered]);
                    Some(Ok(()))
                }
                Err(Obstacle::NoNext) => None,
                Err(Obstacle::Fatal(why)) => Some(Err(why)),
            }
        });
        match handed_out {
            Some(Ok(())) => {}
            Some(Err(why)) => panic!("can't hand out {event}: {why}; {}", self.seen()),
            None => panic!("no pending next for {event} in {NEXT_WITHIN:?}; {}", self.seen()),
        }
    }

    fn seen(&self) -> String {
        let call = |call: &Call| match call.status {
            Some(status) => format!("  {} {} -> {status}", call.method, call.path),
            None => format!("  {} {} -> no answer yet", call.method, call.path),
        };
        let calls: Vec<String> = self.calls().iter().map(call).collect();
        format!(
            "seen instead: {} connections, {} of them silent; violations: {:?}; calls:\n{}",
            self.connections(),
            self.silent_connections(),
            self.violations(),
            calls.join("\n")
        )
    }
}

fn next_is_pending(apis: &Apis) -> bool {
    apis.extensions.registered().iter().any(Extension::is_ready)
}

fn serve(connection: &Connection, apis: &Watch<Apis>) {
    if connection.stream().peek(&mut [0]).is_ok_and(|count| count > 0) {
        apis.update(|apis| apis.heard += 1);
    }
    let mut messages = Messages::new(connection.stream());
    let mut open = true;
    while open {
        match messages.request() {
            Ok(Some(request)) => {
                let at = Instant::now();
                // Answered under the lock. So a `next` is registered before the test can see it, and no two
                // threads write to one connection.
                open = apis.update(|apis| apis.call(request, at, connection));
            }
            Ok(None) => open = false,
            Err(error) => {
                apis.update(|apis| apis.broken(connection, &error));
                open = false;
            }
        }
    }
    apis.update(|apis| apis.hang_up(connection.number));
}
