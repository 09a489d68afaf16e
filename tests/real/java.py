"""Starts a JVM by the wrapper, which attaches a small agent of this test and replaces the handler."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from runner import Runner
from checks import Findings, unless
from functions import KEY, Function
from setup_cache import SetupCache, need

AGENT = """
public class Agent {
    public static void premain(String options) { System.setProperty("test.attached", "yes"); }
}
"""
MAIN = """
public class Main {
    public static void main(String[] arguments) {
        for (String property : new String[] {"test.attached", "test.own"})
            System.out.println(property + "=" + System.getProperty(property));
        for (String variable : new String[] {"_HANDLER", "THUNDRA_AGENT_LAMBDA_HANDLER", "THUNDRA_AGENT_REPORT_REST_LOCAL"})
            System.out.println(variable + "=" + System.getenv(variable));
        System.out.println(String.join("|", arguments));
        System.exit(7);
    }
}
"""
# The names in the agent's own layer and package.
JAR = "thundra-agent-bootstrap.jar"
HANDLER = "io.thundra.agent.lambda.core.handler.ThundraLambdaHandler"
OWN_HANDLER = "example.Handler::handleRequest"


class JavaClient:
    """The machine's JVM."""

    def install(self, _workshop: SetupCache) -> None:
        need("java", "javac", "jar")


def an_agent_is_attached_and_gets_the_handler(runner: Runner, function: Function, logs: Path) -> Findings:
    task = logs / "task"
    _package(task, "Premain-Class: Agent\n")
    expected = [
        "test.attached=yes",
        "test.own=kept",
        f"_HANDLER={HANDLER}",
        f"THUNDRA_AGENT_LAMBDA_HANDLER={OWN_HANDLER}",
        "THUNDRA_AGENT_REPORT_REST_LOCAL=true",
        # AWS's runtimes for Java 17 and later read the handler from their last argument.
        f"two words||*|{HANDLER}",
    ]
    return _runs(runner, function, task, expected, [])


def a_jar_that_is_no_agent_is_left_out(runner: Runner, function: Function, logs: Path) -> Findings:
    task = logs / "task"
    _package(task, "Main-Class: Agent\n")
    expected = [
        "test.attached=null",
        "test.own=kept",
        f"_HANDLER={OWN_HANDLER}",
        "THUNDRA_AGENT_LAMBDA_HANDLER=null",
        "THUNDRA_AGENT_REPORT_REST_LOCAL=true",
        f"two words||*|{OWN_HANDLER}",
    ]
    return _runs(runner, function, task, expected, ["has no Premain-Class"])


def _runs(runner: Runner, function: Function, task: Path, expected: Sequence[str], picked_up: Sequence[str]) -> Findings:
    given = {"LAMBDA_TASK_ROOT": str(task), "_HANDLER": OWN_HANDLER, "JAVA_TOOL_OPTIONS": "-Dtest.own=kept"}
    java = ["java", "-classpath", str(task), "Main", "two words", "", "*", OWN_HANDLER]
    done = subprocess.run(
        [runner.wrapper, *java],
        env={"PATH": os.environ["PATH"], **function.environment, **given},
        check=False,
        capture_output=True,
        encoding="utf-8",
    )
    printed = done.stdout.splitlines()
    lines = [line for line in done.stderr.splitlines() if "[thundra_wrapper]" in line]
    as_expected = len(lines) == len(picked_up) and all(part in line for part, line in zip(picked_up, lines))
    return [
        *unless(printed == expected, f"the JVM printed {json.dumps(printed)}, and {done.stderr:.300}"),
        *unless(done.returncode == 7, f"it ended with {done.returncode}"),
        *unless(as_expected, f"the wrapper logged {lines}"),
    ]


def _package(task: Path, manifest: str) -> None:
    """A function with the agent in its package."""
    (task / "lib").mkdir(parents=True)
    for name, source in (("Agent", AGENT), ("Main", MAIN)):
        (task / f"{name}.java").write_text(source)
    subprocess.run(["javac", "Agent.java", "Main.java"], cwd=task, check=True)
    (task / "manifest").write_text(manifest)
    subprocess.run(["jar", "cfm", f"lib/{JAR}", "manifest", "Agent.class"], cwd=task, check=True)
    wrapper = task / f"{HANDLER.replace('.', '/')}.class"
    wrapper.parent.mkdir(parents=True)
    wrapper.touch()  # the wrapper only checks that it exists


WRAPPED_JAVA = Function(JavaClient(), OWN_HANDLER, {"THUNDRA_APIKEY": KEY}, "a -javaagent of this test (Java)")
