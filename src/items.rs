//! The items of a body, found without building a tree: pure.
//!
//! Invariant: an item is never taken apart, and what stands between two items that stay together is
//! kept as it was posted.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::form::Form;
use crate::protobuf::{Malformed, Value, next_field};

/// The most that may go into one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    pub reports: usize,
    pub items: usize,
    /// Of the whole body.
    pub bytes: usize,
}

impl Most {
    /// What Thundra's collector takes: the agents, and Thundra's own forwarder, keep to the same.
    pub const THUNDRA: Self = Self { reports: 100, items: 100, bytes: 1_000_000 };

    /// What a receiver of OTLP is sent at once: the specification has no limit, and of one that takes
    /// less a 413 tells.
    pub const OTLP: Self = Self { reports: 100, items: usize::MAX, bytes: 1024 * 1024 };

    /// Whether one body may hold so many items in so many bytes.
    pub fn is_kept_by(self, items: usize, bytes: usize) -> bool {
        items <= self.items && bytes <= self.bytes
    }

    /// Whether a body holds no more, as far as that shows without a parser: of one that is not of
    /// this form it says nothing.
    pub fn is_kept_unopened(self, form: Form, body: &[u8]) -> bool {
        let has_few = || {
            self.items == usize::MAX
                || form == Form::Array && commas_between_items(body) < self.items
        };
        body.len() <= self.bytes && has_few()
    }
}

/// The parser keeps a byte for each bracket that is open, outside of the budget. What is longer than
/// this many bytes may not be deeper than so many brackets: no agent's is.
const LARGE: usize = 256 * 1024;
const DEPTH_MAX: usize = 10_000;

/// How many brackets are open at most.
fn depth(json: &[u8]) -> usize {
    let mut most = 0;
    marks(json, |_, open| most = most.max(open));
    most
}

fn commas_between_items(array: &[u8]) -> usize {
    let mut commas = 0;
    marks(array, |mark, open| commas += usize::from(mark == b',' && open == 1));
    commas
}

/// Tells of each bracket and comma that is in no string, and how many brackets are open behind it.
fn marks(json: &[u8], mut tell: impl FnMut(u8, usize)) {
    let mut open = 0_usize;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                skip_string(&mut bytes);
                continue;
            }
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            b',' => {}
            _ => continue,
        }
        tell(*byte, open);
    }
}

/// To the end of a string: an escaped byte never ends it.
pub fn skip_string<'a>(bytes: &mut impl Iterator<Item = &'a u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
}

/// Neighbouring items, from the first byte of the first to the last byte of the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub range: Range<usize>,
    /// At least 1.
    pub items: usize,
}

impl Run {
    /// All items of a body of this form. `None` for what is not, or has none, or is both large and
    /// deep.
    pub fn of(form: Form, body: &[u8]) -> Option<Self> {
        if form == Form::Message {
            return of_message(body);
        }
        if body.len() > LARGE && depth(body) > DEPTH_MAX {
            return None;
        }
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let whole = Whole { body, member: form.member() };
        let run = if whole.member.is_some() {
            (&mut deserializer).deserialize_map(whole)
        } else {
            (&mut deserializer).deserialize_seq(whole)
        };
        let run = run.ok()??;
        deserializer.end().is_ok().then_some(run)
    }

    /// Takes the longest beginning off that makes a body within the limits: one item at least,
    /// whatever its size.
    pub fn split_to(&mut self, form: Form, body: &[u8], most: Most) -> Self {
        let mut head = Self { range: self.range.start..self.range.start, items: 0 };
        while let Some(item) = self.first(form, body) {
            let longer = Self { range: head.range.start..item.end, items: head.items + 1 };
            if head.items > 0 && !most.is_kept_by(longer.items, form.length(longer.range.len())) {
                break;
            }
            head = longer;
            self.items -= 1;
            self.range.start = next_item(form, body, item.end).min(self.range.end);
        }
        head
    }

    /// The range of the first item, if there is one.
    fn first(&self, form: Form, body: &[u8]) -> Option<Range<usize>> {
        let mut rest = &body[self.range.clone()];
        if form == Form::Message {
            next_field(&mut rest).ok()??;
            return Some(self.range.start..self.range.end - rest.len());
        }
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        let item = values.next()?.ok()?;
        Some(range_of(item.get(), body))
    }
}

/// Each request of OTLP has one field, of number 1, which repeats (`trace_service.proto`, and those of
/// the other signals). What has another goes as it is: merged, it might say something else.
fn of_message(body: &[u8]) -> Option<Run> {
    let (mut rest, mut items) = (body, 0);
    loop {
        match next_field(&mut rest) {
            Ok(Some(field)) if field.number == 1 && matches!(field.value, Value::Bytes(_)) => {
                items += 1;
            }
            Ok(None) if items > 0 => return Some(Run { range: 0..body.len(), items }),
            Ok(_) | Err(Malformed) => return None,
        }
    }
}

/// Where the item behind this one begins.
fn next_item(form: Form, body: &[u8], end: usize) -> usize {
    if form == Form::Message {
        return end;
    }
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
    end + body[end..].iter().take_while(|byte| is_between(byte)).count()
}

/// Of a part of `body`.
fn range_of(part: &str, body: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - body.as_ptr() as usize;
    start..start + part.len()
}

