import OpenAI from 'openai';
import { each } from './answers.js';

await each(async (url, receive) => {
  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
  const events = await openai.responses.create({ model: 'parrot-1', input: 'What is SSE?', stream: true });
  for await (const event of events) {
    if (event.type === 'response.output_text.delta') receive(event.delta);
  }
});
