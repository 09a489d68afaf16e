//! The options that say what runs as the function.

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

    /// Where the agent in the built-in function reports to: `local`, which is port 3333 of
    /// localhost, or 4318 for OpenTelemetry's, or `http://HOST[:PORT][/PATH]`, to which they append
    /// `/monitoring-data` or the like, or `/traces`, but no `/v1`
    #[arg(long, value_name = "local|URL", default_value = "local", value_parser = collector)]
    report_to: Collector,

    /// Where the command starts, instead of here
    #[arg(long, value_name = "DIR", requires = "command")]
    directory: Option<PathBuf>,

    /// A program that speaks the Runtime API, such as `python3 -m awslambdaric app.handler`;
    /// without one, the built-in function runs, see `local-lambda function --help`
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["agent", "report_to"])]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collector {
    /// On localhost, at the port that the agents of this family know.
    Local,
    Url(String),
}

impl Code {
    /// # Errors
    ///
    /// When the system does not tell where this program is, or the directory isn't there.
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

/// The built-in function as a process of its own, which a freeze reaches.
///
/// # Errors
///
/// When the system does not tell where this program is.
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
