/** Headers, or a function that is called for every attempt, for example to renew a token. */
export type HeaderSource = HeaderValues | (() => HeaderValues | Promise<HeaderValues>);
export type HeaderValues = Headers | Readonly<Record<string, string>>;

/** Options for all streams of a server. */
export interface Options {
  readonly headers?: HeaderSource | undefined;
  readonly fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
  readonly credentials?: "omit" | "same-origin" | "include" | undefined;
}

/** Options for one stream. */
export interface StreamOptions {
  /** Additional headers, which take precedence over those in `Options`. */
  readonly headers?: HeaderSource | undefined;
  /** Aborts the stream. Like `fetch`, the iteration then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** The id after which to resume, such as the `lastEventId` of an earlier stream. */
  readonly lastEventId?: string | undefined;
  /**
   * Called when the stream sends a request (`connecting`), when the events begin (`open`), and when
   * it waits before it reconnects (`waiting`). While it waits, `reason` is the reason in the
   * server's `close` event, if the server has sent one, and `error` is the error of the failed
   * attempt. If the server has ended the response, `error` is `undefined`.
   */
  readonly onstate?:
    | ((state: "connecting" | "open" | "waiting", reason?: string, error?: AttemptError) => void)
    | undefined;
}

/**
 * An error after which the client tries again. The body of an `HttpError` has not been read, so
 * `body` is empty, and even an error that the endpoint declares is an `HttpError`.
 */
export type AttemptError = ConnectionError | HttpError;

declare const problem: unique symbol;

/**
 * The events of one endpoint. The `id` of an event is the last event ID at that point in the stream
 * (WHATWG HTML, section 9.2.6), so an event without an `id` field has the id of an earlier event.
 * The request is sent when the iteration begins and aborted when it ends. A stream can be iterated
 * only once. To read the events again, call the endpoint again.
 */
export interface EventStream<E, P> extends AsyncIterable<E> {
  readonly url: string;
  /** The id after which the stream resumes. It can also come from a frame that has no data. */
  readonly lastEventId: string;
  /** Exists only in the type, so that `isError` can infer `P`. */
  readonly [problem]?: P;
}

/**
 * An error that the server has sent, as a response or as an event. Its message is the problem's
 * `detail`, or its `title` if it has no `detail`.
 */
export class StreamError<P> extends Error {
  override readonly name = "StreamError";
  readonly problem: P;
  /** The status of the response, or `undefined` if the stream had already begun. */
  readonly status: number | undefined;
  /** Whether the endpoint declares the error. See `isError`. */
  readonly isDeclared: boolean;

  constructor(problem: P, status?: number, isDeclared = true) {
    const { detail, title } = (problem ?? {}) as { detail?: unknown; title?: unknown };
    const texts = [detail, title].filter((text) => typeof text === "string" && text !== "");
    super(String(texts[0] ?? "the stream failed"));
    this.problem = problem;
    this.status = status;
    this.isDeclared = isDeclared;
  }
}

/**
 * A response that is neither an event stream nor an error that the endpoint declares. A proxy, a
 * layer or an extractor may have sent it.
 */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly status: number;
  /** The body, which is cut off after 65,536 characters. */
  readonly body: string;
  /** The parsed body if it is a problem (RFC 9457), for example from a stream limit. */
  readonly problem: unknown;

  constructor(status: number, contentType: string, body: string, problem?: unknown) {
    super(`expected an event stream, got status ${status} (${contentType || "no content type"})`);
    this.status = status;
    this.body = body;
    this.problem = problem;
  }
}

/**
 * The connection failed. The iteration throws this error only if the request must not be sent
 * again, because its method is not `GET` and there is no id after which to resume. In that case,
 * the server may have processed the request. Otherwise, only `onstate` receives the error.
 */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";

  constructor(cause: unknown) {
    super("the connection failed", { cause });
  }
}

/**
 * Returns whether `error` is an error that the stream's endpoint declares. A stream can also end
 * with other errors, for example if a task on the server panics. If the endpoint's errors need not
 * have a code, every error event counts as declared.
 */
export const isError = <P>(
  _stream: EventStream<unknown, P> | ((...input: never[]) => EventStream<unknown, P>),
  error: unknown,
): error is StreamError<P> => error instanceof StreamError && error.isDeclared;

type Format = "json" | "text" | "empty";

