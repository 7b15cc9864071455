// Tests that streams are parsed like `EventSource` parses them. The cases include those of
// LaunchDarkly's SSE contract tests.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { chunks, start } from "./raw_server.js";
import { get, read } from "./reading.js";

const message = (data, more = {}) => ({ event: "message", data, ...more });

/** Reads one response that consists of `parts`. */
const parse = async (...parts) => {
  const { events, error } = await read(await start(chunks("retry: 0\n", ...parts)));
  assert.equal(error, undefined);
  return events;
};

const cases = (group, table) =>
  describe(group, () => {
    for (const [name, parts, expected] of table) {
      test(name, async () => assert.deepEqual(await parse(...[parts].flat()), expected));
    }
  });

cases("basic parsing", [
  ["one line in one chunk", "data: Hello\n\n", [message("Hello")]],
  ["one line in two chunks", ["data: He", "llo\n\n"], [message("Hello")]],
  ["two messages in one chunk", "data: A\n\ndata: B\n\n", [message("A"), message("B")]],
  ["two lines in one chunk", "data: A\ndata: B\n\n", [message("A\nB")]],
  ["two lines in two chunks", ["data: A\n", "data: B\n\n"], [message("A\nB")]],
  ["two lines in three chunks", ["data: A\nda", "ta: B", "\n\n"], [message("A\nB")]],
  ["one character per chunk", [..."event: e\nid: 1\ndata: A\n\n"], [{ event: "e", data: "A", id: "1" }]],
  ["empty data", "data:\n\ndata\n\ndata: \n\n", [message(""), message(""), message("")]],
  ["two empty lines of data", "data\ndata\n\n", [message("\n")]],
  ["no data is no event", "event: e\n\ndata: A\n\n", [message("A")]],
  ["blank lines between events", "\n\n\ndata: A\n\n\n\n", [message("A")]],
  ["a type", "event: greeting\ndata: Hello\n\n", [{ event: "greeting", data: "Hello" }]],
  ["an empty type is the default", "event:\ndata: A\n\n", [message("A")]],
  ["the last of two types", "event: a\nevent: b\ndata: A\n\n", [{ event: "b", data: "A" }]],
  ["a type lasts for one event", "event: e\ndata: A\n\ndata: B\n\n", [{ event: "e", data: "A" }, message("B")]],
  ["an id", "id: abc\ndata: A\n\n", [message("A", { id: "abc" })]],
  ["an id lasts", "id: 1\ndata: A\n\ndata: B\n\n", [message("A", { id: "1" }), message("B", { id: "1" })]],
  ["an empty id removes it", "id: 1\ndata: A\n\nid\ndata: B\n\n", [message("A", { id: "1" }), message("B")]],
  ["an id with NULL is ignored", "id: 1\ndata: A\n\nid: 2\0\ndata: B\n\n", [message("A", { id: "1" }), message("B", { id: "1" })]],
  ["an id of a frame without data", "id: 1\n\ndata: A\n\n", [message("A", { id: "1" })]],
  ["any order of fields", "data: A\nid: 1\nevent: e\n\n", [{ event: "e", data: "A", id: "1" }]],
  ["unknown fields", "greeting: A\nDATA: B\n data: C\ndata: D\n\n", [message("D")]],
  ["no space after the colon", "event:e\nid:1\ndata:A\n\n", [{ event: "e", data: "A", id: "1" }]],
  ["only one space is removed", "data:  A\ndata:\tB\n\n", [message(" A\n\tB")]],
  ["colons in a value", "data: a: b:\n\n", [message("a: b:")]],
  ["NULL in data", "data: a\0b\n\n", [message("a\0b")]],
  ["an incomplete event is dropped", "data: A\n\ndata: B\n", [message("A")]],
  ["an incomplete line is dropped", "data: A\n\ndata: B", [message("A")]],
  ["Unicode line breaks are text", "data: a\u2028b\u2029c\u0085d\vf\fg\n\n", [message("a\u2028b\u2029c\u0085d\vf\fg")]],
]);

const bytes = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));
const umlaut = Buffer.from("data: ä€😀\n\n");

cases("UTF-8", [
  ["in one chunk", umlaut, [message("ä€😀")]],
  ["one byte per chunk", [...umlaut].map((byte) => Buffer.of(byte)), [message("ä€😀")]],
  ["an invalid byte", bytes("data: a", [0xff], "b\n\n"), [message("a\ufffdb")]],
]);

describe("byte order mark", () => {
  const bom = [0xef, 0xbb, 0xbf];
  const first = async (...parts) => (await read(await start(chunks(...parts)), { most: 1 })).events;
  test("at the start is removed", async () => {
    assert.deepEqual(await first(bytes(bom, "data: A\n\n")), [message("A")]);
  });
  test("in several chunks is removed", async () => {
    assert.deepEqual(await first(Buffer.of(0xef), Buffer.of(0xbb), bytes([0xbf], "data: A\n\n")), [message("A")]);
  });
  test("a second one is part of the field", async () => {
    assert.deepEqual(await first(bytes(bom, bom, "data: A\n\ndata: B\n\n")), [message("B")]);
  });
  test("at the start of a later chunk is text", async () => {
    assert.deepEqual(await first("data: A", bytes(bom, "\n\n")), [message("A\ufeff")]);
  });
});

