//! A freeze in each phase of a send, with each version of TLS, and with several kinds of remotes afterwards.
//! `src/net/freeze/tests.rs` has the lengths of freezes. Look-ups and connection attempts have their own tests.

use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use local_lambda::{Answer, Authority, End, Moment, Pace, Platform, Process, Remote, agent};

use crate::end_strategy;
use crate::support::cases;
use crate::support::fixture::{
    ARRAY, Fixture, PATIENCE, SHUTDOWN, array_of, memory_is_its_own, pass,
};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};
use crate::support::report::items_of;
use crate::support::tcp_proxy::Then::{self, GoesOn, Hangs, Resets, Trickles};
use crate::support::tcp_proxy::{TcpProxy, Towards};

/// Much longer than an attempt may take, so that no delay on a busy machine looks like a freeze.
const FREEZE: Duration = Duration::from_secs(10);

/// After this many bytes, an answer is in its body, also in encrypted bytes.
const IN_BODY: usize = 5_000;

/// Cells at the same time: most of them wait most of the time. A third of all.
const AT_ONCE: usize = 22;

/// How many cells run at a time if an emulated processor encrypts.
const AT_ONCE_EMULATED: usize = 15;

/// More bytes than the sender's socket holds, which is 4 MB.
const LARGE: usize = 8_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Plain,
    Tls12,
    Tls13,
}

const TRANSPORTS: [Transport; 3] = [Transport::Plain, Transport::Tls12, Transport::Tls13];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshake,
    Head,
    Body,
    AnswersHead,
    /// The head of the answer arrives. The rest happens to its body.
    AnswersHeadBefore,
    AnswersBody,
}

const PHASES: [Phase; 6] = [
    Phase::Handshake,
    Phase::Head,
    Phase::Body,
    Phase::AnswersHead,
    Phase::AnswersHeadBefore,
    Phase::AnswersBody,
];

#[derive(Clone, Copy)]
struct Cell {
    transport: Transport,
    phase: Phase,
    then: Then,
    freeze: Duration,
}

impl Display for Cell {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let Self { transport, phase, then, freeze } = self;
        write!(f, "{transport:?}, {phase:?}, {then:?}, {freeze:?}")
    }
}

#[test]
fn a_freeze_in_any_phase_loses_nothing_and_moves_no_other_limit() {
    let at_once = if memory_is_its_own() { AT_ONCE } else { AT_ONCE_EMULATED };
    cases::play(&Cell::all(FREEZE), at_once, Cell::play);
}

#[test]
#[ignore = "takes minutes"]
fn a_freeze_of_two_minutes_in_any_phase_loses_nothing() {
    let cells = Cell::all(Duration::from_secs(120));
    cases::play(&cells, cells.len(), Cell::play);
}

