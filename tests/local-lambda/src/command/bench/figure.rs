//! The figures of an extension, with their units.

use std::time::Duration;

#[derive(Debug)]
pub struct Figure {
    /// The name in JSON and in budgets.
    pub name: &'static str,
    /// The title in tables and plots.
    pub title: &'static str,
    pub unit: Unit,
    pub reading: Reading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Kilobytes,
    Milliseconds,
    Microseconds,
    PerSecond,
    Count,
    /// A count that is an average.
    Average,
}

/// How a figure is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The value itself.
    Plain,
    /// The difference to this figure of `none`.
    AboveNone(&'static str),
}

/// Figures that are measured together and shown in one table.
#[derive(Debug)]
pub struct Group {
    pub title: &'static str,
    /// The method of measuring, in whole sentences.
    pub how: &'static str,
    pub figures: &'static [Figure],
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Kilobytes => "kB",
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::PerSecond => "1/s",
            Self::Count | Self::Average => "",
        }
    }

    /// The number of meaningful decimals.
    pub fn decimals(self) -> usize {
        match self {
            Self::Milliseconds | Self::Average => 2,
            Self::Microseconds => 1,
            Self::Bytes | Self::Kilobytes | Self::PerSecond | Self::Count => 0,
        }
    }

    pub fn format(self, value: f64) -> String {
        format!("{value:.*}", self.decimals())
    }
}

impl Figure {
    const fn plain(name: &'static str, title: &'static str, unit: Unit) -> Self {
        Self { name, title, unit, reading: Reading::Plain }
    }

    const fn above_none(name: &'static str, title: &'static str, base: &'static str) -> Self {
        Self { name, title, unit: Unit::Milliseconds, reading: Reading::AboveNone(base) }
    }

    /// The title and the unit.
    pub fn heading(&self) -> String {
        match self.unit.name() {
            "" => self.title.to_owned(),
            unit => format!("{}, {unit}", self.title),
        }
    }
}

impl Group {
    pub fn has(&self, figure: &Figure) -> bool {
        self.figures.iter().any(|it| it.name == figure.name)
    }
}

pub fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A count or a size. All of them are small enough for an exact fraction.
pub fn number(number: impl TryInto<u32>) -> f64 {
    f64::from(number.try_into().unwrap_or(u32::MAX))
}

/// All groups, in the order of a report.
pub static GROUPS: [&Group; 8] =
    [&SIZE, &START, &IDLE, &INVOCATIONS, &POSTS, &ADDED, &FREEZES, &WRAPPED];

/// The figure with this name.
pub fn named(name: &str) -> Option<&'static Figure> {
    GROUPS.iter().flat_map(|group| group.figures).find(|figure| figure.name == name)
}

pub static SIZE: Group = Group {
    title: "On disk",
    how: "The bytes of the file, and of the same deflated as in a layer's zip.",
    figures: &[
        Figure::plain("binary", "file", Unit::Bytes),
        Figure::plain("deflated", "deflated", Unit::Bytes),
    ],
};

pub static START: Group = Group {
    title: "Cold start",
    how: "From when a shell that was stopped, in a cgroup of its own, goes on and executes it, until the \
          platform has the request: Lambda starts the runtime after the last register, and the first \
          invocation after the last first next. CPU time and what was read are those at the first \
          next, the shell's few microseconds among them.",
    figures: &[
        Figure::plain("register", "register", Unit::Milliseconds),
        Figure::plain("first_next", "first next", Unit::Milliseconds),
        Figure::plain("start_cpu", "CPU", Unit::Microseconds),
        Figure::plain("paged_in", "read of its file", Unit::Kilobytes),
    ],
};

pub static IDLE: Group = Group {
    title: "Idle",
    how: "Half a second after the first next; wake-ups are those of the half second after that, and \
          system calls those of the thread that asks for it.",
    figures: &[
        Figure::plain("idle_peak", "peak resident", Unit::Kilobytes),
        Figure::plain("idle_anonymous", "anonymous", Unit::Kilobytes),
        Figure::plain("threads", "threads", Unit::Count),
        Figure::plain("descriptors", "descriptors", Unit::Count),
        Figure::plain("wakes", "wake-ups", Unit::Count),
        Figure::plain("calls", "system calls to first next", Unit::Count),
    ],
};

