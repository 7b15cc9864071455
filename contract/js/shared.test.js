// `shared`, with several readers in one process. The locks are those of a browser in miniature; two
// real tabs are tested in browsers.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { chunks, start } from "./raw_server.js";
import { post, stream } from "./reading.js";
import { HttpError, StreamError, shared } from "./streams.js";

/** Web Locks: a name is held by one, and the others wait in order. */
class Locks {
  #waiting = new Map();

  async request(name, { signal }, hold) {
    const before = this.#waiting.get(name) ?? Promise.resolve();
    let release;
    this.#waiting.set(name, before.then(() => new Promise((resolve) => (release = resolve))));
    try {
      await Promise.race([before, new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))]);
      await new Promise(setImmediate);
      await hold();
    } finally {
      before.then(() => setImmediate(() => release()));
    }
  }
}

const setNavigator = (value) => Object.defineProperty(globalThis, "navigator", { value, configurable: true });

const collect = async (reading, most = Infinity) => {
  const data = [];
  try {
    for await (const event of reading) if (data.push(event.data) === most) break;
    return { data };
  } catch (error) {
    return { data, error };
  }
};

const text = (...numbers) => numbers.map((number) => `id: ${number}\ndata: ${number}\n\n`).join("");
const done = "event: done\nid: ~done\ndata: null\n\n";

describe("shared", { timeout: 20_000 }, () => {
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  beforeEach(() => setNavigator({ locks: new Locks() }));
  afterEach(() => (before ? Object.defineProperty(globalThis, "navigator", before) : delete globalThis.navigator));

  test("is the stream itself without locks", () => {
    setNavigator(undefined);
    const own = stream({ url: "http://x" });
    assert.equal(shared(own), own);
  });
  test("refuses a POST", () => {
    assert.throws(() => shared(stream({ url: "http://x" }, { endpoint: post })), TypeError);
  });
  test("has one connection, and ends for all", async () => {
    const server = await start(async (exchange) => {
      exchange.open();
      // The readers have joined by the time that the leader has asked for the stream.
      await exchange.send(text(1, 2, 3));
      await exchange.send(done);
    });
    const results = await Promise.all([1, 2, 3].map(() => collect(shared(stream(server)))));
    for (const { data, error } of results) assert.deepEqual([data, error], [["1", "2", "3"], undefined]);
    assert.equal(server.requests.length, 1);
    server.close();
  });
  test("throws a problem for all", async () => {
    const server = await start(chunks(text(1), 'event: error\ndata: {"title":"No"}\n\n'));
    const results = await Promise.all([collect(shared(stream(server))), collect(shared(stream(server)))]);
    for (const { data, error } of results) {
      assert.ok(error instanceof StreamError);
      assert.deepEqual([data, error.problem], [["1"], { title: "No" }]);
    }
    assert.equal(server.requests.length, 1);
    server.close();
  });
  test("lets each try after another error", async () => {
    const deny = (exchange) => exchange.respond(401);
    const server = await start(deny, deny);
    const results = await Promise.all([collect(shared(stream(server))), collect(shared(stream(server)))]);
    for (const { error } of results) assert.ok(error instanceof HttpError);
    assert.equal(server.requests.length, 2);
    server.close();
  });
  test("passes the connection on when one leaves", async () => {
    const server = await start(
      async (exchange) => exchange.open().send(text(1, 2)),
      chunks(text(3), done),
    );
    const [first, second] = [collect(shared(stream(server)), 2), collect(shared(stream(server)))];
    assert.deepEqual((await first).data, ["1", "2"]);
    assert.deepEqual(await second, { data: ["1", "2", "3"] });
    assert.deepEqual(server.requests.map(({ headers }) => headers["last-event-id"]), [undefined, "2"]);
    server.close();
  });
  test("drops an event that arrives twice", async () => {
    let opened;
    const open = new Promise((resolve) => (opened = resolve));
    const server = await start((exchange) => opened(exchange.open()));
    const reading = shared(stream(server))[Symbol.asyncIterator]();
    const first = reading.next();
    const exchange = await open;
    // An event of the connection before, which was on its way when this one was requested.
    const before = new BroadcastChannel(`sse ${server.url}/`);
    before.postMessage({ event: { event: "message", data: "1", id: "1" }, id: "1", number: 0 });
    assert.equal((await first).value.data, "1");
    before.close();
    await exchange.send(text(1, 2));
    assert.equal((await reading.next()).value.data, "2");
    await reading.return();
    server.close();
  });
  test("does not repeat events without ids of their own", async () => {
    const server = await start(chunks("id: 1\ndata: a\n\ndata: b\n\ndata: c\n\n", done));
    assert.deepEqual(await collect(shared(stream(server))), { data: ["a", "b", "c"] });
    server.close();
  });
  test("rejects with the reason of an abort", async () => {
    const reason = new Error("left");
    const controller = new AbortController();
    const server = await start(async (exchange) => exchange.open().send(text(1)));
    const leading = shared(stream(server))[Symbol.asyncIterator]();
    const following = shared(stream(server, { signal: controller.signal }))[Symbol.asyncIterator]();
    const received = [leading.next(), following.next()];
    assert.deepEqual((await Promise.all(received)).map(({ value }) => value.data), ["1", "1"]);
    const next = following.next();
    controller.abort(reason);
    await assert.rejects(next, (error) => error === reason);
    // The other reader goes on, until it leaves while it waits.
    const waiting = leading.next();
    assert.deepEqual(await leading.return(), { done: true, value: undefined });
    assert.deepEqual(await waiting, { done: true, value: undefined });
    await server.requests[0].closed;
    server.close();
  });
  test("sends nothing if it was aborted before", async () => {
    const server = await start();
    const { error } = await collect(shared(stream(server, { signal: AbortSignal.abort() })));
    assert.deepEqual([error.name, server.requests.length], ["AbortError", 0]);
    server.close();
  });
});
