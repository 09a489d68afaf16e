//! What values of settings mean, for both programs of the layer: the extension, and the wrapper, which
//! has to read them as the extension will.

/// Where the extension listens unless told otherwise.
pub const PORT_DEFAULT: u16 = 3333;

/// As the agents' languages together understand it.
pub fn boolean(held: &str) -> Option<bool> {
    match held.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" => Some(true),
        "false" | "f" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// From 1 to 65535.
pub fn port(held: &str) -> Option<u16> {
    held.parse().ok().filter(|&port| port > 0)
}
