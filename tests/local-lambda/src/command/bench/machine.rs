//! The place and time of the measurement, without private details.

use std::fs;
use std::thread;
use std::time::SystemTime;

use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct Machine {
    pub architecture: &'static str,
    pub cpus: usize,
    pub cpu: String,
    pub kernel: String,
    pub day: String,
}

impl Machine {
    pub fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Self {
            architecture: std::env::consts::ARCH,
            cpus: thread::available_parallelism().map_or(1, usize::from),
            cpu: model.map_or_else(String::new, |(_, name)| name.trim().to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            day: now.split('T').next().unwrap_or_default().to_owned(),
        }
    }

    #[cfg(test)]
    pub fn unknown() -> Self {
        let [cpu, kernel, day] = ["some CPU", "6.1", "2026-11-26"].map(ToOwned::to_owned);
        Self { architecture: "x86_64", cpus: 2, cpu, kernel, day }
    }

    pub fn sentence(&self) -> String {
        let Self { architecture, cpus, cpu, kernel, day } = self;
        let cpu = if cpu.is_empty() { "a CPU without a name" } else { cpu };
        format!("{day}, Linux {kernel}, {architecture}, {cpus} CPUs of {cpu}")
    }
}
