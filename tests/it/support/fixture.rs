//! One extension on one local Lambda with one remote, and the checks that every test makes at the end.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use local_lambda::agent::{self, Response};
use local_lambda::{
    Delivery, Entry, Event, Launch, Moment, Platform, Process, Received, Remote, Role, Standstills,
    free_port,
};

use crate::support::protocol::Protocol::{self, Thundra};
use crate::support::report::{items_of, text_of};

/// Time limit of any wait in a test. It is so long that a slow machine does not reach it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The time that Lambda gives all extensions together for shutdown.
pub const SHUTDOWN: Duration = Duration::from_secs(2);

/// Between two looks at what a test waits for. Without a pause the looks take a core from the other tests.
pub const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

pub const ARRAY: &str = "/v1/monitoring-data";
pub const COMPOSITE: &str = "/v1/composite-monitoring-data";

/// Nothing is sent before SHUTDOWN, unless half of the buffer is full.
pub const COLLECTS: (&str, &str) = ("THUNDRA_EXTENSION_FLUSH", "periodically,900000");

/// The extension under test.
pub fn binary() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_thundra-lambda-extension");
    env::var_os("EXTENSION_BINARY").map_or_else(|| built.into(), PathBuf::from)
}

/// Whether the binary is a layer's, which has its own allocator.
pub fn is_shipped() -> bool {
    env::var_os("EXTENSION_BINARY").is_some()
}

/// Whether the process's memory is the extension's alone. An emulator needs some too.
pub fn memory_is_its_own() -> bool {
    env::var_os("LOCAL_LAMBDA_RUNNER").is_none()
}

/// A base URL at which nothing listens.
pub fn nowhere() -> String {
    format!("http://127.0.0.1:{}/v1", free_port())
}

