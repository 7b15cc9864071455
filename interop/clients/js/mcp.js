import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { each } from './answers.js';

await each(async (url, receive, signal) => {
  const client = new Client({ name: 'interop', version: '1' });
  const transport = new StreamableHTTPClientTransport(new URL(`${url}/mcp`));
  const sent = [];
  const send = transport.send.bind(transport);
  transport.send = (...message) => {
    sent.push(send(...message));
    return sent.at(-1);
  };
  await client.connect(transport);
  try {
    const onprogress = ({ message }) => receive(message);
    const question = { question: 'What is SSE?' };
    const call = client.callTool({ name: 'ask', arguments: question }, undefined, { onprogress, timeout: 10_000, signal });
    // The transport also reports a cut if it resumes the stream.
    const broken = url.endsWith('/resume') ? [] : [new Promise((_, reject) => { client.onerror = reject; })];
    const result = await Promise.race([call, ...broken]);
    if (result.isError) throw new Error(result.content[0].text);
  } finally {
    // Closing the client would abort the request that cancels the call.
    await Promise.allSettled(sent);
    await client.close();
  }
});
