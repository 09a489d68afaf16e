//! Measures the time that a wrapper adds to the start of a runtime.

use std::io;

use super::contender::Contender;
use super::samples::Samples;
use super::size::Size;
use super::started::{Over, Started};
use crate::command::span::ms;

/// `floor` is the runtime. The measured time ends when it runs.
pub fn measure(contender: &Contender, size: Size) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let Some(runtime) = &contender.wraps else { return Ok(samples) };
    let (first, argument) = match &contender.path {
        Some(wrapper) => (wrapper, Some(runtime)),
        None => (runtime, None),
    };
    let whole = Contender { path: Some(first.clone()), ..contender.clone() };
    let launched = Started::launch(&whole, size, Over::Tcp, |launch| match argument {
        Some(runtime) => launch.argument(runtime),
        None => launch,
    })?;
    let Some(started) = launched else { return Ok(samples) };
    started.notes(&mut samples);
    let register = started.first("/register");
    samples.add("wrapped", ms(register.duration_since(started.executed_at)));
    started.shut_down();
    Ok(samples)
}
