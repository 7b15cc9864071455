import { DefaultChatTransport, readUIMessageStream } from 'ai';
import { each } from './answers.js';

await each(async (url, receive) => {
  const transport = new DefaultChatTransport({ api: `${url}/api/chat` });
  const stream = await transport.sendMessages({
    chatId: 'chat-1',
    trigger: 'submit-message',
    messages: [{ id: 'message-1', role: 'user', parts: [{ type: 'text', text: 'What is SSE?' }] }],
  });
  let seen = 0;
  for await (const message of readUIMessageStream({ stream, terminateOnError: true })) {
    const text = message.parts.map((part) => part.text ?? '').join('');
    receive(text.slice(seen));
    seen = text.length;
  }
});
