//! Finds the items of a body without building a tree. Pure.
//!
//! Invariant: an item is never split. The bytes between two items in the same request stay as they were posted.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::payload::format::BodyFormat;
use crate::payload::json_scan::{commas_between_items, depth};
use crate::payload::limits::RequestLimits;
use crate::payload::protobuf::{Malformed, Value, next_field};

/// Whether a body is within the limits, as far as this is visible without a parser. The result is valid only
/// if the body has this format.
pub fn is_within(limits: RequestLimits, format: BodyFormat, body: &[u8]) -> bool {
    let has_few = || {
        limits.items == usize::MAX
            || format == BodyFormat::JsonArray && commas_between_items(body) < limits.items
    };
    body.len() <= limits.bytes && has_few()
}

/// Bodies longer than this many bytes are limited to [`DEPTH_MAX`].
const LARGE: usize = 256 * 1024;
/// How many brackets may be open in a [`LARGE`] body. A deeper body is sent unchanged, because the parser would
/// need a byte for each open bracket outside of the budget. No agent sends such a body.
const DEPTH_MAX: usize = 10_000;

/// Consecutive items, from the first byte of the first item to the last byte of the last item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRange {
    pub range: Range<usize>,
    /// The number of items, at least 1.
    pub items: usize,
}

impl ItemRange {
    /// The range of all items in a body of this format. `None` if the body has another format or no items, or
    /// is both large and deep.
    pub fn of(format: BodyFormat, body: &[u8]) -> Option<Self> {
        if format == BodyFormat::OtlpProtobuf {
            return of_message(body);
        }
        if body.len() > LARGE && depth(body) > DEPTH_MAX {
            return None;
        }
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let whole = Whole { body, member: format.member() };
        let all = if whole.member.is_some() {
            (&mut deserializer).deserialize_map(whole)
        } else {
            (&mut deserializer).deserialize_seq(whole)
        };
        let all = all.ok()??;
        deserializer.end().is_ok().then_some(all)
    }

    /// Removes as many first items as fit into a request within the limits, and returns them. It returns at
    /// least one item, even if that one is too large.
    pub fn split_to(&mut self, format: BodyFormat, body: &[u8], limits: RequestLimits) -> Self {
        let mut head = Self { range: self.range.start..self.range.start, items: 0 };
        while let Some(item) = self.first(format, body) {
            let longer = Self { range: head.range.start..item.end, items: head.items + 1 };
            if head.items > 0 && !limits.allow(longer.items, format.length(longer.range.len())) {
                break;
            }
            head = longer;
            self.items -= 1;
            self.range.start = next_item(format, body, item.end).min(self.range.end);
        }
        head
    }

    /// The range of the first item, if there is one.
    fn first(&self, format: BodyFormat, body: &[u8]) -> Option<Range<usize>> {
        let mut rest = &body[self.range.clone()];
        if format == BodyFormat::OtlpProtobuf {
            next_field(&mut rest).ok()??;
            return Some(self.range.start..self.range.end - rest.len());
        }
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        let item = values.next()?.ok()?;
        Some(range_of(item.get(), body))
    }
}

/// The items of an OTLP request: its repeated field with the number 1 (`trace_service.proto`, and those of the
/// other signals). A message with other fields is not merged, because a merge could change its meaning.
fn of_message(body: &[u8]) -> Option<ItemRange> {
    let (mut rest, mut items) = (body, 0);
    loop {
        match next_field(&mut rest) {
            Ok(Some(field)) if field.number == 1 && matches!(field.value, Value::Bytes(_)) => {
                items += 1;
            }
            Ok(None) if items > 0 => return Some(ItemRange { range: 0..body.len(), items }),
            Ok(_) | Err(Malformed) => return None,
        }
    }
}

/// The start of the next item, after an item with this end.
fn next_item(format: BodyFormat, body: &[u8], end: usize) -> usize {
    if format == BodyFormat::OtlpProtobuf {
        return end;
    }
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
    end + body[end..].iter().take_while(|byte| is_between(byte)).count()
}

/// The position of `part`, a slice of `body`.
fn range_of(part: &str, body: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - body.as_ptr() as usize;
    start..start + part.len()
}

/// The visitor of a complete body: an array, or an object whose only member is an array.
struct Whole<'a> {
    body: &'a [u8],
    member: Option<&'static str>,
}

