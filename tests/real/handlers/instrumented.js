// The function with OpenTelemetry's SDK, all of whose signals are flushed before each answer: the Node.js twin of
// instrumented.py. The environment says which exporters it has.
const answer = require('./answer.js');
const { logs, metrics, trace, SeverityNumber, SpanKind, SpanStatusCode } = require('@opentelemetry/api');
const { NodeSDK } = require('@opentelemetry/sdk-node');

new NodeSDK().start();

const schemaUrl = 'https://opentelemetry.io/schemas/1.27.0';
const tracer = trace.getTracer('orders', undefined, { schemaUrl });
const logger = logs.getLogger('orders', undefined, { schemaUrl });
const taken = metrics.getMeter('orders').createCounter('orders.taken', { unit: '{order}' });
const sizes = metrics.getMeter('orders').createHistogram('orders.size', { unit: 'By' });
const providers = () => [trace.getTracerProvider().getDelegate(), metrics.getMeterProvider(), logs.getLoggerProvider()];

exports.handler = async (event, context) => {
  const attributes = { 'faas.invocation_id': context.awsRequestId, 'order.number': event.order };
  try {
    return await within('order', { kind: SpanKind.SERVER, attributes: attributes }, () => served(event, context));
  } catch (error) {
    logger.emit({ body: error.message, severityNumber: SeverityNumber.ERROR });
    throw error;
  } finally {
    // Not all(): what can't be exported must not become the function's error.
    await Promise.allSettled(providers().map((provider) => provider.forceFlush()));
  }
};

async function served(event, context) {
  const result = await within('table', {}, async () => {
    const result = await answer(event, context);
    for (const course of ['starter', 'main']) {
      await within('course', { attributes: { course, note: result.note } }, async () => taken.add(1, { course }));
    }
    return result;
  });
  sizes.record(result.padding.length);
  const body = result.note + result.padding;
  logger.emit({ body, severityNumber: SeverityNumber.INFO, attributes: { seats: 2 } });
  return result;
}

function within(name, options, work) {
  return tracer.startActiveSpan(name, options, async (span) => {
    try {
      return await work();
    } catch (error) {
      span.recordException(error);
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      throw error;
    } finally {
      span.end();
    }
  });
}
