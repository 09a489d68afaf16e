//! The environment variables of an extension and of a runtime. Lambda defines which process gets which (AWS
//! docs "Using the Lambda Extensions API" lists those that extensions do not get).

use std::collections::BTreeMap;

use crate::configuration::{Configuration, Initialization};

pub type Variables = BTreeMap<String, String>;

/// The variable with the address of the Runtime API, as `HOST:PORT`.
pub const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";

/// The value in AWS's base images.
pub const PATH: &str = "/usr/local/bin:/usr/bin/:/bin:/opt/bin";
const LIBRARY_PATH: &str = "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib";
const TASK_ROOT: &str = "/var/task";
const RUNTIME_DIR: &str = "/var/runtime";
/// The address of the X-Ray daemon. Nothing listens there. SDKs only need the variable.
const XRAY_DAEMON: (&str, &str) = ("169.254.79.129", "2000");

/// The token for the metadata endpoint, which is served beside the Runtime API.
pub const METADATA_TOKEN: &str = "local-lambda";

/// The variables that each external extension of the function gets.
pub fn of_extension(configuration: &Configuration, runtime_api: &str) -> Variables {
    let is_internal = |name: &str| name.starts_with('_');
    let mut variables = common(configuration, runtime_api);
    variables.retain(|name, _| !is_internal(name));
    variables
}

/// The variables that the runtime, and with it the function, gets.
pub fn of_runtime(configuration: &Configuration, runtime_api: &str) -> Variables {
    let mut variables = common(configuration, runtime_api);
    let mut set = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
    set("_HANDLER", &configuration.handler);
    set("LAMBDA_TASK_ROOT", TASK_ROOT);
    set("LAMBDA_RUNTIME_DIR", RUNTIME_DIR);
    set("AWS_EXECUTION_ENV", "AWS_Lambda_sandbox");
    set("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR");
    let (host, port) = XRAY_DAEMON;
    set("AWS_XRAY_DAEMON_ADDRESS", &format!("{host}:{port}"));
    set("_AWS_XRAY_DAEMON_ADDRESS", host);
    set("_AWS_XRAY_DAEMON_PORT", port);
    match configuration.initialization {
        // Many environments come from one snapshot, so it cannot name one environment's log.
        Initialization::SnapStart => {}
        Initialization::ManagedInstances { max_concurrency } => {
            set("AWS_LAMBDA_MAX_CONCURRENCY", &max_concurrency.to_string());
            log_names(configuration, set);
        }
        Initialization::OnDemand | Initialization::ProvisionedConcurrency => {
            log_names(configuration, set);
        }
    }
    variables
}

fn log_names(configuration: &Configuration, mut set: impl FnMut(&str, &str) -> Option<String>) {
    let group = format!("/aws/lambda/{}", configuration.function_name);
    set("AWS_LAMBDA_LOG_GROUP_NAME", &group);
    set("AWS_LAMBDA_LOG_STREAM_NAME", "2020/01/01/[$LATEST]00000000000000000000000000000000");
}

fn common(configuration: &Configuration, runtime_api: &str) -> Variables {
    let mut variables = configuration.variables.clone();
    let mut set = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
    set(RUNTIME_API, runtime_api);
    set("AWS_REGION", &configuration.region);
    set("AWS_DEFAULT_REGION", &configuration.region);
    set("AWS_LAMBDA_FUNCTION_NAME", &configuration.function_name);
    set("AWS_LAMBDA_FUNCTION_VERSION", &configuration.version);
    set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &configuration.memory_mb.to_string());
    set("AWS_LAMBDA_INITIALIZATION_TYPE", configuration.initialization.name());
    set("AWS_LAMBDA_METADATA_API", runtime_api);
    set("AWS_LAMBDA_METADATA_TOKEN", METADATA_TOKEN);
    // Extensions get it too. AWS's list of variables that they do not get does not contain it.
    set("AWS_LAMBDA_LOG_FORMAT", configuration.log_format.name());
    set("TZ", ":UTC");
    set("PATH", PATH);
    set("LD_LIBRARY_PATH", LIBRARY_PATH);
    set("LANG", "en_US.UTF-8");
    if configuration.initialization == Initialization::SnapStart {
        // A snapshot must contain no keys, so the runtime fetches them.
        let url = format!("http://{runtime_api}/2021-04-23/credentials");
        set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url);
        set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "local-lambda");
    } else {
        set("AWS_ACCESS_KEY_ID", "AKIALOCALLAMBDA00000");
        set("AWS_SECRET_ACCESS_KEY", "local-lambda");
        set("AWS_SESSION_TOKEN", "local-lambda");
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AWS docs "Using the Lambda Extensions API", "Lambda environment variables".
    const NOT_FOR_EXTENSIONS: [&str; 9] = [
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "_HANDLER",
    ];

    fn configuration(initialization: Initialization) -> Configuration {
        let variables = [("MINE", "1"), ("_MINE", "2")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Configuration { variables: variables.into(), initialization, ..Configuration::default() }
    }

    #[test]
    fn an_extension_sees_the_functions_variables_and_none_of_the_runtimes() {
        let managed = Initialization::ManagedInstances { max_concurrency: 4 };
        for initialization in [Initialization::OnDemand, Initialization::SnapStart, managed] {
            let variables = of_extension(&configuration(initialization), "127.0.0.1:9001");
            assert_eq!(variables["MINE"], "1");
            assert_eq!(variables["AWS_LAMBDA_RUNTIME_API"], "127.0.0.1:9001");
            assert_eq!(variables["AWS_LAMBDA_METADATA_API"], "127.0.0.1:9001");
            assert!(variables.contains_key("AWS_LAMBDA_METADATA_TOKEN"));
            let leaked: Vec<_> =
                NOT_FOR_EXTENSIONS.iter().filter(|name| variables.contains_key(**name)).collect();
            assert!(leaked.is_empty(), "{leaked:?}");
            assert!(!variables.keys().any(|name| name.starts_with('_')), "{variables:?}");
        }
    }

    #[test]
    fn a_runtime_sees_all_of_them() {
        let managed = Initialization::ManagedInstances { max_concurrency: 4 };
        let variables = of_runtime(&configuration(managed), "127.0.0.1:9001");
        let missing: Vec<_> =
            NOT_FOR_EXTENSIONS.iter().filter(|name| !variables.contains_key(**name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(
            (variables["_MINE"].as_str(), variables["_HANDLER"].as_str()),
            ("2", "app.handler")
        );
        assert_eq!(variables["AWS_LAMBDA_MAX_CONCURRENCY"], "4");
    }

    #[test]
    fn a_snapshot_holds_neither_keys_nor_the_name_of_a_log() {
        let configuration = configuration(Initialization::SnapStart);
        for variables in [of_extension(&configuration, "a:1"), of_runtime(&configuration, "a:1")] {
            let url = &variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"];
            assert_eq!(url, "http://a:1/2021-04-23/credentials");
            for name in ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_LAMBDA_LOG_STREAM_NAME"] {
                assert!(!variables.contains_key(name), "{name}");
            }
        }
    }
}
