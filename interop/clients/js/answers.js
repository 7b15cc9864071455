// Shared by the scripts of the official clients. `node SCRIPT URL CASE…` sends a request to
// `URL/CASE` for each case and prints the received text and the reported error as a line of JSON.
const [base, ...cases] = process.argv.slice(2);

// Calls `ask(url, receive)` for each case. `ask` calls `receive(text)` for each piece, returns once
// the answer has ended, and throws the client's error.
export async function each(ask) {
  for (const name of cases) {
    let received = '';
    let error = null;
    try {
      await ask(`${base}/${name}`, (text) => { received += text; });
    } catch (thrown) {
      error = `${thrown.name}: ${thrown.message}`;
    }
    process.stdout.write(`${JSON.stringify({ case: name, received, error })}\n`);
  }
  process.exit();
}
