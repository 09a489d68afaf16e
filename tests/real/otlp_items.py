"""Reads OTLP with OpenTelemetry's library. otlp_library.py starts it with a Python that has this library.

Each line of standard input is a request. Each line of standard output is a span, data point or log record, with its
scope and resource.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
import zlib
from collections.abc import Iterator

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

# Each signal's message, and the lists in it.
SIGNALS = {
    "/v1/traces": (ExportTraceServiceRequest, "resourceSpans", "scopeSpans", "spans"),
    "/v1/metrics": (ExportMetricsServiceRequest, "resourceMetrics", "scopeMetrics", "metrics"),
    "/v1/logs": (ExportLogsServiceRequest, "resourceLogs", "scopeLogs", "logRecords"),
}
KINDS = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
# OTLP writes these in hexadecimal digits. The library uses Base64, by JSON's mapping of Protobuf.
IDS = ("traceId", "spanId", "parentSpanId")


def main() -> None:
    for line in sys.stdin:
        for item in _items(json.loads(line)):
            print(json.dumps(item))


def _items(request: dict) -> Iterator[dict]:
    message, resources, scopes, items = SIGNALS[request["path"]]
    try:
        read = MessageToDict(_message(message(), request))
    except (DecodeError, ParseError, ValueError, OSError, EOFError, zlib.error) as error:
        yield {"path": request["path"], "item": {"unreadable": str(error), "body": request["body_base64"]}}
        return
    for resource in read.get(resources, []):
        all_in_it = resource.pop(scopes, [])
        if not all_in_it:
            yield {"path": request["path"], "resource": resource, "item": "no scope"}
        for scope in all_in_it:
            all_below = scope.pop(items, [])
            above = {"path": request["path"], "resource": resource, "scope": scope}
            if not all_below:
                yield {**above, "item": "none"}
            for item in all_below:
                yield from ({**above, **point} for point in _points(item))


def _message(message: object, request: dict) -> object:
    content = base64.b64decode(request["body_base64"])
    if request["content_encoding"] == "gzip":
        content = gzip.decompress(content)
    if request["content_type"] == "application/json":
        return ParseDict(_in_base64(json.loads(content)), message)
    message.ParseFromString(content)
    return message


def _points(item: dict) -> Iterator[dict]:
    kind = next((kind for kind in KINDS if kind in item), None)
    if kind is None:
        yield {"item": item}
        return
    for point in item[kind].pop("dataPoints", []):
        yield {"metric": item, "item": point}


def _in_base64(value: object) -> object:
    if isinstance(value, list):
        return [_in_base64(each) for each in value]
    if isinstance(value, dict):
        return {name: _id(each) if name in IDS else _in_base64(each) for name, each in value.items()}
    return value


def _id(digits: str) -> str:
    return base64.b64encode(bytes.fromhex(digits)).decode()


if __name__ == "__main__":
    main()
