//! The function's handler, and an agent's handler that wraps it: the runtime calls the agent's, which calls
//! the function's.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::environment::Environment;

/// The variable with the name of the handler that the runtime calls.
pub const HANDLER: &str = "_HANDLER";

/// Whether the user has set the handler that the agent shall call. The agent needs no set-up then.
pub fn is_set_up(environment: &Environment, prefix: &str) -> bool {
    environment.setting(prefix, "HANDLER").is_some()
}

/// The function's own handler.
///
/// # Errors
/// Why an agent could not call it.
pub fn original(environment: &Environment, task: &Path) -> Result<String, String> {
    let Some(handler) = environment.get(HANDLER).filter(|it| !it.is_empty()) else {
        return Err(format!("{HANDLER}, the function's handler, is not set"));
    };
    let Some(handler) = handler.to_str() else {
        return Err(format!("{HANDLER}, the function's handler, is not valid UTF-8"));
    };
    // Wrappers that start a web server use the name of a program as the handler.
    if task.join(handler).is_file() {
        return Err(format!("{HANDLER}, the function's handler, is a program: {handler}"));
    }
    Ok(handler.to_owned())
}

/// Makes the runtime call `wrapper`, an agent's handler, and makes the agent call `original`.
pub fn wrap_handler(environment: &mut Environment, prefix: &str, wrapper: &str, original: &str) {
    environment.set(&format!("{prefix}LAMBDA_HANDLER"), original);
    environment.set(HANDLER, wrapper);
}

/// Replaces `original` by the handler of the environment, in the last argument that is `original`. AWS's
/// runtimes for Java 17 and later read the handler from their last argument and ignore the environment.
pub fn wrap_handler_argument(
    arguments: &mut [OsString],
    original: &OsStr,
    environment: &Environment,
) {
    let argument = arguments.iter_mut().rev().find(|it| *it == original);
    if let (Some(argument), Some(wrapper)) = (argument, environment.get(HANDLER)) {
        wrapper.clone_into(argument);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::{added, environment};
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn the_functions_handler_goes_where_the_agent_looks_for_it() {
        let mut given = environment(&[(HANDLER, "app.handler")]);
        let original = original(&given, Path::new("/no")).unwrap();
        wrap_handler(&mut given, "THUNDRA_AGENT_", "agent.wrapper", &original);
        let wrapped = [("THUNDRA_AGENT_LAMBDA_HANDLER", "app.handler"), (HANDLER, "agent.wrapper")];
        assert_eq!(added(&given), wrapped.into());
    }

    #[test]
    fn only_the_last_argument_that_is_the_handler_is_replaced() {
        let mut given = environment(&[(HANDLER, "a.B")]);
        wrap_handler(&mut given, "THUNDRA_AGENT_", "agent.Wrapper", "a.B");
        for (arguments, expected) in [
            (&["-cp", "x", "Main", "a.B"][..], &["-cp", "x", "Main", "agent.Wrapper"][..]),
            (&["-Da.B=a.B", "a.B", "Main", "a.B"], &["-Da.B=a.B", "a.B", "Main", "agent.Wrapper"]),
            (&["Main", "a.B::c"], &["Main", "a.B::c"]),
            (&[], &[]),
        ] {
            let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            wrap_handler_argument(&mut arguments, OsStr::new("a.B"), &given);
            assert_eq!(arguments, expected);
        }
    }

    #[test]
    fn a_handler_that_no_agent_could_call_is_an_error() {
        let why = |environment: &Environment| original(environment, Path::new("/etc")).unwrap_err();
        assert!(why(&environment(&[])).ends_with("is not set"));
        assert!(why(&environment(&[(HANDLER, "")])).ends_with("is not set"));
        assert!(why(&environment(&[(HANDLER, "passwd")])).ends_with("is a program: passwd"));
        let odd = [(HANDLER.into(), OsString::from_vec(vec![0xff]))];
        assert!(why(&Environment::of(odd)).ends_with("is not valid UTF-8"));
    }

    #[test]
    fn an_agent_whose_handler_is_set_needs_no_set_up() {
        for name in ["THUNDRA_AGENT_LAMBDA_HANDLER", "thundra_agent_handler"] {
            assert!(is_set_up(&environment(&[(name, "x")]), "THUNDRA_AGENT_"));
        }
        assert!(!is_set_up(&environment(&[("CATCHPOINT_LAMBDA_HANDLER", "x")]), "THUNDRA_AGENT_"));
    }
}
