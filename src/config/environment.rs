//! The process's environment variables. Names match in any case, because users of agents spell them in
//! different cases.

use std::ffi::OsString;

/// A copy of the variables, so that nothing else reads the environment.
#[derive(Debug)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Copies the process's variables. Bytes that are not UTF-8 become replacement characters, which make most
    /// values invalid.
    pub fn read() -> Self {
        let text = |it: OsString| it.to_string_lossy().into_owned();
        Self(std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect())
    }

    #[cfg(any(test, fuzzing))]
    pub fn of(variables: &[(&str, &str)]) -> Self {
        Self(variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The value of `name`, trimmed. The exact spelling wins over others. An empty value counts as unset,
    /// because templates leave empty variables behind.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut set = self.0.iter().filter(|(_, value)| !value.trim().is_empty());
        let exact = set.clone().find(|(it, _)| it == name);
        let found = exact.or_else(|| set.find(|(it, _)| it.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value.trim())
    }

    /// The names and values of all set variables whose names begin with one of `prefixes` and end with
    /// `suffix`, in any case. They are sorted by prefix.
    pub fn find(&self, prefixes: &[&str], suffix: &str) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        for prefix in prefixes {
            for (name, value) in &self.0 {
                let name_bytes = name.as_bytes();
                let begin = &name_bytes[..prefix.len().min(name.len())];
                let end = &name_bytes[name.len().saturating_sub(suffix.len())..];
                let is_meant = begin.eq_ignore_ascii_case(prefix.as_bytes())
                    && end.eq_ignore_ascii_case(suffix.as_bytes());
                if is_meant && !value.trim().is_empty() {
                    found.push((name.as_str(), value.trim()));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_any_case_and_the_exact_spelling_wins() {
        let environment = Environment::of(&[("thundra_apiKey", "a"), ("THUNDRA_APIKEY", " b ")]);
        assert_eq!(environment.get("THUNDRA_APIKEY"), Some("b"));
        assert_eq!(environment.get("Thundra_ApiKey"), Some("a"));
        assert_eq!(environment.get("THUNDRA"), None);
    }

    #[test]
    fn an_empty_value_is_unset() {
        assert_eq!(Environment::of(&[("A", ""), ("a", "b")]).get("A"), Some("b"));
        assert_eq!(Environment::of(&[("A", " ")]).get("A"), None);
    }

    #[test]
    fn a_variable_is_found_by_both_ends_of_its_name() {
        let environment =
            Environment::of(&[("x_c", "0"), ("thundra_c", ""), ("thundra_agent_b_c", "1")]);
        let found = environment.find(&["CATCHPOINT_", "THUNDRA_"], "_C");
        assert_eq!(found, [("thundra_agent_b_c", "1")]);
        assert_eq!(environment.find(&["CATCHPOINT_"], "_C"), []);
    }
}
