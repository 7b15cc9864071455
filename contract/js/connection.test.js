// Tests how streams are requested, resumed and ended. The cases include those of LaunchDarkly's SSE
// contract tests.

import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { chunks, cut, start } from "./raw_server.js";
import { fakeDelays, get, post, read, stream } from "./reading.js";
import { ConnectionError, HttpError, StreamError, connect, isError, open, retryAfter } from "./streams.js";

const respond = (status, headers, body) => (exchange) => exchange.respond(status, headers, body);
const problem = { "content-type": "application/problem+json" };
const data = ({ events }) => events.map(({ data }) => data);
const ids = ({ requests }) => requests.map(({ headers }) => headers["last-event-id"]);
/** An endpoint whose method is not `GET`, but which can be resumed. */
const resumable = { ...post, resumes: true };

describe("request", () => {
  test("of a GET", async () => {
    const { requests } = await read(await start());
    const [{ method, path, headers, body }] = requests;
    assert.deepEqual([method, path, body], ["GET", "/", ""]);
    assert.equal(headers["accept"], "text/event-stream, application/problem+json");
    assert.equal(headers["cache-control"], "no-cache");
    assert.equal(headers["last-event-id"], undefined);
    assert.equal(headers["content-type"], undefined);
  });
  test("with JSON", async () => {
    const { requests } = await read(await start(), { endpoint: post, input: { body: { text: "ä" } } });
    assert.deepEqual([requests[0].method, requests[0].headers["content-type"]], ["POST", "application/json"]);
    assert.equal(Buffer.from(requests[0].body, "latin1").toString(), '{"text":"ä"}');
  });
  test("with a form", async () => {
    const input = { body: { a: "x y&z", b: [1, true], c: undefined, d: null } };
    const { requests } = await read(await start(), { endpoint: { ...post, body: "form" }, input });
    assert.equal(requests[0].headers["content-type"], "application/x-www-form-urlencoded");
    assert.equal(requests[0].body, "a=x+y%26z&b=1&b=true");
  });
  test("with another method", async () => {
    const { requests } = await read(await start(), { endpoint: { ...post, method: "PUT" } });
    assert.equal(requests[0].method, "PUT");
  });
  test("is sent when the iteration begins", async () => {
    const server = await start();
    const reading = stream(server);
    await new Promise(setImmediate);
    assert.equal(server.requests.length, 0);
    assert.deepEqual(await reading[Symbol.asyncIterator]().next(), { done: true, value: undefined });
    assert.equal(server.requests.length, 1);
    server.close();
  });
  test("is not sent by a second iteration", async () => {
    const { stream, requests } = await read(await start(), { endpoint: post });
    assert.throws(() => stream[Symbol.asyncIterator](), TypeError);
    assert.equal(requests.length, 1);
  });
  test("takes the body as it was when called", async () => {
    const server = await start();
    const body = { text: "before" };
    const reading = stream(server, { endpoint: post, input: { body } });
    body.text = "after";
    for await (const _ of reading) assert.fail();
    assert.equal(server.requests[0].body, '{"text":"before"}');
    server.close();
  });
});

describe("headers", () => {
  test("of the stream override those of the server", async () => {
    const { requests } = await read(await start(), {
      options: { headers: { a: "1", B: "2" } },
      headers: new Headers({ b: "3", accept: "text/event-stream" }),
    });
    const { a, b, accept } = requests[0].headers;
    assert.deepEqual([a, b, accept], ["1", "3", "text/event-stream"]);
  });
  test("come from a function for every attempt", async () => {
    let number = 0;
    const headers = async () => ({ token: `${(number += 1)}` });
    const { requests } = await read(await start(cut("retry: 0\n\n"), cut("")), { options: { headers } });
    assert.deepEqual(requests.map(({ headers }) => headers["token"]), ["1", "2", "3"]);
  });
  test("whose function fails end the stream", async () => {
    const failure = new Error("no token");
    const { error, requests } = await read(await start(), { headers: () => Promise.reject(failure) });
    assert.equal(error, failure);
    assert.equal(requests.length, 0);
  });
  test("that are invalid end the stream", async () => {
    const { error } = await read(await start(), { headers: { "a b": "1" } });
    assert.ok(error instanceof TypeError);
  });
});

