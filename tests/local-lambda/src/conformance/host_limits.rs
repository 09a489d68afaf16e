//! The properties of Lambda that this machine cannot provide to any scenario.

use crate::configuration::Configuration;
use crate::container::{Container, FreezeBy, Limits};

/// The limits of this machine in one line. `None` if it has none. A scenario that needs a missing property does
/// not apply.
#[must_use]
pub fn host_limits() -> Option<String> {
    let is_root = rustix::process::geteuid().is_root();
    let container = Container::new(Limits::of_memory_mb(Configuration::default().memory_mb));
    let missing = [
        (!is_root, "own user"),
        (container.freezes_by() == FreezeBy::Signals, "freezing by SIGSTOP"),
        (
            container.notes().iter().any(|note| note.contains("CPU share")),
            "no limit of the CPU share",
        ),
        (container.out_of_memory_kills().is_none(), "no limit of the memory"),
    ];
    let missing = missing.into_iter().filter_map(|(is_missing, what)| is_missing.then_some(what));
    told(is_root, &missing.collect::<Vec<_>>())
}

fn told(is_root: bool, missing: &[&str]) -> Option<String> {
    let without = if is_root { "cgroups" } else { "root" };
    (!missing.is_empty()).then(|| format!("without {without}: {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_feature_is_one_line() {
        assert_eq!(told(true, &[]), None);
        let line = "without root: own user, no limit of the memory";
        assert_eq!(told(false, &["own user", "no limit of the memory"]).as_deref(), Some(line));
        assert_eq!(told(true, &["x"]).as_deref(), Some("without cgroups: x"));
    }
}
