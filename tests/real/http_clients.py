"""Posts with real HTTP clients to the port for OTLP, in each form that HTTP/1.1 allows, and in some that it does not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner import Runner
from checks import Findings, ended_well, unless
from functions import Function
from python_client import PythonClient
from setup_cache import SetupCache, need
from test_run import TestRun

URL = "http://localhost:4318/v1/logs"
JSON = "Content-Type: application/json"
LOGS = '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"%s"}}]}]}]}'
# A client that tries again, or waits for an answer that does not come, takes longer.
REFUSED_WITHIN_SECONDS = 1

# Java's client asks for an upgrade to HTTP/2 by default. A body without a known length goes in chunks.
JAVA = """
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

public class Post {
    public static void main(String[] arguments) throws Exception {
        var known = BodyPublishers.ofString(arguments[1]);
        var body = arguments[0].equals("chunked") ? BodyPublishers.fromPublisher(known) : known;
        var request = HttpRequest.newBuilder(URI.create("%s")).header("Content-Type", "application/json");
        if (arguments[0].equals("expect")) request.expectContinue(true);
        var client = HttpClient.newHttpClient();
        for (int i = 0; i < 2; i++)
            System.out.print(client.send(request.POST(body).build(), BodyHandlers.ofString()).statusCode() + " ");
    }
}
""" % URL


@dataclass(frozen=True)
class Post:
    name: str
    command: Sequence[str]
    printed: str
    # How many log records arrive.
    records: int = 1
    is_quick: bool = False


def _curl(name: str, *options: str, printed: str = "200", records: int = 1, url: str = URL, is_quick: bool = False) -> Post:
    body = LOGS % name
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "20", "-H", JSON, "-d", body, *options, url]
    return Post(name, command, printed, records, is_quick)


def _java(name: str) -> Post:
    return Post(f"java-{name}", ["java", "Post.java", name, LOGS % f"java-{name}"], "200 200 ", 2)


POSTS = (
    _curl("length"),
    _curl("chunks", "-H", "Transfer-Encoding: chunked"),
    _curl("http-1.0", "-0"),
    _curl("close", "-H", "Connection: close"),
    _curl("expect", "-H", "Expect: 100-continue"),
    _curl("upgrade", "--http2"),
    _curl("upgrade-in-chunks", "--http2", "-H", "Transfer-Encoding: chunked"),
    _curl("utf-8", "-H", "x-team: Zürich"),
    _curl("whole-url", "-x", "http://127.0.0.1:4318", "--noproxy", ""),
    _curl("ipv6", url="http://[::1]:4318/v1/logs"),
    _curl("two-on-one-connection", "-o", "/dev/null", URL, printed="200200", records=2),
    _curl("lines", *(part for i in range(90) for part in ("-H", f"x-{i}: y"))),
    _curl("too-many-lines", *(part for i in range(110) for part in ("-H", f"x-{i}: y")), printed="431", records=0),
    _curl("too-long-a-line", "-H", f"x-long: {'y' * 33_000}", printed="431", records=0),
    _curl("wrong-path", printed="404", records=0, url="http://localhost:4318/v1/profiles"),
    _curl("wrong-path-expect", "-H", "Expect: 100-continue", printed="404", records=0, url="http://localhost:4318/"),
    _curl("http-2", "--http2-prior-knowledge", printed="404", records=0, is_quick=True),
    _curl("tls", printed="000", records=0, url=URL.replace("http:", "https:"), is_quick=True),
    _java("length"),
    _java("chunked"),
    _java("expect"),
)


class HttpClients(PythonClient):
    def install(self, setup: SetupCache) -> None:
        need("curl", "java")
        super().install(setup)


HTTP_CLIENTS = Function(
    HttpClients("http-clients", []), "clients.handler", {}, "curl, java.net.http", otlp=("application/json", None)
)


def each_client_gets_the_right_answer(runner: Runner, function: Function, logs: Path) -> Findings:
    events = [{"command": list(post.command)} for post in POSTS]
    run = TestRun(function, events, runner.extension, files={"Post.java": JAVA}, records_posts=False)
    record = runner.execute(run, logs / "extended")
    results = [json.loads(it["body"]) for it in record.invocations]
    arrived = b"".join(request.body for request in record.arrived)
    counts = {post.name: arrived.count(f'"{post.name}"'.encode()) for post in POSTS}
    return [
        *unless(len(results) == len(POSTS), f"{len(results)} of {len(POSTS)} clients had a result"),
        *(
            f"{post.name} printed {result}, not {post.printed!r}"
            for post, result in zip(POSTS, results)
            if result["printed"] != post.printed
        ),
        *(
            f"{post.name} took {result['seconds']:.3f} s"
            for post, result in zip(POSTS, results)
            if post.is_quick and result["seconds"] > REFUSED_WITHIN_SECONDS
        ),
        *(
            f"{counts[post.name]} records of {post.name} arrived, not {post.records}"
            for post in POSTS
            if counts[post.name] != post.records
        ),
        *ended_well(record),
    ]
