// Runs the scenarios for all peers, and prints the results as Markdown tables. The optional argument
// selects the peers whose names contain it.
import { run } from './processes.js';
import { peers } from './peers.js';
import { masterKilled, nodesKilled, producerLost, tailLost } from './scenarios.js';

const ROUNDS = Number(process.env.ROUNDS ?? 20);
const REPEATS = Number(process.env.REPEATS ?? 3);
const TAIL = 5;

const chosen = peers.filter(({ name }) => name.includes(process.argv[2] ?? ''));
const count = (value) => value.toLocaleString('en');
const noticed = ({ notices, clients }) => Object.entries(notices)
  .map(([notice, number]) => `${notice} (${number} of ${clients} clients)`).join('; ') || 'none';

/** Adds up the results of several repetitions for each group of clients. */
function sum(repetitions) {
  return repetitions[0].map((_, group) => repetitions.map((results) => results[group]).reduce((left, right) => {
    const total = { ...left, notices: { ...left.notices } };
    for (const [key, value] of Object.entries(right)) if (typeof value === 'number') total[key] += value;
    for (const [notice, number] of Object.entries(right.notices)) total.notices[notice] = (total.notices[notice] ?? 0) + number;
    return total;
  }));
}

/** Runs a scenario for all peers at the same time. Returns the rows of its table. */
async function rows(scenario, repeats, cells) {
  const ofPeers = await Promise.all(chosen.map(async (peer) => {
    const repetitions = [];
    for (let repeat = 0; repeat < repeats; repeat++) {
      const results = await scenario(peer);
      if (!results) return [[peer.name, 'not supported']];
      repetitions.push(results);
    }
    return sum(repetitions).map((result) => [peer.name, ...cells(result)]);
  }));
  return ofPeers.flat();
}

function print(title, header, all) {
  console.log(`\n### ${title}\n`);
  console.log(`| ${header.join(' | ')} |`);
  console.log(`| ${header.map((name) => (/^(peer|clients|notice)$/.test(name) ? '---' : '---:')).join(' | ')} |`);
  for (const row of all) console.log(`| ${header.map((_, index) => row[index] ?? '').join(' | ')} |`);
}

const COUNTS = ['lost without notice', 'lost with notice', 'repeated without notice', 'repeated with notice', 'clients out of order', 'clients that stopped without notice', 'notice'];
const counts = (result) => [count(result.untold), count(result.told), count(result.repeatedUntold), count(result.repeatedTold), result.reordered, result.silent, noticed(result)];
const LIVE = ['peer', 'acknowledged', ...COUNTS];
const live = (result) => [count(result.acknowledged), ...counts(result)];

console.log('| peer | version |\n| --- | --- |');
for (const { name, url, versions } of chosen) console.log(`| [${name}](${url}) | ${await versions()} |`);
console.log(`| Redis | ${/v=(\S+)/.exec(await run('redis-server', '--version'))[1]} |`);

print('A node is killed', LIVE, await rows((peer) => nodesKilled(peer, ROUNDS), 1, live));
print('The master is killed', LIVE, await rows(masterKilled, REPEATS, live));
print('The master is killed before its replica has received some events',
  ['peer', 'clients', 'received the lost events', ...COUNTS],
  await rows((peer) => (peer.hasProducer ? undefined : tailLost(peer, TAIL)), REPEATS,
    (result) => [result.group, result.received, ...counts(result)]));

/** The delay of the last notice. */
const seconds = ({ delays }) => (delays.length ? `${Math.round(Math.max(...delays) / 1000)} s` : '');
const RUN = ['peer', 'clients', 'lost without notice', 'repeated without notice', 'clients without notice after 30 s'];
const producer = (signal) => (peer) => (peer.follow ? producerLost(peer, signal) : undefined);
const ofRun = (result) => [result.group, count(result.untold), count(result.repeatedUntold), result.waiting];
print('The node that runs the producer is killed', [...RUN, 'notice', 'last notice after'],
  await rows(producer('SIGKILL'), 1, (result) => [...ofRun(result), noticed(result), seconds(result)]));
print('The node that runs the producer is suspended for 30 seconds', [...RUN, 'clients that received more events afterwards', 'notice', 'last notice after'],
  await rows(producer('SIGSTOP'), 1, (result) => [...ofRun(result), result.resumed, noticed(result), seconds(result)]));
process.exit(0);