describe("url", () => {
  const url = (base, path = "/a", input = {}, query = []) => open({ ...get, path, query }, base, input, {}, {}).url;
  test("of a base with a path", () => {
    assert.equal(url("https://x.example"), "https://x.example/a");
    assert.equal(url("https://x.example/"), "https://x.example/a");
    assert.equal(url("https://x.example/v1"), "https://x.example/v1/a");
    assert.equal(url("https://x.example/v1//"), "https://x.example/v1/a");
    assert.equal(url(new URL("https://x.example/v1/")), "https://x.example/v1/a");
  });
  test("of an IPv6 address", () => assert.equal(url("http://[::1]:3000"), "http://[::1]:3000/a"));
  test("of a base with a query", () => {
    assert.equal(url("https://x.example/?t=1", "/a", { q: "x y" }, ["q"]), "https://x.example/a?t=1&q=x+y");
  });
  test("of a base that is no HTTP URL", () => {
    for (const base of ["localhost:3000", "/api", "ftp://x.example", "https://u:p@x.example"]) {
      assert.throws(() => url(base), TypeError, base);
    }
  });
  test("with captures", () => {
    assert.equal(url("https://x", "/r/{a}/s/{b}", { a: 7, b: true }), "https://x/r/7/s/true");
    assert.equal(url("https://x", "/r/{a}", { a: "a/b c?d#e%2Fä\\;=" }), "https://x/r/a%2Fb%20c%3Fd%23e%252F%C3%A4%5C%3B%3D");
    assert.equal(url("https://x", "/r/{a}", { a: "..." }), "https://x/r/...");
    assert.equal(url("https://x", "/r/{a}", { a: "$&$1" }), "https://x/r/%24%26%241");
  });
  test("with a wildcard", () => {
    assert.equal(url("https://x", "/f/{*rest}", { rest: "a/b c/ä.txt" }), "https://x/f/a/b%20c/%C3%A4.txt");
    assert.equal(url("https://x", "/f/{*rest}", { rest: "a//b/" }), "https://x/f/a//b/");
  });
  test("with a capture that no URL can contain", () => {
    for (const a of [".", "..", "", undefined, null]) assert.throws(() => url("https://x", "/r/{a}", { a }), /`a`/);
    for (const rest of ["a/../b", "./a", "..", ""]) assert.throws(() => url("https://x", "/f/{*rest}", { rest }), /`rest`/);
  });
  test("with a query", () => {
    const input = { text: "a&b=c d+é", number: 1.5, no: false, list: ["x", 2, null], none: undefined, nil: null, empty: "", other: 1 };
    assert.equal(
      url("https://x", "/a", input, ["text", "number", "no", "list", "none", "nil", "empty", "absent"]),
      "https://x/a?text=a%26b%3Dc+d%2B%C3%A9&number=1.5&no=false&list=x&list=2&empty=",
    );
  });
});

