"""One run, inside its namespaces. test_run.py starts it. It prints events as JSON lines."""

from __future__ import annotations

import base64
import json
import os
import shlex
import sys
import threading
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import namespaces
from api_calls import api_calls
from http_message import messages
from waiting import wait_until
from remote import Remote
from rie import BOOTSTRAP, RUNTIME_API, TASK, Rie
from rotel import Rotel
from local_lambda import LocalLambda
from sniffer import Sniffer
from port_squatter import PortSquatter
from tcp_streams import Connection, connections

COLLECTOR_PORT = 3333
OTLP_PORT = 4318
# The port of a server with HTTP but without TLS, for functions that want one.
PLAIN_PORT = 8081
REGISTER = "POST /2020-01-01/extension/register "
FUNCTION_NAME = "orders"
MEMORY_MB = "128"
# No function takes longer, unless its event makes it time out.
LONG_SECONDS = 60
EXTENSIONS = Path("/opt/extensions")
UNDER_TEST = Path("/opt/under-test")
WRAPPER = Path("/opt/thundra_wrapper")
EXTENSION_LOG = "extension.log"
HOSTS = Path("/opt/hosts")


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _build_environment(plan)
    if plan["port_taken"]:
        PortSquatter(COLLECTOR_PORT)
    sniffer = Sniffer(COLLECTOR_PORT, OTLP_PORT, RUNTIME_API[1])
    remote, rotel = _receivers(plan)
    plan["environment"] = _fill_in({**_remotes(plan, remote, rotel), **plan["environment"]}, remote)
    _emit("listening", remote.url)
    platform = _local_lambda(plan) if plan["on_local_lambda"] else _emulator(plan)
    for result in platform.invoke_all(plan["events"], plan["lanes"]):
        _emit("invocation", result)
    if rotel and plan["rotel_after"]:
        log = Path(plan["directory"]) / EXTENSION_LOG
        wait_until(lambda: plan["rotel_after"] in log.read_text(), plan["rotel_after"])
        rotel.start()
    _emit("shutdown", platform.terminate())
    if rotel:
        rotel.finish()
    _emit("arrived", remote.finish())
    segments = sniffer.finish()
    _emit("registered", _registrations(connections(segments, RUNTIME_API[1])))
    _emit("called", api_calls(connections(segments, RUNTIME_API[1])))
    ports = (COLLECTOR_PORT, OTLP_PORT) if plan["records_posts"] else ()
    _emit("posted", _posts([it for port in ports for it in connections(segments, port)]))


def _receivers(plan: dict) -> tuple[Remote, Rotel | None]:
    """The test double of the remote, and the real receiver in front of it, if the run has one."""
    directory = Path(plan["directory"])
    # rotel accepts an authority to trust only together with a certificate of its own.
    remote = Remote(Path(plan["local_lambda"]), directory / "remote", plan["script"], is_tls=not plan["rotel"])
    if not plan["rotel"]:
        return remote, None
    rotel = Rotel(plan["rotel"], remote.base, directory)
    if not plan["rotel_after"]:
        rotel.start()
    return remote, rotel


def _build_environment(plan: dict) -> None:
    """Builds an execution environment like Lambda's: code in /var/task, the extension in /opt/extensions."""
    binary = _executable(plan["extension"]) if plan["extension"] else None
    wrapper = Path(plan["wrapper"]).read_bytes() if plan["wrapper"] else None
    namespaces.raise_loopback()
    namespaces.empty_directories([Path(path) for path in plan["keep"]])
    HOSTS.write_text("127.0.0.1 localhost sandbox.localdomain sandbox\n")
    namespaces.bind(HOSTS, Path("/etc/hosts"))
    TASK.mkdir()
    for source in filter(Path.is_file, Path(plan["code"]).rglob("*")):
        # Copies the content without the mode, because only its owner may be able to read a checkout.
        copy = TASK / source.relative_to(plan["code"])
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    for name, text in plan["files"].items():
        (TASK / name).write_text(text)
    if plan["modules"]:
        (TASK / "node_modules").symlink_to(plan["modules"])
    _program(BOOTSTRAP, _bootstrap(plan))
    for name, directory in plan["layers"].items():
        (WRAPPER.parent / name).symlink_to(directory)
    if wrapper:
        _program(WRAPPER, wrapper)
    if binary:
        _program(UNDER_TEST / plan["installed_as"], binary)
        _program(EXTENSIONS / plan["installed_as"], _exit_recorder(plan, UNDER_TEST / plan["installed_as"]))


def _emulator(plan: dict) -> Rie:
    lambdas = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "en_US.UTF-8",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "example",
        "AWS_SECRET_ACCESS_KEY": "example",
        "AWS_SESSION_TOKEN": "example",
        "AWS_LAMBDA_FUNCTION_NAME": FUNCTION_NAME,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": MEMORY_MB,
        "_HANDLER": plan["handler"],
    }
    if plan["managed_instances"]:
        lambdas["AWS_LAMBDA_MAX_CONCURRENCY"] = str(plan["lanes"])
    if plan["timeout_seconds"]:
        lambdas["AWS_LAMBDA_FUNCTION_TIMEOUT"] = str(plan["timeout_seconds"])
    context = plan["context"]
    caller = {}
    if context:
        caller["X-Amzn-Trace-Id"] = context["trace_id"]
        caller["X-Amz-Client-Context"] = base64.b64encode(context["client_context"].encode()).decode()
    environment = {**lambdas, **_environment(plan)}
    log = Path(plan["directory"]) / "emulator.log"
    return Rie(plan["rie"], environment, caller, log)


