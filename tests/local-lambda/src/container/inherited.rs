//! Removes the cgroups of programs that SIGKILL ended, because those could not remove them.

use std::sync::Once;
use std::time::Duration;

use super::cgroup::Cgroup;
use super::hierarchy::Hierarchies;
use super::until;

/// How long killed processes may take to end. If one takes longer, such as a process of an invisible pid
/// namespace, it is left with its cgroup.
const ENDED_WITHIN: Duration = Duration::from_secs(1);

/// Kills the processes that such programs left, frozen or not, and removes their cgroups. Once per process is
/// enough, because a SIGKILL is rare.
pub fn remove_once(hierarchies: &Hierarchies) {
    static REMOVED: Once = Once::new();
    REMOVED.call_once(|| remove(hierarchies));
}

fn remove(hierarchies: &Hierarchies) {
    // A process is in several cgroups. It ends only when it is killed, and thawed in the one that froze it.
    let mut left: Vec<Cgroup> = hierarchies.iter().flat_map(Cgroup::inherited).collect();
    until(ENDED_WITHIN, || {
        left.retain(|cgroup| {
            let empty = cgroup.kill();
            cgroup.thaw();
            !(empty && cgroup.remove().is_ok())
        });
        left.is_empty()
    });
}
