//! Items of telemetry, and how often each of them arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::remote::{Fate, Received};

/// One item, byte for byte as in the body. An item in Protobuf has no such bytes, so it is the JSON that
/// `opentelemetry-proto` writes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item(Vec<u8>);

/// How often each expected item arrived. An item counts if the remote accepted it: the answer to its request
/// was a 2xx.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Accepted in exactly one request.
    pub once: Vec<Item>,
    /// Accepted twice or more.
    pub repeated: Vec<Item>,
    /// Never accepted.
    pub missing: Vec<Item>,
    /// Accepted but not expected. An item is listed once for each time.
    pub unknown: Vec<Item>,
    /// Accepted, but the client never got the answer. These are in `once` or `repeated` too.
    pub unconfirmed: Vec<Item>,
}

impl Item {
    /// The items of a body: the elements of an array, or the elements of `data.allMonitoringData` in an object
    /// (as in `/composite-monitoring-data`), else the body itself. An empty body has none.
    #[must_use]
    pub fn of(body: &[u8]) -> Vec<Self> {
        let elements = serde_json::from_slice::<Vec<&RawValue>>(body).or_else(|_| {
            let composite = serde_json::from_slice::<Composite<'_>>(body);
            composite.map(|composite| composite.data.all_monitoring_data)
        });
        match elements {
            Ok(elements) => elements.into_iter().map(|it| Self::from(it.get())).collect(),
            Err(_) => Self::whole(body),
        }
    }

    /// The body itself as one item. An empty body has none.
    pub(crate) fn whole(body: &[u8]) -> Vec<Self> {
        if body.is_empty() { Vec::new() } else { vec![Self(body.to_vec())] }
    }
}

impl Delivery {
    /// Compares the received items with the expected ones. An item that is expected twice counts as one.
    #[must_use]
    pub fn of(received: &[Received], expected: &[impl AsRef<[u8]>]) -> Self {
        let mut arrivals = BTreeMap::<Item, Vec<&Received>>::new();
        for request in received.iter().filter(|request| request.is_accepted()) {
            for item in request.items() {
                arrivals.entry(item).or_default().push(request);
            }
        }
        let mut delivery = Self::default();
        let mut asked = BTreeSet::new();
        for item in expected.iter().map(Item::from) {
            if asked.insert(item.clone()) {
                delivery.count(&item, &arrivals.remove(&item).unwrap_or_default());
            }
        }
        let unknown = arrivals.into_iter().flat_map(|(item, all)| vec![item; all.len()]);
        delivery.unknown = unknown.collect();
        delivery
    }

    /// Whether each item arrived exactly once, and nothing else did.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.repeated.is_empty() && self.missing.is_empty() && self.unknown.is_empty()
    }

    fn count(&mut self, item: &Item, arrivals: &[&Received]) {
        let place = match arrivals.len() {
            0 => &mut self.missing,
            1 => &mut self.once,
            _ => &mut self.repeated,
        };
        place.push(item.clone());
        let confirmed = arrivals.iter().any(|request| request.fate == Fate::Answered);
        if !arrivals.is_empty() && !confirmed {
            self.unconfirmed.push(item.clone());
        }
    }
}

/// The counts in one line, and the items that are missing, repeated or unknown.
impl fmt::Display for Delivery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { once, repeated, missing, unknown, unconfirmed } = self;
        write!(out, "items: {} once, {} repeated, ", once.len(), repeated.len())?;
        write!(out, "{} missing, {} unknown, ", missing.len(), unknown.len())?;
        write!(out, "{} unconfirmed", unconfirmed.len())?;
        let odd = [("repeated", repeated), ("missing", missing), ("unknown", unknown)];
        for (place, items) in odd {
            for item in items.iter().take(ITEMS_SHOWN_MAX) {
                write!(out, "\n  {place}: {item}")?;
            }
        }
        Ok(())
    }
}

/// How many items of each kind are shown. The counts include all.
const ITEMS_SHOWN_MAX: usize = 5;

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Item {
    fn from(bytes: &T) -> Self {
        Self(bytes.as_ref().to_vec())
    }
}

impl AsRef<[u8]> for Item {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Item {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Item({self})")
    }
}

#[derive(Deserialize)]
struct Composite<'a> {
    #[serde(borrow)]
    data: Bundle<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle<'a> {
    #[serde(borrow)]
    all_monitoring_data: Vec<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &[&str]) {
        let items: Vec<String> = Item::of(body.as_bytes()).iter().map(Item::to_string).collect();
        assert_eq!(items, expected, "{body}");
    }

    #[test]
    fn items_are_the_elements_as_they_are_written() {
        check(
            r#" [{"b":1, "a":1.0} ,2,"x\u0041"] "#,
            &[r#"{"b":1, "a":1.0}"#, "2", r#""x\u0041""#],
        );
        check("[]", &[]);
    }

    #[test]
    fn the_items_of_a_composite_are_its_monitoring_data() {
        let composite =
            r#"{"type":"Composite","data":{"id":"i","allMonitoringData":[{"a": 1},2]}}"#;
        check(composite, &[r#"{"a": 1}"#, "2"]);
    }

    #[test]
    fn any_other_body_is_one_item_and_an_empty_one_none() {
        check(r#"{"data":[1]}"#, &[r#"{"data":[1]}"#]);
        check("[1,", &["[1,"]);
        check("7", &["7"]);
        check("", &[]);
    }
}