describe("response", () => {
  test("204 ends the stream", async () => {
    const { states, error, requests } = await read(await start(respond(204)));
    assert.deepEqual([states, error, requests.length], [["connecting"], undefined, 1]);
  });
  for (const status of [301, 302, 303, 307, 308]) {
    test(`${status} is followed`, async () => {
      const { requests, events } = await read(await start(respond(status, { location: "/b" }), chunks("retry: 0\ndata: A\n\n")));
      assert.deepEqual(requests.map(({ path }) => path), ["/", "/b", "/"]);
      assert.deepEqual(events, [{ event: "message", data: "A" }]);
    });
  }
  test("307 of a POST is followed with its body", async () => {
    const { requests } = await read(await start(respond(307, { location: "/b" })), { endpoint: post });
    assert.deepEqual(requests.map(({ method, body }) => method + body), ["POST{}", "POST{}"]);
  });
  for (const status of [400, 401, 403, 404, 410, 429]) {
    test(`${status} ends the stream`, async () => {
      const { error, requests, states } = await read(await start(respond(status, { "content-type": "text/plain" }, "why")));
      assert.ok(error instanceof HttpError);
      assert.deepEqual([error.name, error.status, error.body], ["HttpError", status, "why"]);
      assert.deepEqual([requests.length, states], [1, ["connecting"]]);
    });
  }
  test("onstate receives the error after which the client tries again", async (context) => {
    fakeDelays(context);
    const errors = [];
    const onstate = (state, reason, error) => state === "waiting" && errors.push([error?.name, error?.status]);
    await read(await start(respond(503), cut("data: A\n\n"), chunks("data: B\n\n"), respond(204)), { onstate });
    assert.deepEqual(errors, [["HttpError", 503], ["ConnectionError", undefined], [undefined, undefined]]);
  });
  for (const status of [500, 502, 503]) {
    test(`${status} is temporary`, async (context) => {
      const delays = fakeDelays(context);
      const { error, requests, states } = await read(await start(respond(status), respond(status)));
      assert.deepEqual([error, requests.length], [undefined, 3]);
      assert.deepEqual(states, ["connecting", "waiting", "connecting", "waiting", "connecting"]);
      assert.deepEqual(delays, [500, 1000]);
    });
  }
  test("of another type ends the stream", async () => {
    for (const type of ["text/html", "text/event-streams", "application/json", undefined]) {
      const { error, requests } = await read(await start(respond(200, type && { "content-type": type }, "data: A\n\n")));
      assert.ok(error instanceof HttpError);
      assert.deepEqual([error.status, error.body, requests.length], [200, "data: A\n\n", 1]);
      assert.match(error.message, new RegExp(type ?? "no content type"));
    }
  });
  test("with parameters of the type is read", async () => {
    for (const type of ["text/event-stream; charset=utf-8", "Text/Event-Stream;charset=UTF-8", "text/event-stream "]) {
      const server = await start(async (exchange) => exchange.open({ "content-type": type }).send("data: A\n\n"));
      assert.deepEqual(data(await read(server, { most: 1 })), ["A"]);
    }
  });
  test("201 ends the stream", async () => {
    const { error } = await read(await start(respond(201, { "content-type": "text/event-stream" }, "data: A\n\n")));
    assert.equal(error.status, 201);
  });
  test("body of an error is bounded", async () => {
    const { error } = await read(await start(respond(404, {}, "x".repeat(200_000))));
    assert.equal(error.body.length, 65_536);
  });
  test("body of an error that does not end", async (context) => {
    fakeDelays(context);
    const { error } = await read(await start(async (exchange) => exchange.open({ "content-type": "text/plain" }).send("why")));
    assert.deepEqual([error.status, error.body], [200, "why"]);
  });
  test("with a problem throws it", async () => {
    const body = '{"title":"No such room","code":"no_room","status":404,"room":7}';
    const server = await start(respond(404, problem, body));
    const api = connect(server.url);
    const reading = api.answer({ room: 7 });
    const error = await reading[Symbol.asyncIterator]().next().catch((error) => error);
    assert.ok(isError(reading, error) && isError(api.answer, error) && error instanceof StreamError);
    assert.deepEqual([error.message, error.status, error.problem], ["No such room", 404, JSON.parse(body)]);
    assert.equal(server.requests[0].path, "/rooms/7/answer");
    server.close();
  });
  test("with a problem that the endpoint does not declare", async () => {
    for (const [codes, body] of [[undefined, '{"title":"No"}'], [["no"], '{"title":"No"}'], [["no"], '{"code":"other"}'], [["no"], "null"]]) {
      const { error } = await read(await start(respond(403, problem, body)), { endpoint: { ...get, codes } });
      assert.ok(error instanceof HttpError);
      assert.deepEqual([error.status, error.body, error.problem], [403, body, JSON.parse(body)]);
    }
  });
  test("with a problem that has a declared status", async () => {
    const body = '{"title":"No","detail":"Not you","code":"any","status":403}';
    const { error } = await read(await start(respond(403, problem, body)), { endpoint: { ...get, codes: [403] } });
    assert.ok(error instanceof StreamError);
    assert.deepEqual([error.status, error.message], [403, "Not you"]);
  });
  test("with a problem that is no JSON", async () => {
    const { error } = await read(await start(respond(404, problem, "{")));
    assert.ok(error instanceof HttpError && !isError(connect("http://x").answer, error));
    assert.equal(error.body, "{");
  });
  test("of a POST with a problem throws it", async () => {
    for (const status of [404, 429, 500, 503]) {
      const server = await start(respond(status, { ...problem, "retry-after": "0" }, '{"title":"No","code":"no"}'));
      const { error, requests } = await read(server, { endpoint: { ...post, codes: ["no"] } });
      assert.deepEqual([error.name, error.status, requests.length], ["StreamError", status, 1]);
    }
  });
  test("of a 401 in between ends the stream", async () => {
    const { error, events } = await read(await start(cut("retry: 0\ndata: A\n\n"), respond(401)));
    assert.deepEqual([error.status, events.length], [401, 1]);
  });
});

describe("Retry-After", () => {
  for (const status of [429, 503]) {
    test(`of a ${status} is waited for`, async (context) => {
      const delays = fakeDelays(context);
      const { error, events } = await read(
        await start(respond(status, { "retry-after": "7" }), respond(status, { "retry-after": "7" }), chunks("data: A\n\n")),
      );
      assert.deepEqual([error, events.length], [undefined, 1]);
      // The second delay is longer, so that a server that always sends 0 is not flooded.
      assert.deepEqual(delays.slice(0, 2), [7_000, 8_000]);
    });
  }
  test("as a date", async (context) => {
    const delays = fakeDelays(context);
    await read(await start(respond(503, { "retry-after": new Date(Date.now() + 60_000).toUTCString() })));
    assert.ok(delays[0] > 50_000 && delays[0] <= 60_000, `${delays}`);
  });
  test("in the past", () => assert.equal(retryAfter("Sun, 06 Nov 1994 08:49:37 GMT"), 0));
  test("that is invalid", async (context) => {
    const delays = fakeDelays(context);
    await read(await start(respond(503, { "retry-after": "soon" })));
    assert.deepEqual(delays, [500]);
  });
  test("longer than a timer", async (context) => {
    const delays = fakeDelays(context);
    await read(await start(respond(503, { "retry-after": "9999999999" })));
    assert.deepEqual(delays, [2 ** 31 - 1]);
  });
});

