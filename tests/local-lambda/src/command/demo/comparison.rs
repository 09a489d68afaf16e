//! The measurements of both ways.

use std::time::Duration;

use serde::Serialize;

use super::way::{Outcome, as_ms};

#[derive(Serialize)]
pub struct Comparison {
    pub memory_mb: u32,
    /// The CPU share for the memory size. 1.0 is one CPU.
    pub cpus: f64,
    #[serde(rename = "collector_latency_ms", serialize_with = "as_ms")]
    pub collector_latency: Duration,
    /// The number of invocations of each way, without its cold start.
    pub invocations: usize,
    /// The shortest freeze between two invocations of one way.
    #[serde(rename = "freeze_ms", serialize_with = "as_ms")]
    pub freeze: Duration,
    pub notes: Vec<String>,
    pub direct: Outcome,
    pub through_extension: Outcome,
}

impl Comparison {
    pub fn is_good(&self) -> bool {
        [&self.direct, &self.through_extension]
            .iter()
            .all(|way| way.failures.is_empty() && way.reports.is_exact())
    }

    /// A summary, from the numbers alone.
    pub fn sentence(&self) -> String {
        let (direct, through) = (&self.direct, &self.through_extension);
        let (before, after) = (direct.latency.median, through.latency.median);
        let waits = if after < before {
            format!("{after:.1} ms instead of {before:.1} ms: {:.1} times as fast", before / after)
        } else {
            format!("{after:.1} ms instead of {before:.1} ms: no faster here")
        };
        let billed = if through.billed_ms < direct.billed_ms {
            let saved = 100 * (direct.billed_ms - through.billed_ms) / direct.billed_ms;
            format!("{saved} % less is billed")
        } else {
            format!("{} ms are billed instead of {}", through.billed_ms, direct.billed_ms)
        };
        let cold = through.cold_start.billed_ms.abs_diff(direct.cold_start.billed_ms);
        let order = if through.cold_start.billed_ms > direct.cold_start.billed_ms {
            "more"
        } else {
            "less"
        };
        let arrived = if through.reports.is_exact() {
            "every report arrived once".to_owned()
        } else {
            let lost = through.reports.missing;
            format!("{lost} reports are missing, {} came again", through.reports.repeated)
        };
        format!(
            "Through the extension a caller waits {waits}; {billed}, the cold start takes {cold} ms \
             {order}, and {arrived}."
        )
    }
}