impl<'de> Visitor<'de> for Whole<'de> {
    type Value = Option<ItemRange>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("items")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<ItemRange>, A::Error> {
        let name = members.next_key::<&'de str>()?;
        let array = members.next_value::<&'de RawValue>()?;
        let is_all = name == self.member && members.next_key::<IgnoredAny>()?.is_none();
        if !is_all {
            // An object with other members is not merged, so the parser stops here.
            return Err(A::Error::custom("another member"));
        }
        let whole = Self { member: None, ..self };
        let mut array = serde_json::Deserializer::from_slice(array.get().as_bytes());
        array.deserialize_seq(whole).map_err(A::Error::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<ItemRange>, A::Error> {
        let mut all: Option<ItemRange> = None;
        while let Some(item) = items.next_element::<&'de RawValue>()? {
            let item = range_of(item.get(), self.body);
            all = Some(match all {
                Some(ItemRange { range, items }) => {
                    ItemRange { range: range.start..item.end, items: items + 1 }
                }
                None => ItemRange { range: item, items: 1 },
            });
        }
        Ok(all)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::payload::signal::Signal;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// JSON that an agent could send: nested, with any strings, numbers beyond 64 bits, white space and
    /// repeated keys.
    fn value() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?",
            any::<String>().prop_map(|it| serde_json::to_string(&it).unwrap()),
            Just(r#""\ud83d\ude00 \u0000 \/ ],[ }{""#.to_owned()),
        ];
        let space = || "[ \t\r\n]{0,2}";
        scalar.prop_recursive(5, 40, 5, move |inner| {
            let array = (vec(inner.clone(), 0..5), space()).prop_map(|(items, space)| {
                format!("[{space}{}]", items.join(&format!("{space},")))
            });
            let object = (vec(inner, 0..5), space()).prop_map(|(values, space)| {
                let members = values.iter().map(|it| format!("\"k\"{space}:{space}{it}"));
                format!("{{{space}{}}}", members.collect::<Vec<_>>().join(","))
            });
            prop_oneof![array, object]
        })
    }

    pub fn limits(items: usize, bytes: usize) -> RequestLimits {
        RequestLimits { items, bytes, ..RequestLimits::THUNDRA }
    }

    pub fn array() -> impl Strategy<Value = (Vec<String>, String)> {
        (vec(value(), 1..40), "[ \t\r\n]{0,2}").prop_map(|(items, space)| {
            let text =
                format!("{space}[{space}{}{space}]{space}", items.join(&format!("{space},")));
            (items, text)
        })
    }

    /// Splits an array into requests with one array each.
    fn requests(array: &str, limits: RequestLimits) -> Vec<String> {
        let mut rest = ItemRange::of(BodyFormat::JsonArray, array.as_bytes()).unwrap();
        let mut requests = Vec::new();
        while rest.items > 0 {
            let head = rest.split_to(BodyFormat::JsonArray, array.as_bytes(), limits);
            requests.push(format!("[{}]", &array[head.range]));
        }
        requests
    }

    pub fn items_of(array: &str) -> Vec<String> {
        let items: Vec<&RawValue> = serde_json::from_str(array).unwrap();
        items.iter().map(|it| it.get().to_owned()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_item_of_any_array_is_sent_once_in_order_byte_for_byte(
            (items, array) in array(),
            limits in (1_usize..20, 1_usize..2_000).prop_map(|(items, bytes)| limits(items, bytes)),
        ) {
            let requests = requests(&array, limits);
            let out: Vec<String> = requests.iter().flat_map(|it| items_of(it)).collect();
            prop_assert_eq!(out, items);
            for request in &requests {
                let count = items_of(request).len();
                prop_assert!(count <= limits.items);
                prop_assert!(request.len() <= limits.bytes || count == 1);
            }
        }

        #[test]
        fn the_range_of_any_array_covers_all_its_items((items, array) in array()) {
            let all = ItemRange::of(BodyFormat::JsonArray, array.as_bytes()).unwrap();
            prop_assert_eq!(all.items, items.len());
            prop_assert_eq!(items_of(&format!("[{}]", &array[all.range])), items);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
            let bracketed = [b"[", bytes.as_slice(), b"]"].concat();
            for format in [BodyFormat::JsonArray, BodyFormat::OtlpJson(Signal::Traces), BodyFormat::OtlpProtobuf] {
                let _ = ItemRange::of(format, &bytes);
                let _ = ItemRange::of(format, &bracketed);
            }
        }

        #[test]
        fn items_are_counted_without_a_parser((items, array) in array()) {
            let limits = limits(20, 1_000);
            let keeps = items.len() <= limits.items && array.len() <= limits.bytes;
            prop_assert_eq!(is_within(limits, BodyFormat::JsonArray, array.as_bytes()), keeps);
        }
    }

    #[test]
    fn a_body_that_is_no_array_or_an_empty_array_has_no_items() {
        let invalid = ["", "[", "]", "{}", "1", "[1,]", "[,1]", "[1 2]", "[1]]", "[}", "[\"\\x\"]"];
        for text in invalid.into_iter().chain(["[]", " [ ] ", "[01]", "[1]x"]) {
            assert_eq!(ItemRange::of(BodyFormat::JsonArray, text.as_bytes()), None, "{text}");
        }
        assert_eq!(ItemRange::of(BodyFormat::JsonArray, b"[\"\xff\"]"), None);
    }

    #[test]
    fn a_large_and_deep_body_counts_as_one_without_items() {
        let nested = |depth| format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
        let wide = format!("[\"{}\"]", "[".repeat(LARGE));
        assert!(ItemRange::of(BodyFormat::JsonArray, wide.as_bytes()).is_some());
        assert!(ItemRange::of(BodyFormat::JsonArray, nested(LARGE / 2 - 1).as_bytes()).is_some());
        assert_eq!(ItemRange::of(BodyFormat::JsonArray, nested(LARGE / 2).as_bytes()), None);
    }

    #[test]
    fn the_items_of_a_small_body_may_be_nested_to_any_depth() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            requests(&format!("[{deep},1]"), RequestLimits::THUNDRA),
            [format!("[{deep},1]")]
        );
    }

    #[test]
    fn each_request_has_as_many_items_as_the_limits_allow() {
        assert_eq!(requests("[1,2 , 3,4]", limits(2, 100)), ["[1,2]", "[3,4]"]);
        assert_eq!(requests("[1,2,3]", limits(9, 5)), ["[1,2]", "[3]"]);
        assert_eq!(requests("[\"long\",2,3]", limits(9, 5)), ["[\"long\"]", "[2,3]"]);
        assert_eq!(requests("[1]", limits(1, 1)), ["[1]"]);
    }
}
