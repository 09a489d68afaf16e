// The function under the agent `@thundra/core`.
const answer = require('./answer.js');
const thundra = require('@thundra/core')();

const traced = thundra(answer);

// The agent's wrapper takes a callback as well, and aws-lambda-ric 4 refuses functions of three parameters.
exports.handler = (event, context) => traced(event, context);
