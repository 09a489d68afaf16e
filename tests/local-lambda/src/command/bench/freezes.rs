//! Counts the reports that arrive while the environment freezes again and again.

use std::io;
use std::time::Duration;

use local_lambda::{Answer, Remote};

use super::contender::Contender;
use super::figure::number;
use super::fixture::Fixture;
use super::samples::Samples;
use super::size::Size;
use crate::command::pause::pause;
use crate::command::reports::Reports;

const INVOCATIONS: usize = 30;
const AWAY: Duration = Duration::from_millis(4);
const FREEZE: Duration = Duration::from_millis(20);
/// Every third freeze, the remote closes its idle connections.
const CLOSES_EACH: usize = 3;

pub fn measure(contender: &Contender, size: Size) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let remote = Remote::start();
    remote.answer_with(|it| Answer::accepting_unread(it).after(AWAY));
    let fixture = Fixture::start(contender, size, remote)?;
    fixture.notes(&mut samples);
    if !fixture.takes_reports() {
        return Ok(samples);
    }
    let mut invocations = Vec::new();
    for number in 0..INVOCATIONS {
        invocations.push(fixture.invoke("{}")?);
        pause(FREEZE);
        if number % CLOSES_EACH == 0 {
            fixture.remote.close_idle();
        }
    }
    let Fixture { lambda, remote, .. } = fixture;
    drop(lambda.shut_down("spindown"));
    let reports = Reports::of(&invocations, &remote);
    let counts = [("once", reports.once), ("twice", reports.repeated), ("never", reports.missing)];
    for (figure, count) in counts {
        samples.add(figure, number(count));
    }
    Ok(samples)
}
