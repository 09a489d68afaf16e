"""The function with OpenTelemetry's SDK. It flushes all signals before each answer."""

import math

from answer import answer
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

# Nothing remains for the end of the process, because the tests do not compare how it ends.
traces = TracerProvider(shutdown_on_exit=False)
traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
metrics = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(), math.inf)], shutdown_on_exit=False)
logs = LoggerProvider(shutdown_on_exit=False)
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))

SCHEMA = "https://opentelemetry.io/schemas/1.27.0"
tracer = traces.get_tracer("orders", schema_url=SCHEMA)
logger = logs.get_logger("orders", schema_url=SCHEMA)
taken = metrics.get_meter("orders").create_counter("orders.taken", "{order}")
sizes = metrics.get_meter("orders").create_histogram("orders.size", "By")


def handler(event, context):
    attributes = {"faas.invocation_id": context.aws_request_id, "order.number": event["order"]}
    try:
        with tracer.start_as_current_span("order", kind=SpanKind.SERVER, attributes=attributes):
            return served(event, context)
    except ValueError as error:
        logger.emit(body=str(error), severity_number=SeverityNumber.ERROR)
        raise
    finally:
        for provider in (traces, metrics, logs):
            provider.force_flush()


def served(event, context):
    with tracer.start_as_current_span("table"):
        result = answer(event, context)
        for course in ("starter", "main"):
            with tracer.start_as_current_span("course", attributes={"course": course, "note": result["note"]}):
                taken.add(1, {"course": course})
    sizes.record(len(result["padding"]))
    logger.emit(body=result["note"] + result["padding"], severity_number=SeverityNumber.INFO, attributes={"seats": 2})
    return result
