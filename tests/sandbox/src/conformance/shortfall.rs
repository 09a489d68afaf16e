//! What of Lambda this machine can't give to any scenario.

use crate::cage::{Cage, FreezeBy, Limits};
use crate::configuration::Configuration;

/// In one line, `None` if it can give all. A scenario that needs one of these does not apply.
#[must_use]
pub fn shortfall() -> Option<String> {
    let is_root = rustix::process::geteuid().is_root();
    let cage = Cage::new(Limits::of_memory_mb(Configuration::default().memory_mb));
    let missing = [
        (!is_root, "own user"),
        (cage.freezes_by() == FreezeBy::Signals, "freezing by SIGSTOP"),
        (cage.notes().iter().any(|note| note.contains("CPU share")), "no limit of the CPU share"),
        (cage.out_of_memory_kills().is_none(), "no limit of the memory"),
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
    fn what_is_missing_is_one_line() {
        assert_eq!(told(true, &[]), None);
        let line = "without root: own user, no limit of the memory";
        assert_eq!(told(false, &["own user", "no limit of the memory"]).as_deref(), Some(line));
        assert_eq!(told(true, &["x"]).as_deref(), Some("without cgroups: x"));
    }
}
