//! The fault matrix: each strategy, with each kind of failing remote, a freeze at each moment of a request, and
//! each end of the environment.
//!
//! In every cell, invocations run as without faults. The extension's counts of delivered and lost reports match
//! the remote's. No report arrives twice if the remote's answer could have prevented that.

use std::collections::HashSet;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::time::Duration;

use local_lambda::agent::{Agent, Family};
use local_lambda::{
    Answer, Freezer, Item, KeepAlive, Lambda, Moment, Received, Remote, Setup, Status, free_port,
};
use rstest::rstest;

use crate::support::cases;
use crate::support::closing_line::ClosingLine;
use crate::support::fixture::{ended_well, pass};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

const STRATEGIES: [&str; 4] = ["default", "continuously", "periodically,50", "end"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Far,
    Down,
    Resets,
    Hangs,
    TakesAndAnswersTooLate,
    Asks429,
    Fails500,
    Fails503,
    Refuses401,
    Refuses413,
    Refuses400,
    ClosesIdle,
}

const FAULTS: [Fault; 13] = [
    Fault::None,
    Fault::Far,
    Fault::Down,
    Fault::Resets,
    Fault::Hangs,
    Fault::TakesAndAnswersTooLate,
    Fault::Asks429,
    Fault::Fails500,
    Fault::Fails503,
    Fault::Refuses401,
    Fault::Refuses413,
    Fault::Refuses400,
    Fault::ClosesIdle,
];

#[derive(Clone, Copy, Debug)]
enum Freeze {
    /// After an invocation, as usual on Lambda.
    BetweenInvocations,
    WithinARequest,
    BeforeAnAnswer,
}

const FREEZES: [Freeze; 3] =
    [Freeze::BetweenInvocations, Freeze::WithinARequest, Freeze::BeforeAnAnswer];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Spindown,
    Timeout,
    Failure,
}

const ENDS: [End; 3] = [End::Spindown, End::Timeout, End::Failure];

/// The program that reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reporter {
    Thundras,
    InProtobuf,
    InJson,
    InGzip,
}

const OTLPS: [Reporter; 3] = [Reporter::InProtobuf, Reporter::InJson, Reporter::InGzip];

/// How many cells run at a time. Most of them wait most of the time.
const AT_ONCE: usize = 10;

const INVOCATIONS: usize = 3;
const ITEMS: usize = 2;
const REPORTED: &str = r#"{"items":2}"#;

/// The time of a round trip to the remote.
const FAR: Duration = Duration::from_millis(200);
/// Longer than an attempt's 3 s, and longer than SHUTDOWN's 2 s.
const TOO_LATE: Duration = Duration::from_millis(3_500);
/// Limit of an invocation that waits for no attempt.
const NO_ATTEMPT: Duration = Duration::from_millis(2_500);
/// Limit of the delay of the fastest invocation if none may be delayed. A busy machine delays some.
const HELD_MAX: Duration = Duration::from_millis(500);
const FREEZE: Duration = Duration::from_millis(150);
/// The function's timeout. The agent reports 200 ms before it.
const TIMEOUT: Duration = Duration::from_millis(1_500);

#[derive(Clone, Copy)]
struct Cell {
    reporter: Reporter,
    strategy: &'static str,
    fault: Fault,
    freeze: Freeze,
    end: End,
}

impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { reporter, strategy, fault, freeze, end } = self;
        write!(f, "{reporter:?}, {strategy}, {fault:?}, {freeze:?}, {end:?}")
    }
}

#[test]
fn each_pair_of_faults_strategies_freezes_and_ends_loses_no_report_silently() {
    let cells = [Thundra, Otlp].into_iter().flat_map(pairs).collect::<Vec<_>>();
    cases::play(&cells, AT_ONCE, Cell::play);
}

