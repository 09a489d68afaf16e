//! Median and quartiles of a sample.

use std::time::Duration;

use super::span::ms;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quartiles {
    pub lower: f64,
    pub median: f64,
    pub upper: f64,
}

impl Quartiles {
    /// The quartiles in milliseconds.
    ///
    /// # Panics
    ///
    /// When there is no sample.
    pub fn of(samples: &[Duration]) -> Self {
        Self::of_numbers(samples.iter().copied().map(ms))
    }

    /// Interpolates linearly between two samples.
    ///
    /// # Panics
    ///
    /// When there is no sample.
    pub fn of_numbers(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let quarter = |number: usize| {
            // Positions count in quarters of a step between two samples, so that no float becomes an index.
            let position = number * (sorted.len() - 1);
            let below = sorted[position / 4];
            let above = sorted[(position / 4 + 1).min(sorted.len() - 1)];
            let quarters = u8::try_from(position % 4).expect("a remainder of 4 is small");
            below + (above - below) * f64::from(quarters) / 4.0
        };
        Self { lower: quarter(1), median: quarter(2), upper: quarter(3) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(samples_ms: &[u64], [lower, median, upper]: [f64; 3]) {
        let samples: Vec<Duration> =
            samples_ms.iter().copied().map(Duration::from_millis).collect();
        assert_eq!(Quartiles::of(&samples), Quartiles { lower, median, upper });
    }

    #[test]
    fn the_median_is_the_middle_of_the_sorted_samples() {
        check(&[7], [7.0, 7.0, 7.0]);
        check(&[5, 1, 4, 2, 3], [2.0, 3.0, 4.0]);
    }

    #[test]
    fn between_two_samples_is_interpolated() {
        check(&[1, 2], [1.25, 1.5, 1.75]);
        check(&[40, 10, 30, 20], [17.5, 25.0, 32.5]);
    }
}
