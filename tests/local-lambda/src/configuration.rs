//! The function's configuration, with the names of `GetFunctionConfiguration`.

use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Configuration {
    pub function_name: String,
    pub version: String,
    pub handler: String,
    pub region: String,
    pub account_id: String,
    /// The function's memory in MB: 128 to 10,240 on Lambda. It also sets the share of the CPU.
    pub memory_mb: u32,
    /// Time limit of a whole invocation, extensions included: 1 s to 900 s on Lambda.
    pub timeout: Duration,
    /// The function's own variables.
    pub variables: BTreeMap<String, String>,
    pub log_format: LogFormat,
    pub initialization: Initialization,
}

/// The function's `LoggingConfig.LogFormat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// How Lambda initializes environments of the function (AWS docs "Using Lambda environment variables",
/// `AWS_LAMBDA_INITIALIZATION_TYPE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initialization {
    OnDemand,
    ProvisionedConcurrency,
    SnapStart,
    /// Managed Instances: several invocations at once, and no freezes.
    ManagedInstances {
        /// How many workers may wait for an event. An invocation that finds no waiting worker fails as
        /// `Runtime.Unavailable`, and its caller must try again.
        max_concurrency: usize,
    },
}

impl Configuration {
    #[must_use]
    pub fn function_arn(&self) -> String {
        let Self { region, account_id, function_name, .. } = self;
        format!("arn:aws:lambda:{region}:{account_id}:function:{function_name}")
    }
}

/// Lambda's defaults, and names that are clearly invented.
impl Default for Configuration {
    fn default() -> Self {
        Self {
            function_name: "local-lambda-function".to_owned(),
            version: "$LATEST".to_owned(),
            handler: "app.handler".to_owned(),
            region: "us-east-1".to_owned(),
            account_id: "123456789012".to_owned(),
            memory_mb: 128,
            timeout: Duration::from_secs(3),
            variables: BTreeMap::new(),
            log_format: LogFormat::Text,
            initialization: Initialization::OnDemand,
        }
    }
}

impl Initialization {
    /// The value of `AWS_LAMBDA_INITIALIZATION_TYPE`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::ProvisionedConcurrency => "provisioned-concurrency",
            Self::SnapStart => "snap-start",
            Self::ManagedInstances { .. } => "lambda-managed-instances",
        }
    }

    #[must_use]
    pub fn is_managed_instances(self) -> bool {
        matches!(self, Self::ManagedInstances { .. })
    }
}

impl LogFormat {
    /// The value of `AWS_LAMBDA_LOG_FORMAT`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "Text",
            Self::Json => "JSON",
        }
    }
}
