// Runs OpenAI's own SDK against the `chat` example. Usage: node openai_chat.js BASE_URL
// stream|error|abort
import OpenAI from 'openai';

const [baseURL, what] = process.argv.slice(2);
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const openai = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 });
const messages = what === 'error' ? [] : [{ role: 'user', content: 'What is SSE?' }];
try {
  const stream = await openai.chat.completions.create({ model: 'parrot-1', messages, stream: true });
  let words = 0;
  for await (const chunk of stream) {
    const { delta, finish_reason: finished } = chunk.choices[0];
    print({ event: { name: finished ?? 'message', id: chunk.id, data: delta.content ?? '' } });
    words += 1;
    if (what === 'abort' && words === 3) stream.controller.abort();
  }
  print('ended');
} catch (error) {
  print({ stopped: `${error.constructor.name} ${error.status} ${error.code}` });
}
// Keep running after closing the stream so that the server notices the closed stream rather than
// the exiting process.
setInterval(() => {}, 60_000);
