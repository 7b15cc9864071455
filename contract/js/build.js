// Puts the types in front of the runtime, like `Api::typescript()`, and transpiles the result for
// the tests. `streams.ts` is the module that a user has. `streams.js` also exports the internal
// functions that the tests call.

import { readFile, writeFile } from "node:fs/promises";
import { transform } from "esbuild";

const [, , types, runtime] = process.argv;
const typescript = `${await readFile(types, "utf8")}\n${await readFile(runtime, "utf8")}`;
const { code } = await transform(`${typescript}\nexport { open, parser, retryAfter };\n`, {
  loader: "ts",
  format: "esm",
  target: "es2022",
});
await writeFile("streams.ts", typescript);
await writeFile("streams.js", code);
