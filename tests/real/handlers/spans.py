"""A function with spans, to measure their cost. The environment configures the exporter."""

import os
import time

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

PROCESSORS = {"batch": BatchSpanProcessor, "simple": SimpleSpanProcessor}

provider = TracerProvider(shutdown_on_exit=False)
if os.environ["SPAN_PROCESSOR"] != "none":
    provider.add_span_processor(PROCESSORS[os.environ["SPAN_PROCESSOR"]](OTLPSpanExporter()))
tracer = provider.get_tracer("orders")


def handler(event, context):
    began = time.process_time()
    with tracer.start_as_current_span("order", attributes={"faas.invocation_id": context.aws_request_id}):
        for course in range(event["spans"] - 1):
            with tracer.start_as_current_span("course", attributes={"course": course}):
                pass
    provider.force_flush()
    return {"cpu_milliseconds": (time.process_time() - began) * 1000}
