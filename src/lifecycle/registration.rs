//! Registers the extension with Lambda.

use std::env;
use std::path::Path;

use crate::config::Config;
use crate::lambda::extensions_api::{ApiError, Extension, RuntimeApi, Subscription};
use crate::logging;

/// Registers with Lambda. If that fails, init fails in any case, so the process ends.
pub fn register(config: &Config) -> Option<Extension> {
    let subscription = if config.is_managed_instances || !config.is_enabled {
        Subscription::ShutdownOnly
    } else {
        Subscription::InvokeAndShutdown
    };
    let Some(runtime_api) = &config.runtime_api else {
        logging::error!(
            "cannot register: AWS_LAMBDA_RUNTIME_API is not set, so this is not AWS Lambda; the \
             extension ends"
        );
        return None;
    };
    let registered = RuntimeApi::at(runtime_api).register(&own_name(), subscription);
    let ends = |error: &ApiError| {
        logging::error!("cannot register with {runtime_api}: {error}; the extension ends");
    };
    registered.inspect_err(ends).ok()
}

/// The base name of this program's file. Lambda refuses any other name. Users may rename the file.
fn own_name() -> String {
    let path = env::args_os().next().unwrap_or_default();
    Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}
