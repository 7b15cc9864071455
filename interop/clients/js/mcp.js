import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { each } from './answers.js';

await each(async (url, receive) => {
  const client = new Client({ name: 'interop', version: '1' });
  await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`)));
  try {
    const broken = new Promise((_, reject) => { client.onerror = reject; });
    const onprogress = ({ message }) => receive(message);
    const call = client.callTool({ name: 'speak' }, undefined, { onprogress, timeout: 10_000 });
    await Promise.race([call, broken]);
  } finally {
    await client.close();
  }
});
