"""A JVM behind the wrapper: a small agent of this test's own is attached, and the handler exchanged."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from bench import Bench
from findings import Findings, unless
from functions import KEY, Function
from workshop import Workshop, need

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
# Where the agent's own layer and package have them.
JAR = "thundra-agent-bootstrap.jar"
HANDLER = "io.thundra.agent.lambda.core.handler.ThundraLambdaHandler"
OWN_HANDLER = "example.Handler::handleRequest"


class JavaClient:
    """The machine's own JVM."""

    def install(self, _workshop: Workshop) -> None:
        need("java", "javac", "jar")


def an_agent_is_attached_and_gets_the_handler(bench: Bench, function: Function, logs: Path) -> Findings:
    task = logs / "task"
    _package(task)
    told = {"LAMBDA_TASK_ROOT": str(task), "_HANDLER": OWN_HANDLER, "JAVA_TOOL_OPTIONS": "-Dtest.own=kept"}
    java = ["java", "-classpath", str(task), "Main", "two words", "", "*"]
    done = subprocess.run(
        [bench.wrapper, *java],
        env={"PATH": os.environ["PATH"], **function.environment, **told},
        check=False,
        capture_output=True,
        encoding="utf-8",
    )
    expected = [
        "test.attached=yes",
        "test.own=kept",
        f"_HANDLER={HANDLER}",
        f"THUNDRA_AGENT_LAMBDA_HANDLER={OWN_HANDLER}",
        "THUNDRA_AGENT_REPORT_REST_LOCAL=true",
        "two words||*",
    ]
    said = done.stdout.splitlines()
    picked_up = [line for line in done.stderr.splitlines() if "[thundra_wrapper]" in line]
    return [
        *unless(said == expected, f"the JVM said {json.dumps(said)}, and {done.stderr:.300}"),
        *unless(done.returncode == 7, f"it ended with {done.returncode}"),
        *unless(not picked_up, f"the wrapper said {picked_up}"),
    ]


def _package(task: Path) -> None:
    """A function with the agent in its package."""
    (task / "lib").mkdir(parents=True)
    for name, source in (("Agent", AGENT), ("Main", MAIN)):
        (task / f"{name}.java").write_text(source)
    subprocess.run(["javac", "Agent.java", "Main.java"], cwd=task, check=True)
    (task / "manifest").write_text("Premain-Class: Agent\n")
    subprocess.run(["jar", "cfm", f"lib/{JAR}", "manifest", "Agent.class"], cwd=task, check=True)
    wrapper = task / f"{HANDLER.replace('.', '/')}.class"
    wrapper.parent.mkdir(parents=True)
    wrapper.touch()  # it is only looked for


WRAPPED_JAVA = Function(JavaClient(), OWN_HANDLER, {"THUNDRA_APIKEY": KEY}, "a -javaagent of this test (Java)")
