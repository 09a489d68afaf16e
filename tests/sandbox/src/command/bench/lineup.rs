//! Who is measured.

use std::io;
use std::path::Path;

use super::Arguments;
use super::contender::Contender;
use crate::command::build;

/// The comparators, and then what is compared with them.
///
/// # Errors
///
/// When two have one name, one is not there, or a variable is for nobody.
pub fn lineup(arguments: &Arguments) -> io::Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    if !arguments.no_comparators {
        contenders.push(Contender::none());
        contenders.extend(comparators(arguments.comparators.as_deref())?);
    }
    let floor = contenders.iter().find(|it| it.name == FLOOR).and_then(|it| it.path.clone());
    let wrappers = arguments.wrappers.iter().cloned();
    let wrappers =
        wrappers.map(|it| Contender { wraps: floor.clone(), variables: Vec::new(), ..it });
    for contender in arguments.extensions.iter().cloned().chain(wrappers) {
        if contenders.iter().any(|it: &Contender| it.name == contender.name) {
            return Err(io::Error::other(format!("two are called {}", contender.name)));
        }
        contenders.push(contender);
    }
    if let Some(none) = contenders.iter_mut().find(|it| it.path.is_none()) {
        none.wraps = floor.filter(|_| !arguments.wrappers.is_empty());
    }
    for variable in &arguments.variables {
        if let Some(name) = variable.of().filter(|of| contenders.iter().all(|it| it.name != **of)) {
            return Err(io::Error::other(format!(
                "a variable is for {name}, which nobody is called"
            )));
        }
        for contender in &mut contenders {
            contender.take(variable);
        }
    }
    contenders.iter().try_for_each(Contender::check)?;
    Ok(contenders)
}

const FLOOR: &str = "floor";
const COMPARATORS: [&str; 3] = [FLOOR, "bare", "async"];
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../comparators/Cargo.toml");

fn comparators(directory: Option<&Path>) -> io::Result<Vec<Contender>> {
    let of = |name: &str, path| Contender::of(name, path);
    if let Some(directory) = directory {
        return Ok(COMPARATORS.map(|name| of(name, directory.join(name))).into());
    }
    let built = build::binaries(MANIFEST, &[])?;
    COMPARATORS
        .into_iter()
        .map(|name| match built.get(name) {
            Some(path) => Ok(of(name, path.clone())),
            None => Err(io::Error::other(format!("cargo built no {name}"))),
        })
        .collect()
}
