//! The runtime's environment: the variables that were given, and those that the wrapper adds.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Prefixes of an agent's settings.
pub const THUNDRA: &str = "THUNDRA_AGENT_";
pub const CATCHPOINT: &str = "CATCHPOINT_";

/// Invariant: a given variable keeps its value. Exceptions: lists grow, and an agent's handler replaces the
/// function's.
#[derive(Debug, Default)]
pub struct Environment {
    given: BTreeMap<OsString, OsString>,
    added: BTreeMap<OsString, OsString>,
}

impl Environment {
    pub fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self { given: variables.into_iter().collect(), added: BTreeMap::new() }
    }

    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let name = OsStr::new(name);
        self.added.get(name).or_else(|| self.given.get(name)).map(OsString::as_os_str)
    }

    /// The value, if it is valid UTF-8 and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str().filter(|it| !it.is_empty())
    }

    /// The words of the value, separated by spaces.
    pub fn words(&self, name: &str) -> Vec<OsString> {
        let words = self.text(name).unwrap_or_default().split_ascii_whitespace();
        words.map(OsString::from).collect()
    }

    /// The value of an agent's setting. Agents accept its name in any case, with and without `LAMBDA_`.
    /// `prefix` is an agent's, such as `THUNDRA_AGENT_`.
    pub fn setting(&self, prefix: &str, name: &str) -> Option<&OsStr> {
        let names = [format!("{prefix}{name}"), format!("{prefix}LAMBDA_{name}")];
        names.iter().find_map(|it| self.spelled(it).next())
    }

    /// The value of a variable by the extension's rules: its name may be in any case, the name in
    /// upper case wins, and an empty value counts as unset.
    pub fn in_any_case(&self, name: &str) -> Option<&str> {
        let texts = self.spelled(name).filter_map(|it| it.to_str());
        texts.map(str::trim).find(|it| !it.is_empty())
    }

    /// The values of this name in any case. The name in upper case is the first one,
    /// because the map is sorted.
    fn spelled(&self, name: &str) -> impl Iterator<Item = &OsStr> {
        let is_it =
            move |it: &OsString| it.to_str().is_some_and(|it| it.eq_ignore_ascii_case(name));
        let found = self.given.iter().filter(move |(it, _)| is_it(it));
        found.map(|(_, value)| value.as_os_str())
    }

    /// Sets an agent's setting, unless it was given.
    pub fn add_setting(&mut self, prefix: &str, name: &str, value: &str) {
        if self.setting(prefix, name).is_none() {
            self.set(&format!("{prefix}{name}"), value);
        }
    }

    /// Adds a variable. It replaces a given variable of this name.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.added.insert(name.into(), value.into());
    }

    /// Adds an element to a list whose elements are separated by `between`.
    pub fn append(&mut self, name: &str, between: &str, value: impl AsRef<OsStr>) {
        let mut list = self.get(name).unwrap_or_default().to_owned();
        if !list.is_empty() {
            list.push(between);
        }
        list.push(value);
        self.set(name, list);
    }

    /// Removes all added variables.
    pub fn discard(&mut self) {
        self.added.clear();
    }

    /// The added variables, for `Command::envs`.
    pub fn added(&self) -> &BTreeMap<OsString, OsString> {
        &self.added
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::of(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    /// The added variables, as text.
    pub fn added(environment: &Environment) -> BTreeMap<&str, &str> {
        let pairs = environment.added().iter();
        pairs.map(|(name, value)| (name.to_str().unwrap(), value.to_str().unwrap())).collect()
    }

    #[test]
    fn a_setting_is_found_under_each_of_its_names() {
        for name in [
            "THUNDRA_AGENT_REPORT_REST_LOCAL",
            "thundra_agent_report_rest_local",
            "THUNDRA_AGENT_LAMBDA_REPORT_REST_LOCAL",
            "thundra_agent_lambda_report_rest_local",
        ] {
            let mut environment = environment(&[(name, "false")]);
            environment.add_setting("THUNDRA_AGENT_", "REPORT_REST_LOCAL", "true");
            assert!(environment.added().is_empty(), "{name}");
        }
        let mut other = environment(&[("THUNDRA_REPORT_REST_LOCAL", "false")]);
        other.add_setting("THUNDRA_AGENT_", "REPORT_REST_LOCAL", "true");
        assert_eq!(added(&other), [("THUNDRA_AGENT_REPORT_REST_LOCAL", "true")].into());
    }

    #[test]
    fn a_list_grows_by_what_is_appended() {
        let mut environment = environment(&[("A", "x y"), ("EMPTY", "")]);
        for name in ["A", "EMPTY", "NONE"] {
            environment.append(name, " ", "z");
        }
        assert_eq!(added(&environment), [("A", "x y z"), ("EMPTY", "z"), ("NONE", "z")].into());
        environment.append("A", ":", "w");
        assert_eq!(environment.text("A"), Some("x y z:w"));
    }

    #[test]
    fn words_are_separated_by_spaces() {
        let environment = environment(&[("A", "  -X importtime\t-v "), ("B", " ")]);
        assert_eq!(environment.words("A"), ["-X", "importtime", "-v"]);
        assert!(environment.words("B").is_empty() && environment.words("C").is_empty());
    }
}
