import Anthropic from '@anthropic-ai/sdk';
import { run, url } from './gateway.js';

const anthropic = new Anthropic({ baseURL: url, apiKey: 'sk-demo', maxRetries: 0 });
const messages = [{ role: 'user', content: 'What is a gateway?' }];

await run(
  (model) => anthropic.messages.create({ model, max_tokens: 100, messages, stream: true }),
  (event) => (event.type === 'content_block_delta' ? event.delta.text : ''),
);
