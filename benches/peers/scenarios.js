// The scenarios. Each returns what happened to every group of clients.
import { setTimeout as sleep } from 'node:timers/promises';
import { Balancer, freePort, listening, until } from './processes.js';

/** How long clients may take to receive the last event, in milliseconds. */
const PATIENCE = 30_000;
const CLIENTS = 10;
/**
 * By how many events a notice may precede or follow the events that it refers to, because some peers
 * do not order the events of different nodes.
 */
const REORDERED = 50;

/** Two nodes of a peer and their Redis. */
class Setup {
  static async start(peer) {
    const setup = new Setup();
    setup.peer = peer;
    setup.redis = await peer.redis.start();
    setup.nodes = [];
    setup.groups = {};
    setup.acknowledged = [];
    setup.next = 1;
    for (let index = 0; index < 2; index++) {
      setup.nodes.push({ port: await freePort() });
      await setup.startNode(index);
    }
    setup.balancer = await Balancer.start(setup.nodes.map(({ port }) => port));
    if (peer.hasProducer) await setup.post('/start', '');
    return setup;
  }

  async startNode(index) {
    const node = this.nodes[index];
    node.process = this.peer.start(node.port, this.redis);
    await listening(node.port);
    const { isReady } = this.peer;
    if (isReady) await until('the node', () => isReady(`http://127.0.0.1:${node.port}`));
    for (const balancer of this.balancers()) balancer.reconnect(node.port);
  }

  /** Kills a node. The load balancers do not use it until it is ready again. */
  async killNode(index) {
    const { port, process } = this.nodes[index];
    await process.kill();
    for (const balancer of this.balancers()) balancer.disconnect(port);
  }

  balancers() {
    const ofGroups = Object.values(this.groups).map(({ balancer }) => balancer);
    return this.balancer ? [this.balancer, ...ofGroups] : [];
  }

  /** Sends a request to a node, or to the only node that can publish. Returns whether it succeeded. */
  async post(path, body) {
    const url = this.peer.hasProducer ? `http://127.0.0.1:${this.nodes[0].port}` : this.balancer.url;
    try {
      const response = await fetch(url + path, { method: 'POST', body, signal: AbortSignal.timeout(5000) });
      await response.arrayBuffer();
      return response.ok;
    } catch {
      return false;
    }
  }

  /** Publishes the next number. A number that is not acknowledged is not published again. */
  async publish() {
    const number = this.next++;
    if (await this.post('/publish', String(number))) this.acknowledged.push(number);
  }

  /** Publishes numbers until the returned function is called. */
  publishing() {
    let isOver = false;
    const loop = (async () => {
      while (!isOver) {
        await this.publish();
        await sleep(20);
      }
    })();
    return () => { isOver = true; return loop; };
  }

  async publishAcknowledged(count) {
    const enough = this.acknowledged.length + count;
    await until('acknowledgements', async () => {
      while (this.acknowledged.length < enough) await this.publish();
      return true;
    });
  }

  /** Connects a group of clients, which receive the first number. */
  async connect(name) {
    const balancer = await Balancer.start(this.nodes.map(({ port }) => port));
    const clients = Array.from({ length: CLIENTS }, () => this.peer.connect(balancer.url));
    // Socket.IO delivers only what is published after a client has connected.
    await until('clients', () => clients.every((client) => !client.socket || client.isConnected));
    this.groups[name] = { balancer, clients };
  }

  async begin(...names) {
    for (const name of names) await this.connect(name);
    await this.publishAcknowledged(1);
    await this.received();
    await this.redis.locate();
  }

  /** Waits until all clients that are online have received the last acknowledged number. */
  async received() {
    const last = this.acknowledged.at(-1);
    const groups = Object.values(this.groups).filter(({ balancer }) => balancer.isOnline);
    const online = groups.flatMap((group) => group.clients);
    const deadline = Date.now() + PATIENCE;
    while (Date.now() < deadline && !online.every((client) => client.isClosed || client.has(last))) await sleep(100);
  }

  async stop() {
    for (const { balancer, clients } of Object.values(this.groups)) {
      for (const client of clients) client.close();
      balancer.close();
    }
    this.balancer.close();
    await Promise.all(this.nodes.map((node) => node.process.kill()));
    await this.redis.stop();
  }

  results() {
    return Object.entries(this.groups).map(([group, { clients }]) => judge(group, clients, this.acknowledged));
  }
}

/** Counts what a group of clients lost, and what it received repeatedly or out of order. */
export function judge(group, clients, acknowledged) {
  const result = { group, acknowledged: acknowledged.length, clients: clients.length, untold: 0, told: 0, repeatedUntold: 0, repeatedTold: 0, reordered: 0, silent: 0, notices: {} };
  for (const { history } of clients) {
    const first = new Map();
    history.forEach(({ number }, index) => {
      if (number === undefined) return;
      if (!first.has(number)) first.set(number, index);
      else if (history.slice(first.get(number), index).some((item) => item.notice)) result.repeatedTold++;
      else result.repeatedUntold++;
    });
    const lost = acknowledged.filter((number) => !first.has(number));
    const untold = lost.filter((number) => !isTold(history, number));
    result.untold += untold.length;
    result.told += lost.length - untold.length;
    const numbers = [...first.keys()];
    result.reordered += numbers.some((number, index) => number < numbers[index - 1]);
    result.silent += untold.includes(acknowledged.at(-1));
    for (const notice of new Set(history.flatMap((item) => item.notice ?? []))) {
      result.notices[notice] = (result.notices[notice] ?? 0) + 1;
    }
  }
  return result;
}

