//! The events that the platform sends to telemetry subscribers (AWS docs "Lambda Telemetry API `Event` schema
//! reference", schema 2025-01-29; order of the keys from the emulator's `interop/events_api.go`).

use std::time::SystemTime;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::telemetry::record::{
    Dropped, Extension, InitReport, InitRuntimeDone, InitStart, Instance, Report, RestoreDone,
    RuntimeDone, Start, TelemetrySubscription,
};

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", content = "record")]
pub enum Event {
    #[serde(rename = "platform.initStart")]
    InitStart(InitStart),
    #[serde(rename = "platform.initRuntimeDone")]
    InitRuntimeDone(InitRuntimeDone),
    #[serde(rename = "platform.initReport")]
    InitReport(InitReport),
    #[serde(rename = "platform.extension")]
    Extension(Extension),
    #[serde(rename = "platform.telemetrySubscription")]
    TelemetrySubscription(TelemetrySubscription),
    #[serde(rename = "platform.start")]
    Start(Start),
    #[serde(rename = "platform.runtimeDone")]
    RuntimeDone(RuntimeDone),
    #[serde(rename = "platform.report")]
    Report(Report),
    #[serde(rename = "platform.restoreStart")]
    RestoreStart(Instance),
    #[serde(rename = "platform.restoreRuntimeDone")]
    RestoreRuntimeDone(RestoreDone),
    #[serde(rename = "platform.restoreReport")]
    RestoreReport(RestoreDone),
    #[serde(rename = "platform.logsDropped")]
    LogsDropped(Dropped),
    /// A line that the runtime wrote, without its line feed.
    #[serde(rename = "function")]
    FunctionLine(String),
    /// A line that an extension wrote, without its line feed.
    #[serde(rename = "extension")]
    ExtensionLine(String),
}

/// The streams. An extension subscribes to one or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    Platform,
    Function,
    Extension,
}

/// The form of lines that are JSON objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    AsStrings,
    /// As objects. Any other line stays a string.
    AsObjects,
}

#[derive(Serialize)]
struct Entry<E> {
    time: String,
    #[serde(flatten)]
    event: E,
}

#[derive(Serialize)]
#[serde(tag = "type", content = "record", rename_all = "lowercase")]
enum ObjectLine<'a> {
    Function(&'a RawValue),
    Extension(&'a RawValue),
}

impl Event {
    pub fn category(&self) -> Category {
        match self {
            Self::FunctionLine(_) => Category::Function,
            Self::ExtensionLine(_) => Category::Extension,
            _ => Category::Platform,
        }
    }

    /// One line of JSON: `{"time":…,"type":…,"record":…}`.
    pub fn render(&self, at: SystemTime, lines: Lines) -> Vec<u8> {
        let object = match (self, lines) {
            (Self::FunctionLine(line) | Self::ExtensionLine(line), Lines::AsObjects) => {
                object(line)
            }
            _ => None,
        };
        match (self, &object) {
            (Self::FunctionLine(_), Some(object)) => entry(at, ObjectLine::Function(object)),
            (Self::ExtensionLine(_), Some(object)) => entry(at, ObjectLine::Extension(object)),
            _ => entry(at, self),
        }
    }
}

fn entry(at: SystemTime, event: impl Serialize) -> Vec<u8> {
    let time = humantime::format_rfc3339_millis(at).to_string();
    serde_json::to_vec(&Entry { time, event }).expect("strings and numbers serialise")
}

/// The line as an object. The order of its keys and the form of its numbers stay.
fn object(line: &str) -> Option<Box<RawValue>> {
    if !line.trim_start().starts_with('{') {
        return None;
    }
    // A raw line break in JSON is white space, never text. NDJSON must not contain one.
    RawValue::from_string(line.replace(['\n', '\r'], " ")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const AT: Duration = Duration::from_millis(1_795_431_671_132);

    #[track_caller]
    fn check(event: &Event, lines: Lines, type_and_record: &str) {
        let rendered = String::from_utf8(event.render(UNIX_EPOCH + AT, lines)).unwrap();
        let expected = format!(r#"{{"time":"2026-11-23T11:01:11.132Z",{type_and_record}}}"#);
        assert_eq!(rendered, expected);
    }

    #[test]
    fn a_line_that_is_a_json_object_is_one_for_who_takes_objects_byte_for_byte() {
        let line = r#"{"z":1.10,"a":"ü"}"#;
        let function = Event::FunctionLine(line.to_owned());
        check(&function, Lines::AsObjects, &format!(r#""type":"function","record":{line}"#));
        let quoted = r#""type":"function","record":"{\"z\":1.10,\"a\":\"ü\"}""#;
        check(&function, Lines::AsStrings, quoted);
        let extension = Event::ExtensionLine(line.to_owned());
        check(&extension, Lines::AsObjects, &format!(r#""type":"extension","record":{line}"#));
    }

    #[test]
    fn json_that_is_no_object_stays_a_string() {
        for (line, record) in [
            ("plain", r#""plain""#),
            ("[1]", r#""[1]""#),
            ("12", r#""12""#),
            ("{torn", r#""{torn""#),
            ("{} tail", r#""{} tail""#),
        ] {
            let event = Event::FunctionLine(line.to_owned());
            check(&event, Lines::AsObjects, &format!(r#""type":"function","record":{record}"#));
        }
    }

    #[test]
    fn an_object_over_many_lines_is_shown_on_one() {
        let event = Event::FunctionLine("{\n\"a\":\r\n1}".to_owned());
        check(&event, Lines::AsObjects, r#""type":"function","record":{ "a":  1}"#);
    }
}
