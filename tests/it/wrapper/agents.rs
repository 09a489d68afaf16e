//! The wrapper leaves out agents that would keep the function from starting, and switches on the others.
//!
//! Python is a real one in a virtual environment. Its agent is a small copy of Thundra's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::{arrived, named, script, wrapped};

fn write(root: &Path, files: &[(&str, impl AsRef<[u8]>)]) {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Checks that the wrapper logged one line that gives this reason.
#[track_caller]
fn check_left_out(output: &Output, why: &str) {
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(line.starts_with("[thundra_wrapper] cannot switch the agent on: "), "{line}");
    assert!(line.contains(why) && line.lines().count() == 1, "{line} does not contain: {why}");
}

/// Calls the handler as AWS's runtimes do: puts the function's directory first, then imports the handler that
/// the environment names.
const PYTHON_RUNTIME: &str = r#"
import importlib, os, sys
sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
module, function = os.environ["_HANDLER"].rsplit(".", 1)
print(getattr(importlib.import_module(module), function)(None, None))
"#;

const PYTHON_AGENT: &str = r#"
import os, queue, uuid, importlib
for optional in ["brotlicffi", "brotli", "zstandard", "chardet", "redis", "flask"]:
    try:
        importlib.import_module(optional)
    except ImportError:
        pass
import certifi, idna, urllib3
import dateutil, jsonpickle, opentracing, pympler, requests, simplejson, thundra.thundra_agent, wrapt
module, function = os.environ["THUNDRA_AGENT_LAMBDA_HANDLER"].rsplit(".", 1)
own = getattr(importlib.import_module(module), function)
def wrapper(event, context):
    return "reported: " + own(event, context)
"#;

const PACKAGES: [&str; 10] = [
    "certifi/core",
    "dateutil/parser",
    "idna/core",
    "jsonpickle/pickler",
    "opentracing/tracer",
    "pympler/asizeof",
    "requests/sessions",
    "simplejson/decoder",
    "urllib3/connectionpool",
    "wrapt/wrappers",
];

/// A function, and a Python in which the agent is installed.
struct PythonFunction {
    home: TempDir,
    interpreter: PathBuf,
    version: String,
}

impl PythonFunction {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let venv = home.path().join("venv");
        let made =
            Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(&venv).status();
        assert!(made.unwrap().success());
        let interpreter = venv.join("bin/python3");
        let prints = ["-c", "import sys; print('python%d.%d' % sys.version_info[:2])"];
        let version = Command::new(&interpreter).args(prints).output().unwrap().stdout;
        let version = String::from_utf8(version).unwrap().trim().to_owned();
        let packages = venv.join("lib").join(&version).join("site-packages");
        for package in PACKAGES {
            let directory = package.split('/').next().unwrap();
            for module in [&format!("{directory}/__init__")[..], package] {
                write(&packages, &[(&format!("{module}.py")[..], "")]);
            }
        }
        let agent = [("__init__", ""), ("thundra_agent", ""), ("handler", PYTHON_AGENT)];
        for (module, content) in agent {
            write(&packages, &[(&format!("thundra/{module}.py")[..], content)]);
        }
        write(home.path(), &[("runtime.py", PYTHON_RUNTIME)]);
        Self { home, interpreter, version }
    }

    /// Runs the function with these files beside its handler.
    fn run(&self, files: &[&str]) -> Output {
        let task = self.home.path().join("task");
        let _ = fs::remove_dir_all(&task);
        write(&task, &[("app.py", "def handler(event, context): return 'done'\n")]);
        for file in files {
            write(&task, &[(file, "raise RuntimeError('not what the agent needs')\n")]);
        }
        let platform = format!("AWS_Lambda_{}", self.version);
        let variables = [
            ("LAMBDA_TASK_ROOT", task.to_str().unwrap()),
            ("_HANDLER", "app.handler"),
            ("AWS_EXECUTION_ENV", &platform),
        ];
        let runtime = self.home.path().join("runtime.py");
        wrapped(&variables, &[self.interpreter.as_path(), &runtime])
    }
}

#[test]
fn a_module_that_python_would_import_in_place_of_the_agents_costs_the_agent_only() {
    let function = PythonFunction::new();
    for files in [&[][..], &["requests/data.json", "thundra_settings.py", "json.py"]] {
        let output = function.run(files);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{files:?}");
        assert_eq!(output.stdout, b"reported: done\n", "{files:?}");
    }
    for file in [
        "thundra.py",
        "thundra/__init__.py",
        "requests.py",
        "requests/__init__.py",
        "opentracing.py",
        "wrapt/__init__.py",
        "urllib3.py",
        "brotli.py",
        "brotlicffi.py",
        "zstandard/__init__.py",
        "chardet.py",
        "redis.py",
        "flask.py",
        "queue.py",
        "uuid/__init__.py",
    ] {
        let output = function.run(&[file]);
        assert_eq!(output.stdout, b"done\n", "{file}");
        let module = file.trim_end_matches("/__init__.py");
        check_left_out(&output, &format!("/task/{module} in place of"));
    }
}

