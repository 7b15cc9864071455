// Shared by the scripts that run the official SDKs against the `gateway` example. `node SCRIPT URL
// CASE` prints a line of JSON with the text received, the error that the SDK reports and the error
// response's `retry-after`.
export const [url, testCase] = process.argv.slice(2);

// `ask(model)` sends a request and returns the SDK's stream. `text(event)` returns the text that an
// event of this stream adds to the answer.
export async function run(ask, text) {
  let received = '';
  let error = null;
  let retryAfter = null;
  try {
    // Stays open while the next request is sent.
    if (testCase === 'limit') await ask('parrot-1');
    const stream = await ask(['busy', 'flaky'].includes(testCase) ? testCase : 'parrot-1');
    for await (const event of stream) {
      received += text(event);
      if (testCase === 'cancel' && received !== '') stream.controller.abort();
    }
  } catch (thrown) {
    error = `${thrown.constructor.name}: ${thrown.message}`;
    retryAfter = thrown.headers?.get('retry-after') ?? null;
  }
  process.stdout.write(`${JSON.stringify({ received, error, retry_after: retryAfter })}\n`);
  // Keep running so that the server notices the closed stream rather than the exiting process.
  setInterval(() => {}, 60_000);
}
