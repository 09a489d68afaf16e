//! Reads single variables, and collects the problems.

use std::fmt::{self, Display};

use log::Level;

use crate::config::environment::Environment;
use crate::config::values;

/// How many characters of a bad value are logged. The rest is cut off.
const HELD_SHOWN_MAX: usize = 40;

/// A line to log about a variable, such as about a value that is not used.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    pub level: Level,
    text: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

pub struct Reading<'a> {
    pub environment: &'a Environment,
    pub problems: Vec<Problem>,
}

impl<'a> Reading<'a> {
    /// Parses a variable. `None` if the variable is unset, or if `parse` refuses its value, which is then
    /// reported. `parse` is behind a pointer, so that all variables of one type share the code.
    pub fn value<T>(
        &mut self,
        name: &str,
        parse: &dyn Fn(&str) -> Option<T>,
        expected: &str,
        instead: &str,
    ) -> Option<T> {
        let held = self.held(name)?;
        let parsed = parse(held);
        if parsed.is_none() {
            self.complain_of(name, Some(held), expected, instead);
        }
        parsed
    }

    /// As [`Self::value`], for a variable with a secret: its value is not logged.
    pub fn secret<T>(
        &mut self,
        name: &str,
        parse: &dyn Fn(&str) -> Option<T>,
        expected: &str,
        instead: &str,
    ) -> Option<T> {
        let parsed = parse(self.held(name)?);
        if parsed.is_none() {
            self.complain_of(name, None, expected, instead);
        }
        parsed
    }

    #[cold]
    fn complain_of(&mut self, name: &str, held: Option<&str>, expected: &str, instead: &str) {
        let held = match held {
            Some(held) => {
                let held: String = held.chars().take(HELD_SHOWN_MAX).collect();
                format!("{held:?}, which")
            }
            None => "something that".to_owned(),
        };
        self.complain(format!("{name} holds {held} is not {expected}; {instead} is used"));
    }

    /// The value without quotation marks around it.
    pub fn held(&mut self, name: &str) -> Option<&'a str> {
        let held = self.environment.get(name)?;
        self.unquoted(name, held)
    }

    /// `held` without quotation marks around it. `name` is its variable.
    pub fn unquoted(&mut self, name: &str, held: &'a str) -> Option<&'a str> {
        let Some(inner) = values::unquoted(held) else { return Some(held) };
        self.complain(format!("{name} holds quotation marks around its value; they are ignored"));
        Some(inner).filter(|it| !it.is_empty())
    }

    pub fn boolean(&mut self, name: &str, default: bool) -> bool {
        let instead = if default { "true" } else { "false" };
        self.value(name, &values::boolean, "true or false", instead).unwrap_or(default)
    }

    #[cold]
    pub fn complain(&mut self, text: String) {
        self.note(Level::Warn, text);
    }

    /// Adds a line, unless it exists already. Settings of all remotes are read once for each remote.
    pub fn note(&mut self, level: Level, text: String) {
        let problem = Problem { level, text };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
