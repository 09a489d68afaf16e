// The function without any agent, by the name of one of Node's own modules and with the ending for CommonJS.
exports.handler = require('../answer.js');