interface Endpoint {
  readonly method: string;
  /** A path with captures such as `{name}` and `{*rest}`. */
  readonly path: string;
  /** The members of the input that belong to the query. If the parameter has another name, a pair with this name. */
  readonly query?: readonly (string | readonly [string, string])[];
  /** How `input.body` is sent. */
  readonly body?: "json" | "form" | "text" | "bytes";
  /** Whether the endpoint reads the last event ID. */
  readonly resumes?: boolean;
  /**
   * The codes of the problems that the endpoint declares, and the statuses of those that can have any
   * code.
   */
  readonly codes?: readonly unknown[];
  /** Whether the data of the error event can be anything, so there is no code to check. */
  readonly unchecked?: boolean;
  /** The milliseconds of silence after which the connection is considered lost, or 0 for no limit. */
  readonly idle: number;
  /** The name of the event that ends the stream with an error. */
  readonly error?: string;
  /** How the data of this event is decoded. By default, it is parsed if it is valid JSON. */
  readonly problem?: Format;
  /** Whether the framework adds no events, so that `done`, `gap` and `close` are ordinary ones. */
  readonly own?: boolean;
  /** The name of the events that only show that the connection is alive. */
  readonly ping?: string;
  /** How the data of each event is decoded. */
  readonly events: Readonly<Record<string, Format>>;
  /** How the data of all other events is decoded. By default, it is parsed if it is valid JSON. */
  readonly other?: Format;
  /** Whether integers that a `number` cannot represent are decoded as strings. */
  readonly large?: boolean;
}

interface Frame {
  readonly event: string;
  /** `undefined` if the frame has no data and is therefore not an event. */
  readonly data: string | undefined;
  readonly id: string;
}

/** The internal view of an `EventStream`. */
interface Source<E> {
  readonly method: string;
  readonly url: string;
  readonly signal: AbortSignal | undefined;
  lastEventId: string;
  [Symbol.asyncIterator](): AsyncIterator<E, undefined>;
}

const LONGEST_TIMEOUT = 2 ** 31 - 1;
const LONGEST_BODY = 65_536;
/** In milliseconds. Even a server that sends `retry: 0` is not flooded with requests. */
const SHORTEST_DELAY = 100;

/** Returns the value of a line if its field is `name`. The line is `text` from `start` to `end`. */
const fieldValue = (name: string, text: string, start: number, end: number): string | undefined => {
  if (!text.startsWith(name, start)) return undefined;
  const colon = start + name.length;
  if (colon === end) return "";
  if (text.charCodeAt(colon) !== 0x3a) return undefined;
  return text.slice(colon + (text.charCodeAt(colon + 1) === 0x20 ? 2 : 1), end);
};

/** Parses a stream as specified by the HTML standard, section 9.2.6. */
const parser = (
  lastEventId: string,
  onretry: (milliseconds: number) => void,
): ((chunk: Uint8Array) => Frame[]) => {
  const decoder = new TextDecoder();
  let afterCr = false;
  let state = { rest: "", data: undefined as string | undefined, event: "", id: lastEventId, lastEventId };
  return (chunk) => {
    const frames: Frame[] = [];
    let text = decoder.decode(chunk, { stream: true });
    if (afterCr && text) {
      afterCr = false;
      if (text.startsWith("\n")) text = text.slice(1);
    }
    if (text.includes("\r")) {
      afterCr = text.endsWith("\r");
      text = text.replace(/\r\n?/g, "\n");
    }
    // Local variables are much faster than captured ones.
    let { rest, data, event, id, lastEventId } = state;
    let next = 0;
    for (let lineEnd; (lineEnd = text.indexOf("\n", next)) >= 0; next = lineEnd + 1) {
      let line = text;
      let start = next;
      let end = lineEnd;
      if (rest) {
        // A line that spans many chunks is scanned only once, when it is complete.
        line = rest + text.slice(next, lineEnd);
        start = 0;
        end = line.length;
        rest = "";
      }
      let value: string | undefined;
      if (start === end) {
        if (data !== undefined || id !== lastEventId) {
          frames.push({ event: event || "message", data, id });
          lastEventId = id;
        }
        event = "";
        data = undefined;
      } else if ((value = fieldValue("data", line, start, end)) !== undefined) {
        data = data === undefined ? value : `${data}\n${value}`;
      } else if ((value = fieldValue("event", line, start, end)) !== undefined) {
        event = value;
      } else if ((value = fieldValue("id", line, start, end)) !== undefined) {
        if (!value.includes("\0")) id = value;
      } else if (/^\d+$/.test((value = fieldValue("retry", line, start, end) ?? ""))) {
        onretry(Number(value));
      }
    }
    state = { rest: rest + text.slice(next), data, event, id, lastEventId };
    return frames;
  };
};

