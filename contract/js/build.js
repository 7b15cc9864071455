// Transpiles the generated client for the tests. `streams.ts` is what a user has; `streams.js` also
// exports what the tests call.

import { readFile, writeFile } from "node:fs/promises";
import { transform } from "esbuild";

const typescript = await readFile("streams.ts", "utf8");
// The client expects nothing of an endpoint without keep-alives. For the test, it does.
const impatient = typescript.replace(/(path: "\/silent",.*? idle: )0/, "$11000");
if (impatient === typescript) throw new Error("streams.ts has no endpoint that can be silent");
const { code } = await transform(`${impatient}\nexport { open, parser, retryAfter };\n`, {
  loader: "ts",
  format: "esm",
  target: "es2022",
});
await writeFile("streams.js", code);