pub static INVOCATIONS: Group = Group {
    title: "Invocation",
    how: "The scheduler's time for all threads, and how often those woke up that are there at the end, over 1,000 \
          invocations that follow each other at once: the event, the next, and then, where it takes \
          reports, one post of 3 kB on a kept connection, with a pause after each 200. Reports are \
          delivered over TLS, but for those at the end that wait for more.",
    figures: &[
        Figure::plain("silent_cpu", "CPU, no report", Unit::Microseconds),
        Figure::plain("silent_wakes", "wake-ups, no report", Unit::Average),
        Figure::plain("silent_kernel", "of it kernel", Unit::Microseconds),
        Figure::plain("report_cpu", "CPU, with a report", Unit::Microseconds),
        Figure::plain("report_wakes", "wake-ups, with a report", Unit::Average),
        Figure::plain("report_kernel", "of that kernel", Unit::Microseconds),
        Figure::plain("after_peak", "peak after 1,000", Unit::Kilobytes),
        Figure::plain("after_anonymous", "anonymous then", Unit::Kilobytes),
    ],
};

pub static POSTS: Group = Group {
    title: "What the agent waits for a post of 3 kB",
    how: "800 posts on one kept connection, and then 800 on 20 at once, after a dozen invocations; \
          the remote is on the same machine and answers at once.",
    figures: &[
        Figure::plain("post_p50", "p50", Unit::Microseconds),
        Figure::plain("post_p99", "p99", Unit::Microseconds),
        Figure::plain("post_p999", "p99.9", Unit::Microseconds),
        Figure::plain("posts", "20 at once", Unit::PerSecond),
        Figure::plain("load_peak", "peak resident", Unit::Kilobytes),
    ],
};

pub static ADDED: Group = Group {
    title: "Added to an invocation",
    how: "What the caller waits and what is billed, above the same function without an extension and \
          without a report; a sample is the median of 20 invocations. The function reports once, on a \
          connection of its own, where the extension takes reports, which is told to send each at \
          once. The environment is frozen after each invocation.",
    figures: &[
        Figure::above_none("silent_wait", "wait, no report", "silent_wait"),
        Figure::above_none("silent_billed", "billed, no report", "silent_billed"),
        Figure::above_none("wait_0", "wait, remote 0 ms away", "silent_wait"),
        Figure::above_none("billed_0", "billed, 0 ms", "silent_billed"),
        Figure::above_none("wait_4", "wait, 4 ms", "silent_wait"),
        Figure::above_none("billed_4", "billed, 4 ms", "silent_billed"),
        Figure::above_none("wait_50", "wait, 50 ms", "silent_wait"),
        Figure::above_none("billed_50", "billed, 50 ms", "silent_billed"),
        Figure::above_none("wait_200", "wait, 200 ms", "silent_wait"),
        Figure::above_none("billed_200", "billed, 200 ms", "silent_billed"),
        Figure::above_none("wait_dead", "wait, remote dead", "silent_wait"),
        Figure::above_none("billed_dead", "billed, remote dead", "silent_billed"),
    ],
};

pub static FREEZES: Group = Group {
    title: "Reports under freezes",
    how: "30 invocations with a report each and a freeze after each, in every third of which the \
          remote, 4 ms away, closes the connections that wait; and a shutdown. The extension is told \
          to send each report at once.",
    figures: &[
        Figure::plain("once", "arrived once", Unit::Count),
        Figure::plain("twice", "more than once", Unit::Count),
        Figure::plain("never", "never", Unit::Count),
    ],
};

pub static WRAPPED: Group = Group {
    title: "Wrapper",
    how: "From when the stopped shell goes on and executes the wrapper, with `floor` as the runtime, until \
          that registers; above the same without a wrapper.",
    figures: &[Figure::above_none("wrapped", "added to the runtime's start", "wrapped")],
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_figure_has_a_name_and_a_unique_title_in_its_group() {
        let all: Vec<_> =
            GROUPS.iter().flat_map(|group| group.figures).map(|figure| figure.name).collect();
        let names: BTreeSet<_> = all.iter().collect();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().all(|name| std::ptr::eq(named(name).unwrap().name, *name)));
        for group in GROUPS {
            let titles: BTreeSet<_> = group.figures.iter().map(|figure| figure.title).collect();
            assert_eq!(titles.len(), group.figures.len(), "{}", group.title);
        }
    }
}