describe("reconnection", () => {
  test("after an end", async () => {
    const result = await read(await start(chunks("retry: 0\ndata: A\n\n"), chunks("data: B\n\n")));
    assert.deepEqual([data(result), result.error], [["A", "B"], undefined]);
    const once = ["connecting", "open", "waiting"];
    assert.deepEqual(result.states, [...once, ...once, "connecting"]);
  });
  test("after a break", async () => {
    assert.deepEqual(data(await read(await start(cut("retry: 0\ndata: A\n\n"), cut("data: B\n\n")))), ["A", "B"]);
  });
  test("after a break before the response", async (context) => {
    const delays = fakeDelays(context);
    const { requests } = await read(await start((exchange) => exchange.cut()));
    assert.deepEqual([requests.length, delays], [2, [500]]);
  });
  test("when the server cannot be reached", async (context) => {
    fakeDelays(context);
    const server = await start();
    const fetch = (url, init) => (fetch.calls++ ? globalThis.fetch(url, init) : globalThis.fetch("http://127.0.0.1:1/", init));
    fetch.calls = 0;
    assert.equal((await read(server, { options: { fetch } })).error, undefined);
    assert.equal(fetch.calls, 2);
  });
  test("drops an event that was broken off", async () => {
    const server = await start(cut("retry: 0\nid: 1\ndata: A\n\nid: 2\ndata: B\n"), cut("data: C\n\n"));
    const result = await read(server);
    assert.deepEqual([data(result), ids(result)], [["A", "C"], [undefined, "1", "1"]]);
  });
  test("sends the last event ID", async () => {
    const result = await read(await start(cut("retry: 0\nid: 1\ndata: A\n\ndata: B\n\n"), cut(""), cut("id: 2\ndata: C\n\n")));
    assert.deepEqual(ids(result), [undefined, "1", "1", "2"]);
    assert.equal(result.stream.lastEventId, "2");
  });
  test("sends the id of a frame without data", async () => {
    assert.deepEqual(ids(await read(await start(cut("retry: 0\nid: 1\ndata: A\n\nid: 2\n\n")))), [undefined, "2"]);
  });
  test("sends no id after it was removed", async () => {
    assert.deepEqual(ids(await read(await start(cut("retry: 0\nid: 1\ndata: A\n\n"), cut("id\n\n")))), [undefined, "1", undefined]);
  });
  test("sends the caller's id", async () => {
    assert.deepEqual(ids(await read(await start(cut("retry: 0\n"), cut("id: 8\ndata\n\n")), { lastEventId: "7" })), ["7", "7", "8"]);
  });
  test("sends an id as UTF-8", async () => {
    const [sent] = ids(await read(await start(), { lastEventId: "ä€" }));
    assert.equal(Buffer.from(sent, "latin1").toString(), "ä€");
  });
  test("with an id that is no header", async () => {
    const { error } = await read(await start(), { lastEventId: "a\nb" });
    assert.ok(error instanceof TypeError);
  });
  test("counts only what was handed out", async () => {
    const result = await read(await start(chunks("id: 1\ndata: A\n\nid: 2\ndata: B\n\n")), { most: 1 });
    assert.equal(result.stream.lastEventId, "1");
  });
});

