// Runs the cases outside of browsers, and prints the result as JSON: `run_cases.js SERVER RUNTIME`.

import process from "node:process";
import { run } from "./cases.js";

const [, , server, runtime] = process.argv;
console.log(JSON.stringify(await run(server, runtime)));
process.exit();
