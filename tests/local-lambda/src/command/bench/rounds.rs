//! Rounds. In each round, every contender is measured once.

use std::io;
use std::time::Duration;

use fastrand::Rng;

use super::contender::{self, Contender};
use super::figure::number;
use super::machine::Machine;
use super::measure::Measure;
use super::results::Results;
use super::samples::Samples;
use super::size::Size;
use crate::command::output;
use crate::command::pause::pause;

/// The pause between two contenders, in which the earlier one's processes and connections end.
const BETWEEN_TWO: Duration = Duration::from_millis(30);

pub struct Rounds<'a> {
    contenders: &'a [Contender],
    runs: usize,
    of_files: Vec<Samples>,
    doubts: Vec<String>,
    /// Changes the order in each round. With a fixed order, each contender would always feel the effects of the
    /// same predecessor, also when it is measured again.
    dice: Rng,
}

impl<'a> Rounds<'a> {
    /// # Errors
    ///
    /// When a contender's file cannot be read.
    pub fn of(contenders: &'a [Contender], runs: u8) -> io::Result<Self> {
        let mut doubts = Vec::new();
        let of_files = of_files(contenders, &mut doubts)?;
        Ok(Self { contenders, runs: runs.into(), of_files, doubts, dice: Rng::with_seed(0) })
    }

    /// The results, and the failures. After a failure, the contender's measure is not repeated.
    ///
    /// # Errors
    ///
    /// When the progress cannot be printed.
    pub fn measure(&mut self, plan: &[(Size, Measure)]) -> io::Result<(Results, Vec<String>)> {
        let (mut sizes, mut failures) = (Vec::new(), Vec::new());
        for size in Size::ALL {
            let mut measures = plan.iter().filter(|it| it.0 == size).peekable();
            if measures.peek().is_none() {
                continue;
            }
            let mut samples = self.of_files.clone();
            for (_, measure) in measures {
                self.play(size, *measure, &mut samples, &mut failures)?;
            }
            sizes.push((size, samples));
        }
        output::progress("")?;
        let results = Results {
            machine: Machine::this(),
            runs: self.runs,
            contenders: self.contenders.iter().map(|it| it.name.clone()).collect(),
            variables: self.contenders.iter().map(Contender::own_variables).collect(),
            doubts: self.doubts.clone(),
            sizes,
        };
        Ok((results, failures))
    }

    fn play(
        &mut self,
        size: Size,
        measure: Measure,
        samples: &mut [Samples],
        failures: &mut Vec<String>,
    ) -> io::Result<()> {
        let contenders = self.contenders;
        let rounds = measure.rounds(self.runs);
        let is_for = |&index: &usize| measure.applies_to(&contenders[index]);
        let mut order: Vec<usize> = (0..contenders.len()).filter(is_for).collect();
        for round in 0..=rounds {
            output::progress(&format!("{size:?}: {measure:?}, round {round} of {rounds}"))?;
            self.dice.shuffle(&mut order);
            order.retain(|&index| {
                pause(BETWEEN_TWO);
                let measured = measure.once(&contenders[index], size);
                match measured {
                    // The first round does not count.
                    Ok(_) if round == 0 => {}
                    Ok(measured) => samples[index].extend(measured),
                    Err(error) => {
                        failures.push(error.to_string());
                        return false;
                    }
                }
                true
            });
        }
        Ok(())
    }
}

fn of_files(contenders: &[Contender], doubts: &mut Vec<String>) -> io::Result<Vec<Samples>> {
    let (mut all, mut linked) = (Vec::new(), [Vec::new(), Vec::new()]);
    for Contender { name, path, .. } in contenders {
        let mut samples = Samples::default();
        if let Some(path) = path {
            let on_disk = contender::on_disk(path)?;
            samples.add("binary", number(on_disk.bytes));
            samples.add("deflated", number(on_disk.deflated));
            if let Some(is_dynamic) = on_disk.is_dynamic {
                linked[usize::from(is_dynamic)].push(name.as_str());
            }
        }
        all.push(samples);
    }
    let [fixed, dynamic] = linked.map(|names| names.join(", "));
    if !fixed.is_empty() && !dynamic.is_empty() {
        doubts.push(format!(
            "static: {fixed}; loaded with their libraries, which takes longer: {dynamic}"
        ));
    }
    Ok(all)
}
