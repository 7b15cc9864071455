import { ClientFactory } from '@a2a-js/sdk/client';
import { each } from './answers.js';

await each(async (url, receive) => {
  const client = await new ClientFactory().createFromUrl(`${url}/.well-known/agent-card.json`, '');
  const message = { messageId: 'message-1', role: 'ROLE_USER', parts: [{ text: 'What is SSE?' }] };
  for await (const { payload } of client.sendMessageStream({ message })) {
    if (payload.$case !== 'artifactUpdate') continue;
    for (const part of payload.value.artifact.parts) receive(part.content.value);
  }
});
