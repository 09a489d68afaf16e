//! Freezes an execution environment at a moment that a test chooses, from any thread.

use std::sync::Arc;

use crate::generation::Ground;

/// A freeze during an invocation stops the processes. It does not stop the platform's clock, so the function's
/// timeout can pass. It also does not stop threads of this program: a function that runs as threads, agents and
/// remotes.
#[derive(Clone)]
pub struct Freezer {
    ground: Arc<Ground>,
}

impl Freezer {
    pub(crate) fn of(ground: &Arc<Ground>) -> Self {
        Self { ground: Arc::clone(ground) }
    }

    /// Returns when no process of the execution environment runs any more. `false` on Managed Instances, after
    /// the environment's end, or if it is frozen already. Then nothing happens.
    #[expect(clippy::must_use_candidate, reason = "a test may know that it runs")]
    pub fn freeze(&self) -> bool {
        self.ground.freeze()
    }

    /// Does nothing unless the environment is frozen.
    pub fn thaw(&self) {
        self.ground.thaw();
    }

    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.ground.container.is_frozen()
    }
}
