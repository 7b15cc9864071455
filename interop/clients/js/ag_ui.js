import { HttpAgent } from '@ag-ui/client';
import { each } from './answers.js';

// If the connection is lost, the client also rejects an internal promise, which cannot be awaited.
process.on('unhandledRejection', () => {});
// The client also logs the errors that it reports.
console.error = () => {};

await each(async (url, receive, signal) => {
  const agent = new HttpAgent({
    url: `${url}/agent`,
    initialMessages: [{ id: 'message-0', role: 'user', content: 'What is SSE?' }],
  });
  signal.addEventListener('abort', () => agent.abortRun());
  let failure = null;
  await agent.runAgent({}, {
    onTextMessageContentEvent: ({ event }) => receive(event.delta),
    onRunErrorEvent({ event }) { failure = new Error(event.message); },
  });
  // The client reports a run error as an event and then resolves the promise.
  if (failure) throw failure;
});
