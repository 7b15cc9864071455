// Redis with replicas: a master that three sentinels monitor, or a cluster. `fail` kills the master
// that stores the events. `cut` first stops its replication.
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { Process, folder, freePort, listening, run, until } from './processes.js';

const cli = (port, ...args) => run('redis-cli', '-p', port, ...args);

async function server(...options) {
  const port = await freePort();
  const args = ['--port', port, '--bind', '127.0.0.1', '--dir', folder(), '--save', '', '--appendonly', 'no', ...options];
  const child = new Process('redis-server', args.map(String));
  await listening(port);
  return { port, child };
}

class Replicated {
  /** Stops the replication to the replica, which can no longer log in to its master. */
  async cut() {
    await cli(this.replica.port, 'config', 'set', 'masterauth', 'wrong');
    await cli(this.master.port, 'client', 'kill', 'type', 'replica');
    await until('cut', async () => (await cli(this.replica.port, 'info', 'replication')).includes('master_link_status:down'));
  }

  /** Waits until the replica has everything that the master has. */
  async replicated() {
    const offset = (text) => /master_repl_offset:(\d+)/.exec(text)[1];
    const info = (node) => cli(node.port, 'info', 'replication');
    await until('replication', async () => offset(await info(this.master)) === offset(await info(this.replica)));
  }

  /** Kills the master, and waits until the replica has been promoted. */
  async fail() {
    await this.master.child.kill();
    await until('promotion', async () => (await cli(this.replica.port, 'role')).startsWith('master'));
  }

  async stop() {
    await Promise.all(this.all.map(({ child }) => child.kill()));
  }
}

export class Sentinels extends Replicated {
  static async start() {
    const redis = new Sentinels();
    redis.master = await server();
    redis.replica = await server('--replicaof', '127.0.0.1', redis.master.port, '--repl-diskless-sync-delay', '0');
    redis.sentinels = [];
    for (let index = 0; index < 3; index++) {
      const port = await freePort();
      const file = join(folder(), 'sentinel.conf');
      writeFileSync(file, `port ${port}\nbind 127.0.0.1\n`
        + `sentinel monitor peers 127.0.0.1 ${redis.master.port} 2\n`
        + 'sentinel down-after-milliseconds peers 1000\nsentinel failover-timeout peers 3000\n');
      const child = new Process('redis-server', [file, '--sentinel']);
      await listening(port);
      redis.sentinels.push({ port, child });
    }
    redis.all = [redis.master, redis.replica, ...redis.sentinels];
    await until('sentinels', async () => {
      const all = redis.sentinels.map(({ port }) => cli(port, 'sentinel', 'master', 'peers'));
      return (await Promise.all(all)).every((text) => /num-slaves\n1\nnum-other-sentinels\n2/.test(text));
    });
    await redis.locate();
    return redis;
  }

  async locate() {
    await until('replica', async () => (await cli(this.replica.port, 'info', 'replication')).includes('master_link_status:up'));
  }

  url() {
    return `redis+sentinel://${this.sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/peers`;
  }

  /** The options for `ioredis`. */
  options() {
    return { sentinels: this.sentinels.map(({ port }) => ({ host: '127.0.0.1', port })), name: 'peers' };
  }
}

export class Cluster extends Replicated {
  static async start() {
    const redis = new Cluster();
    redis.all = [];
    for (let index = 0; index < 6; index++) {
      redis.all.push(await server('--cluster-enabled', 'yes', '--cluster-port', await freePort(),
        '--cluster-node-timeout', 1000, '--repl-diskless-sync-delay', 0));
    }
    const addresses = redis.all.map(({ port }) => `127.0.0.1:${port}`);
    await run('redis-cli', '--cluster', 'create', ...addresses, '--cluster-replicas', 1, '--cluster-yes');
    await until('cluster', async () => {
      const all = redis.all.map(({ port }) => cli(port, 'cluster', 'info'));
      return (await Promise.all(all)).every((text) => text.includes('cluster_state:ok'));
    });
    await until('replicas', async () => {
      const all = redis.all.map(({ port }) => cli(port, 'info', 'replication'));
      return (await Promise.all(all)).filter((text) => text.includes('master_link_status:up')).length === 3;
    });
    return redis;
  }

  /** Finds the master that stores the events, and its replica. */
  async locate() {
    for (const node of this.all) {
      const [role, ...rest] = (await cli(node.port, 'role')).split('\n');
      if (role === 'master' && await cli(node.port, 'dbsize') !== '0') {
        this.master = node;
        this.replica = this.all.find(({ port }) => port === Number(rest[2]));
      }
    }
    if (!this.master) throw new Error('no master stores any events');
  }

  ports() {
    return this.all.map(({ port }) => port);
  }
}
