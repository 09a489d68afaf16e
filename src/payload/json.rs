//! Reads members of JSON objects from the platform and from remotes.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The unparsed values of these members. If `json` is no complete object, all values are `None`.
pub fn members<'a, const N: usize>(json: &'a [u8], names: [&str; N]) -> [Option<&'a RawValue>; N] {
    let mut values = [None; N];
    if read(json, &names, &mut values).is_none() {
        values = [None; N];
    }
    values
}

/// The text of a JSON string. `None` for any other value.
pub fn text(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok()
}

/// One function for any number of members. A type that serde derives for each object has 2 kB of code or more.
fn read<'a>(json: &'a [u8], names: &[&str], values: &mut [Option<&'a RawValue>]) -> Option<()> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    reader.deserialize_map(Members { names, values }).ok()?;
    reader.end().ok()
}

struct Members<'a, 'b> {
    names: &'b [&'b str],
    values: &'b mut [Option<&'a RawValue>],
}

impl<'a> Visitor<'a> for Members<'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some((name, value)) = members.next_entry::<&RawValue, &RawValue>()? {
            let name = name.get().trim_matches('"');
            if let Some(place) = self.names.iter().position(|it| *it == name) {
                self.values[place] = Some(value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: [Option<&str>; 2]) {
        let found = members(json.as_bytes(), ["a", "b"]).map(|it| it.map(RawValue::get));
        assert_eq!(found, expected, "{json}");
    }

    #[test]
    fn members_are_found_among_any_others() {
        check(r#"{"a":1,"b":"x"}"#, [Some("1"), Some("\"x\"")]);
        check(r#" {"\n":[{"a":2}], "b" : {"a":3} } "#, [None, Some(r#"{"a":3}"#)]);
        check(r#"{"a":null}"#, [Some("null"), None]);
    }

    #[test]
    fn a_text_that_is_no_complete_object_has_no_members() {
        for json in ["", "[1,2]", r#"{"a":1"#, r#"{"a":1}x"#, r#""a""#, "null", "{a:1}"] {
            check(json, [None, None]);
        }
    }

    #[test]
    fn the_text_of_a_string_is_unescaped() {
        let [escaped, number] = members(br#"{"a":"x\ny","b":7}"#, ["a", "b"]);
        assert_eq!(
            [text(escaped), text(number), text(None)],
            [Some("x\ny".to_owned()), None, None]
        );
    }
}
