//! A minimal Runtime API. It gives out events and records the calls.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use local_lambda::{Answer, Received, Remote};
use serde_json::Value;

use crate::SOON;
use crate::remote::port;

const MINUTE: Duration = Duration::from_secs(60);

/// A Runtime API with these events. After the last one, a `next` waits.
pub struct Lambda(pub Remote);

impl Lambda {
    pub fn with(events: impl IntoIterator<Item = Value>) -> Self {
        Self::with_deadlines(events.into_iter().map(|event| (event, MINUTE)))
    }

    pub fn with_deadlines(events: impl IntoIterator<Item = (Value, Duration)>) -> Self {
        let events = Mutex::new(events.into_iter().enumerate().collect::<VecDeque<_>>());
        let remote = Remote::start();
        remote.answer_with(move |request| match request.path.rsplit('/').next() {
            Some("next") if request.path.contains("restore") => Answer::ok(),
            Some("next") => match events.lock().unwrap().pop_front() {
                Some((number, (event, timeout))) => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                    Answer::status(200)
                        .header("Lambda-Runtime-Aws-Request-Id", format!("request-{number}"))
                        .header(
                            "Lambda-Runtime-Deadline-Ms",
                            (now + timeout).as_millis().to_string(),
                        )
                        .body(event.to_string())
                }
                None => Answer::Hang,
            },
            _ => Answer::status(202).body("{\"status\":\"OK\"}\n"),
        });
        Self(remote)
    }

    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", port(&self.0))
    }

    /// All calls, once there are this many.
    pub fn calls(&self, count: usize) -> Vec<Received> {
        self.0.wait_for(count, SOON)
    }

    pub fn paths(&self, count: usize) -> Vec<String> {
        let short = |call: Received| call.path.replace("/2018-06-01/runtime/", "");
        self.calls(count).into_iter().map(short).collect()
    }

    /// The last part of the path, and the content, of the post for the first event.
    pub fn result(&self) -> (String, Value) {
        let call = self.calls(2).remove(1);
        (call.path.rsplit('/').next().unwrap().to_owned(), parse(&call))
    }
}

pub fn parse(received: &Received) -> Value {
    serde_json::from_slice(&received.body).unwrap()
}
