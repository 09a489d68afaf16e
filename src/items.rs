//! The items of a JSON array, found without building a tree: pure.
//!
//! Invariant: an item is never taken apart, and what stands between two items that stay together is
//! kept as it was posted.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The most that may go into one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    pub reports: usize,
    pub items: usize,
    /// Of the whole body.
    pub bytes: usize,
}

impl Most {
    /// What the remote takes: the agents, and Thundra's own forwarder, keep to the same.
    pub const REMOTE: Self = Self { reports: 100, items: 100, bytes: 1_000_000 };

    /// Whether one array may hold so many items in so many bytes.
    pub fn is_kept_by(self, items: usize, bytes: usize) -> bool {
        items <= self.items && bytes <= self.bytes
    }

    /// Whether an array holds no more, as far as that shows without a parser: of one that is no JSON
    /// it says nothing.
    pub fn is_kept_by_array(self, array: &[u8]) -> bool {
        array.len() <= self.bytes && commas_between_items(array) < self.items
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
    /// All items of an array. `None` for what is no JSON array, or an empty one, or is both large and
    /// deep.
    pub fn of(array: &[u8]) -> Option<Self> {
        if array.len() > LARGE && depth(array) > DEPTH_MAX {
            return None;
        }
        let mut deserializer = serde_json::Deserializer::from_slice(array);
        let run = (&mut deserializer).deserialize_seq(Whole { array }).ok()??;
        deserializer.end().is_ok().then_some(run)
    }

    /// Of an array that holds them and no more.
    pub fn array_bytes(&self) -> usize {
        const BRACKETS: usize = 2;
        self.range.len() + BRACKETS
    }

    /// Takes the longest beginning off that makes an array within the limits: one item at least,
    /// whatever its size.
    pub fn split_to(&mut self, array: &[u8], most: Most) -> Self {
        let mut head = Self { range: self.range.start..self.range.start, items: 0 };
        while let Some(item) = self.first(array) {
            let longer = Self { range: head.range.start..item.end, items: head.items + 1 };
            if head.items > 0 && !most.is_kept_by(longer.items, longer.array_bytes()) {
                break;
            }
            head = longer;
            self.items -= 1;
            self.range.start = next_item(array, item.end).min(self.range.end);
        }
        head
    }

    /// The range of the first item, if there is one.
    fn first(&self, array: &[u8]) -> Option<Range<usize>> {
        let rest = &array[self.range.clone()];
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        let item = values.next()?.ok()?;
        Some(range_of(item, array))
    }
}

/// Where the item behind this one begins.
fn next_item(array: &[u8], end: usize) -> usize {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
    end + array[end..].iter().take_while(|byte| is_between(byte)).count()
}

/// Of a part of `array`.
fn range_of(part: &RawValue, array: &[u8]) -> Range<usize> {
    let start = part.get().as_ptr() as usize - array.as_ptr() as usize;
    start..start + part.get().len()
}

struct Whole<'a> {
    array: &'a [u8],
}

impl<'de> Visitor<'de> for Whole<'de> {
    type Value = Option<Run>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<Run>, A::Error> {
        let mut run: Option<Run> = None;
        while let Some(item) = items.next_element::<&'de RawValue>()? {
            let item = range_of(item, self.array);
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
        Most { items, bytes, ..Most::REMOTE }
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
        let mut rest = Run::of(array.as_bytes()).unwrap();
        let mut requests = Vec::new();
        while rest.items > 0 {
            let run = rest.split_to(array.as_bytes(), most);
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
            let run = Run::of(array.as_bytes()).unwrap();
            prop_assert_eq!(run.items, items.len());
            prop_assert_eq!(items_of(&format!("[{}]", &array[run.range])), items);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = Run::of(&bytes);
            let bracketed = [b"[", bytes.as_slice(), b"]"].concat();
            let _ = Run::of(&bracketed);
        }

        #[test]
        fn items_are_counted_without_a_parser((items, array) in array()) {
            let most = most(20, 1_000);
            let keeps = items.len() <= most.items && array.len() <= most.bytes;
            prop_assert_eq!(most.is_kept_by_array(array.as_bytes()), keeps);
        }
    }

    #[test]
    fn what_is_no_array_or_an_empty_one_has_no_run() {
        let invalid = ["", "[", "]", "{}", "1", "[1,]", "[,1]", "[1 2]", "[1]]", "[}", "[\"\\x\"]"];
        for text in invalid.into_iter().chain(["[]", " [ ] ", "[01]", "[1]x"]) {
            assert_eq!(Run::of(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Run::of(b"[\"\xff\"]"), None);
    }

    #[test]
    fn what_is_large_and_deep_has_no_run() {
        let nested = |depth| format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
        let wide = format!("[\"{}\"]", "[".repeat(LARGE));
        assert!(Run::of(wide.as_bytes()).is_some());
        assert!(Run::of(nested(LARGE / 2 - 1).as_bytes()).is_some());
        assert_eq!(Run::of(nested(LARGE / 2).as_bytes()), None);
    }

    #[test]
    fn items_may_be_nested_to_any_depth() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(requests(&format!("[{deep},1]"), Most::REMOTE), [format!("[{deep},1]")]);
    }

    #[test]
    fn runs_are_as_long_as_the_limits_allow() {
        assert_eq!(requests("[1,2 , 3,4]", most(2, 100)), ["[1,2]", "[3,4]"]);
        assert_eq!(requests("[1,2,3]", most(9, 5)), ["[1,2]", "[3]"]);
        assert_eq!(requests("[\"long\",2,3]", most(9, 5)), ["[\"long\"]", "[2,3]"]);
        assert_eq!(requests("[1]", most(1, 1)), ["[1]"]);
    }
}
