// Clients that record what they receive: numbers, and notices that something was lost or has ended.
// A client reconnects as its library does, and `resumable-stream`'s as its README describes.
import { EventSource } from 'eventsource';
import { io } from 'socket.io-client';

class Client {
  history = [];

  number(number) { this.history.push({ number, at: Date.now() }); }

  notice(notice) { this.history.push({ notice, at: Date.now() }); }

  has(number) { return this.history.some((item) => item.number === number); }
}

/** An `EventSource`. The names are those of the events that contain notices. */
export class EventSourceClient extends Client {
  constructor(url, ...names) {
    super();
    this.source = new EventSource(url);
    this.source.onmessage = ({ data }) => this.number(Number(data));
    for (const name of names) {
      this.source.addEventListener(name, ({ data }) => {
        this.notice(`\`event: ${name}\`, \`${JSON.parse(data).reason}\``);
        if (name === 'close') this.close();
      });
    }
    this.source.onerror = ({ code }) => {
      if (this.source.readyState !== EventSource.CLOSED) return;
      this.isClosed = true;
      this.notice(`status ${code}`);
    };
  }

  close() {
    this.isClosed = true;
    this.source.close();
  }
}

export class SocketIoClient extends Client {
  constructor(url) {
    super();
    this.socket = io(url, { transports: ['websocket'], forceNew: true });
    let isFirst = true;
    this.socket.on('event', (number) => this.number(number));
    this.socket.on('connect', () => {
      this.isConnected = true;
      if (!isFirst && !this.socket.recovered) this.notice('`recovered: false`');
      isFirst = false;
    });
  }

  close() { this.socket.disconnect(); }
}

/** Reads the stream by `fetch`. After an error, it resumes at the number of characters received. */
export class ResumableClient extends Client {
  constructor(url) {
    super();
    this.abort = new AbortController();
    this.read(url);
  }

  async read(url) {
    this.notice(await this.end(url));
    this.isClosed = true;
  }

  /** Reads until the stream ends. Returns how it has ended. */
  async end(url) {
    let received = '';
    while (!this.abort.signal.aborted) {
      try {
        const response = await fetch(`${url}?resumeAt=${received.length}`, { signal: this.abort.signal });
        if (!response.ok) return `status ${response.status}`;
        for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
          const events = received.split('\n\n').length - 1;
          received += chunk;
          for (const event of received.split('\n\n').slice(events, -1)) this.number(Number(event.slice(6)));
        }
        return 'the end of the response';
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
    return 'closed by the test';
  }

  close() { this.abort.abort(); }
}
