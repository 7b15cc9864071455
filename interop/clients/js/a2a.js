import { Role, TaskState } from '@a2a-js/sdk';
import { ClientFactory } from '@a2a-js/sdk/client';
import { each } from './answers.js';

await each(async (url, receive, signal) => {
  const client = await new ClientFactory().createFromUrl(`${url}/.well-known/agent-card.json`, '');
  const parts = [{ content: { $case: 'text', value: 'What is SSE?' } }];
  const message = { messageId: 'message-1', role: Role.ROLE_USER, parts };
  for await (const { payload } of client.sendMessageStream({ message }, { signal })) {
    if (payload.$case === 'artifactUpdate') {
      for (const part of payload.value.artifact.parts) receive(part.content.value);
    } else if (payload.value.status?.state === TaskState.TASK_STATE_FAILED) {
      throw new Error(payload.value.status.message.parts[0].content.value);
    }
  }
});
