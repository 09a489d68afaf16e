//! A request for a subscription, and its validation (AWS docs "Lambda Telemetry API reference"; limits also
//! from the emulator's `telemetry-subscription-schema.json`).

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use crate::telemetry::destination::Destination;
use crate::telemetry::event::Category;

const MAX_ITEMS: RangeInclusive<u64> = 1_000..=10_000;
const MAX_ITEMS_DEFAULT: u64 = 10_000;
const MAX_BYTES: RangeInclusive<u64> = 262_144..=1_048_576;
const MAX_BYTES_DEFAULT: u64 = 262_144;
const TIMEOUT_MS: RangeInclusive<u64> = 25..=30_000;
const TIMEOUT_MS_DEFAULT: u64 = 1_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub schema: Schema,
    pub types: Vec<Category>,
    pub buffering: Buffering,
    pub destination: Destination,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Schema {
    V2022_07_01,
    /// Sends lines of the JSON log format as objects.
    V2022_12_13,
    /// The only version on Managed Instances.
    V2025_01_29,
}

/// The limits of a batch. It is sent when it reaches one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffering {
    pub items: usize,
    /// The size of the events as JSON, without separators.
    pub bytes: usize,
    /// The time since the first event of the batch.
    pub timeout: Duration,
}

impl Subscription {
    /// Fields that the API does not know are ignored.
    ///
    /// # Errors
    ///
    /// All mistakes, in one line for `errorMessage`. The documentation shows two texts of Lambda's (`URI port
    /// is not provided; types should not be empty`). The others imitate their style.
    pub fn of(body: &[u8], managed_instances: bool) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| format!("failed to parse JSON: {error}"))?;
        if !body.is_object() {
            return Err("failed to parse JSON: the body must be an object".to_owned());
        }
        let parts = (
            schema(&body["schemaVersion"], managed_instances),
            Destination::of(&body["destination"]),
            types(&body["types"]),
            buffering(body.get("buffering")),
        );
        match parts {
            (Ok(schema), Ok(destination), Ok(types), Ok(buffering)) => {
                Ok(Self { schema, types, buffering, destination })
            }
            (schema, destination, types, buffering) => {
                let objections = [schema.err(), destination.err(), types.err(), buffering.err()];
                Err(objections.into_iter().flatten().collect::<Vec<_>>().join("; "))
            }
        }
    }
}

fn schema(version: &Value, managed_instances: bool) -> Result<Schema, String> {
    match (version.as_str(), managed_instances) {
        (Some("2025-01-29"), _) => Ok(Schema::V2025_01_29),
        (Some("2022-12-13"), false) => Ok(Schema::V2022_12_13),
        (Some("2022-07-01"), false) => Ok(Schema::V2022_07_01),
        // The text is the emulator's.
        (Some(_), true) => Err("schema validation error: jsonschema: '/schemaVersion' does not \
            validate with file:///telemetry-subscription-schema.json#/properties/schemaVersion/\
            enum: value must be \"2025-01-29\""
            .to_owned()),
        (Some(_), false) => {
            Err("schemaVersion must be 2025-01-29, 2022-12-13 or 2022-07-01".to_owned())
        }
        (None, _) => Err("schemaVersion is not provided".to_owned()),
    }
}

fn types(types: &Value) -> Result<Vec<Category>, String> {
    let types = types.as_array().map_or(&[][..], Vec::as_slice);
    if types.is_empty() {
        return Err("types should not be empty".to_owned());
    }
    let category = |name: &Value| match name.as_str() {
        Some("platform") => Ok(Category::Platform),
        Some("function") => Ok(Category::Function),
        Some("extension") => Ok(Category::Extension),
        _ => Err("types must be of platform, function and extension".to_owned()),
    };
    types.iter().map(category).collect()
}

