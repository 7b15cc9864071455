// Validates a document with @seriousme/openapi-schema-validator: `validate.js FILE`.
import { readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";

const [file] = process.argv.slice(2);
const document = JSON.parse(readFileSync(file, "utf8"));
const { valid, errors } = await new Validator().validate(document);
if (!valid) {
  console.log(JSON.stringify(errors, null, 2));
  process.exit(1);
}
