// Tests the client with a real server, in any runtime. Each case is a function of the server's URL
// and the name of the runtime, which is the first segment of every path.

import { ConnectionError, HttpError, StreamError, connect, isError, open } from "./streams.js";

const equal = (actual, expected) => {
  const [is, should] = [actual, expected].map((value) => JSON.stringify(value));
  if (is !== should) throw new Error(`expected ${should}, got ${is}`);
};

const read = async (stream, most = Infinity) => {
  const events = [];
  let error;
  try {
    for await (const event of stream) if (events.push(event) === most) break;
  } catch (thrown) {
    error = thrown;
  }
  return { events, data: events.map(({ data }) => data), error, path: new URL(stream.url).pathname };
};

/** Waits for the expected counts of a path, because the server notices a disconnect only later. */
const count = async (server, path, wanted) => {
  for (let attempt = 0; ; attempt += 1) {
    const counts = await (await fetch(`${server}/count?path=${path}`)).json();
    if (JSON.stringify(counts) === JSON.stringify(wanted) || attempt === 100) return equal(counts, wanted);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};

/** Allocates memory until the engine has collected its garbage, since not every engine has a function that does so. */
const collected = async (isCollected, describe) => {
  for (let attempt = 0; !isCollected(); attempt += 1) {
    if (attempt === 500) throw new Error(describe());
    new Uint8Array(2 ** 24).fill(attempt);
    Array.from({ length: 10_000 }, (_, at) => ({ at }));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

const apiOf = (server, runtime) => connect(`${server}/${runtime}/`);

export const cases = {
  async "resumes after a break and an end, until done"(server, runtime) {
    const { events, error, path } = await read(apiOf(server, runtime).resume());
    equal(error, undefined);
    equal(events, [1, 2, 3, 4, 5, 6, 7, 8, 9].map((data) => ({ event: "message", data, id: `${data}` })));
    await count(server, path, { requests: 3, running: 0 });
  },
  async "ends with end = \"stop\""(server, runtime) {
    const { data, error, path } = await read(apiOf(server, runtime).stopped());
    equal([data, error], [[1], undefined]);
    await count(server, path, { requests: 1, running: 0 });
  },
  async "ends with a 204"(server, runtime) {
    const api = apiOf(server, runtime);
    const finished = await read(api.topic({ name: "finished" }));
    equal([finished.data, finished.error], [[1, 2, 3], undefined]);
    const lastEventId = `${finished.events[2].id}~done`;
    const { events, error, path } = await read(api.topic({ name: "finished" }, { lastEventId }));
    equal([events, error], [[], undefined]);
    await count(server, path, { requests: 2, running: 0 });
  },
  async "yields a gap"(server, runtime) {
    const api = apiOf(server, runtime);
    const [first] = (await read(api.topic({ name: "first" }), 1)).events;
    const { events, error } = await read(api.topic({ name: "second" }, { lastEventId: first.id }));
    equal([events[0].event, events[0].data], ["gap", { reason: "other_epoch", missed: null }]);
    equal([events.slice(1).map(({ data }) => data), error], [[1, 2, 3], undefined]);
  },
  async "reconnects after close"(server, runtime) {
    const { events, error, path } = await read(apiOf(server, runtime).closes());
    equal([events.map(({ event, data }) => [event, data]), error], [[["message", 1], ["message", 2]], undefined]);
    await count(server, path, { requests: 2, running: 0 });
  },
  async "throws an error before the stream"(server, runtime) {
    const api = apiOf(server, runtime);
    const { events, error, path } = await read(api.answer({ room: 0 }));
    equal([events, isError(api.answer, error)], [[], true]);
    equal([error.status, error.problem.code, error.problem.room, error.problem.status], [404, "no_room", 0, 404]);
    await count(server, path, { requests: 1, running: 0 });
  },
  async "throws an error in the stream"(server, runtime) {
    const { events, error, path } = await read(apiOf(server, runtime).answer({ room: 1 }));
    equal(events, [{ event: "token", data: { text: "Hello" } }]);
    equal([error instanceof StreamError, error.status, error.problem.code, error.problem.after], [true, undefined, "busy", 3]);
    await count(server, path, { requests: 1, running: 0 });
  },
  async "decodes an error in a stream of text"(server, runtime) {
    const { data, error } = await read(apiOf(server, runtime).text());
    equal([data, error instanceof StreamError, error.problem.code], [["42"], true, "busy"]);
  },
  async "decodes an event without data"(server, runtime) {
    const { events, error } = await read(apiOf(server, runtime).answer({ room: 2 }));
    equal([events[1], error], [{ event: "finished", data: "" }, undefined]);
  },
  async "throws a status that is no problem"(server, runtime) {
    const { error } = await read(connect(`${server}/${runtime}/nothing/here`).stopped());
    equal([error instanceof HttpError, error.status], [true, 404]);
  },
  async "waits for the Retry-After of a 429"(server, runtime) {
    const states = [];
    const start = Date.now();
    const { events, error, path } = await read(apiOf(server, runtime).busy({ onstate: (state) => states.push(state) }));
    equal([events, error], [[{ event: "finished", data: "" }], undefined]);
    equal(states, ["connecting", "waiting", "connecting", "open"]);
    // Timers can be a little early.
    equal(Date.now() - start >= 900, true);
    await count(server, path, { requests: 2, running: 0 });
  },
  async "gives up a silent stream"(server, runtime) {
    const { data, error, path } = await read(apiOf(server, runtime).silent());
    equal([data, error], [[1, 2], undefined]);
    await count(server, path, { requests: 2, running: 0 });
  },
  async "keeps a stream that sends comments"(server, runtime) {
    const { data, error, path } = await read(apiOf(server, runtime).quiet());
    equal([data, error], [[1, 2], undefined]);
    await count(server, path, { requests: 1, running: 0 });
  },
  async "reads a POST to its end"(server, runtime) {
    const { data, error, path } = await read(apiOf(server, runtime).post({ body: { prompt: "Hello wörld" } }));
    equal([data, error], [["Hello", "wörld"], undefined]);
    await count(server, path, { requests: 1, running: 0 });
  },
  async "never sends a POST again"(server, runtime) {
    const { data, error, path } = await read(apiOf(server, runtime).post_cut({ body: { prompt: "Hello" } }));
    // Bun and Chromium discard data that they received just before the connection broke.
    equal([data.length === 0 || data, error instanceof ConnectionError], [data.length === 0 || ["Hello"], true]);
    await count(server, path, { requests: 1, running: 0 });
  },
  async "break disconnects"(server, runtime) {
    const { data, error, path } = await read(apiOf(server, runtime).leaving(), 1);
    equal([data, error], [[1], undefined]);
    await count(server, path, { requests: 1, running: 0 });
  },
  async "throws a 401 in between"(server, runtime) {
    const { data, error, path } = await read(apiOf(server, runtime).expires());
    equal([data, error instanceof HttpError, error.status], [[1], true, 401]);
    await count(server, path, { requests: 2, running: 0 });
  },
  async "an abort ends the wait for a response"(server, runtime) {
    const controller = new AbortController();
    const onstate = (state) => state === "connecting" && setTimeout(() => controller.abort(), 200);
    const { error, path } = await read(apiOf(server, runtime).undecided({ signal: controller.signal, onstate }));
    equal(error.name, "AbortError");
    await count(server, path, { requests: 1, running: 0 });
  },
  async "an abort ends the wait before a reconnect"(server, runtime) {
    const controller = new AbortController();
    const onstate = (state) => state === "waiting" && setTimeout(() => controller.abort());
    const { data, error } = await read(apiOf(server, `${runtime}-abort`).later({ signal: controller.signal, onstate }));
    equal([data, error.name], [[1], "AbortError"]);
  },
  async "an abort in the loop ends it"(server, runtime) {
    const controller = new AbortController();
    const seen = [];
    let error;
    try {
      for await (const { data } of apiOf(server, `${runtime}-loop`).burst({ signal: controller.signal })) {
        if (seen.push(data) === 10) controller.abort();
      }
    } catch (thrown) {
      error = thrown;
    }
    equal([seen.length, error.name], [10, "AbortError"]);
  },
  async "reads an event of 10 MB"(server, runtime) {
    const { data, error } = await read(apiOf(server, runtime).large());
    equal([data.length, data[0].length, data[0].replaceAll("ü", ""), error], [1, 5_000_000, "", undefined]);
  },
  async "reads 100,000 events"(server, runtime) {
    let next = 0;
    for await (const { data } of apiOf(server, runtime).burst()) if (data === next) next += 1;
    equal(next, 100_000);
  },
  async "sends parts of a request that share a name"(server, runtime) {
    const input = { id: "a/b", path_body: "ü", query_id: "c", query_body: "d", body: { prompt: "e" } };
    const { data, error } = await read(apiOf(server, runtime).shared_names(input));
    equal([data, error], [[[{ id: "a/b", body: "ü" }, { id: "c", body: "d" }, "e"]], undefined]);
  },
  async "sends bytes"(server, runtime) {
    const bytes = new Uint8Array([0, 255, 10]);
    for (const body of [bytes, bytes.buffer, new Blob([bytes], { type: "image/png" })]) {
      const { data, error } = await read(apiOf(server, runtime).upload({ body }));
      equal([data, error], [[["application/octet-stream", [0, 255, 10]]], undefined]);
    }
    const { data } = await read(apiOf(server, runtime).upload({ body: "ü" }));
    equal(data, [["application/octet-stream", [195, 188]]]);
  },
  async "parses a byte order mark and all line breaks"(server, runtime) {
    const endpoint = { method: "GET", path: "/breaks", idle: 0, events: { message: "text" } };
    const { data, error } = await read(open(endpoint, `${server}/${runtime}`, {}, {}, {}));
    equal([data, error], [["1", "2", "3", "ü\n€"], undefined]);
  },
  async "an abort disconnects"(server, runtime) {
    const controller = new AbortController();
    const stream = apiOf(server, `${runtime}-abort`).leaving({ signal: controller.signal });
    const iterator = stream[Symbol.asyncIterator]();
    equal((await iterator.next()).value.data, 1);
    const next = iterator.next().catch((error) => error.name);
    controller.abort();
    equal(await next, "AbortError");
    await count(server, new URL(stream.url).pathname, { requests: 1, running: 0 });
  },
};

/** Cases that keep the runtime busy, so that timeouts of other cases would pass. They run after the others. */
const busyCases = {
  async "keeps no event that the loop has left"(server, runtime) {
    // The engine reports the events that it has freed, which it can only do if nothing refers to them.
    let [read, freed] = [0, 0];
    const registry = new FinalizationRegistry(() => (freed += 1));
    for await (const event of apiOf(server, `${runtime}-kept`).burst()) {
      registry.register(event);
      read += 1;
      // The stream has not ended yet, so its iterator still exists.
      if (read === 100_000) await collected(() => freed > 90_000, () => `freed ${freed} of ${read} events`);
    }
    equal(read, 100_000);
  },
};

/** Runs all cases, and returns the error of each that fails. */
export const run = async (server, runtime) => {
  const failures = {};
  const runOne = async ([name, run]) => {
    try {
      let timer;
      const late = new Promise((_, reject) => (timer = setTimeout(reject, 60_000, new Error("took more than 60 s"))));
      await Promise.race([run(server, runtime), late]);
      clearTimeout(timer);
    } catch (error) {
      failures[name] = String(error);
    }
  };
  const [first, busy] = [cases, busyCases].map(Object.entries);
  await Promise.all(first.map(runOne));
  for (const one of busy) await runOne(one);
  return { passed: first.length + busy.length - Object.keys(failures).length, failures };
};
