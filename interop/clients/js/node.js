// Prints each message of the client as a line of JSON. Usage: node node.js CLIENT URL [METHOD]
// [LEAVE_AFTER]
import * as read from './read.js';

const libraries = {
  eventSource: () => import('eventsource'),
  parser: () => import('eventsource-parser'),
};

const [client, url, method, leaveAfter] = process.argv.slice(2);
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
let seen = 0;
read[client](await libraries[client](), url, {
  event(name, id, data) {
    print({ event: { name, id, data } });
    seen += 1;
    return String(seen) === leaveAfter;
  },
  ended: () => print('ended'),
  stopped: (why) => print({ stopped: why }),
}, method);
// Keep running after closing the stream so that the server notices the closed stream rather than
// the exiting process.
setInterval(() => {}, 60_000);
