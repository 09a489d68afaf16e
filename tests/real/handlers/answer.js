// What the test's function does: the Node.js twin of answer.py.
module.exports = async (event, context) => {
  if (event.refuse) {
    throw new Error(`order ${event.order} refused, request ${context.awsRequestId}`);
  }
  if (event.crash) {
    process.exit(1);
  }
  if (event.sleep_seconds) {
    await new Promise((resolve) => setTimeout(resolve, event.sleep_seconds * 1000));
  }
  return {
    order: event.order,
    note: event.note ?? 'taken',
    request: context.awsRequestId,
    padding: 'x'.repeat(event.padding ?? 0),
  };
};
