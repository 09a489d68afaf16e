//! The function's handler, and its exchange for an agent's, which then calls it.

use std::path::Path;

use crate::environment::Environment;

/// What the runtime calls.
pub const HANDLER: &str = "_HANDLER";

/// Whether somebody has told an agent which handler to call: then that is set up already.
pub fn is_set_up(environment: &Environment, prefix: &str) -> bool {
    environment.setting(prefix, "HANDLER").is_some()
}

/// The function's own.
///
/// # Errors
/// Why there is nothing that an agent could call.
pub fn own(environment: &Environment, task: &Path) -> Result<String, String> {
    let Some(own) = environment.get(HANDLER).filter(|it| !it.is_empty()) else {
        return Err(format!("{HANDLER}, the function's handler, is not set"));
    };
    let Some(own) = own.to_str() else {
        return Err(format!("{HANDLER}, the function's handler, is no text"));
    };
    // As wrappers have it that start a server.
    if task.join(own).is_file() {
        return Err(format!("{HANDLER}, the function's handler, is a program: {own}"));
    }
    Ok(own.to_owned())
}

/// Has the runtime call `wrapper`, and that the function's `own`.
pub fn exchange(environment: &mut Environment, prefix: &str, wrapper: &str, own: &str) {
    environment.set(&format!("{prefix}LAMBDA_HANDLER"), own);
    environment.set(HANDLER, wrapper);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::{added, environment};
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn the_functions_handler_goes_where_the_agent_looks_for_it() {
        let mut given = environment(&[(HANDLER, "app.handler")]);
        let own = own(&given, Path::new("/no")).unwrap();
        exchange(&mut given, "THUNDRA_AGENT_", "agent.wrapper", &own);
        let exchanged =
            [("THUNDRA_AGENT_LAMBDA_HANDLER", "app.handler"), (HANDLER, "agent.wrapper")];
        assert_eq!(added(&given), exchanged.into());
    }

    #[test]
    fn what_no_agent_could_call_is_told() {
        let own = |environment: &Environment| own(environment, Path::new("/etc")).unwrap_err();
        assert!(own(&environment(&[])).ends_with("is not set"));
        assert!(own(&environment(&[(HANDLER, "")])).ends_with("is not set"));
        assert!(own(&environment(&[(HANDLER, "passwd")])).ends_with("is a program: passwd"));
        let odd = [(HANDLER.into(), OsString::from_vec(vec![0xff]))];
        assert!(own(&Environment::of(odd)).ends_with("is no text"));
    }

    #[test]
    fn an_agent_that_was_told_its_handler_is_set_up() {
        for name in ["THUNDRA_AGENT_LAMBDA_HANDLER", "thundra_agent_handler"] {
            assert!(is_set_up(&environment(&[(name, "x")]), "THUNDRA_AGENT_"));
        }
        assert!(!is_set_up(&environment(&[("CATCHPOINT_LAMBDA_HANDLER", "x")]), "THUNDRA_AGENT_"));
    }
}
