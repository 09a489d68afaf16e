//! The options that describe a function's environment, with the settings of a function's owner.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use local_lambda::{FreezeBy, Initialization, LogFormat, Setup, TimeLimits, User};

use super::span::positive;

/// The memory sizes on Lambda, in MB (AWS docs "Configure Lambda function memory").
pub const MEMORY_MB: RangeInclusive<i64> = 128..=10_240;

/// The longest timeout on Lambda (AWS docs "Configure Lambda function timeout"). The shortest there is one
/// second. Here it may be shorter, so that a test of a timeout takes less time.
const TIMEOUT_MAX: Duration = Duration::from_secs(900);

#[derive(clap::Args)]
#[command(next_help_heading = "Environment")]
pub struct Environment {
    /// An executable file for /opt/extensions, under its own name. Repeatable
    #[arg(long = "extension", value_name = "PATH")]
    extensions: Vec<PathBuf>,

    /// The function's timeout, which covers extensions too. Up to 15 minutes
    #[arg(long, default_value = "3s", value_parser = function_timeout)]
    timeout: Duration,

    /// The function's memory size, in MB
    #[arg(long, value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(MEMORY_MB))]
    memory: u32,

    /// One of the function's own variables. Repeatable
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,

    /// How environments of the function are initialized
    #[arg(long, value_enum, value_name = "TYPE", default_value = "on-demand")]
    init_type: InitType,

    /// Limit all processes together to the CPU share and the memory of the memory size
    #[arg(long)]
    confined: bool,

    /// How to freeze. `auto` is the first of the others that works here
    #[arg(long, value_enum, value_name = "WAY", default_value = "auto")]
    freeze_by: FreezeWay,

    /// The function's log format
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    log_format: Format,

    /// The address of the Runtime API and the Extensions API. By default, any free port
    #[arg(long, value_name = "HOST:PORT")]
    runtime_api: Option<SocketAddr>,

    /// Answer 202 to subscriptions to the Telemetry API and deliver nothing, as AWS's emulator does. The older
    /// Logs API always does so, and does not exist on Managed Instances
    #[arg(long)]
    no_telemetry: bool,

    /// Multiply Lambda's limits (init 10 s, shutdown 2 s, of which 300 ms for the runtime)
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    time_limits_scale: f64,

    /// The function's handler, in the runtime's `_HANDLER`
    #[arg(long, value_name = "NAME", default_value = "app.handler")]
    handler: String,

    /// The function's name
    #[arg(long, value_name = "NAME", default_value = "local-lambda-function")]
    function_name: String,

    /// The user of the processes: Lambda's uid 993, which requires root, or the current user
    #[arg(long, value_enum, default_value = "lambda")]
    user: Owner,
}

/// How many events a runtime on Managed Instances takes at the same time.
const MAX_CONCURRENCY: usize = 10;

#[derive(Clone, Copy, ValueEnum)]
enum InitType {
    OnDemand,
    ProvisionedConcurrency,
    SnapStart,
    LambdaManagedInstances,
}

#[derive(Clone, Copy, ValueEnum)]
enum FreezeWay {
    Auto,
    CgroupV2,
    CgroupV1,
    Signals,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum Owner {
    Lambda,
    Own,
}

impl Environment {
    /// # Errors
    ///
    /// When an extension does not exist.
    pub fn setup(&self) -> io::Result<Setup> {
        let mut setup = Setup::new()
            .timeout(self.timeout)
            .memory_mb(self.memory)
            .initialization(self.init_type.into())
            .log_format(match self.log_format {
                Format::Text => LogFormat::Text,
                Format::Json => LogFormat::Json,
            })
            .limits(TimeLimits::LAMBDA.scaled(self.time_limits_scale))
            .user(match self.user {
                Owner::Lambda => User::Lambda,
                Owner::Own => User::Own,
            })
            .configuration(|it| {
                it.handler.clone_from(&self.handler);
                it.function_name.clone_from(&self.function_name);
            });
        for path in &self.extensions {
            setup = setup.extension(existing(path)?);
        }
        for (name, value) in &self.variables {
            setup = setup.env(name, value);
        }
        if let Some(by) = self.freeze_by.into() {
            setup = setup.freeze_by(by);
        }
        if self.confined {
            setup = setup.confined();
        }
        if self.no_telemetry {
            setup = setup.without_telemetry();
        }
        Ok(match self.runtime_api {
            Some(address) => setup.address(address),
            None => setup,
        })
    }
}

/// # Errors
///
/// When no file has this path.
pub fn existing(extension: &PathBuf) -> io::Result<&PathBuf> {
    let shown = extension.display();
    match extension.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(extension),
        Ok(_) => Err(io::Error::other(format!("the extension {shown} is no file"))),
        Err(error) => Err(io::Error::other(format!("no extension at {shown}: {error}"))),
    }
}

impl From<InitType> for Initialization {
    fn from(init_type: InitType) -> Self {
        match init_type {
            InitType::OnDemand => Self::OnDemand,
            InitType::ProvisionedConcurrency => Self::ProvisionedConcurrency,
            InitType::SnapStart => Self::SnapStart,
            InitType::LambdaManagedInstances => {
                Self::ManagedInstances { max_concurrency: MAX_CONCURRENCY }
            }
        }
    }
}

impl From<FreezeWay> for Option<FreezeBy> {
    fn from(way: FreezeWay) -> Self {
        match way {
            FreezeWay::Auto => None,
            FreezeWay::CgroupV2 => Some(FreezeBy::CgroupV2),
            FreezeWay::CgroupV1 => Some(FreezeBy::CgroupV1),
            FreezeWay::Signals => Some(FreezeBy::Signals),
        }
    }
}

fn function_timeout(argument: &str) -> Result<Duration, String> {
    match positive(argument)? {
        timeout if timeout <= TIMEOUT_MAX => Ok(timeout),
        _ => Err(format!("it is longer than {} s, Lambda's maximum", TIMEOUT_MAX.as_secs())),
    }
}

fn factor(argument: &str) -> Result<f64, String> {
    match argument.parse() {
        Ok(factor) if 0.0 < factor && factor <= 1000.0 => Ok(factor),
        _ => Err("expected a number above 0, and no more than 1000".to_owned()),
    }
}

fn variable(argument: &str) -> Result<(String, String), String> {
    match argument.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
