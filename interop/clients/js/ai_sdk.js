import { DefaultChatTransport, readUIMessageStream } from 'ai';
import { each } from './answers.js';

await each(async (url, receive, signal) => {
  const transport = new DefaultChatTransport({ api: `${url}/api/chat`, fetch: request });
  const chatId = 'chat-1';
  const stream = await transport.sendMessages({
    chatId,
    trigger: 'submit-message',
    messages: [{ id: 'message-1', role: 'user', parts: [{ type: 'text', text: 'What is SSE?' }] }],
    abortSignal: signal,
  });
  let seen = 0;
  const read = async (stream) => {
    for await (const message of readUIMessageStream({ stream, terminateOnError: true })) {
      const text = message.parts.map((part) => part.text ?? '').join('');
      receive(text.slice(seen));
      seen = Math.max(seen, text.length);
    }
  };
  if (!url.endsWith('/resume')) return read(stream);

  await read(stream).then(
    () => { throw new Error('the connection was not cut'); },
    () => {},
  );
  // The stream that resumes an answer begins with its first chunk.
  const resumed = await transport.reconnectToStream({ chatId });
  if (!resumed) throw new Error('there is no stream to resume');
  await read(resumed);
  // `null` stands for a `204`.
  if (await transport.reconnectToStream({ chatId })) throw new Error('a finished answer was resumed');
  return undefined;
});

async function request(...args) {
  const response = await fetch(...args);
  const version = response.headers.get('x-vercel-ai-ui-message-stream');
  if (response.url.includes('/resume/') && version !== 'v1') throw new Error(`version ${version}`);
  return response;
}
