// User code. `tsc` must accept it except where an error is expected. It is never run.

import { ConnectionError, HttpError, StreamError, connect, isError, isGap } from "./streams.js";
import type { AnswerEvent, AskError, EventStream } from "./streams.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Equal<A, B>): void => {};

const api = connect("https://chat.example", { headers: async () => ({ authorization: "Bearer 1" }) });
const signal: AbortSignal | undefined = undefined;

export const answer = async (saved: string | undefined): Promise<string | undefined> => {
  const answer = api.answer({ room: 7 }, { signal, lastEventId: saved, onstate: (state, _, error) => {
    same<typeof state, "connecting" | "open" | "waiting">(true);
    same<typeof error, ConnectionError | HttpError | undefined>(true);
  } });
  same<typeof answer, EventStream<AnswerEvent, AskError>>(true);
  try {
    for await (const event of answer) {
      same<typeof event, AnswerEvent>(true);
      // @ts-expect-error: the data depends on the event.
      event.data.text;
      switch (event.event) {
        case "token":
          same<typeof event.data, { text: string }>(true);
          saved = event.id;
          break;
        case "finished":
          same<typeof event.data, "">(true);
          break;
        // @ts-expect-error: the endpoint has no such event.
        case "tokens":
          break;
        default:
          same<typeof event, never>(true);
      }
    }
  } catch (error) {
    if (isError(answer, error) || isError(api.answer, error)) {
      same<typeof error, StreamError<AskError>>(true);
      same<typeof error.status, number | undefined>(true);
      if (error.problem.code === "busy") same<typeof error.problem.after, number>(true);
      // @ts-expect-error: only `busy` has this member.
      error.problem.after;
    } else if (error instanceof HttpError) {
      same<typeof error.status, number>(true);
      same<typeof error.problem, unknown>(true);
    } else if (error instanceof ConnectionError) {
      same<typeof error.cause, unknown>(true);
    } else if (error instanceof StreamError) {
      error.message.trim();
    }
  }
  return saved;
};

export const topic = async (): Promise<void> => {
  for await (const event of api.topic({ name: "first" })) {
    if (isGap(event)) continue;
    same<typeof event.data, number>(true);
  }
};

export const mistakes = (): void => {
  // @ts-expect-error: the capture is missing.
  api.answer({});
  // @ts-expect-error: the capture is a number.
  api.answer({ room: "7" });
  // @ts-expect-error: there is no such capture.
  api.answer({ room: 7, rooms: 7 });
  // @ts-expect-error: the body is missing.
  api.post({});
  // @ts-expect-error: there is no such endpoint.
  api.answers({ room: 7 });
  // @ts-expect-error: there is no such option.
  api.answer({ room: 7 }, { lastEventID: "7" });
  // @ts-expect-error: a header is a string.
  connect("https://chat.example", { headers: { a: 1 } });
  // @ts-expect-error: there is no such mode.
  connect("https://chat.example", { credentials: "always" });
  // @ts-expect-error: a stream has no synchronous iterator.
  for (const _ of api.answer({ room: 7 })) break;
  // @ts-expect-error: the last event ID cannot be changed.
  api.answer({ room: 7 }).lastEventId = "7";
  const stream: EventStream<{ event: string }, unknown> = api.answer({ room: 7 });
  // @ts-expect-error: the error is another one.
  const other: EventStream<AnswerEvent, { code: "other" }> = api.answer({ room: 7 });
  void [stream, other];
};

/** The parts of a request that share a name are separate members. */
export const shared = (): void => {
  void api.shared_names({ id: "a", path_body: "b", query_id: "c", query_body: "d", body: { prompt: "e" } });
  // @ts-expect-error: the body is an object.
  void api.shared_names({ id: "a", path_body: "b", query_id: "c", query_body: "d", body: "e" });
  // @ts-expect-error: the query is missing.
  void api.shared_names({ id: "a", path_body: "b", body: { prompt: "e" } });
};

export const upload = (): void => {
  for (const body of ["a", new Blob(["a"]), new ArrayBuffer(1), new Uint8Array(1), undefined]) void api.upload({ body });
  // @ts-expect-error: an object is not converted to JSON.
  void api.upload({ body: { a: 1 } });
};

export const options = (): void => {
  connect(new URL("https://chat.example"), { fetch, credentials: "include", headers: new Headers() });
  connect("https://chat.example", { fetch: (url, init) => fetch(`${url}?`, { ...init, keepalive: true }) });
  connect("https://chat.example", { fetch: undefined, headers: undefined, credentials: undefined });
  connect("https://chat.example", { headers: () => ({ a: "1" }) });
};