describe("reconnection time", () => {
  const delaysOf = async (context, ...script) => {
    const delays = fakeDelays(context);
    await read(await start(...script));
    return delays;
  };
  test("is a second after an end", async (context) => {
    assert.deepEqual(await delaysOf(context, chunks("data: A\n\n")), [1_000]);
  });
  test("is set by retry", async (context) => {
    assert.deepEqual(await delaysOf(context, cut("retry: 6000\ndata: A\n\n"), chunks("data: A\n\n")), [6_000, 6_000]);
  });
  test("is set by retry without a blank line", async (context) => {
    assert.deepEqual(await delaysOf(context, cut("retry: 6000\n")), [6_000]);
  });
  test("ignores a retry that is no number", async (context) => {
    const script = cut("retry: 5000\nretry: 6s\nretry: -1\nretry: 1.5\nretry:\nretry: ٣\nretry:  7\ndata: A\n\n");
    assert.deepEqual(await delaysOf(context, script), [5_000]);
  });
  test("is limited to what a timer can wait", async (context) => {
    assert.deepEqual(await delaysOf(context, cut("retry: 99999999999999999999\n\n")), [2 ** 31 - 1]);
  });
  test("doubles with each failure up to 30 s", async (context) => {
    const script = Array.from({ length: 8 }, () => (exchange) => exchange.cut());
    assert.deepEqual(await delaysOf(context, ...script), [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  });
  test("never falls below retry", async (context) => {
    const script = [cut("retry: 6000\ndata: A\n\n"), respond(500), respond(500)];
    assert.deepEqual(await delaysOf(context, ...script), [6_000, 7_000, 8_000]);
  });
  test("is reset by an event", async (context) => {
    const script = [respond(500), respond(500), cut("data: A\n\n"), respond(500)];
    assert.deepEqual(await delaysOf(context, ...script), [500, 1_000, 500, 1_000]);
  });
  test("is not reset by a comment", async (context) => {
    assert.deepEqual(await delaysOf(context, respond(500), cut(":\n\n"), cut(":\n\n")), [500, 1_000, 2_000]);
  });
});

describe("online", () => {
  const online = new EventTarget();
  const withEvents = (context) => {
    globalThis.addEventListener = online.addEventListener.bind(online);
    globalThis.removeEventListener = online.removeEventListener.bind(online);
    context.after(() => {
      delete globalThis.addEventListener;
      delete globalThis.removeEventListener;
    });
  };
  test("ends the wait", { timeout: 20_000 }, async (context) => {
    withEvents(context);
    const server = await start(cut("retry: 3600000\ndata: A\n\n"), chunks("data: B\n\n"));
    const onstate = (state) => state === "waiting" && setImmediate(() => online.dispatchEvent(new Event("online")));
    assert.deepEqual(data(await read(server, { most: 2, onstate })), ["A", "B"]);
  });
  test("does not end a Retry-After", async (context) => {
    withEvents(context);
    const delays = fakeDelays(context);
    const listened = context.mock.method(online, "addEventListener");
    globalThis.addEventListener = listened;
    await read(await start(respond(503, { "retry-after": "9" })));
    assert.deepEqual([delays, listened.mock.callCount()], [[9_000], 0]);
  });
});

describe("the framework's events", () => {
  const done = 'event: done\nid: 7~done\ndata: null\n\n';
  test("done ends the stream", async () => {
    const { events, error, requests } = await read(await start(chunks("data: A\n\n", done, "data: B\n\n")));
    assert.deepEqual([events.length, error, requests.length], [1, undefined, 1]);
  });
  test("done of the handler's own is an event", async () => {
    const { events } = await read(await start(chunks('event: done\nid: 7\ndata: {"tokens":9}\n\n')), { most: 1 });
    assert.deepEqual(events, [{ event: "done", data: { tokens: 9 }, id: "7" }]);
  });
  test("gap is an event", async () => {
    const { events } = await read(await start(chunks('event: gap\nid: 9\ndata: {"reason":"too_old","missed":3}\n\n')), { most: 1 });
    assert.deepEqual(events, [{ event: "gap", data: { reason: "too_old", missed: 3 }, id: "9" }]);
  });
  for (const reason of ["expired", "revoked", "lagged", "superseded", "unavailable"]) {
    test(`close (${reason}) reconnects`, async (context) => {
      const delays = fakeDelays(context);
      const close = `retry: 120\nevent: close\nid: 7~done\ndata: {"reason":"${reason}"}\n\n`;
      const result = await read(await start(chunks("data: A\n\n", close)));
      assert.deepEqual([data(result), ids(result), result.error], [["A"], [undefined, "7~done"], undefined]);
      assert.deepEqual(delays, [120]);
    });
  }
  test("a quiet stream that ends is no failure", async (context) => {
    const delays = fakeDelays(context);
    const quiet = ["retry: 200\n:\n\n"];
    await read(await start(chunks(...quiet), chunks(...quiet), chunks(...quiet), chunks(done)));
    assert.deepEqual(delays, [200, 200, 200]);
  });
  test("retry: 0 does not flood the server", async (context) => {
    const delays = fakeDelays(context);
    await read(await start(chunks("retry: 0\n\n"), chunks(done)));
    assert.deepEqual(delays, [100]);
  });
  test("error throws its data", async () => {
    const error = 'event: error\ndata: {"title":"Busy","code":"busy","status":429,"after":3}\n\n';
    const result = await read(await start(chunks("data: A\n\n", error, "data: B\n\n")));
    assert.deepEqual(data(result), ["A"]);
    assert.ok(result.error instanceof StreamError);
    assert.deepEqual([result.error.message, result.error.status, result.error.problem.after], ["Busy", undefined, 3]);
    assert.equal(result.requests.length, 1);
  });
  test("error is declared if its code is", async () => {
    const ends = async (data, endpoint) => (await read(await start(chunks(`event: error\ndata: ${data}\n\n`)), { endpoint: { ...get, ...endpoint } })).error;
    for (const [data, endpoint, isDeclared] of [
      ['{"code":"busy"}', { codes: ["busy"] }, true],
      ['{"code":"internal_error"}', { codes: ["busy"] }, false],
      ['{"code":"any","status":404}', { codes: ["busy", 404] }, true],
      ['{"code":"busy"}', {}, false],
      ["null", { codes: ["busy"] }, false],
      ["text", { unchecked: true }, true],
    ]) {
      const error = await ends(data, endpoint);
      assert.ok(error instanceof StreamError);
      assert.deepEqual([data, isError(undefined, error)], [data, isDeclared]);
    }
  });
  test("error has its detail or its title as its message", async () => {
    for (const [data, message] of [
      ['{"title":"Busy","detail":"Later"}', "Later"],
      ['{"title":"Busy","detail":""}', "Busy"],
      ['{"title":"Busy","detail":{"toString":1}}', "Busy"],
      ["{}", "the stream failed"],
      ["null", "the stream failed"],
    ]) {
      const { error } = await read(await start(chunks(`event: error\ndata: ${data}\n\n`)));
      assert.deepEqual([error.name, error.message], ["StreamError", message]);
    }
  });
  test("error from a function of the caller is not retried", async () => {
    const thrown = new ConnectionError("mine");
    const fail = () => {
      throw thrown;
    };
    for (const options of [{ onstate: fail }, { options: { headers: fail } }, { options: { headers: async () => fail() } }]) {
      const { error, requests } = await read(await start(chunks("data: A\n\n")), options);
      assert.deepEqual([error, requests.length], [thrown, 0]);
    }
  });
  test("error has the name that the endpoint gives it", async () => {
    const { events, error } = await read(
      await start(chunks("event: error\ndata: 1\n\nevent: failed\ndata: 2\n\n")),
      { endpoint: { ...get, error: "failed" } },
    );
    assert.deepEqual([events, error.problem], [[{ event: "error", data: 1 }], 2]);
  });
  test("are ordinary if the endpoint has its own", async () => {
    const text = "event: close\ndata: 1\n\nevent: done\nid: 7~done\ndata: 2\n\n";
    const { events } = await read(await start(chunks(text)), { endpoint: { ...get, own: true }, most: 2 });
    assert.deepEqual(events.map(({ event, data }) => [event, data]), [["close", 1], ["done", 2]]);
  });
});

describe("a POST", () => {
  test("that ends is over", async () => {
    for (const own of [true, false]) {
      const result = await read(await start(chunks("id: 1\ndata: A\n\n")), { endpoint: { ...post, own } });
      assert.deepEqual([data(result), result.error, result.requests.length], [["A"], undefined, 1]);
    }
  });
  for (const [name, script] of [
    ["in the stream", cut("retry: 0\nid: 1\ndata: A\n\n")],
    ["before the response", (exchange) => exchange.cut()],
  ]) {
    test(`that breaks ${name} is not sent again`, async () => {
      const { error, requests, states } = await read(await start(script), { endpoint: post });
      assert.ok(error instanceof ConnectionError && error.cause instanceof Error);
      assert.equal(error.name, "ConnectionError");
      assert.deepEqual([requests.length, states.includes("waiting")], [1, false]);
    });
  }
  test("that resumes is sent again with an id", async () => {
    const result = await read(await start(cut("retry: 0\nid: 1\ndata: A\n\n"), cut("id: 2\ndata: B\n\n"), chunks("data: C\n\n")), { endpoint: resumable });
    assert.deepEqual([data(result), ids(result), result.error], [["A", "B", "C"], [undefined, "1", "2"], undefined]);
    assert.deepEqual(result.requests.map(({ body }) => body), ["{}", "{}", "{}"]);
  });
  test("that resumes is not sent again without an id", async () => {
    for (const script of [cut("retry: 0\ndata: A\n\n"), cut("id: 1\ndata: A\n\nid\ndata: B\n\n"), respond(503, { "retry-after": "0" })]) {
      const { error, requests } = await read(await start(script), { endpoint: resumable });
      assert.ok(error instanceof Error);
      assert.equal(requests.length, 1);
    }
  });
  test("that resumes waits for a 503 with an id", async () => {
    const { error, requests } = await read(await start(respond(503, { "retry-after": "0" })), { endpoint: resumable, lastEventId: "1" });
    assert.deepEqual([error, requests.length], [undefined, 2]);
  });
});

describe("watchdog", () => {
  const idle = { ...get, idle: 40 };
  test("gives up a silent stream", async () => {
    let closed;
    const silent = async (exchange) => {
      closed = exchange.closed;
      await exchange.open().send("retry: 0\nid: 1\ndata: A\n\n");
    };
    const result = await read(await start(silent), { endpoint: idle });
    assert.deepEqual([data(result), ids(result)], [["A"], [undefined, "1"]]);
    await closed;
  });
  test("of a POST is an error", async () => {
    const { error } = await read(await start((exchange) => exchange.open()), { endpoint: { ...post, idle: 40 } });
    assert.ok(error instanceof ConnectionError);
    assert.match(error.cause.message, /no data for 40 ms/);
  });
  test("takes comments for activity", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    let controller;
    const body = new ReadableStream({ start: (started) => (controller = started) });
    const fetch = async () => new Response(body, { headers: { "content-type": "text/event-stream" } });
    const reading = open({ ...get, idle: 1000 }, "http://x", {}, { fetch }, {})[Symbol.asyncIterator]();
    const next = reading.next();
    for (let number = 0; number < 10; number += 1) {
      for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
      context.mock.timers.tick(900);
      controller.enqueue(Buffer.from(":\n"));
    }
    controller.enqueue(Buffer.from("data: A\n\n"));
    assert.equal((await next).value.data, "A");
    await reading.return();
  });
  test("does not run while the consumer is busy", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const fetch = async () => new Response("data: A\n\ndata: B\n\n", { headers: { "content-type": "text/event-stream" } });
    const reading = open(idle, "http://x", {}, { fetch }, {})[Symbol.asyncIterator]();
    assert.equal((await reading.next()).value.data, "A");
    context.mock.timers.tick(10_000);
    assert.equal((await reading.next()).value.data, "B");
    await reading.return();
  });
  test("gives up a request without a response", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    let calls = 0;
    const fetch = () => (calls++ ? Promise.resolve(new Response(null, { status: 204 })) : new Promise(() => {}));
    const states = [];
    const reading = open(idle, "http://x", {}, { fetch }, { onstate: (state) => states.push(state) })[Symbol.asyncIterator]();
    const next = reading.next();
    for (const [delay, expected] of [[44_999, ["connecting"]], [1, ["connecting", "waiting"]], [1_000, ["connecting", "waiting", "connecting"]]]) {
      await new Promise(setImmediate);
      context.mock.timers.tick(delay);
      await new Promise(setImmediate);
      assert.deepEqual(states, expected);
    }
    assert.deepEqual(await next, { done: true, value: undefined });
  });
  test("lets a POST wait for its response", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    let respond;
    const fetch = () => new Promise((resolve) => (respond = resolve));
    const reading = open({ ...post, idle: 40 }, "http://x", { body: {} }, { fetch }, {})[Symbol.asyncIterator]();
    const next = reading.next();
    await new Promise(setImmediate);
    context.mock.timers.tick(3_600_000);
    respond(new Response(null, { status: 204 }));
    assert.equal((await next).done, true);
  });
});