cases("comments", [
  ["one", ": a\ndata: A\n\n", [message("A")]],
  ["two in a row", ":a\n:b\ndata: A\n\n", [message("A")]],
  ["within an event", "data: A\n:\ndata: B\n\n", [message("A\nB")]],
  ["between events", "data: A\n\n: a\n\n:\ndata: B\n\n", [message("A"), message("B")]],
  ["only comments", ":\n:\n\n:\n", []],
]);

for (const [name, end] of [["LF", "\n"], ["CR", "\r"], ["CRLF", "\r\n"]]) {
  const lines = (...lines) => lines.join(end) + end;
  // If a response ends with CR, the parser cannot know whether an LF would have followed.
  cases(`${name} line breaks`, [
    ["one line", lines("data: A", ""), [message("A")]],
    ["two lines", lines("data: A", "data: B", ""), [message("A\nB")]],
    ["all fields", lines("event: e", "id: 1", ": c", "data: A", ""), [{ event: "e", data: "A", id: "1" }]],
    ["two events", lines("data: A", "", "data: B", ""), [message("A"), message("B")]],
    ["in chunks", ["data: A", ...lines("", "data: B"), end], [message("A\nB")]],
    ["one byte per chunk", [...lines("data: A", "", "data", "data: B", "")], [message("A"), message("\nB")]],
  ]);
}

cases("mixed line breaks", [
  ["CR, LF and CRLF", "data: A\rdata: B\ndata: C\r\n\r\n", [message("A\nB\nC")]],
  ["LF after CR is one break", ["data: A\r", "\ndata: B\n\n"], [message("A\nB")]],
  ["CR after LF is two breaks", "data: A\n\rdata: B\n\n", [message("A"), message("B")]],
  ["two CR split", ["data: A\r", "\rdata: B\r\r"], [message("A"), message("B")]],
]);

describe("data", () => {
  const one = async (endpoint, text) =>
    (await read(await start(chunks(text)), { endpoint: { ...get, ...endpoint }, most: 1 })).events[0];
  test("is JSON where the endpoint says so", async () => {
    assert.deepEqual((await one({ events: { message: "json" } }, 'data: {"a":[1]}\n\n')).data, { a: [1] });
  });
  test("JSON in several lines", async () => {
    assert.deepEqual((await one({ events: { message: "json" } }, 'data: {"a":\ndata: 1}\n\n')).data, { a: 1 });
  });
  test("that is no JSON is an error", async () => {
    const { error } = await read(await start(chunks("data: {\n\n")), { endpoint: { ...get, events: { message: "json" } } });
    assert.ok(error instanceof SyntaxError);
  });
  test("of an unknown event is JSON if it parses", async () => {
    assert.deepEqual((await one({}, 'event: a\ndata: {"b":1}\n\n')).data, { b: 1 });
    assert.deepEqual((await one({}, "event: a\ndata: {b\n\n")).data, "{b");
  });
  test("of an event called like a member of objects", async () => {
    assert.deepEqual((await one({}, "event: constructor\ndata: 1\n\n")).data, 1);
    assert.deepEqual((await one({}, "event: __proto__\ndata: 1\n\n")).data, 1);
    assert.deepEqual((await one({ other: "text" }, "event: toString\ndata: 1\n\n")).data, "1");
  });
  test("is text where the endpoint says so", async () => {
    assert.deepEqual((await one({ events: { message: "text" } }, "data: 1\n\n")).data, "1");
  });
  test("is empty where the endpoint says so", async () => {
    assert.deepEqual((await one({ events: { message: "empty" } }, "data: null\n\n")).data, "");
  });
  test("keeps large integers as strings", async () => {
    const json = String.raw`{"9007199254740993":9007199254740993,"a":[-9007199254740993,9007199254740991,1.00000000000000000001,1e300],"b":"9007199254740993","c":"\\","d":"\"9007199254740993,","e":12345678901234567890}`;
    assert.deepEqual((await one({ large: true, events: { message: "json" } }, `data: ${json}\n\n`)).data, {
      "9007199254740993": "9007199254740993",
      a: ["-9007199254740993", 9007199254740991, 1, 1e300],
      b: "9007199254740993",
      c: "\\",
      d: '"9007199254740993,',
      e: "12345678901234567890",
    });
  });
});

describe("amounts", () => {
  test("an event of 10 MB", { timeout: 60_000 }, async () => {
    const text = "0123456789abcdef".repeat(655_360);
    const { events } = await read(await start(chunks(`data: ${text}\n\n`)), { most: 1 });
    assert.ok(events[0].data === text);
  });
  test("a million lines in one event", { timeout: 60_000 }, async () => {
    const { events } = await read(await start(chunks("data: 0123456\n".repeat(1_000_000), "\n")), { most: 1 });
    assert.equal(events[0].data.length, 7_999_999);
  });
  test("an event in 20,000 chunks", { timeout: 60_000 }, async () => {
    const parts = Array.from({ length: 20_000 }, () => "x".repeat(50));
    const { events } = await read(await start(chunks("data: ", ...parts, "\n\n")), { most: 1 });
    assert.equal(events[0].data.length, 1_000_000);
  });
  test("100,000 events in rapid succession", { timeout: 60_000 }, async () => {
    const text = Array.from({ length: 100_000 }, (_, number) => `data: ${number}\n\n`).join("");
    const { events } = await read(await start(chunks(text)), { most: 100_000 });
    assert.deepEqual(events.map(({ data }) => data), Array.from({ length: 100_000 }, (_, number) => `${number}`));
  });
});