/// The answer's body hangs after a freeze, and the wait for it would be billed.
#[test]
fn an_invocation_is_not_held_for_as_long_as_a_freeze_was() {
    let remote = Remote::start();
    remote.answer_with(|it| match it.number {
        0 => long_answer().cut_after(1_000, End::Hang),
        _ => Answer::accepting(it),
    });
    let lambda = end_strategy::start(Otlp, &Otlp.url(&remote), |it| it.timeout(FREEZE * 5));
    let freezer = lambda.freezer();
    remote.at(Moment::BeforeAnswer, 0, move |_| {
        freezer.freeze();
        pass(FREEZE);
        freezer.thaw();
    });
    let invocation = end_strategy::invoke(&lambda, r#"{"items":1}"#);
    let held = invocation.extension_overhead;
    assert!(held < FREEZE + FREEZE / 2, "{held:?} of which {FREEZE:?} were frozen");
}

/// An answer of several TLS records.
fn long_answer() -> Answer {
    let body = format!("{{{}}}", " ".repeat(20_000));
    let answer = Answer::status(200).header("Content-Type", "application/json").body(body);
    answer.at_pace(Pace::new(2_000, Duration::from_millis(1)))
}

impl Transport {
    fn remote(self, authority: &Authority) -> Remote {
        match self {
            Self::Plain => Remote::start(),
            Self::Tls12 => Remote::start_tls12(authority),
            Self::Tls13 => Remote::start_tls(authority),
        }
    }

    /// The protocol does not matter, because both send in the same way.
    fn protocol(self) -> Protocol {
        if self == Self::Tls13 { Otlp } else { Thundra }
    }
}

impl Cell {
    fn all(freeze: Duration) -> Vec<Self> {
        let mut cells = Vec::new();
        // Over each transport in turn, because those with large reports are to be spread out.
        for then in [GoesOn, Hangs, Resets, Trickles] {
            for phase in PHASES {
                cells.extend(TRANSPORTS.map(|transport| Self { transport, phase, then, freeze }));
            }
        }
        cells.retain(Self::is_possible);
        cells
    }

    fn is_possible(&self) -> bool {
        match self.phase {
            Phase::Handshake => self.transport != Transport::Plain,
            // A head that trickles is the same as a body that trickles.
            Phase::Head => self.then != Trickles,
            _ => true,
        }
    }

    /// Whether the status of the answer arrives in this phase.
    fn has_status(&self) -> bool {
        matches!(self.phase, Phase::AnswersHeadBefore | Phase::AnswersBody)
    }

    /// How long the report may take from the thaw until it is settled: the phase, a pause and a second attempt.
    /// This is less than the freeze, which must not count.
    fn settles_within(&self) -> Duration {
        self.freeze / 12
            * match (self.phase, self.then) {
                // All of a large request, and perhaps a second time.
                (Phase::Head | Phase::Body, _) => 11,
                (Phase::Handshake | Phase::AnswersBody, _) | (_, GoesOn | Resets) => 7,
                _ => 11,
            }
    }

    fn play(self) -> Result<(), String> {
        let (authority, protocol) = (Authority::new(), self.transport.protocol());
        let remote = self.transport.remote(&authority);
        remote.answer_with(|_| long_answer());
        let port = remote.origin().rsplit(':').next().unwrap().parse().unwrap();
        let proxy = TcpProxy::to(port);
        let url = protocol.url(&remote).replace(&port.to_string(), &proxy.port.to_string());
        let environment = [
            ("SSL_CERT_FILE", authority.pem_file().to_str().unwrap()),
            (protocol.url_variable(), &url),
            ("THUNDRA_EXTENSION_BUFFER", "16MiB"),
        ];
        let fixture = protocol.start_on(Platform::start(), remote, &environment);
        let Fixture { platform, remote, process, port, .. } = fixture;
        let process = Arc::new(process);
        let thawed = self.freeze_at_its_moment(&remote, &proxy, &process);
        let bytes = if matches!(self.phase, Phase::Head | Phase::Body) { LARGE } else { 50 };
        let status = protocol.report(ARRAY, &array_of(bytes)).post(port).status;
        check(status == 200, || format!("refused: {status}"))?;
        let thawed = thawed.recv_timeout(self.freeze + PATIENCE).map_err(|_| "it never froze")?;
        while holds_some(port) {
            let since = thawed.elapsed();
            check(since < self.settles_within(), || format!("not settled {since:?} after it"))?;
            pass(Duration::from_millis(20));
        }
        platform.shutdown("spindown", SHUTDOWN);
        let status = process.exit(PATIENCE);
        check(status.success(), || format!("exited with {status}"))?;
        self.look_at_the_end(&remote, &process.log())
    }

    fn freeze_at_its_moment(
        self,
        remote: &Remote,
        proxy: &TcpProxy,
        process: &Arc<Process>,
    ) -> mpsc::Receiver<Instant> {
        let ((thawed, is_thawed), process) = (mpsc::channel(), Arc::clone(process));
        let freeze = move || {
            process.stop();
            pass(self.freeze);
            process.resume();
            thawed.send(Instant::now()).unwrap();
            self.then
        };
        match self.phase {
            Phase::Handshake => proxy.hold(Towards::Client, 50, freeze),
            Phase::Head => remote.at(Moment::BytesRead(20), 0, move |request| match freeze() {
                Hangs => request.end(End::Hang),
                Resets => request.end(End::Reset),
                GoesOn | Trickles => {}
            }),
            Phase::Body => proxy.hold(Towards::Remote, 100_000, freeze),
            Phase::AnswersHead => hold_answer(remote, proxy, 10, move |_| freeze()),
            Phase::AnswersBody => hold_answer(remote, proxy, IN_BODY, move |_| freeze()),
            Phase::AnswersHeadBefore => hold_answer(remote, proxy, 10, move |proxy| {
                let then = freeze();
                proxy.hold(Towards::Client, IN_BODY, move || then);
                GoesOn
            }),
        }
        is_thawed
    }

    /// The report may be at the remote twice only if its answer did not arrive.
    fn look_at_the_end(self, remote: &Remote, log: &str) -> Result<(), String> {
        let accepted = remote.received().iter().filter(|it| it.is_accepted()).map(items_of).count();
        let may_be_twice = self.phase == Phase::AnswersHead && self.then != GoesOn;
        let most = if may_be_twice { 2 } else { 1 };
        check((1..=most).contains(&accepted), || format!("taken {accepted} times; {log}"))?;
        let needs_no_line = self.then == GoesOn || self.has_status();
        check(!needs_no_line || log.is_empty(), || log.to_owned())?;
        check(!log.contains("lost"), || log.to_owned())
    }
}

/// Runs the action after this many bytes of the first answer.
fn hold_answer(
    remote: &Remote,
    proxy: &TcpProxy,
    bytes: usize,
    action: impl FnOnce(&TcpProxy) -> Then + Send + 'static,
) {
    let proxy = proxy.clone();
    remote.at(Moment::BeforeAnswer, 0, move |_| {
        let handle = proxy.clone();
        proxy.hold(Towards::Client, bytes, move || action(&handle));
    });
}

fn holds_some(port: u16) -> bool {
    let request = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let health = agent::request(port, request.as_bytes());
    let health: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
    health["buffer"]["held"] != 0
}

fn check(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}
