import OpenAI from 'openai';
import { each } from './answers.js';

await each(async (url, receive, signal) => {
  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
  const request = { model: 'parrot-1', input: 'What is SSE?', stream: true };
  const events = await openai.responses.create(request, { signal });
  let text = '';
  for await (const event of events) {
    if (event.type === 'response.output_text.delta') {
      text += event.delta;
      receive(event.delta);
    } else if (event.type === 'response.completed') {
      // The scripted endpoints omit the output.
      const [item] = event.response.output;
      if (item && item.content[0].text !== text) throw new Error('the output differs from its deltas');
    }
  }
});
