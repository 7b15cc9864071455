import OpenAI from 'openai';
import { each } from './answers.js';

await each(async (url, receive, signal) => {
  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
  const stream = await openai.chat.completions.create({
    model: 'parrot-1',
    messages: [{ role: 'user', content: 'What is SSE?' }],
    stream: true,
  }, { signal });
  for await (const chunk of stream) receive(chunk.choices[0].delta.content ?? '');
});
