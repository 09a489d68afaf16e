//! The function's handler, and its exchange for an agent's, which then calls it.

use crate::environment::Environment;

/// What the runtime calls.
pub const HANDLER: &str = "_HANDLER";

/// Whether somebody has told an agent which handler to call: then that is set up already.
pub fn is_set_up(environment: &Environment, prefix: &str) -> bool {
    environment.has_setting(prefix, "HANDLER")
}

/// Has the runtime call `wrapper`, and that the function's own. Nothing where it does already.
///
/// # Errors
/// Why there is nothing to exchange.
pub fn exchange(environment: &mut Environment, prefix: &str, wrapper: &str) -> Result<(), String> {
    let Some(own) = environment.text(HANDLER).map(ToOwned::to_owned) else {
        return Err(format!("{HANDLER}, the function's handler, is not set"));
    };
    if own != wrapper && !is_set_up(environment, prefix) {
        environment.set(&format!("{prefix}LAMBDA_HANDLER"), own);
        environment.set(HANDLER, wrapper);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::{added, environment};

    #[test]
    fn the_functions_handler_goes_where_the_agent_looks_for_it() {
        let mut given = environment(&[(HANDLER, "app.handler")]);
        exchange(&mut given, "THUNDRA_AGENT_", "agent.wrapper").unwrap();
        let exchanged =
            [("THUNDRA_AGENT_LAMBDA_HANDLER", "app.handler"), (HANDLER, "agent.wrapper")];
        assert_eq!(added(&given), exchanged.into());
    }

    #[test]
    fn what_is_set_up_already_stays_as_it_is() {
        for variables in [
            [(HANDLER, "agent.wrapper"), ("THUNDRA_AGENT_LAMBDA_HANDLER", "app.handler")],
            [(HANDLER, "app.handler"), ("thundra_agent_handler", "other.handler")],
        ] {
            let mut given = environment(&variables);
            exchange(&mut given, "THUNDRA_AGENT_", "agent.wrapper").unwrap();
            assert!(given.added().is_empty(), "{variables:?}");
        }
        assert!(exchange(&mut environment(&[]), "THUNDRA_AGENT_", "agent.wrapper").is_err());
    }
}
