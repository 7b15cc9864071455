/** Declarations like those that `Api::typescript()` puts in front of the runtime. */
export type Gap = {
  event: "gap";
  data: { reason: "too_old" | "other_epoch" | "unknown" | "overtaken" | "rolled_back" | "unreadable"; missed: number | null };
  id?: string;
};
export type AnswerEvent =
  | { event: "token"; data: { text: string }; id?: string }
  | { event: "finished"; data: ""; id?: string }
  | Gap;
export type AskError =
  | { title: string; code: "no_room"; status: 404; room: number }
  | { title: string; code: "busy"; status: 429; after: number };
export type NumberEvent = { event: "message"; data: number; id?: string };
export type EchoEvent = { event: "message"; data: string; id?: string };

export const connect = (base: string | URL, options: Options = {}) => ({
  /** The answer of a room's model. */
  answer: (input: { room: number }, stream: StreamOptions = {}): EventStream<AnswerEvent, AskError> =>
    open({ method: "GET", path: "/rooms/{room}/answer", resumes: true, idle: 45000, error: "error", events: { token: "json", finished: "empty" } }, base, input, options, stream),
  post: (input: { body: { prompt: string } }, stream: StreamOptions = {}): EventStream<EchoEvent, unknown> =>
    open({ method: "POST", path: "/post", body: "json", idle: 45000, own: true, events: { message: "json" } }, base, input, options, stream),
  postCut: (input: { body: { prompt: string } }, stream: StreamOptions = {}): EventStream<EchoEvent, unknown> =>
    open({ method: "POST", path: "/post_cut", body: "json", idle: 45000, own: true, events: { message: "json" } }, base, input, options, stream),
  resume: (input: {}, stream: StreamOptions = {}): EventStream<NumberEvent | Gap, never> =>
    open({ method: "GET", path: "/resume", resumes: true, idle: 45000, events: { message: "json" } }, base, input, options, stream),
  stopped: (input: {}, stream: StreamOptions = {}): EventStream<NumberEvent, never> =>
    open({ method: "GET", path: "/stopped", idle: 45000, events: { message: "json" } }, base, input, options, stream),
  topic: (input: { name: string }, stream: StreamOptions = {}): EventStream<NumberEvent | Gap, never> =>
    open({ method: "GET", path: "/topics/{name}", resumes: true, idle: 45000, events: { message: "json" } }, base, input, options, stream),
  closes: (input: {}, stream: StreamOptions = {}): EventStream<NumberEvent | Gap, never> =>
    open({ method: "GET", path: "/closes", resumes: true, idle: 45000, events: { message: "json" } }, base, input, options, stream),
  busy: (input: {}, stream: StreamOptions = {}): EventStream<AnswerEvent, AskError> =>
    open({ method: "GET", path: "/busy", idle: 45000, error: "error", events: { token: "json", finished: "empty" } }, base, input, options, stream),
  silent: (input: {}, stream: StreamOptions = {}): EventStream<NumberEvent | Gap, never> =>
    open({ method: "GET", path: "/silent", resumes: true, idle: 300, events: { message: "json" } }, base, input, options, stream),
  quiet: (input: {}, stream: StreamOptions = {}): EventStream<NumberEvent, never> =>
    open({ method: "GET", path: "/quiet", idle: 900, events: { message: "json" } }, base, input, options, stream),
  leaving: (input: {}, stream: StreamOptions = {}): EventStream<NumberEvent, never> =>
    open({ method: "GET", path: "/leaving", idle: 0, events: { message: "json" } }, base, input, options, stream),
  later: (input: {}, stream: StreamOptions = {}): EventStream<NumberEvent | Gap, never> =>
    open({ method: "GET", path: "/later", resumes: true, idle: 45000, events: { message: "json" } }, base, input, options, stream),
  ticks: (input: {}, stream: StreamOptions = {}): EventStream<NumberEvent | Gap, never> =>
    open({ method: "GET", path: "/ticks", resumes: true, idle: 45000, events: { message: "json" } }, base, input, options, stream),
});
