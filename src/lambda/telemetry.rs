//! Messages of the Telemetry API, version 2022-07-01: a subscription, and batches of events ("Accessing
//! real-time telemetry data for extensions using the Telemetry API").

use serde_json::value::RawValue;

use crate::lambda::extensions_api::RequestId;
use crate::payload::json;

/// The longest accepted request identifier, in bytes. An event with a longer one is ignored. A UUID has 36.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// The request body of a subscription. `timeoutMs` is Lambda's minimum. An invocation without a report is
/// held for that time.
pub fn subscription(port: u16) -> String {
    format!(
        r#"{{"schemaVersion":"2022-12-13","types":["platform"],"buffering":{{"maxItems":1000,"maxBytes":262144,"timeoutMs":25}},"destination":{{"protocol":"HTTP","URI":"http://sandbox.localdomain:{port}"}}}}"#
    )
}

/// The record of `platform.runtimeDone`: the runtime has finished an invocation. `status` and `error_type`
/// may be any JSON.
pub struct RuntimeDone<'a> {
    pub request_id: RequestId,
    status: Option<&'a RawValue>,
    error_type: Option<&'a RawValue>,
}

impl RuntimeDone<'_> {
    /// Whether the runtime's process has ended or will end, so that SHUTDOWN follows at once. An error of the
    /// function also has the status `error`, but another `errorType`.
    pub fn is_a_crash(&self) -> bool {
        let [status, kind] = [self.status, self.error_type]
            .map(|value| value.map_or("", |it| it.get().trim_matches('"')));
        matches!(status, "failure" | "timeout")
            || matches!(kind, "Runtime.ExitError" | "Extension.Crash")
    }
}

/// The `platform.runtimeDone` records of a batch. Other records, and malformed ones, are ignored.
pub fn ended(batch: &[u8]) -> Vec<RuntimeDone<'_>> {
    let events: Vec<&RawValue> = serde_json::from_slice(batch).unwrap_or_default();
    events.into_iter().filter_map(end_in).collect()
}

fn end_in(event: &RawValue) -> Option<RuntimeDone<'_>> {
    let [kind, record] = json::members(event.get().as_bytes(), ["type", "record"]);
    if kind?.get() != r#""platform.runtimeDone""# {
        return None;
    }
    let names = ["requestId", "status", "errorType"];
    let [request_id, status, error_type] = json::members(record?.get().as_bytes(), names);
    let request_id = json::text(request_id).filter(|it| it.len() <= REQUEST_ID_BYTES_MAX)?;
    Some(RuntimeDone { request_id: RequestId(request_id), status, error_type })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(batch: &str, ids: &[&str]) {
        let ended: Vec<String> =
            ended(batch.as_bytes()).into_iter().map(|it| it.request_id.0).collect();
        assert_eq!(ended, ids, "{batch}");
    }

    #[test]
    fn runtime_done_records_are_found_among_any_others() {
        let done = |id| {
            format!(
                r#"{{"time":"2026-11-23T11:01:11.132Z","type":"platform.runtimeDone","record":{{"requestId":"{id}","status":"success","metrics":{{"durationMs":1.5}}}}}}"#
            )
        };
        let others = r#"{"type":"platform.start","record":{"requestId":"other"}},
            {"type":"function","record":"a line"},{"type":"function","record":{"requestId":"x"}},
            {"type":"platform.runtimeDone","record":"no object"},
            {"type":"platform.runtimeDone","record":{"status":"success"}},
            {"type":"platform.runtimeDone","record":["x","success",null]},
            ["platform.runtimeDone",{"requestId":"x"}],
            {"type":7,"record":{}},{"type":"platform.unheardOf"},null,[],{}"#;
        check(&format!("[{},{others},{}]", done("a"), done("b")), &["a", "b"]);
        check(&format!("[{others}]"), &[]);
        check(&format!("[{}", done("torn")), &[]);
        for batch in ["", "[]", "{}", "null", "x"] {
            check(batch, &[]);
        }
    }

    #[test]
    fn a_crash_is_distinguished_from_an_error_of_the_function() {
        for (outcome, is_a_crash) in [
            (r#""status":"success""#, false),
            (r#""status":"error","errorType":"ValueError""#, false),
            (r#""status":"error","errorType":"Function.Unknown""#, false),
            (r#""status":"error","errorType":"Runtime.Unknown""#, false),
            (r#""status":null"#, false),
            (r#""status":7,"errorType":{"a":[]}"#, false),
            (r#""status":"error","errorType":"Runtime.ExitError""#, true),
            (r#""status":"failure","errorType":"Extension.Crash""#, true),
            (r#""status":"timeout","errorType":"Sandbox.Timeout""#, true),
        ] {
            let record = format!(r#"{{"requestId":"a",{outcome}}}"#);
            let batch = format!(r#"[{{"type":"platform.runtimeDone","record":{record}}}]"#);
            assert_eq!(ended(batch.as_bytes())[0].is_a_crash(), is_a_crash, "{outcome}");
        }
    }

    #[test]
    fn the_subscription_obeys_lambdas_limits() {
        let asked: serde_json::Value = serde_json::from_str(&subscription(4_243)).unwrap();
        assert_eq!(asked["destination"]["URI"], "http://sandbox.localdomain:4243");
        assert_eq!(asked["buffering"]["timeoutMs"], 25);
        assert_eq!(asked["types"], serde_json::json!(["platform"]));
    }
}
