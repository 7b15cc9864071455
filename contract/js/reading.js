// Reads streams in tests.

import { open } from "./streams.js";

// Without jitter, a client without a reconnection time reconnects at once.
Math.random = () => 0;

/** The endpoint that tests use, if necessary with changes. */
export const get = { method: "GET", path: "/", resumes: true, idle: 0, error: "error", events: { message: "text" } };
export const post = { ...get, method: "POST", body: "json", resumes: false };

/** Opens a stream of `server`. */
export const stream = (server, { endpoint = get, input = { body: {} }, options = {}, ...rest } = {}) =>
  open(endpoint, server.url, input, options, rest);

/** Reads a stream to its end, and closes the server. */
export async function read(server, options = {}) {
  const events = [];
  const states = [];
  let error;
  const reading = stream(server, { onstate: (state) => states.push(state), ...options });
  try {
    for await (const event of reading) {
      events.push(event);
      if (events.length === options.most) break;
    }
  } catch (thrown) {
    error = thrown;
  }
  server.close();
  return { events, states, error, requests: server.requests, stream: reading };
}

/** Replaces `setTimeout`, so that a test does not have to wait, and records the delays. */
export function fakeDelays(context) {
  const { setTimeout } = globalThis;
  const { random } = Math;
  const delays = [];
  globalThis.setTimeout = (callback, delay, ...values) => {
    delays.push(delay);
    return setTimeout(callback, Math.min(delay, 1), ...values);
  };
  Math.random = () => 0.5;
  context.after(() => {
    globalThis.setTimeout = setTimeout;
    Math.random = random;
  });
  return delays;
}
