#!/usr/bin/env python3
"""A minimal correct extension. It polls until SHUTDOWN, and relays nothing."""

import http.client
import json
import os
import sys

API = "/2020-01-01/extension"
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])  # no timeout: freezes


def call(method, path, headers, body=None):
    connection.request(method, API + path, body, headers)
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        sys.exit(f"{path}: {response.status} {content}")
    return response, content


# Managed Instances refuse INVOKE.
managed = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "lambda-managed-instances"
events = json.dumps({"events": ["SHUTDOWN"] if managed else ["INVOKE", "SHUTDOWN"]})
name = os.path.basename(sys.argv[0])
registered, _ = call("POST", "/register", {"Lambda-Extension-Name": name}, events)
identifier = {"Lambda-Extension-Identifier": registered.getheader("Lambda-Extension-Identifier")}
while json.loads(call("GET", "/event/next", identifier)[1])["eventType"] != "SHUTDOWN":
    pass
