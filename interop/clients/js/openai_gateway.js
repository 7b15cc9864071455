import OpenAI from 'openai';
import { run, url } from './gateway.js';

const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-demo', maxRetries: 0 });
const messages = [{ role: 'user', content: 'What is a gateway?' }];

await run(
  (model) => openai.chat.completions.create({ model, messages, stream: true }),
  (chunk) => chunk.choices[0].delta.content ?? '',
);
