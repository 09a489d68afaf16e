"""An extension that makes every mistake that it can survive, each when nothing else happens."""

import http.client
import json
import os
import sys
from pathlib import Path

EXTENSION = "/2020-01-01/extension"
TELEMETRY = "/2022-07-01/telemetry"
NAME = Path(sys.argv[0]).name
UNKNOWN = {"Lambda-Extension-Identifier": "11111111-2222-4333-8444-555555555555"}
BOTH = {"events": ["INVOKE", "SHUTDOWN"]}
SUBSCRIPTION = {
    "schemaVersion": "2022-12-13",
    "types": ["platform"],
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243"},
}

platform = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])


def ask(method, path, headers=None, body=None):
    text = json.dumps(body) if isinstance(body, dict) else body
    platform.request(method, path, text, {"User-Agent": "extension", **(headers or {})})
    answer = platform.getresponse()
    return answer, answer.read()


def register(body, name=NAME, **more):
    return ask("POST", f"{EXTENSION}/register", {"Lambda-Extension-Name": name, **more}, body)


def before_it_is_registered():
    ask("GET", f"{EXTENSION}/event/next")
    ask("GET", f"{EXTENSION}/event/next", {"Lambda-Extension-Identifier": "nonsense"})
    ask("GET", f"{EXTENSION}/event/next", UNKNOWN)
    ask("POST", f"{EXTENSION}/init/error", UNKNOWN, "{}")
    ask("POST", f"{EXTENSION}/register", None, BOTH)
    register(BOTH, name="")
    register({"events": ["INVOKE", "BOGUS"]})
    register({"events": ["SHUTDOWN"]}, name="inside-the-runtime")
    register({"events": [], "configurationKeys": ["a"]})
    register("")
    register("{'events':['INVOKE']}")
    register("[]")
    ask("GET", f"{EXTENSION}/register")
    ask("DELETE", f"{EXTENSION}/register")
    ask("POST", f"{EXTENSION}/register/", {"Lambda-Extension-Name": NAME}, BOTH)
    ask("PUT", TELEMETRY, None, SUBSCRIPTION)
    ask("PUT", TELEMETRY, UNKNOWN, SUBSCRIPTION)


def before_its_first_next(me):
    register(BOTH)
    ask("POST", f"{EXTENSION}/event/next", me)
    ask("GET", f"{EXTENSION}/event/next/", me)
    ask("GET", f"{EXTENSION}/event")
    ask("GET", "/")
    ask("GET", "/2019-01-01/extension/event/next", me)
    ask("GET", f"{EXTENSION}/init/error", me)
    ask("POST", f"{EXTENSION}/init/error", me, "{}")
    ask("POST", f"{EXTENSION}/exit/error", me, "{}")
    ask("POST", f"{EXTENSION}/exit/error", None, "{}")
    ask("GET", TELEMETRY, me)
    ask("POST", TELEMETRY, me, SUBSCRIPTION)
    ask("PUT", TELEMETRY, me, SUBSCRIPTION)
    ask("PUT", TELEMETRY, me, "no JSON")
    ask("PUT", "/2020-08-15/logs", me, SUBSCRIPTION)


def while_it_has_an_event(me):
    register(BOTH)
    register({"events": ["INVOKE"]}, name="too-late")
    error = {"Lambda-Extension-Function-Error-Type": "Extension.RuleBreaker"}
    ask("POST", f"{EXTENSION}/init/error", {**me, **error}, "{}")
    ask("PUT", TELEMETRY, me, SUBSCRIPTION)


before_it_is_registered()
# Upper case instead of the usual lower case, and an unknown feature.
registered, _ = register(BOTH, **{"LAMBDA-EXTENSION-ACCEPT-FEATURE": "telepathy"})
me = {"Lambda-Extension-Identifier": registered.headers["Lambda-Extension-Identifier"].upper()}
before_its_first_next(me)
event = {}
while event.get("eventType") != "SHUTDOWN":
    _, body = ask("GET", f"{EXTENSION}/event/next", me)
    event = json.loads(body)
    if event["eventType"] == "INVOKE":
        while_it_has_an_event(me)
