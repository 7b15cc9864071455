// What the scripts of the official clients share: `node SCRIPT URL CASE…` has the client ask `URL/CASE` for each case, and
// prints a line of JSON for each: the text that it received, and the error that it reported.
const [base, ...cases] = process.argv.slice(2);

// `ask(url, receive)` calls `receive(text)` for each piece, returns at the end of the answer, and throws the client's error.
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
