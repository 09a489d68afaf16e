//! Freezes an execution environment at a moment that a test chooses, from any thread.

use std::sync::Arc;

use crate::generation::Ground;

/// A freeze within an invocation stops the processes, not the platform's clock: the function's
/// timeout goes on. Threads of this program go on as well: a function that is made of them, agents
/// and remotes.
#[derive(Clone)]
pub struct Freezer {
    ground: Arc<Ground>,
}

impl Freezer {
    pub(crate) fn of(ground: &Arc<Ground>) -> Self {
        Self { ground: Arc::clone(ground) }
    }

    /// Returns when no process of the execution environment runs any more. Nothing happens on
    /// Managed Instances, which never freeze, nor after its end, nor when it is frozen already:
    /// `false`.
    #[expect(clippy::must_use_candidate, reason = "a test may know that it runs")]
    pub fn freeze(&self) -> bool {
        self.ground.freeze()
    }

    /// Nothing happens unless it is frozen.
    pub fn thaw(&self) {
        self.ground.thaw();
    }

    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.ground.container.is_frozen()
    }
}
