// An HTTP server that lets a test control every byte of a response.

import { once } from "node:events";
import net from "node:net";

/** One request and its response. */
export class Exchange {
  #socket;
  #chunked = false;

  constructor(socket, request) {
    this.#socket = socket;
    Object.assign(this, request);
    /** Resolves once the client has closed the connection. */
    this.closed = once(socket, "close");
  }

  /** Writes the head of a response whose body ends with the connection, unless it has a length. */
  head(status, headers = {}) {
    const lines = Object.entries({ connection: "close", ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
    this.#socket.write(`HTTP/1.1 ${status} Status\r\n${lines.join("")}\r\n`);
    return this;
  }

  /** Writes a complete response. */
  respond(status, headers = {}, body = "") {
    this.head(status, status === 204 ? headers : { "content-length": Buffer.byteLength(body), ...headers });
    this.#socket.end(body);
  }

  /** Writes the head of a chunked response, so that the client can tell an end from a break. */
  open(headers = {}) {
    this.#chunked = true;
    return this.head(200, { "content-type": "text/event-stream", "transfer-encoding": "chunked", ...headers });
  }

  /** Writes a chunk. Resolves once it has been passed to the kernel. */
  async send(body) {
    const bytes = Buffer.from(body);
    // An empty chunk would end the response.
    if (bytes.length === 0) return;
    const framed = this.#chunked
      ? Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")])
      : bytes;
    await new Promise((resolve) => this.#socket.write(framed, resolve));
  }

  /** Ends the response properly. */
  end() {
    this.#socket.end(this.#chunked ? "0\r\n\r\n" : "");
  }

  /** Breaks off the response. */
  cut() {
    this.#socket.destroy();
  }
}

/**
 * Starts a server. The n-th function in `script` responds to the n-th request. All further requests
 * receive a 204, which ends the client's stream.
 */
export async function start(...script) {
  const requests = [];
  const sockets = new Set();
  const server = net.createServer((socket) => {
    socket.setNoDelay();
    sockets.add(socket);
    socket.on("error", () => {});
    let received = "";
    const read = (bytes) => {
      received += bytes.toString("latin1");
      const end = received.indexOf("\r\n\r\n");
      if (end < 0) return;
      const [first, ...lines] = received.slice(0, end).split("\r\n");
      const headers = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]));
      const body = received.slice(end + 4);
      if (body.length < Number(headers["content-length"] ?? 0)) return;
      socket.off("data", read);
      socket.resume();
      const [method, path] = first.split(" ");
      const exchange = new Exchange(socket, { method, path, headers, body });
      const answer = script[requests.length] ?? ((exchange) => exchange.respond(204));
      requests.push(exchange);
      answer(exchange);
    };
    socket.on("data", read);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    requests,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Responds with a stream in one chunk, and cuts it off. */
export const cut = (text) => async (exchange) => {
  // Node's `fetch` mistakes the break for an end if the response says `connection: close`.
  await exchange.open({ connection: "keep-alive" }).send(text);
  // `fetch` discards what has not been read when the connection breaks. The client runs in this
  // process, so it has read the chunk after a few turns of the event loop.
  for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
  exchange.cut();
};

/** Responds with a complete stream in the given chunks. */
export const chunks = (...parts) => async (exchange) => {
  exchange.open();
  for (const part of parts) {
    await exchange.send(part);
    // Two writes in the same turn could arrive as one chunk.
    await new Promise(setImmediate);
  }
  exchange.end();
};