/// The array that is the body, or the one member of the object that is.
struct Whole<'a> {
    body: &'a [u8],
    member: Option<&'static str>,
}

impl<'de> Visitor<'de> for Whole<'de> {
    type Value = Option<Run>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("items")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<Run>, A::Error> {
        let name = members.next_key::<&'de str>()?;
        let array = members.next_value::<&'de RawValue>()?;
        let is_all = name == self.member && members.next_key::<IgnoredAny>()?.is_none();
        if !is_all {
            // Whatever the others are: the parser stops here, and it is not merged.
            return Err(A::Error::custom("another member"));
        }
        let whole = Self { member: None, ..self };
        let mut array = serde_json::Deserializer::from_slice(array.get().as_bytes());
        array.deserialize_seq(whole).map_err(A::Error::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<Run>, A::Error> {
        let mut run: Option<Run> = None;
        while let Some(item) = items.next_element::<&'de RawValue>()? {
            let item = range_of(item.get(), self.body);
            run = Some(match run {
                Some(run) => Run { range: run.range.start..item.end, items: run.items + 1 },
                None => Run { range: item, items: 1 },
            });
        }
        Ok(run)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::signal::Signal;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// JSON as agents could write it: nested, with any strings, numbers beyond 64 bits, white space
    /// and keys that repeat.
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

    pub fn most(items: usize, bytes: usize) -> Most {
        Most { items, bytes, ..Most::THUNDRA }
    }

    pub fn array() -> impl Strategy<Value = (Vec<String>, String)> {
        (vec(value(), 1..40), "[ \t\r\n]{0,2}").prop_map(|(items, space)| {
            let text =
                format!("{space}[{space}{}{space}]{space}", items.join(&format!("{space},")));
            (items, text)
        })
    }

    /// Taken apart and put together as requests, with one array each.
    fn requests(array: &str, most: Most) -> Vec<String> {
        let mut rest = Run::of(Form::Array, array.as_bytes()).unwrap();
        let mut requests = Vec::new();
        while rest.items > 0 {
            let run = rest.split_to(Form::Array, array.as_bytes(), most);
            requests.push(format!("[{}]", &array[run.range]));
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
        fn each_item_of_any_array_goes_out_once_in_order_byte_for_byte(
            (items, array) in array(),
            most in (1_usize..20, 1_usize..2_000).prop_map(|(items, bytes)| most(items, bytes)),
        ) {
            let requests = requests(&array, most);
            let out: Vec<String> = requests.iter().flat_map(|it| items_of(it)).collect();
            prop_assert_eq!(out, items);
            for request in &requests {
                let count = items_of(request).len();
                prop_assert!(count <= most.items);
                prop_assert!(request.len() <= most.bytes || count == 1);
            }
        }

        #[test]
        fn any_array_is_one_run_from_its_first_item_to_its_last((items, array) in array()) {
            let run = Run::of(Form::Array, array.as_bytes()).unwrap();
            prop_assert_eq!(run.items, items.len());
            prop_assert_eq!(items_of(&format!("[{}]", &array[run.range])), items);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
            let bracketed = [b"[", bytes.as_slice(), b"]"].concat();
            for form in [Form::Array, Form::Member(Signal::Traces), Form::Message] {
                let _ = Run::of(form, &bytes);
                let _ = Run::of(form, &bracketed);
            }
        }

        #[test]
        fn items_are_counted_without_a_parser((items, array) in array()) {
            let most = most(20, 1_000);
            let keeps = items.len() <= most.items && array.len() <= most.bytes;
            prop_assert_eq!(most.is_kept_unopened(Form::Array, array.as_bytes()), keeps);
        }
    }

    #[test]
    fn what_is_no_array_or_an_empty_one_has_no_run() {
        let invalid = ["", "[", "]", "{}", "1", "[1,]", "[,1]", "[1 2]", "[1]]", "[}", "[\"\\x\"]"];
        for text in invalid.into_iter().chain(["[]", " [ ] ", "[01]", "[1]x"]) {
            assert_eq!(Run::of(Form::Array, text.as_bytes()), None, "{text}");
        }
        assert_eq!(Run::of(Form::Array, b"[\"\xff\"]"), None);
    }

    #[test]
    fn what_is_large_and_deep_has_no_run() {
        let nested = |depth| format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
        let wide = format!("[\"{}\"]", "[".repeat(LARGE));
        assert!(Run::of(Form::Array, wide.as_bytes()).is_some());
        assert!(Run::of(Form::Array, nested(LARGE / 2 - 1).as_bytes()).is_some());
        assert_eq!(Run::of(Form::Array, nested(LARGE / 2).as_bytes()), None);
    }

    #[test]
    fn items_may_be_nested_to_any_depth() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(requests(&format!("[{deep},1]"), Most::THUNDRA), [format!("[{deep},1]")]);
    }

    #[test]
    fn runs_are_as_long_as_the_limits_allow() {
        assert_eq!(requests("[1,2 , 3,4]", most(2, 100)), ["[1,2]", "[3,4]"]);
        assert_eq!(requests("[1,2,3]", most(9, 5)), ["[1,2]", "[3]"]);
        assert_eq!(requests("[\"long\",2,3]", most(9, 5)), ["[\"long\"]", "[2,3]"]);
        assert_eq!(requests("[1]", most(1, 1)), ["[1]"]);
    }
}