/** Returns whether the client was notified around the time when it should have received an event. */
function isTold(history, lost) {
  const before = history.findLastIndex((item) => item.number < lost - REORDERED);
  const after = history.findIndex((item) => item.number > lost + REORDERED);
  return history.slice(before + 1, after < 0 ? undefined : after).some((item) => item.notice);
}

/** Kills the nodes in turn while events are published. */
export async function nodesKilled(peer, rounds) {
  const setup = await Setup.start(peer);
  await setup.begin('all clients');
  const stop = setup.publishing();
  for (let round = 0; round < rounds; round++) {
    const index = peer.hasProducer ? 1 : round % 2;
    await sleep(1500);
    await setup.killNode(index);
    await sleep(500);
    await setup.startNode(index);
  }
  await sleep(1500);
  await stop();
  return finish(setup);
}

/** Kills the master while events are published. */
export async function masterKilled(peer) {
  const setup = await Setup.start(peer);
  await setup.begin('all clients');
  const stop = setup.publishing();
  await sleep(3000);
  await setup.redis.fail();
  await sleep(10_000);
  await stop();
  return finish(setup);
}

/** Kills the master after it has acknowledged `count` events that the replica has not received. */
export async function tailLost(peer, count) {
  const setup = await Setup.start(peer);
  const [live, seen, unseen] = ['connected', 'offline, received the lost events', 'offline, did not receive the lost events'];
  await setup.begin(live, seen, unseen);
  await setup.publishAcknowledged(20);
  await setup.received();
  await setup.redis.replicated();
  setup.groups[unseen].balancer.disconnect();
  await setup.redis.cut();
  const before = setup.acknowledged.length;
  await setup.publishAcknowledged(count);
  await setup.received();
  setup.tail = setup.acknowledged.slice(before);
  setup.groups[seen].balancer.disconnect();
  await setup.redis.fail();
  await setup.publishAcknowledged(count * 4);
  for (const name of [seen, unseen]) setup.groups[name].balancer.reconnect();
  // Give clients that were disconnected time to return even if they have nothing to wait for.
  await sleep(10_000);
  await setup.publishAcknowledged(1);
  return finish(setup);
}

async function finish(setup) {
  // The last number tells whether a client is still connected.
  await setup.publishAcknowledged(1);
  await setup.received();
  await setup.stop();
  const { tail } = setup;
  return setup.results().map((result) => {
    const { clients } = setup.groups[result.group];
    if (!tail) return result;
    // The engine no longer has the tail. Which clients miss some of the events that it does have?
    const kept = setup.acknowledged.filter((number) => !tail.includes(number));
    const received = clients.filter((client) => tail.every((number) => client.has(number))).length;
    return { ...judge(result.group, clients, kept), received };
  });
}

/** Kills or suspends the node that runs the producer. */
export async function producerLost(peer, signal) {
  const setup = await Setup.start(peer);
  const [producer, other] = setup.nodes.map(({ port }) => port);
  const balancers = [await Balancer.start([producer]), await Balancer.start([other])];
  const [clients, others] = await startRun(setup, balancers);
  await until('the run', () => [...clients, ...others].every((client) => client.history.length > 20));
  const start = Date.now();
  setup.nodes[0].process.signal(signal);
  // The clients of the node reconnect to the other one, as after a failed health check.
  balancers[0].reconnect(other);
  balancers[0].disconnect(producer);
  await sleep(30_000);
  const groups = { 'on this node': clients, 'on the other node': others };
  const all = Object.values(groups).flat();
  const counts = new Map(all.map((client) => [client, client.history.length]));
  if (signal === 'SIGSTOP') {
    setup.nodes[0].process.signal('SIGCONT');
    await sleep(10_000);
  }
  const published = Math.max(...all.flatMap(({ history }) => history.map((item) => item.number ?? 0)));
  const results = Object.entries(groups).map(([group, members]) => {
    const result = judge(group, members, Array.from({ length: published }, (_, index) => index + 1));
    const notices = members.flatMap(({ history }) => history.filter((item) => item.notice));
    const waiting = members.filter((client) => !client.history.slice(0, counts.get(client)).some((item) => item.notice));
    const resumed = members.filter((client) => client.history.length > counts.get(client));
    return { ...result, waiting: waiting.length, resumed: resumed.length, delays: notices.map(({ at }) => at - start) };
  });
  for (const client of all) client.close();
  for (const balancer of balancers) balancer.close();
  await setup.stop();
  return results;
}

/** Starts the run at the first node. Returns the clients of each node. */
async function startRun({ peer, nodes }, [first, second]) {
  const group = (balancer) => Array.from({ length: CLIENTS }, () => peer.follow(balancer.url));
  if (peer.hasProducer) await fetch(`http://127.0.0.1:${nodes[0].port}/start`, { method: 'POST', body: 'timer' });
  const clients = group(first);
  await until('the start', () => clients.every((client) => client.history.length > 0));
  return [clients, group(second)];
}
