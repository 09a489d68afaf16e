//! The log: lines on stderr, which Lambda turns into log records, as text or JSON.
//!
//! Invariant: only this crate's own lines are written, at any level. The HTTP libraries log headers
//! and bodies at debug and trace, and with them keys. So what is said through the macros of `log` is
//! compiled out ([`log::STATIC_MAX_LEVEL`]), which takes 40 kB less, and the lines here go past them.

use std::fmt::Arguments;
use std::io::Write;
use std::panic;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use env_logger::Target;
use env_logger::fmt::Formatter;
use log::{Level, LevelFilter, Record};
use serde::Serialize;

use crate::stderr::{self, Stderr};

/// How long a line on a panic may take to be out before the thread ends.
const LAST_LINE: Duration = Duration::from_millis(50);

/// How lines look, as the function's log format asks ("Configuring advanced logging controls").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// A line at a level that is known only then. Nothing is formatted where the level is off.
macro_rules! at {
    ($level:expr, $($message:tt)+) => {{
        let level = $level;
        if level <= ::log::max_level() {
            $crate::logging::write(level, ::core::format_args!($($message)+));
        }
    }};
}
macro_rules! error { ($($message:tt)+) => { $crate::logging::at!(::log::Level::Error, $($message)+) }; }
macro_rules! warning { ($($message:tt)+) => { $crate::logging::at!(::log::Level::Warn, $($message)+) }; }
macro_rules! debug { ($($message:tt)+) => { $crate::logging::at!(::log::Level::Debug, $($message)+) }; }
macro_rules! trace { ($($message:tt)+) => { $crate::logging::at!(::log::Level::Trace, $($message)+) }; }
// `warn` itself is an attribute of the language.
pub(crate) use {at, debug, error, trace, warning as warn};

/// What the macros come to.
#[cold]
pub fn write(level: Level, message: Arguments) {
    log::logger().log(&Record::builder().level(level).args(message).build());
}

const _: () = assert!(matches!(log::STATIC_MAX_LEVEL, LevelFilter::Off), "libraries must not log");

/// Starts the log. A panic becomes a line of it too; one of tiny_http's is also told to
/// `on_server_panic`.
pub fn start(level: LevelFilter, format: Format, on_server_panic: fn()) {
    let write = match format {
        Format::Text => write_text,
        Format::Json => write_json,
    };
    let started = env_logger::Builder::new()
        .filter_level(level)
        .format(write)
        .target(Target::Pipe(Box::new(Stderr)))
        .try_init();
    started.expect("no other logger is ever set");
    panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // The message is left out: it could hold a piece of what was being handled.
        if let Some(name) = thread::current().name() {
            error!("thread {name} panicked at {place}");
            // Where this is the main thread, the process ends with it.
            stderr::finish(Instant::now() + LAST_LINE);
        } else {
            // tiny_http's threads have no name. They panic when a client resets its connection, and
            // when they run out of descriptors, which may close a door.
            on_server_panic();
            debug!("a thread of the http server panicked at {place}");
        }
    }));
}

fn write_text(out: &mut Formatter, record: &Record) -> std::io::Result<()> {
    // One record is one line, whatever the platform or the remote put into it.
    let message = record.args().to_string().replace(['\n', '\r'], " ");
    writeln!(out, "[thundra-lambda-extension] {} {message}", record.level())
}

fn write_json(out: &mut Formatter, record: &Record) -> std::io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        timestamp: String,
        level: &'a str,
        logger: &'a str,
        message: String,
    }
    let line = Line {
        timestamp: timestamp(SystemTime::now()),
        level: record.level().as_str(),
        logger: "thundra-lambda-extension",
        message: record.args().to_string(),
    };
    writeln!(out, "{}", serde_json::to_string(&line)?)
}

/// A moment as RFC 3339 has it, in UTC with milliseconds: Lambda filters JSON lines by level only
/// where they carry such a timestamp.
fn timestamp(moment: SystemTime) -> String {
    let since_epoch = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since_epoch.as_secs(), since_epoch.subsec_millis());
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01, by Howard Hinnant's `civil_from_days`
/// ("chrono-Compatible Low-Level Date Algorithms"); a date library would weigh more than the log.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[track_caller]
    fn check(epoch_ms: u64, text: &str) {
        assert_eq!(timestamp(UNIX_EPOCH + Duration::from_millis(epoch_ms)), text);
    }

    #[test]
    fn timestamps_are_rfc_3339_in_utc() {
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_795_431_644_745, "2026-11-23T11:00:44.745Z");
        check(4_107_542_399_000, "2100-02-28T23:59:59.000Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }
}
