//! Lambda's side of the Extensions API for one extension process, driven by the test.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::call::{Call, Registration};
use crate::extensions_api::{ExtensionsApi, Obstacle};
use crate::listener::{Accepted, Listener};
use crate::messages::Messages;
use crate::reply::Reply;
use crate::script::PlatformScript;
use crate::watch::Watch;

/// How long an extension may take to ask for its next event; far beyond what any needs.
const NEXT_WITHIN: Duration = Duration::from_secs(10);

pub struct Platform {
    listener: Listener,
    shared: Arc<Watch<Shared>>,
}

struct Shared {
    api: ExtensionsApi,
    /// Connections that sent at least one byte.
    heard: usize,
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
        let shared = Arc::new(Watch::new(Shared { api: ExtensionsApi::new(script), heard: 0 }));
        let serving = Arc::clone(&shared);
        let listener = Listener::start("platform", move |accepted| serve(&accepted, &serving));
        Self { listener, shared }
    }

    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    #[must_use]
    pub fn runtime_api(&self) -> String {
        self.listener.address().to_string()
    }

    /// Waits for a register that was accepted.
    #[must_use]
    pub fn registration(&self, within: Duration) -> Registration {
        self.shared
            .wait(within, |shared| shared.api.registration.clone())
            .unwrap_or_else(|| panic!("no registration within {within:?}; {}", self.seen()))
    }

    /// Waits for a pending next, answers it with INVOKE and returns the request id.
    #[expect(clippy::must_use_candidate, reason = "a test may want nothing but the invocation")]
    pub fn invoke(&self, timeout: Duration) -> String {
        let request_id = Uuid::new_v4().to_string();
        self.hand_out("INVOKE", || Reply::invoke(&request_id, timeout));
        request_id
    }

    /// Waits for a pending next and answers it with SHUTDOWN, to be done within `budget`. Lambda's
    /// reasons are `spindown`, `timeout` and `failure`.
    pub fn shutdown(&self, reason: &str, budget: Duration) {
        self.hand_out("SHUTDOWN", || Reply::shutdown(reason, budget));
    }

    pub fn wait_for_next(&self, within: Duration) {
        self.shared
            .wait(within, |shared| shared.api.next_is_pending().then_some(()))
            .unwrap_or_else(|| panic!("no pending next within {within:?}; {}", self.seen()));
    }

    #[must_use]
    pub fn next_is_pending(&self) -> bool {
        self.shared.read(|shared| shared.api.next_is_pending())
    }

    /// Every call so far, in the order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.read(|shared| shared.api.calls.clone())
    }

    /// What the extension did that Lambda forbids or punishes, in words.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.shared.read(|shared| shared.api.violations.clone())
    }

    /// Waits for the first violation, for tests that provoke one.
    #[must_use]
    pub fn wait_for_violation(&self, within: Duration) -> String {
        self.shared
            .wait(within, |shared| shared.api.violations.first().cloned())
            .unwrap_or_else(|| panic!("no violation within {within:?}; {}", self.seen()))
    }

    /// How many TCP connections were accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.listener.accepted()
    }

    /// How many of them never sent a byte.
    #[must_use]
    pub fn silent_connections(&self) -> usize {
        let heard = self.shared.read(|shared| shared.heard);
        self.connections() - heard
    }

    fn hand_out(&self, event: &str, reply: impl Fn() -> Reply) {
        let handed_out =
            self.shared.wait(NEXT_WITHIN, |shared| match shared.api.hand_out(event, &reply) {
                Ok(()) => Some(Ok(())),
                Err(Obstacle::NoNext) => None,
                Err(Obstacle::Fatal(why)) => Some(Err(why)),
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

fn serve(accepted: &Accepted, shared: &Watch<Shared>) {
    if accepted.stream.peek(&mut [0]).is_ok_and(|count| count > 0) {
        shared.update(|shared| shared.heard += 1);
    }
    let mut messages = Messages::new(&*accepted.stream);
    let mut open = true;
    while open {
        match messages.request() {
            Ok(Some(request)) => {
                let at = Instant::now();
                // Answered under the lock: a next is registered before the test can see it, and no
                // two threads write to one connection.
                open = shared.update(|shared| {
                    shared.api.call(request, at, accepted).is_none_or(|reply| {
                        let closes = reply.closes();
                        reply.write(&accepted.stream).is_ok() && !closes
                    })
                });
            }
            Ok(None) => open = false,
            Err(error) => {
                shared.update(|shared| {
                    shared.api.violate(format!("connection {}: {error}", accepted.number));
                });
                open = false;
            }
        }
    }
    shared.update(|shared| shared.api.hang_up(accepted.number));
}
