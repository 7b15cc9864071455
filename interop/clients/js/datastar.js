// Compares each frame with the one that Datastar's SDK creates for the same signals.
import { ServerSentEventGenerator } from '@starfederation/datastar-sdk/abstractServerSentEventGenerator';
import { each } from './answers.js';

const sdk = new ServerSentEventGenerator();

await each(async (url, receive, signal) => {
  const response = await fetch(`${url}/answer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'datastar-request': 'true' },
    body: JSON.stringify({ question: 'What is SSE?' }),
    signal,
  });
  let text = '';
  let seen = 0;
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    text += part;
    const frames = text.split('\n\n');
    text = frames.pop();
    for (const frame of frames) {
      const signals = frame.slice(frame.indexOf('{'));
      const expected = sdk.patchSignals(signals).join('');
      if (`${frame}\n\n` !== expected) throw new Error(`${frame} instead of ${expected}`);
      const { answer, error } = JSON.parse(signals);
      if (error) throw new Error(error);
      receive(answer.slice(seen));
      seen = answer.length;
    }
  }
});
