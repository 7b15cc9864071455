// Compares the client's CPU time for reading 100 MB with that of eventsource-parser, in the same
// process. Prints the median ratios of several rounds, and fails if one of them is below the first
// argument. CPU time hardly depends on the load of the machine.

import { EventSourceParserStream } from "eventsource-parser/stream";
import { createParser } from "eventsource-parser";
import { open, parser } from "./streams.js";

const TOTAL = 100_000_000;
const CHUNK = 65_536;
const ROUNDS = Number(process.env.ROUNDS ?? 7);

/** Returns a chunk of whole events, which is repeated. */
const chunkOf = (event) => Buffer.from(event.repeat(Math.ceil(CHUNK / event.length)));
const streams = {
  "events of 100 bytes": chunkOf(`id: 12345678\nevent: token\ndata: ${"x".repeat(61)}\n\n`),
  "events of 4 KB": chunkOf(`id: 12345678\nevent: token\ndata: ${"x".repeat(4_000)}\n\n`),
  "events of 4 KB, not ASCII": chunkOf(`id: 12345678\nevent: token\ndata: ${"ä€".repeat(1_000)}\n\n`),
};

const body = (chunk) => {
  let left = Math.ceil(TOTAL / chunk.length);
  return new ReadableStream({
    pull: (controller) => (left-- > 0 ? controller.enqueue(chunk) : controller.close()),
  });
};

const readers = {
  parser: {
    ours(chunk) {
      const parse = parser("", () => {});
      let events = 0;
      for (let left = Math.ceil(TOTAL / chunk.length); left > 0; left -= 1) events += parse(chunk).length;
      return events;
    },
    theirs(chunk) {
      let events = 0;
      const parser = createParser({ onEvent: () => (events += 1) });
      const decoder = new TextDecoder();
      for (let left = Math.ceil(TOTAL / chunk.length); left > 0; left -= 1) parser.feed(decoder.decode(chunk, { stream: true }));
      return events;
    },
  },
  "for await": {
    async ours(chunk) {
      const endpoint = { method: "POST", path: "/", own: true, idle: 45_000, error: "error", events: { token: "text" } };
      const fetch = async () => new Response(body(chunk), { headers: { "content-type": "text/event-stream" } });
      let events = 0;
      for await (const _ of open(endpoint, "http://x", {}, { fetch }, {})) events += 1;
      return events;
    },
    async theirs(chunk) {
      let events = 0;
      const decoded = body(chunk).pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
      for await (const _ of decoded) events += 1;
      return events;
    },
  },
};

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

const least = Number(process.argv[2] ?? 0);
let isFast = true;
for (const [what, { ours, theirs }] of Object.entries(readers)) {
  for (const [name, chunk] of Object.entries(streams)) {
    const time = async (read) => {
      const start = process.cpuUsage();
      const events = await read(chunk);
      const { user, system } = process.cpuUsage(start);
      return { events, time: user + system };
    };
    const rounds = [];
    // In the first round, both are only compiled.
    for (let round = 0; round <= ROUNDS; round += 1) {
      const [first, second] = [await time(ours), await time(theirs)];
      if (first.events !== second.events) throw new Error(`${first.events} events instead of ${second.events}`);
      if (round > 0) rounds.push({ ratio: second.time / first.time, time: first.time });
    }
    const ratio = median(rounds.map(({ ratio }) => ratio));
    const rate = TOTAL / median(rounds.map(({ time }) => time));
    isFast &&= ratio >= least;
    console.log(`${what}, ${name}: ${rate.toFixed(0)} MB per CPU second, ${ratio.toFixed(2)} times as fast as eventsource-parser`);
  }
}
process.exitCode = isFast ? 0 : 1;
