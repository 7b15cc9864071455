// Starts and kills processes, and balances connections between them.
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const running = new Set();
const folders = [];

process.on('exit', () => {
  for (const child of running) child.signal('SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

export class Process {
  constructor(command, args) {
    // In a process group of its own, so that nginx's workers are killed along with their master.
    this.child = spawn(command, args, { detached: true, stdio: process.env.VERBOSE ? 'inherit' : 'ignore' });
    running.add(this);
    this.exited = new Promise((resolve) => {
      this.child.on('error', (error) => { console.error(`${command}: ${error.message}`); process.exit(1); });
      this.child.on('exit', () => { running.delete(this); resolve(); });
    });
  }

  signal(signal) {
    try { process.kill(-this.child.pid, signal); } catch { /* The process has already ended. */ }
  }

  async kill() {
    this.signal('SIGKILL');
    await this.exited;
  }
}

export function folder() {
  const path = mkdtempSync(join(tmpdir(), 'peers-'));
  folders.push(path);
  return path;
}

/** Runs a command. Returns its output. */
export const run = async (command, ...args) => (await promisify(execFile)(command, args.map(String))).stdout.trim();

export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Waits until `condition` returns a truthy value. Returns the value, or throws after 60 seconds. */
export async function until(what, condition) {
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    const value = await Promise.resolve().then(condition).catch(() => false);
    if (value) return value;
    await sleep(50);
  }
  throw new Error(`timeout: ${what}`);
}

export const listening = (port) => until(`port ${port}`, () => new Promise((resolve) => {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('connect', () => { socket.destroy(); resolve(true); });
  socket.on('error', () => resolve(false));
}));

/** Forwards connections to nodes in turn. If a node refuses a connection, the next node gets it. */
export class Balancer {
  static async start(ports) {
    const balancer = new Balancer();
    balancer.ports = [...ports];
    balancer.turn = 0;
    balancer.pairs = new Set();
    balancer.isOnline = true;
    const server = net.createServer((client) => balancer.accept(client)).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    server.unref();
    balancer.server = server;
    balancer.url = `http://127.0.0.1:${server.address().port}`;
    return balancer;
  }

  accept(client) {
    client.on('error', () => {});
    const first = this.turn++;
    const next = (attempt) => {
      if (!this.isOnline || attempt >= this.ports.length) return client.destroy();
      const port = this.ports[(first + attempt) % this.ports.length];
      const node = net.connect(port, '127.0.0.1');
      const pair = { client, node, port };
      node.on('connect', () => {
        this.pairs.add(pair);
        client.pipe(node);
        node.pipe(client);
        client.on('close', () => node.destroy());
        node.on('close', () => { this.pairs.delete(pair); client.destroySoon(); });
      });
      node.on('error', () => this.pairs.has(pair) || next(attempt + 1));
    };
    next(0);
  }

  /** Takes a node out, as a failed health check would, or takes all clients offline. */
  disconnect(port) {
    if (port === undefined) this.isOnline = false;
    else this.ports = this.ports.filter((other) => other !== port);
    for (const pair of this.pairs) {
      if (port === undefined || pair.port === port) {
        pair.client.destroy();
        pair.node.destroy();
      }
    }
  }

  reconnect(port) {
    if (port === undefined) this.isOnline = true;
    else this.ports.push(port);
  }

  close() {
    this.disconnect();
    this.server.close();
  }
}
