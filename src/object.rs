//! JSON objects of the platform.

use serde::Deserialize;

/// Reads an object by its members. `None` for anything else: serde would take an array for an
/// object too, its items in the order of the fields, so `["SHUTDOWN"]` for an event.
pub fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let is_object = json.trim_ascii_start().starts_with(b"{");
    if is_object { serde_json::from_slice(json).ok() } else { None }
}
