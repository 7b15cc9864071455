// The peers: how to start a node, and how to connect a client.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EventSourceClient, ResumableClient, SocketIoClient } from './clients.js';
import { Process, folder, run } from './processes.js';
import { Cluster, Sentinels } from './redis.js';

const here = (file) => join(import.meta.dirname, file);
const version = (name) => JSON.parse(readFileSync(here('package-lock.json'))).packages[`node_modules/${name}`].version;
const debian = async (name) => (await run('dpkg-query', '-W', '-f', '${Version}', name)).replace(/^\d+:/, '');

function nchan(port, redis) {
  const path = folder();
  const servers = redis.ports().map((other) => `nchan_redis_server redis://127.0.0.1:${other};`).join(' ');
  const values = { FOLDER: path, PORT: port, SERVERS: servers };
  const text = readFileSync(here('nchan.conf.in'), 'utf8').replace(/@(\w+)@/g, (_, name) => values[name]);
  writeFileSync(join(path, 'nginx.conf'), text);
  return new Process('nginx', ['-p', path, '-c', join(path, 'nginx.conf')]);
}

const script = (file) => (port, redis) => new Process(process.execPath, [here(file), String(port), JSON.stringify(redis.options())]);

/** The path of the program that `node.rs` contains. */
const node = process.env.PEERS_NODE;

export const peers = [
  {
    name: 'sse-redis',
    url: '../sse-redis',
    versions: () => process.env.PEERS_VERSION,
    redis: Sentinels,
    start: (port, redis) => new Process(node, [String(port), redis.url()]),
    connect: (url) => new EventSourceClient(`${url}/events`, 'gap', 'close'),
    follow: (url) => new EventSourceClient(`${url}/run`, 'gap', 'close'),
  },
  {
    name: 'Nchan',
    url: 'https://nchan.io',
    versions: () => debian('libnginx-mod-nchan'),
    redis: Cluster,
    start: nchan,
    /** Whether the node is connected to Redis. Until then, its responses have the status 503. */
    isReady: async (url) => (await fetch(`${url}/publish`)).status !== 503,
    connect: (url) => new EventSourceClient(`${url}/events`),
  },
  {
    name: 'Socket.IO Redis Streams adapter',
    url: 'https://github.com/socketio/socket.io-redis-streams-adapter',
    versions: () => `${version('@socket.io/redis-streams-adapter')}, socket.io ${version('socket.io')}`,
    redis: Sentinels,
    start: script('socketio_node.js'),
    connect: (url) => new SocketIoClient(url),
  },
  {
    name: 'resumable-stream',
    url: 'https://github.com/vercel/resumable-stream',
    versions: () => version('resumable-stream'),
    redis: Sentinels,
    start: script('resumable_node.js'),
    connect: (url) => new ResumableClient(`${url}/run`),
    follow: (url) => new ResumableClient(`${url}/run`),
    /** Only the node that has started a stream can add to it. */
    hasProducer: true,
  },
];
