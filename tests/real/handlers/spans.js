// A function whose spans cost what they cost: the Node.js twin of spans.py.
const { trace } = require('@opentelemetry/api');
const { NodeSDK } = require('@opentelemetry/sdk-node');
const { BatchSpanProcessor, NoopSpanProcessor, SimpleSpanProcessor } = require('@opentelemetry/sdk-trace');

const { SPAN_PROCESSOR: processor, OTEL_EXPORTER_OTLP_PROTOCOL: protocol } = process.env;
const exporters = {
  'http/protobuf': '@opentelemetry/exporter-trace-otlp-proto',
  'http/json': '@opentelemetry/exporter-trace-otlp-http',
  grpc: '@opentelemetry/exporter-trace-otlp-grpc',
};
const { OTLPTraceExporter } = require(exporters[protocol]);
const processors = {
  none: () => [new NoopSpanProcessor()],
  batch: () => [new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })],
  simple: () => [new SimpleSpanProcessor({ exporter: new OTLPTraceExporter() })],
};
new NodeSDK({ spanProcessors: processors[processor](), metricReaders: [], logRecordProcessors: [] }).start();

const tracer = trace.getTracer('orders');

exports.handler = async (event, context) => {
  const began = process.cpuUsage();
  tracer.startActiveSpan('order', { attributes: { 'faas.invocation_id': context.awsRequestId } }, (order) => {
    for (let course = 0; course < event.spans - 1; course += 1) {
      tracer.startActiveSpan('course', { attributes: { course } }, (span) => span.end());
    }
    order.end();
  });
  await trace.getTracerProvider().getDelegate().forceFlush();
  const { user, system } = process.cpuUsage(began);
  return { cpu_milliseconds: (user + system) / 1000 };
};
