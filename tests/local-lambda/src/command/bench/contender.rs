//! A contender: an extension, or none.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use object::Endianness;
use object::elf::PT_INTERP;
use object::read::elf::{ElfFile64, ProgramHeader};

use crate::command::protocol::Protocol;

/// The name of the contender without an extension.
pub const NONE: &str = "none";

#[derive(Debug, Clone)]
pub struct Contender {
    pub name: String,
    /// The extension's file. `None` for the contender without an extension.
    pub path: Option<PathBuf>,
    /// For a wrapper, the program that it starts, which is the runtime.
    pub wraps: Option<PathBuf>,
    /// The protocol in which agents report to it.
    pub protocol: Protocol,
    /// Names and values. The values may contain `{port}`, `{remote}` and `{ca}`.
    pub variables: Vec<(String, String)>,
}

/// A variable of all contenders, or of one of them.
#[derive(Debug, Clone)]
pub struct Variable {
    of: Option<String>,
    name: String,
    value: String,
}

impl Contender {
    pub fn none() -> Self {
        let (protocol, variables) = (Protocol::Thundra, Vec::new());
        Self { name: NONE.to_owned(), path: None, wraps: None, protocol, variables }
    }

    pub fn of(name: &str, path: PathBuf) -> Self {
        let (protocol, variables) = (Protocol::Thundra, Protocol::Thundra.variables());
        Self { name: name.to_owned(), path: Some(path), wraps: None, protocol, variables }
    }

    /// The same contender, which gets its reports over OTLP.
    pub fn over_otlp(self) -> Self {
        let protocol = Protocol::Otlp;
        Self { protocol, variables: protocol.variables(), ..self }
    }

    pub fn is_wrapper(&self) -> bool {
        self.path.is_some() && self.wraps.is_some()
    }

    /// Its variables, and one that makes a known extension send reports at once, unless the user set that
    /// variable. Otherwise the extension would send waiting reports after the measurement.
    pub fn sending_at_once(&self) -> Vec<(String, String)> {
        let (name, value) = ("THUNDRA_EXTENSION_FLUSH", "continuously");
        let mut variables = self.variables.clone();
        if variables.iter().all(|(it, _)| it != name) {
            variables.push((name.to_owned(), value.to_owned()));
        }
        variables
    }

    /// The names of the variables that only this contender has. Their values may be secret.
    pub fn own_variables(&self) -> Vec<String> {
        let names = self.variables.iter().map(|(name, _)| name);
        names.filter(|name| !Protocol::is_told_to_all(name)).cloned().collect()
    }

    /// Parses `NAME=PATH`. The name becomes a file's name.
    ///
    /// # Errors
    ///
    /// When the argument has another form.
    pub fn parse(argument: &str) -> Result<Self, String> {
        match argument.split_once('=') {
            Some((name, path)) if is_name(name) && !path.is_empty() => {
                Ok(Self::of(name, path.into()))
            }
            _ => Err("expected NAME=PATH, with a name of letters, digits, -, _ and .; `none` and \
                      `unit` have a meaning of their own"
                .to_owned()),
        }
    }

    pub fn take(&mut self, variable: &Variable) {
        if variable.of.as_ref().is_none_or(|it| *it == self.name) {
            self.variables.retain(|(name, _)| *name != variable.name);
            self.variables.push((variable.name.clone(), variable.value.clone()));
        }
    }

    /// Replaces the file by a copy. The file's place in the page cache depends on the program that wrote it,
    /// and makes a start up to a quarter longer.
    ///
    /// # Errors
    ///
    /// When it cannot be copied.
    pub fn move_to(&mut self, directory: &Path) -> io::Result<()> {
        let Some(path) = &mut self.path else { return Ok(()) };
        let place = directory.join(&self.name);
        fs::copy(&*path, &place).map_err(|error| {
            let from = path.display();
            io::Error::other(format!("can't copy {}, which is {from}: {error}", self.name))
        })?;
        *path = place;
        Ok(())
    }

