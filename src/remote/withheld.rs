//! Remembers the names of an SDK's headers that look like keys and are not forwarded. If the remote refuses
//! the key, the log names the missing header.

use std::sync::{Arc, OnceLock};

use crate::payload::signal::Signal;

/// Parts of names of headers in which vendors expect keys, such as `x-api-key`, `x-honeycomb-team`,
/// `lightstep-access-token` or `uptrace-dsn`.
const KEYS: [&str; 7] = ["auth", "dsn", "key", "license", "secret", "team", "token"];

/// Headers whose names contain such a part, but that are forwarded, or are not meant for the remote.
const NO_KEYS: [&str; 2] = ["authorization", "proxy-authorization"];

/// The longest name that is remembered, in bytes. A longer one is ignored.
const NAME_MAX: usize = 64;

/// The name of one such header for each signal. Only the signal's first request is examined, because an SDK
/// sends the same headers with each request. Clones share the names.
#[derive(Clone, Debug, Default)]
pub struct Withheld(Arc<[OnceLock<Option<String>>; 3]>);

impl Withheld {
    /// Examines the names of a request's headers. Only the first request of each signal has an effect.
    pub fn look_at<'a>(&self, signal: Signal, mut names: impl Iterator<Item = &'a str>) {
        self.0[signal as usize]
            .get_or_init(|| names.by_ref().map(str::to_ascii_lowercase).find(|it| is_key(it)));
    }

    /// The header that the SDK sent but the extension did not forward.
    pub fn of(&self, signal: Signal) -> Option<&str> {
        self.0[signal as usize].get()?.as_deref()
    }
}

fn is_key(name: &str) -> bool {
    let is_named_so = KEYS.iter().any(|part| name.contains(part)) && !NO_KEYS.contains(&name);
    is_named_so && name.len() <= NAME_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_vendors_count_as_keys_and_those_of_http_do_not() {
        for name in [
            "x-api-key",
            "api-key",
            "dd-api-key",
            "x-honeycomb-team",
            "signoz-access-token",
            "x-sf-token",
            "uptrace-dsn",
            "x-license-key",
            "x-auth",
        ] {
            assert!(is_key(name), "{name}");
        }
        for name in [
            "authorization",
            "proxy-authorization",
            "accept",
            "accept-encoding",
            "accept-language",
            "connection",
            "content-encoding",
            "content-length",
            "content-type",
            "host",
            "sec-fetch-mode",
            "traceparent",
            "transfer-encoding",
            "user-agent",
            "x-amzn-trace-id",
        ] {
            assert!(!is_key(name), "{name}");
        }
        assert!(!is_key(&"key".repeat(NAME_MAX)));
    }
}
