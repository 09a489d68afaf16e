//! Logs one line for reports without a configured remote.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::logging;
use crate::payload::route::Route;

/// Routes without a remote. The line for them is logged at their first report, not at start.
#[derive(Debug)]
pub struct NoRemote {
    routes: &'static [Route],
    /// The name of the lost reports in the log.
    what: &'static str,
    /// The reason: a variable and its state.
    why: (&'static str, &'static str),
    is_logged: AtomicBool,
}

impl NoRemote {
    /// These routes have no remote, because `variable` is not set.
    pub fn without(variable: &'static str, routes: &'static [Route], what: &'static str) -> Self {
        Self { routes, what, why: (variable, "not set"), is_logged: AtomicBool::new(false) }
    }

    /// Changes the reason: `variable` is `false`.
    pub fn switched_off(self, variable: &'static str) -> Self {
        Self { why: (variable, "false"), ..self }
    }

    /// Logs the line at the first report of these routes.
    pub fn explain(&self, route: Route) {
        if self.routes.contains(&route) && !self.is_logged.swap(true, Ordering::Relaxed) {
            logging::warn!("{}", self.line());
        }
    }

    fn line(&self) -> String {
        let Self { what, why: (variable, why), .. } = self;
        format!("cannot forward {what}: {variable} is {why}; they are refused and lost")
    }

    #[cfg(test)]
    pub fn is_of(&self, routes: &[Route]) -> bool {
        self.routes.iter().any(|it| routes.contains(it))
    }

    #[cfg(test)]
    pub fn variable(&self) -> &'static str {
        self.why.0
    }
}
