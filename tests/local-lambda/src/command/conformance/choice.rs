//! Selects the scenarios and the subject, or explains why the call is wrong.

use std::path::PathBuf;

use local_lambda::conformance::{self, Kind, Scenario, Speech, Subject};

use super::{Arguments, QUICK_NEXT_HELD};

pub fn all() -> Vec<Scenario> {
    [conformance::scenarios(), conformance::attacks()].concat()
}

/// The selected scenarios. Attacks only if an option requests them.
///
/// # Errors
///
/// When the options leave none.
pub fn scenarios(arguments: &Arguments) -> Result<Vec<Scenario>, String> {
    let named = |names: &[Scenario], it: &Scenario| names.iter().any(|name| name.name == it.name);
    let kind = arguments.kind.map(Kind::from);
    let mut scenarios = all();
    let are_all = arguments.list || !arguments.only.is_empty();
    scenarios.retain(|it| kind.map_or(are_all || it.kind != Kind::Attack, |kind| it.kind == kind));
    scenarios.retain(|it| arguments.only.is_empty() || named(&arguments.only, it));
    scenarios.retain(|it| !named(&arguments.except, it));
    if arguments.otlp {
        scenarios.retain(|it| it.kind != Kind::Relay || it.name.starts_with("malformed-"));
    }
    if scenarios.is_empty() {
        return Err("--only, --except, --kind and --otlp leave no scenario".to_owned());
    }
    Ok(scenarios)
}

/// # Errors
///
/// When the file does not exist, or an option for the scenarios of relays was forgotten.
pub fn subject(arguments: &Arguments, scenarios: &[Scenario]) -> Result<Subject, String> {
    let next_held = if arguments.quick { QUICK_NEXT_HELD } else { arguments.next_held };
    let subject = Subject {
        binary: binary(arguments)?,
        variables: arguments.variables.clone(),
        fixed_port: arguments.port,
        speech: if arguments.otlp { Speech::Otlp } else { Speech::default() },
        next_held,
    };
    if let Some(word) = subject.unknown_placeholder() {
        return Err(format!(
            "{word} in a variable stands for nothing: {{port}}, {{remote}} and {{ca}} do"
        ));
    }
    let for_relays = scenarios.iter().find(|it| it.kind != Kind::Lifecycle);
    if let (Some(missing), Some(_)) = (subject.missing_half(), for_relays) {
        return Err(format!(
            "{missing}, so that no scenario for relays would apply; leave them out by \
             `--kind lifecycle`"
        ));
    }
    match arguments.only.iter().find(|it| it.kind != Kind::Lifecycle) {
        Some(Scenario { name, .. }) if !subject.relays() => Err(format!(
            "{name} is for relays: {{remote}} has to be in a variable, and {{port}} or else --port \
             be given"
        )),
        _ => Ok(subject),
    }
}

fn binary(arguments: &Arguments) -> Result<PathBuf, String> {
    let path = arguments.extension.as_ref().ok_or("--extension is missing")?;
    let binary = path
        .canonicalize()
        .map_err(|error| format!("no extension at {}: {error}", path.display()))?;
    if !binary.is_file() {
        return Err(format!("no extension at {}: it is not a file", path.display()));
    }
    // The given name is the extension's, even if it is a link.
    Ok(path.parent().filter(|it| !it.as_os_str().is_empty()).map_or_else(
        || PathBuf::from(".").join(path),
        |parent| parent.join(path.file_name().unwrap_or_default()),
    ))
}
