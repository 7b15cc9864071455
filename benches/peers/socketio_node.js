// A node with Socket.IO. The first argument is the port, and the second the options of `ioredis`.
// `POST /publish` emits the number in the body to all clients.
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { createAdapter } from '@socket.io/redis-streams-adapter';
import { Redis } from 'ioredis';
import { Server } from 'socket.io';

const [port, options] = process.argv.slice(2);
const redis = new Redis(JSON.parse(options));
redis.on('error', () => {});
const server = createServer(async (request, response) => {
  if (request.url !== '/publish') return;
  io.emit('event', Number(await text(request)));
  response.end();
});
const io = new Server(server, { adapter: createAdapter(redis), connectionStateRecovery: {} });
// Once Redis responds, so that the adapter's connections follow the stream before the first event.
await redis.ping();
server.listen(Number(port), '127.0.0.1');
