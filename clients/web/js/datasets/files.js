/** Files that a user wants to store as a dataset: their format, their fields, and the body of the upload. */
import { CsvError, jsonLines, readCsv } from "./csv.js";

/** Formats by the end of a file name. The server has no CSV; the page converts it. */
const BY_ENDING = { csv: "csv", tsv: "tsv", jsonl: "jsonl", ndjson: "jsonl", json: "squad", txt: "text" };

export const FORMATS = [
  ["csv", "CSV: columns separated by commas"],
  ["tsv", "TSV: columns separated by tabs"],
  ["jsonl", "JSON lines: one object a line"],
  ["squad", "SQuAD 1.1 or 2.0 (JSON)"],
  ["gsm8k", "GSM8K (JSON lines)"],
  ["deepmind-math", "DeepMind mathematics (text)"],
  ["text", "running text"],
];

/** The format that the name of a file suggests. */
export function formatOf(fileName) {
  return BY_ENDING[fileName.split(".").at(-1).toLowerCase()] ?? "jsonl";
}

/** A name for a dataset from the name of a file: lower case, with the characters that names may have. */
export function nameFor(fileName) {
  const stem = fileName.replace(/\.[^.]*$/, "").toLowerCase();
  return stem
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[^a-z0-9]+/, "")
    .slice(0, 64);
}

/**
 * The upload of a file.
 *
 * @returns {Promise<{file: Blob, format: string, fields: string[], lines: ?number[]}>} fields: names of the first record,
 *   for templates; lines: where each record starts in the file, if the page has converted it
 * @throws {CsvError} with the line of the fault
 */
export async function prepared(file, format) {
  if (format !== "csv" && format !== "tsv") return { file, format, fields: await fieldsOf(file, format), lines: null };
  const { columns, records, lines } = readCsv(await file.text(), format === "tsv" ? "\t" : ",");
  if (!records.length) throw new CsvError("Expected at least one row below the names of the columns.", 2);
  return { file: new Blob([jsonLines(records)]), format: "jsonl", fields: columns, lines };
}

const HEAD_BYTES = 1 << 20;

/** Names of the fields of the first record; none if it cannot be read, which the server then reports. */
async function fieldsOf(file, format) {
  if (format !== "jsonl") return [];
  const [first] = (await file.slice(0, HEAD_BYTES).text()).split("\n").filter((line) => line.trim());
  try {
    return Object.keys(JSON.parse(first));
  } catch {
    return [];
  }
}

/** The text of one line of a file. */
export async function lineOf(file, line) {
  return (await file.text()).split("\n")[line - 1] ?? "";
}
