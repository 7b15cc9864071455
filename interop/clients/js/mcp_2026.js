import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { each } from './answers.js';

await each(async (url, receive, signal) => {
  const versionNegotiation = { mode: { pin: '2026-07-28' } };
  const client = new Client({ name: 'interop', version: '1' }, { versionNegotiation });
  await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`)));
  try {
    const onprogress = ({ message }) => receive(message);
    const call = { name: 'ask', arguments: { question: 'What is SSE?' } };
    const result = await client.callTool(call, { onprogress, timeout: 10_000, signal });
    if (result.isError) throw new Error(result.content[0].text);
  } finally {
    await client.close();
  }
});
