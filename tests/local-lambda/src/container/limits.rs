//! The limits of a function with a given memory size.

use std::thread;
use std::time::Duration;

use super::cgroup::Cgroup;
use super::hierarchy::Version;

/// The memory size with one whole CPU, in MB (AWS docs "Lambda quotas").
const ONE_CPU_MB: u32 = 1769;

/// AWS's MB have 1,048,576 bytes.
const BYTES_PER_MB: u64 = 1 << 20;

/// The period of the CPU share, which begins anew in each. The kernel's minimum is 1 ms per period, and 128 MB
/// have 1.4 ms of this one. With the kernel's own 100 ms, such a process would run for 7 ms and then rest for
/// 93 ms, longer than many invocations.
const PERIOD: Duration = Duration::from_millis(20);
const LEAST_PER_PERIOD: Duration = Duration::from_millis(1);

/// Limits of all processes of an execution environment together. By default there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct Limits {
    /// The memory in AWS's MB of 1,048,576 bytes. Swap is forbidden in addition.
    pub memory_mb: Option<u32>,
    pub cpu: Option<CpuShare>,
}

impl Limits {
    /// The limits of a function with this memory size: the memory, and its CPU share.
    pub fn of_memory_mb(memory_mb: u32) -> Self {
        Self { memory_mb: Some(memory_mb), cpu: Some(CpuShare::of_memory_mb(memory_mb)) }
    }
}

/// How long the processes may run in each 20 ms, on all CPUs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct CpuShare {
    per_period: Duration,
}

impl CpuShare {
    /// In proportion to one CPU at 1,769 MB, but at least 5 % of one. The kernel cannot enforce less, and
    /// Lambda's smallest function has 7 %.
    pub fn of_memory_mb(memory_mb: u32) -> Self {
        Self { per_period: (PERIOD * memory_mb / ONE_CPU_MB).max(LEAST_PER_PERIOD) }
    }

    /// The share in CPUs.
    #[must_use]
    pub fn cpus(self) -> f64 {
        self.per_period.as_secs_f64() / PERIOD.as_secs_f64()
    }

    /// A note if this machine has fewer CPUs.
    pub(super) fn shortage(self) -> Option<String> {
        let there = thread::available_parallelism().ok()?.get();
        let short = self.per_period > PERIOD * u32::try_from(there).ok()?;
        short.then(|| {
            format!("the CPU share is {there}.0, not {:.1}: this machine has no more", self.cpus())
        })
    }

    pub(super) fn limit(self, cgroup: &Cgroup) -> Result<(), String> {
        let (quota, period) = (self.per_period.as_micros(), PERIOD.as_micros());
        match cgroup.version {
            Version::V1 => {
                cgroup.write("cpu.cfs_period_us", &period.to_string())?;
                cgroup.write("cpu.cfs_quota_us", &quota.to_string())
            }
            Version::V2 => cgroup.write("cpu.max", &format!("{quota} {period}")),
        }
    }
}

pub fn limit_memory(memory_mb: u32, cgroup: &Cgroup) -> Result<(), String> {
    let bytes = (u64::from(memory_mb) * BYTES_PER_MB).to_string();
    // v1 limits memory and swap together, and that limit cannot be below the one of memory alone. v2 limits
    // swap separately.
    let (memory, swap, no_swap) = match cgroup.version {
        Version::V1 => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", bytes.as_str()),
        Version::V2 => ("memory.max", "memory.swap.max", "0"),
    };
    cgroup.write(memory, &bytes)?;
    // A kernel that does not count swap has no such file.
    if cgroup.has(swap) { cgroup.write(swap, no_swap) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_one_cpu_at_1769_mb_and_in_proportion_elsewhere() {
        let share = |memory_mb| CpuShare::of_memory_mb(memory_mb).cpus();
        assert!((share(1769) - 1.0).abs() < 1e-6);
        assert!((share(128) - 0.0724).abs() < 1e-4);
        assert!((share(10_240) - 5.7886).abs() < 1e-3);
        assert!((share(1) - 0.05).abs() < 1e-6);
    }
}
