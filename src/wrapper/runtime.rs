//! Which runtime an interpreter is, by the name of its file.

use std::fs;
use std::path::Path;

use crate::environment::Environment;
use crate::files;

#[derive(Debug, PartialEq, Eq)]
pub enum Runtime {
    Node {
        /// The major version, if it is known.
        major: Option<u32>,
    },
    Python {
        /// The minor version of Python 3, if it is known.
        minor: Option<u32>,
    },
    Java,
    Dotnet,
    Ruby,
    /// A program without an interpreter, such as one in Go.
    Other,
}

impl Runtime {
    pub fn of(interpreter: &Path, environment: &Environment) -> Self {
        let name = interpreter.file_name().unwrap_or_default().to_string_lossy();
        match name.trim_end_matches(|it: char| it.is_ascii_digit() || it == '.') {
            "node" => Self::Node { major: node_major(interpreter, environment) },
            "python" => Self::Python { minor: python_minor(interpreter, environment) },
            "java" => Self::Java,
            "dotnet" => Self::Dotnet,
            "ruby" => Self::Ruby,
            _ => Self::Other,
        }
    }
}

/// The major version of Node.js, from the name that Lambda gives the runtime, else from the header files of
/// Node.js.
fn node_major(interpreter: &Path, environment: &Environment) -> Option<u32> {
    let of_lambda =
        environment.text("AWS_EXECUTION_ENV").and_then(|it| number_behind("nodejs", it));
    of_lambda.or_else(|| {
        let interpreter = fs::canonicalize(interpreter).ok()?;
        let header = interpreter.parent()?.parent()?.join("include/node/node_version.h");
        let text = files::read(&header).ok()?;
        number_behind("#define NODE_MAJOR_VERSION ", &String::from_utf8_lossy(&text))
    })
}

/// The minor version of Python 3, from the file's name, else from the name of the file that it links to, else
/// from the name that Lambda gives the runtime.
fn python_minor(interpreter: &Path, environment: &Environment) -> Option<u32> {
    let of_name = |path: &Path| minor_in(&path.file_name()?.to_string_lossy());
    of_name(interpreter)
        .or_else(|| of_name(&fs::canonicalize(interpreter).ok()?))
        .or_else(|| minor_in(environment.text("AWS_EXECUTION_ENV")?))
}

fn minor_in(name: &str) -> Option<u32> {
    number_behind("python3.", name)
}

fn number_behind(mark: &str, name: &str) -> Option<u32> {
    let (_, version) = name.rsplit_once(mark)?;
    version.split(|it: char| !it.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::environment;
    use crate::files::tests::write;
    use tempfile::TempDir;

    #[test]
    fn an_interpreter_is_known_by_its_name() {
        let none = environment(&[]);
        for (interpreter, runtime) in [
            ("/var/lang/bin/python3.12", Runtime::Python { minor: Some(12) }),
            ("/no/such/python3", Runtime::Python { minor: None }),
            ("/no/such/python", Runtime::Python { minor: None }),
            ("/var/lang/bin/node", Runtime::Node { major: None }),
            ("node20", Runtime::Node { major: None }),
            ("/var/lang/bin/java", Runtime::Java),
            ("/var/lang/bin/dotnet", Runtime::Dotnet),
            ("/var/lang/bin/ruby3.3", Runtime::Ruby),
            ("/var/runtime/bootstrap", Runtime::Other),
            ("/var/task/javaesque", Runtime::Other),
            ("", Runtime::Other),
        ] {
            assert_eq!(Runtime::of(Path::new(interpreter), &none), runtime, "{interpreter}");
        }
    }

    #[test]
    fn the_name_of_lambda_has_the_version_that_the_file_lacks() {
        let given = environment(&[("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13")]);
        let runtime = Runtime::of(Path::new("/no/such/python3"), &given);
        assert_eq!(runtime, Runtime::Python { minor: Some(13) });
        let given = environment(&[("AWS_EXECUTION_ENV", "AWS_Lambda_nodejs24.x")]);
        let runtime = Runtime::of(Path::new("/var/lang/bin/node"), &given);
        assert_eq!(runtime, Runtime::Node { major: Some(24) });
    }

    #[test]
    fn the_headers_of_node_have_its_version() {
        let home = TempDir::new().unwrap();
        let header = b"#define X 1\n#define NODE_MAJOR_VERSION 22\n#define NODE_MINOR_VERSION 3\n";
        write(home.path(), &[("bin/node", b""), ("include/node/node_version.h", header)]);
        let runtime = Runtime::of(&home.path().join("bin/node"), &environment(&[]));
        assert_eq!(runtime, Runtime::Node { major: Some(22) });
    }
}
