// The JavaScript clients. Each one reads the stream at `url` and reports what it receives. Node.js
// and pages share this code and only load the libraries differently.
//
// `report` has three methods. `event(name, id, data)` reports an event, and returns whether to
// close the stream. `ended()` reports that the stream has ended, if the client does not reconnect
// automatically. `stopped(why)` reports that the client has stopped with an error.

// An `EventSource` only delivers events whose names have a listener.
const NAMES = ['message', 'word', 'tool-call', 'heartbeat', 'error', 'done', 'gap', 'close', 'server'];

export function eventSource({ EventSource }, url, report) {
  const source = new EventSource(url);
  for (const name of NAMES) {
    source.addEventListener(name, (event) => {
      // Server-sent events named `error` reach the same listeners as the client's own errors, but only
      // the former have data.
      if (event.data === undefined) {
        if (source.readyState === EventSource.CLOSED) report.stopped('closed');
      } else if (report.event(name, event.lastEventId, event.data)) {
        source.close();
      }
    });
  }
}

export async function parser({ createParser }, url, report, method = 'GET') {
  const leaving = new AbortController();
  const parser = createParser({
    onEvent(event) {
      const name = event.event ?? 'message';
      if (report.event(name, event.id ?? '', event.data)) leaving.abort();
    },
  });
  try {
    const headers = { accept: 'text/event-stream' };
    const response = await fetch(url, { method, headers, signal: leaving.signal });
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
      parser.feed(text);
    }
    report.ended();
  } catch (error) {
    if (error.name !== 'AbortError') report.stopped(String(error));
  }
}

export async function fetchEventSource({ fetchEventSource }, url, report, method = 'GET') {
  const leaving = new AbortController();
  try {
    await fetchEventSource(url, {
      method,
      signal: leaving.signal,
      onmessage(event) {
        const name = event.event || 'message';
        if (report.event(name, event.id, event.data)) leaving.abort();
      },
      // Without this, the client does not reconnect after a stream ends.
      onclose() {
        throw new Error('the stream ended');
      },
    });
  } catch (error) {
    report.stopped(String(error));
  }
}
