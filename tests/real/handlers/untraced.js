// The function without any agent.
exports.handler = require('./answer.js');