#[test]
fn a_package_that_the_agent_for_python_lacks_costs_the_agent_only() {
    let function = PythonFunction::new();
    let packages = function.home.path().join("venv/lib").join(&function.version);
    for package in PACKAGES {
        let name = package.split('/').next().unwrap();
        let (place, gone) =
            (packages.join("site-packages").join(name), function.home.path().join("gone"));
        fs::rename(&place, &gone).unwrap();
        let output = function.run(&[]);
        fs::rename(&gone, &place).unwrap();
        assert_eq!(output.stdout, b"done\n", "{name}");
        check_left_out(&output, &format!("lacks {name}"));
    }
    assert_eq!(function.run(&[]).stdout, b"reported: done\n");
}

/// The environment in which the wrapper starts Node.js, printed by env(1) under that name.
fn node(home: &TempDir) -> Output {
    let task = home.path().join("task");
    let variables = [
        ("LAMBDA_TASK_ROOT", task.to_str().unwrap()),
        ("NODE_PATH", task.to_str().unwrap()),
        ("_HANDLER", "app.handler"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_nodejs22.x"),
    ];
    let node = named(home, "node", "/usr/bin/env");
    wrapped(&variables, &[node.as_str(), "-0"])
}

/// Packages that the agent requires when Node.js loads it.
const NODE_DEPENDENCIES: [&str; 12] = [
    "fast-copy",
    "koalas",
    "lodash.flatten",
    "lodash.get",
    "lodash.has",
    "lodash.trim",
    "md5",
    "module-details-from-path",
    "object-sizeof",
    "semver",
    "shimmer",
    "url-parse",
];

/// Installs the agent in this directory, with the packages that it requires. It declares more of them.
fn install_node_agent(store: &Path) {
    let declared = NODE_DEPENDENCIES.iter().chain(&["isomorphic-git", "opentracing"]);
    let declared: Vec<String> = declared.map(|it| format!("\"{it}\": \"^1.0.0\"")).collect();
    let declared = format!("{{\"dependencies\": {{{}}}}}", declared.join(", "));
    let script = format!("require(\"{}\")", NODE_DEPENDENCIES.join("\"); require(\""));
    for (part, content) in [
        ("package.json", declared.as_str()),
        ("dist/thundra.js", &script),
        ("dist/bootstrap/lambda/index.js", &script),
        ("dist/bootstrap/lambda/handler_es.mjs", &script),
        ("dist/bootstrap/lambda/loader.cjs", "{}"),
    ] {
        write(store, &[(&format!("@thundra/core/{part}"), content)]);
    }
    for package in NODE_DEPENDENCIES {
        write(store, &[(&format!("{package}/package.json"), "{}")]);
    }
}

#[test]
fn a_package_that_the_agent_for_node_lacks_costs_the_agent_only() {
    let home = TempDir::new().unwrap();
    let modules = home.path().join("task/node_modules");
    write(&home.path().join("task"), &[("app.js", "")]);
    install_node_agent(&modules);
    let is_on = |output: &Output| arrived(output).contains_key("NODE_OPTIONS");
    for package in NODE_DEPENDENCIES {
        let place = modules.join(package);
        fs::remove_dir_all(&place).unwrap();
        // An interrupted copy leaves an empty directory.
        for is_empty in [false, true] {
            if is_empty {
                fs::create_dir(&place).unwrap();
            }
            let output = node(&home);
            assert!(!is_on(&output), "{package}");
            check_left_out(&output, &format!("lacks {package}"));
        }
        write(&place, &[("index.js", "")]);
    }
    let output = node(&home);
    assert_eq!(String::from_utf8(output.stderr.clone()).unwrap(), "");
    assert!(is_on(&output));
}

#[test]
fn a_handler_that_streams_is_not_wrapped_wherever_require_finds_it() {
    let streams = "exports.handler = awslambda.streamifyResponse(async () => {})\n";
    let bundle = format!("{}\n{streams}", "// a line of a bundle\n".repeat(300_000));
    for files in [
        &[("app.js", streams)][..],
        &[("app.js", streams), ("app/index.js", "")],
        &[("app.js", &bundle)],
        &[("app.mjs", &bundle)],
        &[("app/index.js", streams), ("app.mjs", "")],
        &[("app/package.json", "{\"main\": \"real.js\"}"), ("app/real.js", streams)],
        &[("app.js", "module.exports = require('./real')"), ("real.js", streams)],
        &[("app.mjs", "export * from './lib/real.mjs'"), ("lib/real.mjs", streams)],
        &[
            ("app.js", "exports.handler = require('./lib').handler"),
            ("lib/index.js", "exports.handler = require(\"../real\").handler"),
            ("real.js", streams),
        ],
        &[("app.js", "f[Symbol.for('aws.lambda.runtime.handler.streaming')] = 'response'")],
        &[("app.js", "exports.handler = awslambda['streamify' + 'Response'](f)")],
    ] {
        let home = TempDir::new().unwrap();
        let task = home.path().join("task");
        install_node_agent(&task.join("node_modules"));
        write(&task, files);
        let output = node(&home);
        assert_eq!(arrived(&output).get("NODE_OPTIONS"), None);
        check_left_out(&output, "streams its responses");
    }
}

#[test]
fn a_linked_agent_of_pnpm_or_npm_is_switched_on() {
    for store in
        [".pnpm/@thundra+core@2.14.4/node_modules", ".store/@thundra+core@2.14.4-a1/node_modules"]
    {
        let home = TempDir::new().unwrap();
        let modules = home.path().join("task/node_modules");
        install_node_agent(&modules.join(store));
        write(&home.path().join("task"), &[("app.js", "")]);
        fs::create_dir_all(modules.join("@thundra")).unwrap();
        let link = modules.join("@thundra/core");
        symlink(Path::new("..").join(store).join("@thundra/core"), &link).unwrap();
        let output = node(&home);
        assert_eq!(String::from_utf8(output.stderr.clone()).unwrap(), "", "{store}");
        let required = format!("-r {}/dist/bootstrap/lambda/index.js", link.display());
        assert_eq!(arrived(&output)["NODE_OPTIONS"], required);
    }
}

const JAVA_HANDLER: &str = "io.thundra.agent.lambda.core.handler.ThundraLambdaHandler";

/// The options, the handler and the arguments with which the wrapper starts Java.
fn java(home: &TempDir, arguments: &[&str]) -> Output {
    let shows = "#!/bin/sh\nprintf '%s|' \"$JAVA_TOOL_OPTIONS\" \"$_HANDLER\" \"$@\"\n";
    let java = script(home, "java", shows);
    let task = home.path().join("task");
    let variables = [("LAMBDA_TASK_ROOT", task.to_str().unwrap()), ("_HANDLER", "a.B::c")];
    wrapped(&variables, &[&[java.as_str()][..], arguments].concat())
}

/// Writes a jar by Python, so that the test does not rely on the code under test.
fn write_jar(path: &Path, manifest: &str) {
    let packs = "import sys, zipfile; jar = zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED); \
                 jar.writestr('META-INF/MANIFEST.MF', sys.argv[2]); jar.writestr('a/Agent.class', 'x')";
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let packed = Command::new("python3").args(["-c", packs]).arg(path).arg(manifest).status();
    assert!(packed.unwrap().success());
}

#[test]
fn a_jar_that_is_no_java_agent_does_not_keep_java_from_starting() {
    let home = TempDir::new().unwrap();
    let jar = home.path().join("task/lib/thundra-agent-bootstrap.jar");
    write_jar(&jar, "Manifest-Version: 1.0\r\nPremain-Class: a.Agent\r\n\r\n");
    let output = java(&home, &["Main"]);
    let option = format!("-javaagent:{}", jar.display());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{option}|a.B::c|Main|"));
    for (manifest, why) in [
        ("Manifest-Version: 1.0\r\n\r\n", "has no Premain-Class"),
        ("Manifest-Version: 1.0\r\nMain-Class: a.Agent\r\n\r\n", "has no Premain-Class"),
        ("Premain-Class: a.Missing\n", "lacks a.Missing"),
    ] {
        write_jar(&jar, manifest);
        let output = java(&home, &["Main"]);
        assert_eq!(output.stdout, b"|a.B::c|Main|", "{manifest}");
        check_left_out(&output, why);
    }
}

#[test]
fn the_argument_that_names_the_handler_of_java_17_is_replaced() {
    let home = TempDir::new().unwrap();
    let class = format!("{}.class", JAVA_HANDLER.replace('.', "/"));
    write(&home.path().join("task"), &[(class.as_str(), "")]);
    let main = "com.amazonaws.services.lambda.runtime.api.client.AWSLambda";
    // Lambda started the runtime in this way in October 2024, with more options.
    for arguments in [&["-cp", "a.B::c.jar", main, "a.B::c"][..], &["-Dx=a.B::c", "Main"]] {
        let output = java(&home, arguments);
        let arguments = arguments.iter().map(|&it| if it == "a.B::c" { JAVA_HANDLER } else { it });
        let expected: Vec<&str> = ["", JAVA_HANDLER].into_iter().chain(arguments).collect();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected.join("|") + "|");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    }
}
