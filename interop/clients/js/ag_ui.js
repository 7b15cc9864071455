import { HttpAgent } from '@ag-ui/client';
import { each } from './answers.js';

// If the connection breaks, the client rejects a promise of its own as well, which no one can await.
process.on('unhandledRejection', () => {});
// It also logs what it reports.
console.error = () => {};

await each(async (url, receive) => {
  const agent = new HttpAgent({
    url: `${url}/agent`,
    initialMessages: [{ id: 'message-0', role: 'user', content: 'What is SSE?' }],
  });
  let failure = null;
  await agent.runAgent({}, {
    onTextMessageContentEvent: ({ event }) => receive(event.delta),
    onRunErrorEvent({ event }) { failure = new Error(event.message); },
  });
  // An event of its own, after which the run resolves.
  if (failure) throw failure;
});
