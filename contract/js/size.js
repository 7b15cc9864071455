// Prints the minified and compressed size of the client without endpoints, and fails if the size
// exceeds the first argument.

import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const streams = await readFile("streams.ts", "utf8");
const size = async (names) => {
  const { outputFiles } = await build({
    stdin: { contents: `export { ${names} } from "./streams.ts";`, resolveDir: "." },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    write: false,
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
};

const most = Number(process.argv[2]);
const client = await size("connect, isError, StreamError, HttpError, ConnectionError");
console.log(`${client} bytes (limit: ${most})`);
if (streams.includes("export const shared")) {
  console.log(`${await size("connect, isError, StreamError, HttpError, ConnectionError, shared")} bytes with shared`);
}
process.exitCode = client <= most ? 0 : 1;
