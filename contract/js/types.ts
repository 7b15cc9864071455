/** What `Api::typescript()` generates in front of the runtime, for the endpoints of the tests. */
export type Gap = { event: "gap"; data: { reason: "too_old" | "other_epoch" | "unknown" | "overtaken"; missed: number | null }; id?: string };
export type AnswerEvent =
  | { event: "token"; data: { text: string }; id?: string }
  | { event: "finished"; data: ""; id?: string }
  | Gap;
export type AskError =
  | { title: string; code: "no_room"; status: 404; room: number }
  | { title: string; code: "busy"; status: 429; after: number };
export type AnyEvent = { event: string; data: unknown; id?: string };

export const connect = (base: string | URL, options: Options = {}) => ({
  /** The answer of a room's model. */
  answer: (input: { room: number }, stream: StreamOptions = {}): EventStream<AnswerEvent, AskError> =>
    open({ method: "GET", path: "/rooms/{room}/answer", resumes: true, idle: 45000, error: "error", events: { token: "json", finished: "empty" } }, base, input, options, stream),
  post: (input: { body: { prompt: string } }, stream: StreamOptions = {}): EventStream<AnswerEvent, AskError> =>
    open({ method: "POST", path: "/ask", body: "json", idle: 45000, error: "error", own: true, events: { token: "json" } }, base, input, options, stream),
});
