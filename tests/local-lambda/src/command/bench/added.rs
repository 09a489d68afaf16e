//! The time that an extension adds to invocations, with remotes of different kinds.

use std::io;
use std::time::Duration;

use local_lambda::{Answer, Remote};

use super::contender::Contender;
use super::fixture::Fixture;
use super::invocations::WARM_UP;
use super::samples::{Samples, median};
use super::size::Size;
use crate::command::span::ms;

const INVOCATIONS: usize = 20;
/// The event at which the built-in function reports.
const REPORTING: &str = "{}";
const SILENT: &str = r#"{"reports":0}"#;

/// The remotes by distance, each with the names of its figures.
const REMOTES: [(Away, &str, &str); 5] = [
    (Away::Milliseconds(0), "wait_0", "billed_0"),
    (Away::Milliseconds(4), "wait_4", "billed_4"),
    (Away::Milliseconds(50), "wait_50", "billed_50"),
    (Away::Milliseconds(200), "wait_200", "billed_200"),
    (Away::Dead, "wait_dead", "billed_dead"),
];

#[derive(Clone, Copy)]
enum Away {
    Milliseconds(u64),
    /// The remote refuses connections.
    Dead,
}

pub fn measure(contender: &Contender, size: Size) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let mut silent_too = true;
    for (away, wait, billed) in REMOTES {
        let fixture = Fixture::start(contender, size, remote(away))?;
        fixture.notes(&mut samples);
        if silent_too {
            silent_too = false;
            invoke(&fixture, SILENT, ["silent_wait", "silent_billed"], &mut samples)?;
        }
        if !fixture.takes_reports() {
            break;
        }
        invoke(&fixture, REPORTING, [wait, billed], &mut samples)?;
    }
    Ok(samples)
}

fn remote(away: Away) -> Remote {
    let remote = Remote::start();
    match away {
        Away::Milliseconds(time) => {
            let time = Duration::from_millis(time);
            remote.answer_with(move |it| Answer::accepting_unread(it).after(time));
        }
        Away::Dead => remote.go_down(),
    }
    remote
}

/// Invokes one environment several times. Its invocations depend on each other, so their median is one sample.
fn invoke(
    fixture: &Fixture,
    event: &str,
    [wait, billed]: [&str; 2],
    samples: &mut Samples,
) -> io::Result<()> {
    for _ in 0..WARM_UP {
        fixture.invoke(event)?;
    }
    let (mut waits, mut bills) = (Vec::new(), Vec::new());
    for _ in 0..INVOCATIONS {
        let invocation = fixture.invoke(event)?;
        waits.push(ms(invocation.reply.latency));
        bills.push(ms(invocation.duration));
    }
    samples.add(wait, median(waits));
    samples.add(billed, median(bills));
    Ok(())
}