def _local_lambda(plan: dict) -> LocalLambda:
    options = ["--user", "own", "--runtime-api", "{}:{}".format(*RUNTIME_API), "--freeze", plan["freeze"]]
    if not plan["telemetry"]:
        options.append("--no-telemetry")
    options += ["--function-name", FUNCTION_NAME, "--memory", MEMORY_MB, "--handler", plan["handler"]]
    options += ["--directory", str(TASK), "--timeout", f"{plan['timeout_seconds'] or LONG_SECONDS}s"]
    if plan["context"]:
        options += ["--trace-id", plan["context"]["trace_id"], "--client-context", plan["context"]["client_context"]]
    if plan["extension"]:
        options += ["--extension", str(EXTENSIONS / plan["installed_as"])]
    for name, value in _environment(plan).items():
        options += ["--env", f"{name}={value}"]
    # It runs the command and not the bootstrap, because runtimes must run unchanged.
    log = Path(plan["directory"]) / "emulator.log"
    return LocalLambda(plan["local_lambda"], options, plan["command"], plan["events"], log)


def _bootstrap(plan: dict) -> bytes:
    # Without this, awslambdaric's parallel workers would write to the emulator's log by this socket.
    return """#!/bin/sh
unset _LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET
export LAMBDA_TASK_ROOT={task} _HANDLER={handler}
cd {task} && exec ${{AWS_LAMBDA_EXEC_WRAPPER:+"$AWS_LAMBDA_EXEC_WRAPPER"}} {command} >>{log} 2>&1
""".format(
        task=TASK,
        handler=plan["handler"],
        command=shlex.join(plan["command"]),
        log=shlex.quote(_log(plan, "function.log")),
    ).encode()


def _exit_recorder(plan: dict, binary: Path) -> bytes:
    # The emulator does not report how an extension ended, and mixes the extension's output with its own.
    return """#!/bin/sh
{binary} >>{log} 2>&1
status=$?
echo $status >>{status_file}
exit $status
""".format(
        binary=shlex.quote(str(binary)),
        log=shlex.quote(_log(plan, EXTENSION_LOG)),
        status_file=shlex.quote(_log(plan, "extension.status")),
    ).encode()


def _environment(plan: dict) -> dict:
    """The function's own variables."""
    return {name: value for name, value in plan["environment"].items() if value is not None}


def _remotes(plan: dict, remote: Remote, rotel: Rotel | None) -> dict:
    """The variables with the remote's address: for the extension, or for the agent itself if there is no extension."""
    variables = {"SSL_CERT_FILE": remote.ca}
    if not plan["otlp"]:
        variables["THUNDRA_EXTENSION_COLLECTOR_URL"] = remote.url
    elif plan["extension"]:
        variables["THUNDRA_EXTENSION_OTLP_ENDPOINT"] = (rotel or remote).base
    else:
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = remote.base
        variables["OTEL_EXPORTER_OTLP_CERTIFICATE"] = remote.ca
    return variables


def _fill_in(environment: dict, remote: Remote) -> dict:
    """The text with the values of this run."""
    if any("{plain}" in (it or "") for it in environment.values()):
        PortSquatter(PLAIN_PORT)
    known = {"{remote}": remote.base, "{ca}": remote.ca, "{plain}": f"localhost:{PLAIN_PORT}"}
    for placeholder, value in known.items():
        environment = {name: it and it.replace(placeholder, value or "") for name, it in environment.items()}
    return environment


def _registrations(runtime_api: Sequence[Connection]) -> list[list[str]]:
    """The events for which the extension registered, once for each registration."""
    extensions = [it.sent for it in runtime_api if it.sent.startswith(REGISTER.encode())]
    requests = [request for sent in extensions for request in messages(sent)]
    return [json.loads(request.body)["events"] for request in requests if request.start.startswith(REGISTER)]


def _posts(collector: Sequence[Connection]) -> list[dict]:
    """The agent's requests in the form of the remote's record. Each has its connection and its answer."""
    posts = []
    for number, connection in enumerate(collector):
        for request, answer in zip_longest(messages(connection.sent), messages(connection.answered)):
            if request is None:
                raise RuntimeError(f"the extension answered without being asked: {answer}")
            post = {"connection": number, "path": request.start.split(" ")[1], "headers": dict(request.headers)}
            post["body_base64"] = base64.b64encode(request.body).decode()
            post["answer"] = [answer.start, answer.body.decode()] if answer else None
            posts.append(post)
    return posts


def _executable(path: str) -> bytes:
    content = Path(path).read_bytes()
    return f"#!{sys.executable}\n".encode() + content if path.endswith(".py") else content


def _program(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)


def _log(plan: dict, name: str) -> str:
    """A file to which the emulator's unprivileged user may write too."""
    path = Path(plan["directory"]) / name
    path.touch()
    path.chmod(0o666)
    return str(path)


def _emit(kind: str, value: object) -> None:
    print(json.dumps([kind, value]), flush=True)


def _end_with_the_parent() -> None:
    # This is the first process of its namespace. When it ends, the kernel ends all others.
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
