//! The log: lines on stderr in text or JSON, which Lambda turns into log records.
//!
//! Invariant: at each level, only this crate's own lines are written. The HTTP libraries log headers and
//! bodies, including keys, at debug and trace. So the macros of `log` are compiled out
//! ([`log::STATIC_MAX_LEVEL`]), which saves 40 kB. This module's own macros call the logger directly.

pub mod stderr;

use std::fmt::{self, Arguments, Display};
use std::io::Write;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use env_logger::Target;
use log::{Level, LevelFilter, Record};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::logging::stderr::Stderr;

/// How long a panicking thread waits until its line is written. Then the thread ends in any case.
const LAST_LINE: Duration = Duration::from_millis(50);

/// Whether lines are JSON. A line is formatted before `env_logger` gets it, because a record of `log` has no
/// fields besides a message.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// The format of lines, from the function's log format ("Configuring advanced logging controls").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// An additional member of a JSON line, so that alarms need not parse the message.
pub type Field<'a> = (&'static str, Value<'a>);

/// The value of a [`Field`]. The type of `log` for it would also link code that prints floats.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Value<'a> {
    Text(&'a str),
    Count(u64),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value<'_> {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

/// Logs a line at a level that is a run-time value. If the level is off, nothing is formatted.
macro_rules! at {
    ($level:expr, fields: $fields:expr, $($message:tt)+) => {{
        let level = $level;
        if $crate::logging::is_on(level) {
            $crate::logging::write(level, &$fields, ::core::format_args!($($message)+));
        }
    }};
    ($level:expr, $($message:tt)+) => { $crate::logging::at!($level, fields: [], $($message)+) };
}
macro_rules! error { ($($message:tt)+) => { $crate::logging::at!(::log::Level::Error, $($message)+) }; }
macro_rules! warning { ($($message:tt)+) => { $crate::logging::at!(::log::Level::Warn, $($message)+) }; }
macro_rules! debug { ($($message:tt)+) => { $crate::logging::at!(::log::Level::Debug, $($message)+) }; }
macro_rules! trace { ($($message:tt)+) => { $crate::logging::at!(::log::Level::Trace, $($message)+) }; }
// `warn` itself is an attribute of the language.
pub(crate) use {at, debug, error, trace, warning as warn};

/// Whether lines of this level are written.
pub fn is_on(level: Level) -> bool {
    level <= log::max_level()
}

/// Writes a line. The macros expand to a call of this function.
#[cold]
pub fn write(level: Level, fields: &[Field], message: Arguments) {
    let line = if IS_JSON.load(Ordering::Relaxed) {
        json_line(level, fields, message)
    } else {
        text_line(level, message)
    };
    log::logger().log(&Record::builder().level(level).args(format_args!("{line}")).build());
}

/// The time in whole milliseconds. std returns a `u128`, which needs more code to print.
pub fn in_ms(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000).saturating_add(time.subsec_millis().into())
}

/// `1 report`, `2 reports`.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a>(pub usize, pub &'a str);

impl Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self(count, what) = self;
        let plural = if *count == 1 { "" } else { "s" };
        write!(f, "{count} {what}{plural}")
    }
}

const _: () = assert!(matches!(log::STATIC_MAX_LEVEL, LevelFilter::Off), "libraries must not log");

/// Starts the log. A panic becomes a line too. A panic in a thread of tiny_http also calls `on_server_panic`.
pub fn start(level: LevelFilter, format: Format, on_server_panic: fn()) {
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
    let started = env_logger::Builder::new()
        .filter_level(level)
        .format(|out, record| writeln!(out, "{}", record.args()))
        .target(Target::Pipe(Box::new(Stderr)))
        .try_init();
    started.expect("no other logger is ever set");
    panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // The panic's message is left out, because it could contain a part of a report.
        if let Some(name) = thread::current().name() {
            error!("thread {name} panicked at {place}");
            // Waits for the line, because the process may end after this hook: it does so if this is the main
            // thread.
            stderr::finish(Instant::now() + LAST_LINE);
        } else {
            // Only tiny_http's threads have no name. They panic when a client resets its connection, or when no
            // descriptor is free. The latter may close a listener.
            on_server_panic();
            debug!("a thread of the http server panicked at {place}");
        }
    }));
}

fn text_line(level: Level, message: Arguments) -> String {
    // One record is one line, even if a text from the platform or the remote contains line breaks.
    let message = message.to_string().replace(['\n', '\r'], " ");
    format!("[thundra-lambda-extension] {level} {message}")
}

fn json_line(level: Level, fields: &[Field], message: Arguments) -> String {
    let line = JsonLine { level, fields, message: &message.to_string() };
    serde_json::to_string(&line).expect("strings and numbers can be written to memory")
}

struct JsonLine<'a> {
    level: Level,
    fields: &'a [Field<'a>],
    message: &'a str,
}

impl Serialize for JsonLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { level, fields, message } = *self;
        let now = timestamp(SystemTime::now());
        let own: [Field; 4] = [
            ("timestamp", now.as_str().into()),
            ("level", level.as_str().into()),
            ("logger", "thundra-lambda-extension".into()),
            ("message", message.into()),
        ];
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in own.iter().chain(fields) {
            if !matches!(value, Value::Text("")) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

/// Formats a time by RFC 3339, in UTC with milliseconds. Lambda filters a JSON line by its level only if the
/// line has such a timestamp.
pub fn timestamp(moment: SystemTime) -> String {
    let since_epoch = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since_epoch.as_secs(), since_epoch.subsec_millis());
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Converts days since 1970-01-01 to year, month and day, by Howard Hinnant's `civil_from_days`
/// ("chrono-Compatible Low-Level Date Algorithms"). A date library would be larger than the whole log.
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