/** Parses JSON. With `large`, integers that a `number` cannot represent become strings. */
const parseJson = (text: string, large: boolean | undefined): unknown => {
  if (large) {
    let inString = false;
    text = text.replace(/\\.|"|-?\d[\d.eE+-]*/g, (token) => {
      if (token === '"') inString = !inString;
      return inString || !/^-?\d+$/.test(token) || Number.isSafeInteger(Number(token)) ? token : `"${token}"`;
    });
  }
  return JSON.parse(text);
};

const formData = (members: Iterable<readonly [string, unknown]>): URLSearchParams => {
  const params = new URLSearchParams();
  for (const [name, value] of members) {
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    for (const one of values) if (one !== undefined && one !== null) params.append(name, String(one));
  }
  return params;
};

/** Returns a member that the object does not inherit, such as `constructor`. */
const own = <T>(object: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(object, name) ? object[name] : undefined;

const resolve = (endpoint: Endpoint, base: string | URL, input: Readonly<Record<string, unknown>>): string => {
  const page = (globalThis as { readonly location?: { readonly href: string } }).location;
  const text = String(base) || "/";
  if (!page && !/^\w+:/.test(text)) throw new TypeError(`the base must be an absolute URL: ${text}`);
  const url = new URL(text, page?.href);
  // `fetch` would reject these URLs with the same error as a lost connection.
  if (!/^https?:$/.test(url.protocol) || url.username || url.password) {
    throw new TypeError(`the base must be an http or https URL without credentials: ${text}`);
  }
  const path = endpoint.path.replace(/\{(\*?)([^}]*)\}/g, (_, rest: string, name: string) => {
    const value = String(own(input, name) ?? "");
    const segments = rest ? value.split("/") : [value];
    // URLs cannot contain these segments: even `%2E%2E` is normalized like `..`.
    if (!value || segments.some((segment) => /^\.\.?$/.test(segment))) {
      throw new TypeError(`invalid path parameter \`${name}\`: ${JSON.stringify(value)}`);
    }
    return segments.map(encodeURIComponent).join("/");
  });
  url.pathname = url.pathname.replace(/\/+$/, "") + path;
  const query = formData((endpoint.query ?? []).map((member) => {
    const [key, name] = typeof member === "string" ? [member, member] : member;
    return [name, own(input, key)];
  }));
  query.forEach((value, name) => url.searchParams.append(name, value));
  return url.href;
};

/** Returns the delay in a `Retry-After` header, in milliseconds. */
const retryAfter = (value: string | null): number | undefined => {
  if (value === null) return undefined;
  const milliseconds = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(milliseconds) ? undefined : Math.max(0, milliseconds);
};