/// Waits. For tests about time itself.
pub fn pass(time: Duration) {
    let (_nobody_sends, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

/// Checks all cases at the same time, because most of them wait most of the time.
/// A failure names its cases.
#[track_caller]
pub fn each_at_once<T: Debug + Send>(cases: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    let check = &check;
    let failed: Vec<String> = thread::scope(|scope| {
        let start = |case: T| (format!("{case:?}"), scope.spawn(move || check(case)));
        let checks: Vec<_> = cases.into_iter().map(start).collect();
        checks.into_iter().filter_map(|(name, it)| it.join().err().map(|_| name)).collect()
    });
    assert!(failed.is_empty(), "the failed cases: {failed:#?}");
}

/// Runs a test that has only the time that Lambda gives. It may fail only if the machine stood still or was busy
/// meanwhile, and is then repeated.
pub fn retry_after_standstill(test: impl Fn()) {
    const ATTEMPTS: usize = 5;
    for nth in 1..=ATTEMPTS {
        let (began, standstills) = (Instant::now(), Standstills::watch());
        let Err(panic) = catch_unwind(AssertUnwindSafe(&test)) else { return };
        if nth == ATTEMPTS || !stood_still_since(began, &standstills) {
            resume_unwind(panic);
        }
    }
}

/// Whether the machine has stood still since then, or was busy, for so long that the test had too little time.
pub fn stood_still_since(began: Instant, standstills: &Standstills) -> bool {
    // Half of the time that the extension leaves for its exit at SHUTDOWN.
    const AT_LEAST: Duration = Duration::from_millis(50);
    const SHARE: u32 = 50;
    // The extension exits after several steps in several threads. Each of them may have waited for a processor.
    const BUSY: f64 = 0.2;
    let now = Instant::now();
    let stood_still = standstills.within(began, now) >= AT_LEAST.max((now - began) / SHARE);
    stood_still || standstills.busy() > BUSY
}

/// Starts a thread of a test's server. It ends with its connection.
pub fn spawn(body: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("double".to_owned()).spawn(body).unwrap();
}

/// # Errors
///
/// When an extension was killed, or ended with another code than 0.
pub fn ended_well(timeline: &[Entry]) -> Result<(), String> {
    let ill = timeline.iter().find(|entry| match &entry.event {
        Event::Killed { process: Role::Extension(_) } => true,
        Event::Exited { process: Role::Extension(_), status } => status != "exit status: 0",
        _ => false,
    });
    ill.map_or(Ok(()), |entry| Err(entry.to_string()))
}

pub struct Fixture {
    /// The protocol of the agents and of the remote.
    pub protocol: Protocol,
    pub platform: Platform,
    pub remote: Remote,
    pub process: Process,
    pub port: u16,
}

impl Fixture {
    /// A fixture with a remote that accepts everything except OTLP that does not decode.
    pub fn start() -> Self {
        Thundra.start()
    }

    /// As [`Self::start`], with these variables set.
    pub fn with(environment: &[(&str, &str)]) -> Self {
        Thundra.start_with(environment)
    }

    /// Starts the extension, and waits until it polls for its first event.
    pub fn on(platform: Platform, remote: Remote, environment: &[(&str, &str)]) -> Self {
        Thundra.start_on(platform, remote, environment)
    }

    /// As [`Self::on`], with agents and a remote of this protocol.
    pub fn of(
        protocol: Protocol,
        platform: Platform,
        remote: Remote,
        environment: &[(&str, &str)],
    ) -> Self {
        let port = free_port();
        let launch = Launch::of(binary()).on(&platform);
        let its = protocol.environment(port, &protocol.url(&remote));
        let launch = its.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let set = |launch: Launch, (name, value): &(&str, &str)| launch.env(name, value);
        let process = environment.iter().fold(launch, set).start();
        platform.wait_for_next(PATIENCE);
        Self { protocol, platform, remote, process, port }
    }

    /// The names of the extension's threads.
    pub fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.pid())).unwrap();
        // A thread may end meanwhile.
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
        let names = tasks.filter_map(|task| name(task.ok()?));
        names.map(|it| it.trim().to_owned()).collect()
    }

    /// Posts a report, which must be accepted.
    #[track_caller]
    pub fn report(&self, path: &str, body: &str) {
        let response = self.post(path, body);
        let said = if self.protocol == Thundra { "{}" } else { "" };
        assert_eq!((response.status, text(&response.body)), (200, said));
    }

    pub fn post(&self, path: &str, body: &str) -> Response {
        self.protocol.report(path, body).post(self.port)
    }

    /// Posts a report with these headers, and without any other key.
    pub fn post_with(&self, headers: &str, path: &str, body: &str) -> Response {
        agent::request(self.port, &self.protocol.report(path, body).request(headers))
    }

    /// As [`Self::report`], but repeats it while the buffer is full.
    #[track_caller]
    pub fn report_when_there_is_room(&self, path: &str, body: &str) {
        let waited = Instant::now();
        while self.post(path, body).status == self.protocol.full() {
            assert!(waited.elapsed() < PATIENCE, "{}", self.health());
        }
    }

    /// Delays the answer to a first request, of one item, until the action is over. So the reports of the
    /// action wait together. The remote accepts the first request.
    pub fn while_the_remote_is_busy(&self, action: impl FnOnce()) {
        let (go_on, going_on) = mpsc::channel();
        self.remote.at(Moment::BeforeAnswer, 0, move |_| {
            // The sender is dropped if the action has panicked.
            let _ = going_on.recv_timeout(PATIENCE);
        });
        self.report(ARRAY, "[0]");
        self.received(1);
        action();
        go_on.send(()).unwrap();
    }

    /// Waits until the remote has received `count` requests, and returns them.
    #[track_caller]
    pub fn received(&self, count: usize) -> Vec<Received> {
        self.remote.wait_for(count, PATIENCE)
    }

    /// Waits until the remote has received `count` items in arrays, and returns all in the order of arrival.
    /// The times of reports determine how they are merged.
    #[track_caller]
    pub fn items_received(&self, count: usize) -> Vec<String> {
        items_at(&self.remote, count)
    }

    /// The items that the remote has accepted so far, in the order of arrival.
    pub fn accepted_items(&self) -> Vec<String> {
        let received = self.remote.received();
        let accepted = received.iter().filter(|it| it.is_accepted());
        accepted.flat_map(items_of).collect()
    }

    /// Waits until the remote has accepted each of these items. Returns how often each was delivered.
    #[track_caller]
    pub fn wait_for_items(&self, items: &[impl AsRef<str>]) -> Delivery {
        let items: Vec<String> =
            items.iter().map(|item| self.protocol.item(item.as_ref())).collect();
        self.remote.wait_for_items(&items, PATIENCE)
    }

    /// Waits until the buffer is empty. That is shortly after the remote's answer.
    #[track_caller]
    pub fn wait_for_an_empty_buffer(&self) {
        self.wait_for_health(|it| it["buffer"]["held"] == 0);
    }

    #[track_caller]
    pub fn wait_for_health(&self, holds: impl Fn(&serde_json::Value) -> bool) {
        let waited = Instant::now();
        while !holds(&self.health()) {
            assert!(waited.elapsed() < PATIENCE, "{}", self.health());
            pass(BETWEEN_LOOKS);
        }
    }

    /// As [`Self::wait_for_health`], for this protocol's account.
    #[track_caller]
    pub fn wait_for_account(&self, holds: impl Fn(&serde_json::Value) -> bool) {
        self.wait_for_health(|it| holds(&it[self.protocol.account()]));
    }

    /// Waits for a line with this text.
    #[track_caller]
    pub fn wait_for_log(&self, part: &str) -> String {
        self.process.wait_for_log(part, PATIENCE)
    }

    /// The URL of arrays in the form of the log.
    pub fn place(&self) -> String {
        self.protocol.place(&self.remote)
    }

    pub fn bodies_received(&self, count: usize) -> Vec<String> {
        self.received(count).iter().map(text_of).collect()
    }

    pub fn health(&self) -> serde_json::Value {
        let request = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let response = agent::request(self.port, request.as_bytes());
        assert_eq!(response.status, 200);
        serde_json::from_slice(&response.body).unwrap()
    }

    /// Ends the execution environment and returns the extension's log. The extension must have obeyed Lambda's
    /// rules all the time, and must exit with 0.
    #[track_caller]
    pub fn shut_down(self) -> String {
        self.shut_down_leaving(|_| ()).0
    }

    /// As [`Self::shut_down`]. `look` then inspects what remains.
    #[track_caller]
    pub fn shut_down_leaving<R>(self, look: impl FnOnce(&Self) -> R) -> (String, R) {
        self.platform.shutdown("spindown", SHUTDOWN);
        let status = self.process.exit(PATIENCE);
        let log = self.process.log();
        assert!(status.success(), "exited with {status}; its log:\n{log}");
        assert_eq!(self.platform.violations(), Vec::<String>::new());
        (log, look(&self))
    }
}

/// As [`Fixture::items_received`].
#[track_caller]
pub fn items_at(remote: &Remote, count: usize) -> Vec<String> {
    for requests in 1.. {
        let received = remote.wait_for(requests, PATIENCE);
        let items: Vec<String> = received.iter().flat_map(items_of).collect();
        if items.len() >= count {
            return items;
        }
    }
    unreachable!("an item takes at most one request");
}

#[track_caller]
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A report of exactly this many bytes.
pub fn array_of(bytes: usize) -> String {
    format!("[\"{}\"]", "x".repeat(bytes - 4))
}

/// A report whose head declares this length and has this additional header.
pub fn report_of(length: usize, header: &str, body: &str) -> String {
    format!("POST {ARRAY} HTTP/1.1\r\nHost: a\r\n{header}Content-Length: {length}\r\n\r\n{body}")
}

/// All bytes of the answer until the connection ends, if it connects.
pub fn exchange(address: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
