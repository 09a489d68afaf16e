// The function under the agent `@thundra/core`: the Node.js twin of answer.py.
const thundra = require('@thundra/core')();

const traced = thundra(async (event, context) => {
  if (event.refuse) {
    throw new Error(`order ${event.order} refused, request ${context.awsRequestId}`);
  }
  return {
    order: event.order,
    note: event.note ?? 'taken',
    request: context.awsRequestId,
    padding: 'x'.repeat(event.padding ?? 0),
  };
});

// The agent's wrapper takes a callback as well, and aws-lambda-ric 4 refuses functions of three parameters.
exports.handler = (event, context) => traced(event, context);