fn buffering(buffering: Option<&Value>) -> Result<Buffering, String> {
    if buffering.is_some_and(|buffering| !buffering.is_object()) {
        return Err("buffering must be an object".to_owned());
    }
    let number = |name: &str, range: RangeInclusive<u64>, default| match buffering
        .and_then(|buffering| buffering.get(name))
    {
        None => Ok(default),
        Some(value) => value.as_u64().filter(|value| range.contains(value)).ok_or_else(|| {
            format!("buffering.{name} must be from {} to {}", range.start(), range.end())
        }),
    };
    let count = |number| usize::try_from(number).expect("its range ends far below any usize");
    Ok(Buffering {
        items: count(number("maxItems", MAX_ITEMS, MAX_ITEMS_DEFAULT)?),
        bytes: count(number("maxBytes", MAX_BYTES, MAX_BYTES_DEFAULT)?),
        timeout: Duration::from_millis(number("timeoutMs", TIMEOUT_MS, TIMEOUT_MS_DEFAULT)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body() -> Value {
        json!({
            "schemaVersion": "2025-01-29",
            "types": ["platform", "function"],
            "destination": {"protocol": "TCP", "port": 4243}
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut body = body();
        body[field] = value;
        body
    }

    fn of(body: &Value, managed_instances: bool) -> Result<Subscription, String> {
        Subscription::of(body.to_string().as_bytes(), managed_instances)
    }

    #[track_caller]
    fn check_error(body: &Value, expected: &str) {
        assert_eq!(of(body, false), Err(expected.to_owned()), "{body}");
    }

    #[test]
    fn the_least_that_can_be_asked_gets_the_documented_defaults() {
        let expected = Subscription {
            schema: Schema::V2025_01_29,
            types: vec![Category::Platform, Category::Function],
            buffering: Buffering { items: 10_000, bytes: 262_144, timeout: Duration::from_secs(1) },
            destination: Destination::Tcp { port: 4243 },
        };
        assert_eq!(of(&body(), false), Ok(expected.clone()));
        assert_eq!(of(&with("more", json!({"than": "known"})), true), Ok(expected));
    }

    #[test]
    fn every_limit_of_buffering_is_taken_and_the_number_beyond_it_refused() {
        for (name, least, most) in [
            ("maxItems", 1_000, 10_000),
            ("maxBytes", 262_144, 1_048_576),
            ("timeoutMs", 25, 30_000),
        ] {
            for value in [least, most] {
                let buffering =
                    of(&with("buffering", json!({name: value})), false).unwrap().buffering;
                let taken = match name {
                    "maxItems" => buffering.items.to_string(),
                    "maxBytes" => buffering.bytes.to_string(),
                    _ => buffering.timeout.as_millis().to_string(),
                };
                assert_eq!(taken, value.to_string(), "{name}");
            }
            let expected = format!("buffering.{name} must be from {least} to {most}");
            for value in [json!(least - 1), json!(most + 1), json!("1000"), json!(-1), json!(null)]
            {
                check_error(&with("buffering", json!({name: value})), &expected);
            }
        }
        check_error(&with("buffering", json!([])), "buffering must be an object");
    }

    #[test]
    fn each_schema_is_known_but_managed_instances_take_the_last_only() {
        let schema = |version: &str, managed| {
            of(&with("schemaVersion", json!(version)), managed).map(|it| it.schema)
        };
        assert_eq!(schema("2022-07-01", false), Ok(Schema::V2022_07_01));
        assert_eq!(schema("2022-12-13", false), Ok(Schema::V2022_12_13));
        assert_eq!(schema("2025-01-29", true), Ok(Schema::V2025_01_29));
        let error = schema("2022-12-13", true).unwrap_err();
        assert!(error.starts_with("schema validation error: "), "{error}");
        assert!(error.ends_with("/schemaVersion/enum: value must be \"2025-01-29\""), "{error}");
        let unknown = "schemaVersion must be 2025-01-29, 2022-12-13 or 2022-07-01";
        check_error(&with("schemaVersion", json!("2020-08-15")), unknown);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let expected = "schemaVersion is not provided; URI port is not provided; \
                        types should not be empty; buffering must be an object";
        check_error(
            &json!({
                "types": [],
                "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain"},
                "buffering": 1
            }),
            expected,
        );
    }

    #[test]
    fn types_are_one_or_more_of_three() {
        check_error(&with("types", json!("platform")), "types should not be empty");
        let unknown = "types must be of platform, function and extension";
        check_error(&with("types", json!(["platform", "Function"])), unknown);
        check_error(&with("types", json!([1])), unknown);
    }

    #[test]
    fn what_is_no_json_object_is_said() {
        let error = Subscription::of(b"{\"invalid\": json}", false).unwrap_err();
        assert_eq!(error, "failed to parse JSON: expected value at line 1 column 13");
        check_error(&json!([]), "failed to parse JSON: the body must be an object");
    }
}
