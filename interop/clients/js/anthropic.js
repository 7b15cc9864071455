import Anthropic from '@anthropic-ai/sdk';
import { each } from './answers.js';

await each(async (baseURL, receive, signal) => {
  const anthropic = new Anthropic({ baseURL, apiKey: 'none', maxRetries: 0 });
  const stream = anthropic.messages.stream({
    model: 'parrot-1',
    max_tokens: 10,
    messages: [{ role: 'user', content: 'What is SSE?' }],
  }, { signal });
  stream.on('text', receive);
  await stream.finalMessage();
});
