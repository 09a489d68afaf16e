//! What becomes of reports when the environment is frozen again and again.

use std::io;
use std::time::Duration;

use sandbox::{Answer, Remote};

use super::contender::Contender;
use super::figure::number;
use super::samples::Samples;
use super::scene::Scene;
use super::size::Size;
use crate::command::pause::pause;
use crate::command::reports::Reports;

const INVOCATIONS: usize = 30;
const AWAY: Duration = Duration::from_millis(4);
const FREEZE: Duration = Duration::from_millis(20);
/// In each of so many freezes the remote closes the connections that wait.
const CLOSES_EACH: usize = 3;

pub fn measure(contender: &Contender, size: Size) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let remote = Remote::start();
    remote.answer_with(|it| Answer::accepting_unread(it).after(AWAY));
    let scene = Scene::start(contender, size, remote)?;
    scene.notes(&mut samples);
    if !scene.takes_reports() {
        return Ok(samples);
    }
    let mut invocations = Vec::new();
    for number in 0..INVOCATIONS {
        invocations.push(scene.invoke("{}")?);
        pause(FREEZE);
        if number % CLOSES_EACH == 0 {
            scene.remote.close_idle();
        }
    }
    let Scene { lambda, remote, .. } = scene;
    drop(lambda.shut_down("spindown"));
    let reports = Reports::of(&invocations, &remote);
    let counts = [("once", reports.once), ("twice", reports.repeated), ("never", reports.missing)];
    for (figure, count) in counts {
        samples.add(figure, number(count));
    }
    Ok(samples)
}
