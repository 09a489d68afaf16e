"""A runtime that makes every mistake that it can survive: some before its first event, others for each event."""

import http.client
import json
import os

RUNTIME = "/2018-06-01/runtime"
UNKNOWN = "11111111-2222-4333-8444-555555555555"
RESPONSE_MODE = "Lambda-Runtime-Function-Response-Mode"
ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"

platform = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])


def ask(method, path, body=None, **headers):
    platform.request(method, path, body, {"User-Agent": "runtime", **headers})
    answer = platform.getresponse()
    return answer, answer.read()


def before_its_first_event():
    ask("GET", "/2018-06-01/ping")
    ask("POST", "/2018-06-01/ping")
    ask("GET", "/2018-06-01")
    ask("GET", f"{RUNTIME}/invocation")
    ask("POST", f"{RUNTIME}/invocation/next")
    ask("GET", f"{RUNTIME}/invocation/next/")
    ask("POST", f"{RUNTIME}/invocation/{UNKNOWN}/response", "{}")
    ask("POST", f"{RUNTIME}/invocation/{UNKNOWN}/error", "{}")
    ask("GET", f"{RUNTIME}/init/error")
    ask("POST", f"{RUNTIME}/restore/error", "{}")


def twice(invocation):
    ask("GET", f"{RUNTIME}/invocation/next")
    ask("POST", f"{RUNTIME}/init/error", "{}")
    ask("POST", f"{RUNTIME}/invocation/{UNKNOWN}/response", "{}")
    ask("GET", f"{invocation}/response")
    ask("POST", f"{invocation}/nonsense", "{}")
    ask("POST", f"{invocation}/response", '"good"')
    ask("POST", f"{invocation}/response", '"again"')
    ask("POST", f"{invocation}/error", "{}")


def error_twice(invocation):
    error = json.dumps({"errorMessage": "on purpose", "errorType": "Mistake"})
    ask("POST", f"{invocation}/error", error, **{ERROR_TYPE: "Mine"})
    ask("POST", f"{invocation}/error", error)
    ask("POST", f"{invocation}/response", '"after all"')


def odd_mode(invocation):
    ask("POST", f"{invocation}/response", '"good"', **{RESPONSE_MODE: "telepathy"})


def in_chunks(invocation):
    ask("POST", f"{invocation}/response", (part for part in (b'"good', b'"')), **{"Content-Type": "text/plain"})


def too_large(invocation):
    ask("POST", f"{invocation}/response", b'"' + 6 * 1024 * 1024 * b"x" + 200 * b"y" + b'"')


MISTAKES = {"twice": twice, "error twice": error_twice, "odd mode": odd_mode, "in chunks": in_chunks, "too large": too_large}

before_its_first_event()
while True:
    given, event = ask("GET", f"{RUNTIME}/invocation/next")
    MISTAKES[json.loads(event)["mistake"]](f"{RUNTIME}/invocation/{given.headers['Lambda-Runtime-Aws-Request-Id']}")
