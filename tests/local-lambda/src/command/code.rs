//! The options that select the function's code.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use clap::ValueEnum;
use local_lambda::Runtime;
use local_lambda::agent::{Endpoint, Family};

#[derive(clap::Args)]
#[command(next_help_heading = "Function")]
pub struct Code {
    /// The agent in the built-in function
    #[arg(long, value_name = "FAMILY", default_value = "thundra-python")]
    agent: Family,

    /// Where the agent in the built-in function reports to: `local` or a URL. `local` is port 3333 of
    /// localhost, or 4318 for OpenTelemetry. A URL is `http://HOST[:PORT][/PATH]`. The agent appends
    /// `/monitoring-data` or the like, or `/traces`, but no `/v1`
    #[arg(long, value_name = "local|URL", default_value = "local", value_parser = collector)]
    report_to: Collector,

    /// The directory in which the command starts, instead of the current one
    #[arg(long, value_name = "DIR", requires = "command")]
    directory: Option<PathBuf>,

    /// A program that uses the Runtime API, such as `python3 -m awslambdaric app.handler`. By default the
    /// built-in function runs, see `local-lambda function --help`
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["agent", "report_to"])]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collector {
    /// The agent's own port on localhost.
    Local,
    Url(String),
}

impl Code {
    /// # Errors
    ///
    /// When this program's own path is unknown, or the directory does not exist.
    pub fn runtime(&self) -> io::Result<Runtime> {
        let Some((program, arguments)) = self.command.split_first() else {
            let report_to = match &self.report_to {
                Collector::Local => Vec::new(),
                Collector::Url(url) => vec!["--report-to".to_owned(), url.clone()],
            };
            return built_in(self.agent, report_to);
        };
        if let Some(directory) = self.directory.as_ref().filter(|it| !it.is_dir()) {
            return Err(io::Error::other(format!("no directory {}", directory.display())));
        }
        Ok(Runtime::Command {
            program: program.into(),
            arguments: arguments.to_vec(),
            directory: self.directory.clone(),
        })
    }
}

/// The built-in function as its own process, which a freeze can stop.
///
/// # Errors
///
/// When this program's own path is unknown.
pub fn built_in(agent: Family, options: Vec<String>) -> io::Result<Runtime> {
    let family = agent.to_possible_value().expect("every family has a name");
    let first = ["function", "--verbose", "--agent", family.get_name()];
    let arguments = first.into_iter().map(OsString::from);
    Ok(Runtime::Command {
        program: env::current_exe()?,
        arguments: arguments.chain(options.into_iter().map(OsString::from)).collect(),
        directory: None,
    })
}

fn collector(argument: &str) -> Result<Collector, String> {
    if argument == "local" {
        return Ok(Collector::Local);
    }
    Endpoint::remote(argument)?;
    Ok(Collector::Url(argument.to_owned()))
}
