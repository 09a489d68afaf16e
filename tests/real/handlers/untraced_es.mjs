// The function without any agent, as an ES module.
import answer from './answer.js';

export const handler = answer;
