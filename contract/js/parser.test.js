// Compares the parser with eventsource-parser and with a literal implementation of the standard, on
// random streams in random chunks.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createParser } from "eventsource-parser";
import fc from "fast-check";
import { parser } from "./streams.js";

const numRuns = Number(process.env.CASES ?? 5_000);

/** Values that parsers tend to get wrong. */
const value = fc.oneof(
  fc.constantFrom("", " ", "  a", ":", "a:b", "0", "007", "12", "-1", "1.5", "9a", "\ufeff", "ä€😀", "\u2028", "\u0085", "\t", "a\0"),
  fc.string({ unit: "grapheme", maxLength: 8 }).map((text) => text.replace(/[\r\n]/g, "")),
);
const field = fc.oneof(
  fc.constantFrom("data", "data", "data", "event", "id", "retry", "", "Data", " data", "data ", "dat", "\ufeffdata", "comment"),
);
const line = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(field, fc.constantFrom(":", ": ", ":  "), value).map((parts) => parts.join("")) },
  { weight: 1, arbitrary: field },
  { weight: 3, arbitrary: fc.constant("") },
);
const lineBreak = fc.constantFrom("\n", "\n", "\r\n", "\r");
const text = fc
  .tuple(fc.constantFrom("", "", "\ufeff"), fc.array(fc.tuple(line, lineBreak), { maxLength: 30 }), fc.oneof(line, fc.constant("")))
  .map(([bom, lines, rest]) => bom + lines.flat().join("") + rest);
/** The lengths of the chunks, which are repeated. Chunks can be empty. */
const lengths = fc.array(fc.nat({ max: 7 }), { minLength: 1, maxLength: 10 }).filter((lengths) => lengths.some((length) => length > 0));

function* split(bytes, lengths) {
  for (let start = 0, number = 0; start < bytes.length; number += 1) {
    const end = start + lengths[number % lengths.length];
    yield bytes.subarray(start, end);
    start = end;
  }
}

/** Runs our parser. Frames without data only have an id. */
const ours = (bytes, lengths) => {
  const retries = [];
  const frames = [];
  const parse = parser("", (retry) => retries.push(retry));
  for (const chunk of split(bytes, lengths)) frames.push(...parse(chunk));
  return { events: frames.filter(({ data }) => data !== undefined), lastEventId: frames.at(-1)?.id ?? "", retries };
};

/** The steps of the HTML standard (section 9.2.6) on the whole text, in its wording and order. */
const standard = (bytes) => {
  const decoded = new TextDecoder().decode(bytes);
  const lines = decoded.split(/\r\n|\n|\r/);
  // The text after the last line break is an incomplete line.
  lines.pop();
  const retries = [];
  const events = [];
  let [dataBuffer, typeBuffer, idBuffer, lastEventId] = ["", "", "", ""];
  for (const line of lines) {
    if (line === "") {
      lastEventId = idBuffer;
      if (dataBuffer !== "") {
        events.push({ event: typeBuffer === "" ? "message" : typeBuffer, data: dataBuffer.replace(/\n$/, ""), id: lastEventId });
      }
      [dataBuffer, typeBuffer] = ["", ""];
      continue;
    }
    if (line.startsWith(":")) continue;
    const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/su.exec(line);
    if (field === "event") typeBuffer = value;
    if (field === "data") dataBuffer += `${value}\n`;
    if (field === "id" && !value.includes("\0")) idBuffer = value;
    if (field === "retry" && /^[0-9]+$/.test(value)) retries.push(Number(value));
  }
  return { events, lastEventId, retries };
};

const eventsourceParser = (bytes, lengths) => {
  const retries = [];
  const events = [];
  const parser = createParser({
    onEvent: ({ event = "message", data }) => events.push({ event, data }),
    onRetry: (retry) => retries.push(retry),
  });
  const decoder = new TextDecoder();
  for (const chunk of split(bytes, lengths)) parser.feed(decoder.decode(chunk, { stream: true }));
  return { events, retries };
};

test("agrees with the standard", { timeout: 300_000 }, () => {
  fc.assert(
    fc.property(text, lengths, (text, lengths) => {
      const bytes = new TextEncoder().encode(text);
      assert.deepEqual(ours(bytes, lengths), standard(bytes));
    }),
    { numRuns },
  );
});

test("agrees with the standard on arbitrary bytes", { timeout: 300_000 }, () => {
  const bytes = fc.array(fc.oneof(fc.constantFrom(...Buffer.from("data:id \r\n\n\r\0"), 0xef, 0xbb, 0xbf, 0xe2, 0x80, 0xa8), fc.nat({ max: 255 })), { maxLength: 80 });
  fc.assert(
    fc.property(bytes, lengths, (bytes, lengths) => {
      assert.deepEqual(ours(Uint8Array.from(bytes), lengths), standard(Uint8Array.from(bytes)));
    }),
    { numRuns },
  );
});

test("agrees with eventsource-parser", { timeout: 300_000 }, () => {
  fc.assert(
    fc.property(text, lengths, (text, lengths) => {
      // eventsource-parser reads the text after a CR only when another line ends.
      const bytes = new TextEncoder().encode(`${text}:\n`);
      const { events, retries } = ours(bytes, lengths);
      // It forgets the id of a frame without data, so ids are compared only with the standard.
      const withoutId = events.map(({ event, data }) => ({ event, data }));
      assert.deepEqual({ events: withoutId, retries }, eventsourceParser(bytes, lengths));
    }),
    { numRuns },
  );
});
