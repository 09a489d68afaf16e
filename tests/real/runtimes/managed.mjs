// What Lambda's managed Node.js runtimes start: the runtime client, for the handler that the environment names.
const { run } = await import(process.argv[2]);

await run(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);