describe("abort", () => {
  const reason = new Error("left");
  const aborting = async (server, when, options = {}) => {
    const controller = new AbortController();
    const abort = () => controller.abort(reason);
    const result = await read(server, { signal: controller.signal, ...when(abort), ...options });
    assert.equal(result.error, reason);
    return result;
  };
  const on = (wanted) => (abort) => ({ onstate: (state) => state === wanted && setImmediate(abort) });

  test("before the iteration sends nothing", async () => {
    const { requests } = await aborting(await start(), (abort) => (abort(), {}));
    assert.equal(requests.length, 0);
  });
  test("while the headers are awaited", async () => {
    const { requests } = await aborting(await start(), (abort) => ({ headers: () => (setImmediate(abort), new Promise(() => {})) }));
    assert.equal(requests.length, 0);
  });
  test("while connecting", async () => {
    let arrived;
    const requested = new Promise((resolve) => (arrived = resolve));
    const server = await start((exchange) => arrived(exchange));
    await aborting(server, (abort) => (requested.then(abort), {}));
    await (await requested).closed;
  });
  test("while connecting through a fetch that ignores it", async () => {
    await aborting(await start(), on("connecting"), { options: { fetch: () => new Promise(() => {}) } });
  });
  test("while open", async () => {
    let closed;
    const server = await start((exchange) => (closed = exchange.open().closed));
    await aborting(server, on("open"));
    await closed;
  });
  test("while open, through a body that ignores it", async () => {
    let cancelled;
    const wasCancelled = new Promise((resolve) => (cancelled = resolve));
    const body = new ReadableStream({ cancel: cancelled });
    const fetch = async () => new Response(body, { headers: { "content-type": "text/event-stream" } });
    await aborting(await start(), on("open"), { options: { fetch } });
    await wasCancelled;
  });
  test("while waiting", { timeout: 20_000 }, async () => {
    const { requests } = await aborting(await start(cut("retry: 3600000\n\n")), on("waiting"));
    assert.equal(requests.length, 1);
  });
  test("while waiting for Retry-After", { timeout: 20_000 }, async () => {
    await aborting(await start(respond(503, { "retry-after": "3600" })), on("waiting"));
  });
  test("while the consumer is busy", async () => {
    const controller = new AbortController();
    let closed;
    const server = await start(async (exchange) => {
      closed = exchange.closed;
      await exchange.open().send("data: A\n\ndata: B\n\n");
    });
    const reading = stream(server, { signal: controller.signal })[Symbol.asyncIterator]();
    assert.equal((await reading.next()).value.data, "A");
    controller.abort(reason);
    // The request is aborted immediately, not only when the consumer asks for more.
    await closed;
    await assert.rejects(reading.next(), (error) => error === reason);
    assert.deepEqual(await reading.next(), { done: true, value: undefined });
    server.close();
  });
  test("while the body of an error is read", async () => {
    const server = await start(async (exchange) => exchange.open({ "content-type": "text/plain" }).send("why"));
    await aborting(server, (abort) => ({ onstate: () => setTimeout(abort, 50) }));
  });
  test("without a reason throws an AbortError", async () => {
    const { error } = await read(await start(), { signal: AbortSignal.abort() });
    assert.equal(error.name, "AbortError");
  });
  test("of a POST is no ConnectionError", async () => {
    await aborting(await start((exchange) => exchange.open()), on("open"), { endpoint: post });
  });
  test("leaves no listener behind", async (context) => {
    const { signal } = new AbortController();
    const added = context.mock.method(signal, "addEventListener");
    const removed = context.mock.method(signal, "removeEventListener");
    const own = ({ mock }) => mock.calls.filter(({ arguments: [type] }) => type === "abort").length;
    await read(await start(cut("retry: 0\n"), cut(""), cut("")), { signal });
    assert.deepEqual([own(added), own(removed)], [1, 1]);
  });
});

