// Shared by the scripts of the official clients. `node SCRIPT URL CASE…` sends a request to
// `URL/CASE` for each case and prints the received text and the reported error as a line of JSON.
//
// In the case `leave`, the client cancels after the first piece. In the case `resume`, the script
// prints a line after the first piece, so that the test can cut the connection.
const [base, ...cases] = process.argv.slice(2);

// Calls `ask(url, receive, signal)` for each case. `ask` calls `receive(text)` for each piece,
// returns once the answer has ended, throws the client's error, and cancels if `signal` is aborted.
export async function each(ask) {
  for (const name of cases) {
    let received = '';
    let error = null;
    const leaving = new AbortController();
    const receive = (text) => {
      if (name === 'resume' && !received && text) print({ case: name, first: text });
      received += text;
      if (name === 'leave' && received) leaving.abort();
    };
    try {
      await ask(`${base}/${name}`, receive, leaving.signal);
    } catch (thrown) {
      error = `${thrown.name}: ${thrown.message}`;
    }
    print({ case: name, received, error });
  }
  process.exit();
}

function print(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