const open = <E, P>(
  endpoint: Endpoint,
  base: string | URL,
  input: object,
  options: Options,
  stream: StreamOptions,
): EventStream<E, P> => {
  const { method, idle, large, codes } = endpoint;
  const { signal, onstate } = stream;
  const members = input as Readonly<Record<string, unknown>>;
  const url = resolve(endpoint, base, members);
  const isForm = endpoint.body === "form";
  const content = members["body"];
  const body =
    content === undefined || !endpoint.body ? undefined
    : isForm ? String(formData(Object.entries(content as object)))
    : endpoint.body === "json" ? JSON.stringify(content)
    : (content as NonNullable<RequestInit["body"]>);
  let isUsed = false;
  let hasLeft = false;
  /** The last `ConnectionError` of this stream. The caller's functions may throw others. */
  let lost: ConnectionError | undefined;

  /** Ends the iteration, regardless of what it is waiting for. */
  const stop = new AbortController();
  let attempt = new AbortController();

  /** Settles like `promise`, but aborts the attempt after `timeout` milliseconds, unless it is 0. */
  const settle = async <T>(promise: Promise<T>, timeout = 0): Promise<T> => {
    const { signal } = attempt;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<T>((resolve, reject) => {
        // Only one promise is awaited at a time, so the handler can be replaced.
        signal.onabort = () => reject(signal.reason);
        if (signal.aborted) reject(signal.reason);
        else if (timeout > 0) {
          timer = setTimeout(() => attempt.abort(new Error(`no data for ${timeout} ms`)), timeout);
        }
        promise.then(resolve, reject);
      });
    } finally {
      clearTimeout(timer);
    }
  };

  const receive = async <T>(promise: Promise<T>, timeout: number): Promise<T> => {
    try {
      return await settle(promise, timeout);
    } catch (cause) {
      stop.signal.throwIfAborted();
      throw (lost = new ConnectionError(cause));
    }
  };

  const wait = async (milliseconds: number, untilOnline: boolean): Promise<void> => {
    const events = globalThis as Partial<Pick<EventTarget, "addEventListener" | "removeEventListener">>;
    let end = () => {};
    const waited = new Promise<void>((resolve) => (end = resolve));
    const timer = setTimeout(end, Math.min(milliseconds, LONGEST_TIMEOUT));
    if (untilOnline) events.addEventListener?.("online", end);
    try {
      await settle(waited);
    } finally {
      clearTimeout(timer);
      events.removeEventListener?.("online", end);
    }
  };

  const request = async (): Promise<Response> => {
    // Unlike an `EventSource`, this `accept` header allows the server to respond with an error status.
    const headers = new Headers({ accept: "text/event-stream, application/problem+json" });
    if (body !== undefined) {
      const types = { form: "application/x-www-form-urlencoded", json: "application/json", text: "text/plain", bytes: "application/octet-stream" };
      headers.set("content-type", types[endpoint.body ?? "text"]);
    }
    for (const source of [options.headers, stream.headers]) {
      const values = typeof source === "function" ? await settle(Promise.resolve(source())) : source;
      new Headers(values).forEach((value, name) => headers.set(name, value));
    }
    if (self.lastEventId) {
      // A header consists of bytes, and `Headers` expects one character per byte.
      const bytes = Array.from(new TextEncoder().encode(self.lastEventId), (byte) => String.fromCharCode(byte));
      headers.set("last-event-id", bytes.join(""));
    }
    // Only browsers need `cache`, and not every `RequestInit` type declares it.
    const init: RequestInit & { cache: "no-store" } = { method, headers, cache: "no-store", signal: attempt.signal };
    if (body !== undefined) init.body = body;
    if (options.credentials) init.credentials = options.credentials;
    // A handler may take a long time before it responds, so only a request that can be sent again
    // has a timeout.
    const timeout = idle && canRetry() ? Math.max(idle, 45_000) : 0;
    // Throws if the request is invalid. `fetch` would report this like a lost connection.
    new Request(url, { method, headers, ...(body === undefined ? {} : { body }) });
    return receive((options.fetch ?? fetch)(url, init), timeout);
  };

  const isDeclared = (problem: unknown): boolean => {
    const { code, status } = (problem ?? {}) as { readonly code?: unknown; readonly status?: unknown };
    return !!codes?.some((declared) => declared === code || declared === status);
  };

  const isGet = method === "GET";
  const canRetry = (): boolean => isGet || (!!endpoint.resumes && self.lastEventId !== "");

  const failure = async (
    { status }: Response,
    contentType: string,
    reader: ReadableStreamDefaultReader<Uint8Array> | undefined,
  ): Promise<HttpError | StreamError<P>> => {
    const decoder = new TextDecoder();
    const deadline = Date.now() + 5_000;
    let text = "";
    let problem: unknown;
    try {
      while (reader && text.length < LONGEST_BODY) {
        const { done, value } = await receive(reader.read(), Math.max(1, deadline - Date.now()));
        if (done) break;
        text += decoder.decode(value, { stream: true });
      }
      if (/^application\/problem\+json\b/i.test(contentType)) {
        problem = parseJson(text, large);
        if (isDeclared(problem)) return new StreamError(problem as P, status);
      }
    } catch {
      // Part of the body is better than nothing.
      stop.signal.throwIfAborted();
    }
    return new HttpError(status, contentType, text.slice(0, LONGEST_BODY), problem);
  };

  const decode = (event: string, data: string): unknown => {
    const decoding = event === endpoint.error ? endpoint.problem : (own(endpoint.events, event) ?? endpoint.other);
    if (decoding === "empty") return "";
    if (decoding === "text") return data;
    try {
      return parseJson(data, large);
    } catch (error) {
      if (decoding === "json") throw error;
      return data;
    }
  };

  async function* events(): AsyncGenerator<E, undefined> {
    const abort = () => stop.abort(signal?.reason);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    stop.signal.onabort = () => attempt.abort(stop.signal.reason);
    let retry: number | undefined;
    let reason: string | undefined;
    let failures = 0;
    try {
      for (;;) {
        stop.signal.throwIfAborted();
        attempt = new AbortController();
        let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
        let after: number | undefined;
        let hasEnded = false;
        let attemptError: AttemptError | undefined;
        try {
          onstate?.("connecting");
          const response = await request();
          const { status } = response;
          if (status === 204) return;
          reader = response.body?.getReader();
          const contentType = response.headers.get("content-type") ?? "";
          if (status === 200 && /^text\/event-stream\s*(;|$)/i.test(contentType)) {
            onstate?.("open");
            const parse = parser(self.lastEventId, (milliseconds) => (retry = milliseconds));
            while (reader) {
              const { done, value } = await receive(reader.read(), idle);
              if (done) break;
              for (const { event, data, id } of parse(value)) {
                self.lastEventId = id;
                if (data === undefined) continue;
                if (!endpoint.own) {
                  if (event === "done" && id.endsWith("~done")) return;
                  // The stream ends after this event. The response to the next request determines
                  // whether the stream can be resumed.
                  if (event === "close" && !own(endpoint.events, event)) {
                    reason = /^\{"reason":"(\w+)"\}$/.exec(data)?.[1];
                    continue;
                  }
                  if (event === endpoint.ping) continue;
                }
                const decoded = decode(event, data);
                if (event === endpoint.error) {
                  throw new StreamError(decoded as P, undefined, endpoint.unchecked || isDeclared(decoded));
                }
                failures = 0;
                yield (id ? { event, data: decoded, id } : { event, data: decoded }) as E;
                stop.signal.throwIfAborted();
              }
            }
            if (!isGet) return;
            hasEnded = true;
          } else {
            after = retryAfter(response.headers.get("retry-after"));
            const isTemporary = status >= 500 || (status === 429 && after !== undefined);
            if (!isTemporary || !canRetry()) throw await failure(response, contentType, reader);
            attemptError = new HttpError(status, contentType, "");
          }
        } catch (error) {
          if (!lost || error !== lost || !canRetry()) throw error;
          attemptError = lost;
        } finally {
          attempt.abort();
          reader?.cancel().catch(() => {});
        }
        // From here on, `stop` aborts this attempt, but it may have been aborted before.
        attempt = new AbortController();
        stop.signal.throwIfAborted();
        onstate?.("waiting", reason, attemptError);
        reason = undefined;
        if (hasEnded) failures = 0;
        // A delay that the server requests is extended only after a failed attempt.
        const asked = after ?? retry ?? (hasEnded ? 1_000 : undefined);
        const isExact = asked !== undefined && failures === 0;
        const jitter = isExact ? 0 : Math.random() * Math.min(30_000, 1_000 * 2 ** failures);
        failures += 1;
        await wait(Math.max(SHORTEST_DELAY, (asked ?? 0) + jitter), after === undefined);
      }
    } catch (error) {
      if (!hasLeft) throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    return;
  }

  const self: Source<E> = {
    method,
    url,
    signal,
    lastEventId: stream.lastEventId ?? "",
    [Symbol.asyncIterator](): AsyncIterator<E, undefined> {
      if (isUsed) throw new TypeError("an event stream can be iterated only once");
      isUsed = true;
      const iterator = events();
      return {
        next: () => iterator.next(),
        // The generator's own `return` would wait for a pending `next`.
        return: () => {
          hasLeft = true;
          stop.abort();
          return iterator.return(undefined);
        },
      };
    },
  };
  return self;
};

