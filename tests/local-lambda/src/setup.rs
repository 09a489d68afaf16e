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

/// What a local Lambda does when a panic drops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnPanic {
    /// Prints its timeline, which explains a failed test.
    Print,
    BeSilent,
}

/// A file in `/opt/extensions`.
#[derive(Debug, Clone)]
pub(crate) struct ExtensionFile {
    pub name: String,
    pub path: PathBuf,
    /// Changes to its variables. `None` removes one.
    pub environment: Vec<(OsString, Option<OsString>)>,
}

/// The runtime of the function.
#[derive(Clone)]
pub enum Runtime {
    /// Threads of this process, which no freeze stops. Each init makes new ones.
    Function(Arc<dyn Fn() -> Function + Send + Sync>),
    /// A program that uses the Runtime API, started in this directory.
    Command { program: PathBuf, arguments: Vec<OsString>, directory: Option<PathBuf> },
    /// Any client. The test does the runtime's part. A reset ends the client's connections, as it ends
    /// processes.
    Outside,
}

/// The user that runs the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Lambda's user, uid 993 and gid 990, if this process is root and any user can read the files. Else this
    /// process's user.
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
    /// Lambda's defaults, no extension, and [`Runtime::Outside`].
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

    /// Sets or removes a variable of the extension that was added last, regardless of Lambda's own value.
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

    /// Changes settings that have no method here.
    pub fn configuration(mut self, change: impl FnOnce(&mut Configuration)) -> Self {
        change(&mut self.configuration);
        self
    }

    /// Sets the function's timeout, which covers extensions too.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.configuration(|it| it.timeout = timeout)
    }

    /// Sets the function's memory size.
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

    /// Freezes in this way instead of the best one that works here.
    pub fn freeze_by(mut self, freeze_by: FreezeBy) -> Self {
        self.freeze_by = Some(freeze_by);
        self
    }

    /// Limits the CPU and memory of all processes together, as the function's memory size does.
    pub fn confined(mut self) -> Self {
        self.confined = true;
        self
    }

    pub fn user(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// The Telemetry API answers 202, as AWS's emulator does, and delivers nothing.
    pub fn without_telemetry(mut self) -> Self {
        self.telemetry = Support::Unsupported;
        self
    }

    /// Divides the waits of the Telemetry API, such as `timeoutMs`, by `times`.
    ///
    /// # Panics
    ///
    /// When `times` is 0.
    pub fn telemetry_faster(mut self, times: u32) -> Self {
        self.telemetry_time_scale = TimeScale::times_faster(times);
        self
    }

    /// The address of the APIs. By default, any free port of loopback.
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Prints nothing when a panic drops the local Lambda, because the caller catches and reports the panic.
    pub fn silent_on_panic(mut self) -> Self {
        self.on_panic = OnPanic::BeSilent;
        self
    }

    /// Starts the extensions and the runtime. The first invocation reports their failures, as on Lambda.
    ///
    /// # Errors
    ///
    /// When two extensions have one name, the address cannot be listened on, or a temporary directory cannot be
    /// made.
    pub fn start(self) -> io::Result<Lambda> {
        Lambda::start(self)
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}