    /// # Errors
    ///
    /// When the file does not exist.
    pub fn check(&self) -> io::Result<()> {
        match &self.path {
            Some(path) if !path.is_file() => {
                let Self { name, .. } = self;
                Err(io::Error::other(format!("no extension {name} at {}", path.display())))
            }
            _ => Ok(()),
        }
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = text.chars().all(|it| it.is_ascii_alphanumeric() || "-_.".contains(it));
    is_plain && !["", ".", "..", NONE, "unit"].contains(&text)
}

impl Variable {
    /// Parses `VARIABLE=VALUE` or `NAME:VARIABLE=VALUE`.
    ///
    /// # Errors
    ///
    /// When the argument has another form.
    pub fn parse(argument: &str) -> Result<Self, String> {
        let (name, value) = argument.split_once('=').ok_or("expected [NAME:]VARIABLE=VALUE")?;
        let (of, name) = match name.split_once(':') {
            Some((of, name)) => (Some(of.to_owned()), name),
            None => (None, name),
        };
        if name.is_empty() || of.as_ref().is_some_and(String::is_empty) {
            return Err("expected [NAME:]VARIABLE=VALUE".to_owned());
        }
        Ok(Self { of, name: name.to_owned(), value: value.to_owned() })
    }

    /// The contender that gets the variable. `None` for all.
    pub fn of(&self) -> Option<&str> {
        self.of.as_deref()
    }
}

/// The sizes of an extension's file.
pub struct OnDisk {
    pub bytes: usize,
    /// Its size in a zip.
    pub deflated: usize,
    /// Whether it is dynamically linked. `None` if it is no binary.
    pub is_dynamic: Option<bool>,
}

/// # Errors
///
/// When it cannot be read.
pub fn on_disk(path: &Path) -> io::Result<OnDisk> {
    let whole = fs::read(path)?;
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::best());
    deflated.write_all(&whole)?;
    let (bytes, deflated) = (whole.len(), deflated.finish()?.len());
    Ok(OnDisk { bytes, deflated, is_dynamic: is_dynamic(&whole) })
}

/// Whether its program headers name an interpreter (elf(5)).
fn is_dynamic(file: &[u8]) -> Option<bool> {
    let elf = ElfFile64::<Endianness>::parse(file).ok()?;
    let headers = elf.elf_program_headers();
    Some(headers.iter().any(|it| it.p_type(elf.endian()) == PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_for_all_contenders_or_for_one() {
        let mut contenders = [Contender::of("a", "x".into()), Contender::of("b", "y".into())];
        let more = ["V=1", "b:V=2", "b:SSL_CERT_FILE=", "a:W=x:y=z"];
        for variable in more.map(|it| Variable::parse(it).unwrap()) {
            for contender in &mut contenders {
                contender.take(&variable);
            }
        }
        let of = |contender: &Contender, name: &str| {
            let found = contender.variables.iter().filter(|(it, _)| it == name);
            found.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        let [a, b] = &contenders;
        assert_eq!((of(a, "V"), of(b, "V")), (vec!["1".to_owned()], vec!["2".to_owned()]));
        assert_eq!(
            (of(a, "SSL_CERT_FILE"), of(b, "SSL_CERT_FILE")),
            (vec!["{ca}".to_owned()], vec![String::new()])
        );
        assert_eq!((of(a, "W"), of(b, "W")), (vec!["x:y=z".to_owned()], vec![]));
        for wrong in ["", "V", "=1", ":V=1", "a:=1"] {
            assert!(Variable::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn over_otlp_a_contender_gets_only_the_variables_of_otlp() {
        let contender = Contender::of("a", "x".into()).over_otlp();
        let names = ["THUNDRA_EXTENSION_OTLP_PORT", "THUNDRA_EXTENSION_OTLP_ENDPOINT"];
        assert_eq!(contender.own_variables(), names);
        let at_port = contender.variables.iter().filter(|(_, value)| value == "{port}");
        assert_eq!(at_port.map(|(name, _)| &**name).collect::<Vec<_>>(), names[..1]);
        assert_eq!(contender.variables.len(), names.len() + 1, "and the certificate");
    }

    #[test]
    fn an_extension_has_a_name_and_a_path() {
        assert_eq!(Contender::parse("a=b=c").unwrap().path, Some("b=c".into()));
        for wrong in ["", "a", "a=", "=b", "../a=b", "a b=c", ".=b", "..=b", "none=b", "unit=b"] {
            assert!(Contender::parse(wrong).is_err(), "{wrong}");
        }
    }
}