describe("leaving the loop", () => {
  const closing = async (leave) => {
    let closed;
    const server = await start(async (exchange) => {
      closed = exchange.closed;
      await exchange.open().send("data: A\n\n");
    });
    await leave(stream(server));
    await closed;
    assert.equal(server.requests.length, 1);
    server.close();
  };
  test("by break aborts the request", () =>
    closing(async (reading) => {
      for await (const _ of reading) break;
    }));
  test("by throw aborts the request", () =>
    closing(async (reading) => {
      const thrown = new Error("thrown");
      await assert.rejects(async () => {
        for await (const _ of reading) throw thrown;
      }, (error) => error === thrown);
    }));
  test("while an event is awaited aborts the request", () =>
    closing(async (reading) => {
      const iterator = reading[Symbol.asyncIterator]();
      await iterator.next();
      const next = iterator.next();
      assert.deepEqual(await iterator.return(), { done: true, value: undefined });
      assert.deepEqual(await next, { done: true, value: undefined });
    }));
  test("before it began sends nothing", async () => {
    const server = await start();
    assert.deepEqual(await stream(server)[Symbol.asyncIterator]().return(), { done: true, value: undefined });
    assert.equal(server.requests.length, 0);
    server.close();
  });
});

test("nothing is read ahead of the consumer", { timeout: 60_000 }, async () => {
  const perChunk = 100;
  let pulled = 0;
  const body = new ReadableStream({
    pull(controller) {
      if (pulled === 1_000) return controller.close();
      const first = pulled * perChunk;
      pulled += 1;
      const events = Array.from({ length: perChunk }, (_, number) => `data: ${first + number}\n\n`);
      controller.enqueue(Buffer.from(events.join("")));
    },
  });
  const fetch = async () => new Response(body, { headers: { "content-type": "text/event-stream" } });
  let expected = 0;
  for await (const { data } of open({ ...post, own: true }, "http://x", { body: {} }, { fetch }, {})) {
    assert.equal(data, `${expected}`);
    if (expected % 1_000 === 0) await new Promise(setImmediate);
    expected += 1;
    // One chunk is being handed out, and the body itself keeps up to two.
    assert.ok(pulled - Math.ceil(expected / perChunk) <= 2, `${pulled} chunks at event ${expected}`);
  }
  assert.equal(expected, 100_000);
});