/** A message between the tabs that share a stream. All but `join` come from the tab that reads it. */
type Shared<E> =
  /** `number` distinguishes the events that have the same id. */
  | { readonly event: E; readonly id: string; readonly number: number }
  | { readonly lastEventId: string }
  | { readonly problem: unknown; readonly status: number | undefined; readonly isDeclared: boolean }
  | "join"
  | "end";

interface Channel {
  onmessage: ((message: { readonly data: unknown }) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

interface Locks {
  request(name: string, options: { readonly signal: AbortSignal }, hold: () => Promise<void>): Promise<unknown>;
}

/** How many events a tab remembers, so that it recognizes repeated ones. */
const REMEMBERED = 1_000;

/**
 * Shares the connection of a stream between all tabs of an origin that read the same URL. When the
 * tab with the connection is closed, another tab resumes the stream, and events with ids are neither
 * lost nor repeated. A tab that joins later receives only the events from then on.
 *
 * The method must be `GET`, and all tabs must be allowed to read the same events, because headers are
 * not compared. If Web Locks are not available, as in an insecure context, each tab has a connection
 * of its own.
 */
export const shared = <E, P>(stream: EventStream<E, P>): EventStream<E, P> => {
  const source = stream as Source<E> & EventStream<E, P>;
  const { method, signal, url } = source;
  const { navigator, BroadcastChannel } = globalThis as unknown as {
    readonly navigator?: { readonly locks?: Locks };
    readonly BroadcastChannel?: new (name: string) => Channel;
  };
  const locks = navigator?.locks;
  if (method !== "GET") throw new TypeError(`only a GET can be shared, not a ${method}`);
  if (!locks || !BroadcastChannel) return stream;

  const stop = new AbortController();
  let isUsed = false;

  async function* events(Channel: new (name: string) => Channel, locks: Locks): AsyncGenerator<E, undefined> {
    const name = `sse ${url}`;
    const channel = new Channel(name);
    const queue: E[] = [];
    const seen = new Set<string>();
    let end: { readonly error?: unknown } | undefined;
    let isReading = false;
    let last = { id: source.lastEventId, number: 0 };
    let wake = () => {};

    const finish = (how: { readonly error?: unknown }) => {
      end ??= how;
      stop.abort();
      wake();
    };
    const deliver = (event: E, id: string, number: number) => {
      // A new connection can begin with events that the previous tab had already passed on.
      const key = `${number} ${id}`;
      if (id && seen.has(key)) return;
      seen.add(key);
      for (const oldest of seen) {
        if (seen.size <= REMEMBERED) break;
        seen.delete(oldest);
      }
      last = { id, number };
      queue.push(event);
      wake();
    };
    const read = async () => {
      if (end) return;
      isReading = true;
      source.lastEventId = last.id;
      // Not `last`, which an event that is still on its way from the tab before can change.
      let previous = last;
      const iterator = source[Symbol.asyncIterator]();
      stop.signal.onabort = () => void iterator.return?.();
      try {
        for (let next; !(next = await iterator.next()).done; ) {
          const id = source.lastEventId;
          const number = id === previous.id ? previous.number + 1 : 0;
          previous = { id, number };
          deliver(next.value, id, number);
          channel.postMessage({ event: next.value, id, number } satisfies Shared<E>);
        }
        // If it was aborted, only this tab has stopped, and another tab resumes the stream.
        if (!stop.signal.aborted) channel.postMessage("end" satisfies Shared<E>);
        finish({});
      } catch (error) {
        // Only problems are passed on. After any other error, another tab tries again.
        if (error instanceof StreamError) {
          const { problem, status, isDeclared } = error;
          channel.postMessage({ problem, status, isDeclared } satisfies Shared<E>);
        }
        finish({ error });
      }
    };

    channel.onmessage = ({ data }) => {
      const message = data as Shared<E>;
      if (message === "join") {
        if (isReading) channel.postMessage({ lastEventId: last.id } satisfies Shared<E>);
      } else if (message === "end") {
        finish({});
      } else if ("problem" in message) {
        finish({ error: new StreamError(message.problem as P, message.status, message.isDeclared) });
      } else if ("event" in message) {
        deliver(message.event, message.id, message.number);
      } else if (seen.size === 0) {
        last = { id: message.lastEventId, number: 0 };
      }
    };
    stop.signal.addEventListener("abort", () => wake());
    const abort = () => finish({ error: signal?.reason });
    signal?.addEventListener("abort", abort);
    try {
      signal?.throwIfAborted();
      channel.postMessage("join" satisfies Shared<E>);
      locks.request(name, { signal: stop.signal }, read).catch((error: unknown) => {
        if (!stop.signal.aborted) finish({ error });
      });
      for (;;) {
        for (let event; !signal?.aborted && (event = queue.shift()) !== undefined; ) yield event;
        if (end && "error" in end) throw end.error;
        if (end || stop.signal.aborted) return;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      finish({});
      signal?.removeEventListener("abort", abort);
      channel.close();
    }
  }

  return {
    url,
    get lastEventId() {
      return source.lastEventId;
    },
    [Symbol.asyncIterator](): AsyncIterator<E, undefined> {
      if (isUsed) throw new TypeError("an event stream can be iterated only once");
      isUsed = true;
      const iterator = events(BroadcastChannel, locks);
      return {
        next: () => iterator.next(),
        return: () => {
          stop.abort();
          return iterator.return(undefined);
        },
      };
    },
  };
};
