//! The parts of a local Lambda, chosen before it starts.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::configuration::{Configuration, Initialization, LogFormat};
use crate::container::FreezeBy;
use crate::function::Function;
use crate::lambda::Lambda;
use crate::limits::TimeLimits;
use crate::listener::ANY_PORT;
use crate::script::PlatformScript;
use crate::telemetry::time_scale::TimeScale;
use crate::telemetry_api::Support;

#[derive(Clone)]
#[must_use]
pub struct Setup {
    pub(crate) configuration: Configuration,
    pub(crate) extensions: Vec<ExtensionFile>,
    pub(crate) runtime: Runtime,
    pub(crate) limits: TimeLimits,
    pub(crate) script: PlatformScript,
    pub(crate) freeze_by: Option<FreezeBy>,
    pub(crate) confined: bool,
    pub(crate) user: User,
    pub(crate) telemetry: Support,
    pub(crate) telemetry_time_scale: TimeScale,
    pub(crate) address: SocketAddr,
    pub(crate) on_panic: OnPanic,
}

/// What a local Lambda does if a panic drops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnPanic {
    /// Prints its timeline, which a test that fails is to be understood by.
    Print,
    BeSilent,
}

/// A file in `/opt/extensions`.
#[derive(Debug, Clone)]
pub(crate) struct ExtensionFile {
    pub name: String,
    pub path: PathBuf,
    /// Changes to its variables; without a value one is taken away.
    pub environment: Vec<(OsString, Option<OsString>)>,
}

/// Who runs the function's code.
#[derive(Clone)]
pub enum Runtime {
    /// Threads of this process, which no freeze reaches; made anew for each init.
    Function(Arc<dyn Fn() -> Function + Send + Sync>),
    /// A program that speaks the Runtime API, started in this directory.
    Command { program: PathBuf, arguments: Vec<OsString>, directory: Option<PathBuf> },
    /// Whoever connects; the test does what a runtime would. A reset ends its connections, as it
    /// ends processes.
    Outside,
}

/// Who the processes run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Lambda's, uid 993 and gid 990, where this process is root and their files are open to all;
    /// else its own.
    Lambda,
    Own,
}

impl Runtime {
    pub fn function(make: impl Fn() -> Function + Send + Sync + 'static) -> Self {
        Self::Function(Arc::new(make))
    }

    pub fn command(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(OsString::from).collect();
        Self::Command { program: program.into(), arguments, directory: None }
    }
}

impl Setup {
    /// Lambda's defaults, no extension, and a runtime that the test plays.
    pub fn new() -> Self {
        Self {
            configuration: Configuration::default(),
            extensions: Vec::new(),
            runtime: Runtime::Outside,
            limits: TimeLimits::LAMBDA,
            script: PlatformScript::default(),
            freeze_by: None,
            confined: false,
            user: User::Lambda,
            telemetry: Support::Supported,
            telemetry_time_scale: TimeScale::REAL,
            address: ANY_PORT,
            on_panic: OnPanic::Print,
        }
    }

    /// Adds the file to `/opt/extensions` under its own name.
    ///
    /// # Panics
    ///
    /// When the path has no file name.
    pub fn extension(self, path: impl AsRef<Path>) -> Self {
        let name = path.as_ref().file_name().expect("an extension is a file");
        let name = name.to_string_lossy().into_owned();
        self.extension_named(path, &name)
    }

    /// Adds the file to `/opt/extensions` under another name.
    pub fn extension_named(mut self, path: impl AsRef<Path>, name: &str) -> Self {
        let path = path.as_ref().to_owned();
        let environment = Vec::new();
        self.extensions.push(ExtensionFile { name: name.to_owned(), path, environment });
        self
    }

    /// Sets a variable of the extension that was added last, or takes it away, whatever Lambda
    /// would give it.
    ///
    /// # Panics
    ///
    /// When there is no extension yet.
    pub fn extension_env(mut self, name: impl Into<OsString>, value: Option<OsString>) -> Self {
        let last = self.extensions.last_mut().expect("the extension comes before its variables");
        last.environment.push((name.into(), value));
        self
    }

    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = runtime;
        self
    }

    /// Changes anything that has no method of its own here.
    pub fn configuration(mut self, change: impl FnOnce(&mut Configuration)) -> Self {
        change(&mut self.configuration);
        self
    }

    /// The function's timeout, which covers extensions too.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.configuration(|it| it.timeout = timeout)
    }

    /// The function's memory size.
    pub fn memory_mb(self, memory_mb: u32) -> Self {
        self.configuration(|it| it.memory_mb = memory_mb)
    }

    /// Sets one of the function's own variables.
    pub fn env(self, name: &str, value: &str) -> Self {
        self.configuration(|it| drop(it.variables.insert(name.to_owned(), value.to_owned())))
    }

    pub fn log_format(self, log_format: LogFormat) -> Self {
        self.configuration(|it| it.log_format = log_format)
    }

    pub fn initialization(self, initialization: Initialization) -> Self {
        self.configuration(|it| it.initialization = initialization)
    }

    pub fn limits(mut self, limits: TimeLimits) -> Self {
        self.limits = limits;
        self
    }

    pub fn script(mut self, script: PlatformScript) -> Self {
        self.script = script;
        self
    }

    /// Freezes in this way instead of the best that can be had.
    pub fn freeze_by(mut self, freeze_by: FreezeBy) -> Self {
        self.freeze_by = Some(freeze_by);
        self
    }

    /// Gives all processes together no more CPU and memory than the function's memory size buys.
    pub fn confined(mut self) -> Self {
        self.confined = true;
        self
    }

    pub fn user(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// The Telemetry API answers 202, as AWS's emulator does: nothing will ever be delivered.
    pub fn without_telemetry(mut self) -> Self {
        self.telemetry = Support::Unsupported;
        self
    }

    /// Shortens the waits of the Telemetry API, such as `timeoutMs`, to a part of what is asked for.
    ///
    /// # Panics
    ///
    /// When `times` is 0.
    pub fn telemetry_faster(mut self, times: u32) -> Self {
        self.telemetry_time_scale = TimeScale::times_faster(times);
        self
    }

    /// Where the APIs are served; any free port of loopback unless told.
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Prints nothing if a panic drops the local Lambda: the caller that catches it reports it.
    pub fn silent_on_panic(mut self) -> Self {
        self.on_panic = OnPanic::BeSilent;
        self
    }

    /// Starts the extensions and the runtime. What goes wrong with them is Lambda's to tell, in the
    /// first invocation.
    ///
    /// # Errors
    ///
    /// When two extensions have one name, the address can't be listened on, or a temporary directory
    /// not be made.
    pub fn start(self) -> io::Result<Lambda> {
        Lambda::start(self)
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}
