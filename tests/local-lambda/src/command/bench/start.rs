//! Measures the time from exec to the first `next`.

use std::io;

use super::contender::Contender;
use super::figure::{microseconds, number};
use super::samples::Samples;
use super::size::Size;
use super::started::{Over, Started};
use crate::command::span::ms;

/// The calls that arrived before the first `next` have their exact times.
pub fn measure(contender: &Contender, size: Size) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let Some(started) = Started::start(contender, size, Over::Tcp)? else { return Ok(samples) };
    started.notes(&mut samples);
    let (cpu, footprint) = (started.cpu(), started.footprint());
    for (figure, path) in [("register", "/register"), ("first_next", "/event/next")] {
        samples.add(figure, ms(started.first(path).duration_since(started.executed_at)));
    }
    samples.add("start_cpu", microseconds(cpu.all));
    samples.add("paged_in", number(footprint.file_kb));
    started.shut_down();
    Ok(samples)
}
