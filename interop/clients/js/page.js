// Runs a client in a page. Its messages are queued in `window.messages` until the driver fetches them.
import * as read from './read.js';

const libraries = {
  eventSource: () => window,
  parser: () => import('/npm/eventsource-parser/dist/index.js'),
  fetchEventSource: () => import('/npm/@microsoft/fetch-event-source/lib/esm/index.js'),
};

const { client, url, method, leaveAfter } = window.request;
window.messages = [];
let seen = 0;
try {
  await read[client](await libraries[client](), url, {
    event(name, id, data) {
      window.messages.push({ event: { name, id, data } });
      seen += 1;
      return seen === leaveAfter;
    },
    ended: () => window.messages.push('ended'),
    stopped: (why) => window.messages.push({ stopped: why }),
  }, method);
} catch (error) {
  window.messages.push({ stopped: String(error) });
}
