//! Where an agent may be.

use std::path::PathBuf;

/// The directories in which an agent may be, and how the runtime gets its handler.
#[derive(Debug)]
pub struct Paths {
    /// The directory of the function's package.
    pub task: PathBuf,
    /// The directory of all layers.
    pub layers: PathBuf,
    /// The directory into which the interpreter was installed.
    pub prefix: Option<PathBuf>,
    /// Whether an argument names the handler, as in images without AWS's base image. The runtime then
    /// ignores the handler in the environment.
    pub has_handler_argument: bool,
}

impl Paths {
    /// Checks that the environment selects the handler.
    ///
    /// # Errors
    /// Why the runtime would not call an agent's handler that is set in the environment.
    pub fn check_wrappable(&self) -> Result<(), String> {
        if self.has_handler_argument {
            return Err("an argument of the runtime names the handler".to_owned());
        }
        Ok(())
    }
}
