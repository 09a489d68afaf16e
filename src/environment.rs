//! The process's environment variables, found by name in any case, as agents' users write them.

use std::ffi::OsString;

/// A copy of the variables, so that nothing else reads the environment.
#[derive(Debug)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Bytes that are not UTF-8 become replacement characters, which make most values bad ones.
    pub fn read() -> Self {
        let text = |it: OsString| it.to_string_lossy().into_owned();
        Self(std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect())
    }

    #[cfg(any(test, fuzzing))]
    pub fn of(variables: &[(&str, &str)]) -> Self {
        Self(variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The value of `name`, trimmed; the exact spelling wins over others. Empty is unset: templates
    /// leave such variables behind.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut set = self.0.iter().filter(|(_, value)| !value.trim().is_empty());
        let exact = set.clone().find(|(it, _)| it == name);
        let found = exact.or_else(|| set.find(|(it, _)| it.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value.trim())
    }

    /// The name, as it is written, and the value of each variable that is set and whose name starts
    /// and ends so.
    pub fn find(&self, prefix: &str, suffix: &str) -> impl Iterator<Item = (&str, &str)> {
        let found = self.0.iter().filter(move |(name, _)| {
            let name = name.to_ascii_uppercase();
            name.starts_with(prefix) && name.ends_with(suffix)
        });
        found.map(|(name, value)| (name.as_str(), value.trim())).filter(|(_, it)| !it.is_empty())
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
        assert!(environment.find("THUNDRA_", "_C").eq([("thundra_agent_b_c", "1")]));
        assert_eq!(environment.find("CATCHPOINT_", "_C").next(), None);
    }
}
