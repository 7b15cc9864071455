// Runs a client in a page. Its messages are queued in `window.told` until the driver fetches them.
import * as read from './read.js';

const libraries = {
  eventSource: () => window,
  parser: () => import('/npm/eventsource-parser/dist/index.js'),
  fetchEventSource: () => import('/npm/@microsoft/fetch-event-source/lib/esm/index.js'),
};

const { client, url, method, leaveAfter } = window.asked;
window.told = [];
let seen = 0;
try {
  await read[client](await libraries[client](), url, {
    event(name, id, data) {
      window.told.push({ event: { name, id, data } });
      seen += 1;
      return seen === leaveAfter;
    },
    ended: () => window.told.push('ended'),
    stopped: (why) => window.told.push({ stopped: why }),
  }, method);
} catch (error) {
  window.told.push({ stopped: String(error) });
}
