//! The signals of OTLP, each with its own path.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// The path at which a receiver accepts the signal.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    /// The signal for a request's path. A receiver may have another path before it.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        Self::ALL.into_iter().find(|signal| path.ends_with(signal.path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_tells_the_signal() {
        for signal in Signal::ALL {
            assert_eq!(Signal::of(signal.path()), Some(signal));
            assert_eq!(Signal::of(&format!("/otlp{}?a=b", signal.path())), Some(signal));
        }
        assert_eq!(Signal::of("/v1/traces/more"), None);
        assert_eq!(Signal::of("/v1/monitoring-data"), None);
    }
}