fn pairs(protocol: Protocol) -> impl Iterator<Item = Cell> {
    STRATEGIES.iter().enumerate().flat_map(move |(s, strategy)| {
        let cell = move |(f, fault): (usize, &Fault)| Cell {
            reporter: Reporter::nth(protocol, f / FREEZES.len() + f + s),
            strategy,
            fault: *fault,
            freeze: FREEZES[(f + s) % FREEZES.len()],
            end: ENDS[(f + 2 * s) % ENDS.len()],
        };
        FAULTS.iter().enumerate().map(cell)
    })
}

/// With OTLP, each fault and each freeze has one of the reporters.
#[rstest]
#[ignore = "takes minutes"]
fn the_whole_matrix(#[values(Thundra, Otlp)] protocol: Protocol) {
    let mut cells = Vec::new();
    for strategy in STRATEGIES {
        for (f, fault) in FAULTS.into_iter().enumerate() {
            for (z, freeze) in FREEZES.into_iter().enumerate() {
                let reporter = Reporter::nth(protocol, f + z);
                cells.extend(ENDS.map(|end| Cell { reporter, strategy, fault, freeze, end }));
            }
        }
    }
    cases::play(&cells, AT_ONCE, Cell::play);
}

impl Cell {
    fn play(self) -> Result<(), String> {
        let remote = Remote::start();
        self.fault.come_over(&remote);
        let lambda = self.start(&remote);
        if !lambda.wait_for_init() {
            let story: Vec<String> = lambda.timeline().iter().map(ToString::to_string).collect();
            return Err(format!("init failed:\n{}", story.join("\n")));
        }
        self.freeze.at_the_first_request(&remote, lambda.freezer());
        let mut held = Duration::MAX;
        for nth in 1..=INVOCATIONS {
            let invocation = lambda.invoke(REPORTED);
            let latency = invocation.reply.latency;
            check(invocation.status == Status::Success, || format!("{:?}", invocation.status))?;
            check(latency < NO_ATTEMPT, || format!("an invocation took {latency:?}"))?;
            held = held.min(invocation.extension_overhead);
            if self.strategy == "end" && self.fault.lets_all_through() {
                let items = items_of(&remote).len();
                check(items == nth * ITEMS, || format!("{items} items at freeze {nth}"))?;
            }
        }
        let never_holds = self.strategy != "end";
        check(!never_holds || held < HELD_MAX, || format!("each was held for {held:?}"))?;
        let more = self.end.bring_about(&lambda, self.reporter.protocol());
        let violations = lambda.violations();
        check(violations.is_empty(), || format!("{violations:?}"))?;
        let (_, timeline) = lambda.shut_down("spindown");
        ended_well(&timeline)?;
        self.balance(
            INVOCATIONS..=INVOCATIONS + more,
            &ClosingLine::of(&timeline, self.reporter.protocol())?,
            &remote,
        )
    }

    fn start(self, remote: &Remote) -> Lambda {
        let timeout = if self.end == End::Timeout { TIMEOUT } else { Duration::from_secs(30) };
        self.reporter
            .lambda(remote)
            .timeout(timeout)
            .env("THUNDRA_EXTENSION_FLUSH", self.strategy)
            .silent_on_panic()
            .start()
            .unwrap()
    }

    /// Compares the extension's counts with the sent reports and with the remote's.
    fn balance(
        self,
        reports: RangeInclusive<usize>,
        count: &ClosingLine,
        remote: &Remote,
    ) -> Result<(), String> {
        let ClosingLine { accepted, delivered, lost } = *count;
        let received = remote.received();
        let items = items_of(remote);
        let distinct = items.iter().collect::<HashSet<_>>().len();
        let seen = || {
            format!(
                "{reports:?} reports, {accepted} accepted, {delivered} delivered, {lost} lost; at the \
                 remote {} items, {distinct} of them distinct, in {} requests",
                items.len(),
                received.len()
            )
        };
        check(reports.contains(&accepted) && delivered + lost == accepted, seen)?;
        if self.fault == Fault::TakesAndAnswersTooLate {
            return check(distinct >= delivered * ITEMS, seen);
        }
        check(items.len() == distinct && distinct == delivered * ITEMS, seen)?;
        check(lost == 0 || !self.fault.lets_all_through(), seen)?;
        check(delivered == 0 || self.fault.lets_all_through(), seen)
    }
}

