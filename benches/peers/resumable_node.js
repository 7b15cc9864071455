// A node with `resumable-stream`. The first argument is the port, and the second the options of
// `ioredis`.
//
// `POST /start` starts a stream at this node, which publishes a number every 50 ms if the body says
// `timer`. `POST /publish` adds the number in the body. `GET /run` follows the stream.
import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Redis } from 'ioredis';
import { createResumableStreamContext } from 'resumable-stream/ioredis';

const [port, options] = process.argv.slice(2);
const connect = () => new Redis(JSON.parse(options)).on('error', () => {});
const context = createResumableStreamContext({ waitUntil: () => {}, publisher: connect(), subscriber: connect() });
// The library does not handle errors of Redis in its callbacks. Do not let them end the process.
process.on('unhandledRejection', (error) => console.error(error.message));

let producer;
const add = (number) => producer.enqueue(`data: ${number}\n\n`);

async function start(body) {
  const stream = await context.createNewResumableStream('run', () => new ReadableStream({
    start(controller) { producer = controller; },
  }));
  // Discard the copy of the client that started the stream.
  stream.pipeTo(new WritableStream());
  let number = 0;
  if (body === 'timer') setInterval(() => add(++number), 50);
}

async function follow(url, response) {
  const resumeAt = url.searchParams.get('resumeAt');
  const stream = await context.resumeExistingStream('run', resumeAt ? Number(resumeAt) : undefined);
  if (!stream) {
    response.writeHead(422).end();
    return;
  }
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  response.flushHeaders();
  const body = Readable.fromWeb(stream);
  body.on('error', () => response.destroy());
  response.on('close', () => body.destroy());
  body.pipe(response);
}

createServer(async (request, response) => {
  const url = new URL(request.url, 'http://node');
  try {
    if (request.method === 'GET') return await follow(url, response);
    const body = await text(request);
    if (url.pathname === '/start') await start(body);
    else add(Number(body));
    response.end();
  } catch (error) {
    response.writeHead(500).end(error.message);
  }
}).listen(Number(port), '127.0.0.1');
