//! Selects the contenders.

use std::io;
use std::path::Path;

use super::Arguments;
use super::contender::{Contender, Variable};
use crate::command::build;

/// The comparators, then the given extensions.
///
/// # Errors
///
/// When two have one name, one does not exist, or no contender has a variable's name.
pub fn lineup(arguments: &Arguments) -> io::Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    if !arguments.no_comparators {
        contenders.push(Contender::none());
        contenders.extend(comparators(arguments.comparators.as_deref())?);
        contenders.extend(async_otlp(&contenders).filter(|_| !arguments.otlp.is_empty()));
    }
    let floor = contenders.iter().find(|it| it.name == FLOOR).and_then(|it| it.path.clone());
    let wrapper =
        |it| Contender { wraps: floor.clone(), variables: Vec::new(), ..Contender::clone(it) };
    let extensions = arguments.extensions.iter().cloned();
    let otlp = arguments.otlp.iter().cloned().map(Contender::over_otlp);
    for contender in extensions.chain(otlp).chain(arguments.wrappers.iter().map(wrapper)) {
        if contenders.iter().any(|it: &Contender| it.name == contender.name) {
            return Err(io::Error::other(format!("two are called {}", contender.name)));
        }
        contenders.push(contender);
    }
    if let Some(none) = contenders.iter_mut().find(|it| it.path.is_none()) {
        none.wraps = floor.filter(|_| !arguments.wrappers.is_empty());
    }
    tell(&mut contenders, &arguments.variables)?;
    contenders.iter().try_for_each(Contender::check)?;
    Ok(contenders)
}

const FLOOR: &str = "floor";
const ASYNC: &str = "async";
const COMPARATORS: [&str; 3] = [FLOOR, "bare", ASYNC];
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

/// The comparator that accepts OTLP too.
fn async_otlp(comparators: &[Contender]) -> Option<Contender> {
    let it = comparators.iter().find(|it| it.name == ASYNC)?.clone();
    Some(Contender { name: format!("{ASYNC}-otlp"), ..it }.over_otlp())
}

fn tell(contenders: &mut [Contender], variables: &[Variable]) -> io::Result<()> {
    for variable in variables {
        if let Some(name) = variable.of().filter(|of| contenders.iter().all(|it| it.name != **of)) {
            return Err(io::Error::other(format!(
                "a variable is for {name}, which nobody is called"
            )));
        }
        for contender in &mut *contenders {
            contender.take(variable);
        }
    }
    Ok(())
}