impl Reporter {
    /// The protocol's reporters in turn.
    fn nth(protocol: Protocol, nth: usize) -> Self {
        match protocol {
            Thundra => Self::Thundras,
            Otlp => OTLPS[nth % OTLPS.len()],
        }
    }

    fn protocol(self) -> Protocol {
        if self == Self::Thundras { Thundra } else { Otlp }
    }

    fn lambda(self, remote: &Remote) -> Setup {
        let (protocol, port) = (self.protocol(), free_port());
        let agent = move || match self {
            Self::Thundras => Agent::local(Family::CatchpointPython, port),
            Self::InProtobuf => Agent::local(Family::OtelPython, port),
            Self::InJson => Agent::local(Family::OtelNode, port),
            Self::InGzip => Agent::local(Family::OtelPython, port).gzip(),
        };
        protocol.lambda_of(&protocol.url(remote), port, agent)
    }
}

impl Fault {
    fn come_over(self, remote: &Remote) {
        let answer = match self {
            Self::None => return,
            Self::Down => return remote.go_down(),
            Self::ClosesIdle => {
                return remote.keep_alive(KeepAlive::default().idle(Duration::from_millis(20)));
            }
            Self::Far => {
                return remote.answer_with(|it| Answer::accepting(it).after(FAR));
            }
            Self::Resets => Answer::Reset,
            Self::Hangs => Answer::Hang,
            Self::TakesAndAnswersTooLate => Answer::ok().after(TOO_LATE),
            Self::Asks429 => Answer::status(429).header("Retry-After", "1"),
            Self::Fails500 => Answer::status(500),
            Self::Fails503 => Answer::status(503),
            Self::Refuses401 => Answer::status(401),
            Self::Refuses413 => Answer::status(413),
            Self::Refuses400 => Answer::status(400),
        };
        remote.answer_with(move |_| answer.clone());
    }

    fn lets_all_through(self) -> bool {
        matches!(self, Self::None | Self::Far | Self::ClosesIdle)
    }
}

impl Freeze {
    fn at_the_first_request(self, remote: &Remote, freezer: Freezer) {
        let moment = match self {
            Self::BetweenInvocations => return,
            // Shorter than any report, also in gzip.
            Self::WithinARequest => Moment::BodyRead(100),
            Self::BeforeAnAnswer => Moment::BeforeAnswer,
        };
        remote.at(moment, 0, move |_| {
            // If Lambda has frozen the environment after the invocation, only Lambda may thaw it.
            if freezer.freeze() {
                pass(FREEZE);
                freezer.thaw();
            }
        });
    }
}

impl End {
    /// Causes this end. Returns the number of reports, because an agent may miss its moment on a busy machine.
    fn bring_about(self, lambda: &Lambda, protocol: Protocol) -> usize {
        let (payload, reports) = match self {
            Self::Spindown => return 0,
            // OpenTelemetry's agents do not watch the deadline.
            Self::Timeout => (r#"{"outcome":"hang","items":2}"#, usize::from(protocol == Thundra)),
            Self::Failure => (r#"{"outcome":"crash"}"#, 0),
        };
        let status = lambda.invoke(payload).status;
        assert!(matches!(status, Status::Timeout | Status::Failure(_)), "{status:?}");
        reports
    }
}

/// The items that the remote has accepted.
fn items_of(remote: &Remote) -> Vec<Item> {
    let received = remote.received();
    received.iter().filter(|it| it.is_accepted()).flat_map(Received::items).collect()
}

fn check(holds: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(seen()) }
}
