// The JavaScript clients: each reads the stream at `url` and tells what it sees. They are the same in Node.js and in a
// page; only where the library comes from differs.
//
// `told` has `event(name, id, data)`, whose answer is whether it is time to leave; `ended()`, for a client that does not
// come back by itself; and `stopped(why)`, for one that gives up.

// An `EventSource` hears the names that it was asked to listen for, and no others.
const NAMES = ['message', 'word', 'tool-call', 'heartbeat', 'error', 'done', 'gap', 'close'];

export function eventSource({ EventSource }, url, told) {
  const source = new EventSource(url);
  for (const name of NAMES) {
    source.addEventListener(name, (event) => {
      // An event named `error` comes to the same listeners as what the client itself has to say. It has data.
      if (event.data === undefined) {
        if (source.readyState === EventSource.CLOSED) told.stopped('closed');
      } else if (told.event(name, event.lastEventId, event.data)) {
        source.close();
      }
    });
  }
}

export async function parser({ createParser }, url, told, method = 'GET') {
  const leaving = new AbortController();
  const parser = createParser({
    onEvent(event) {
      const name = event.event ?? 'message';
      if (told.event(name, event.id ?? '', event.data)) leaving.abort();
    },
  });
  try {
    const headers = { accept: 'text/event-stream' };
    const response = await fetch(url, { method, headers, signal: leaving.signal });
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
      parser.feed(text);
    }
    told.ended();
  } catch (error) {
    if (error.name !== 'AbortError') told.stopped(String(error));
  }
}

export async function fetchEventSource({ fetchEventSource }, url, told, method = 'GET') {
  const leaving = new AbortController();
  try {
    await fetchEventSource(url, {
      method,
      signal: leaving.signal,
      onmessage(event) {
        const name = event.event || 'message';
        if (told.event(name, event.id, event.data)) leaving.abort();
      },
      // Without this it takes an end for the end.
      onclose() {
        throw new Error('the stream has ended');
      },
    });
  } catch (error) {
    told.stopped(String(error));
  }
}
