/** Reader of CSV and TSV files (RFC 4180), which the page converts to JSON lines before the upload. */

/** A file that cannot be converted. line: number of the line in the file, from 1. */
export class CsvError extends Error {
  constructor(message, line) {
    super(message);
    Object.assign(this, { name: "CsvError", line });
  }
}

/**
 * The records of a CSV text: the first row has the names of the columns, and all other rows have as many cells.
 *
 * @param {string} separator "," or a tab
 * @returns {{columns: string[], records: Object<string, string>[], lines: number[]}} lines: where each record starts
 * @throws {CsvError}
 */
export function readCsv(text, separator = ",") {
  const rows = rowsOf(text.replace(/^\ufeff/, ""), separator);
  if (!rows.length) throw new CsvError("Expected a row with the names of the columns, got an empty file.", 1);
  const [{ cells: columns }, ...rest] = rows;
  const twice = columns.find((name, i) => name === "" || columns.indexOf(name) !== i);
  if (twice !== undefined)
    throw new CsvError(
      `Expected different names of columns, got ${twice ? `“${twice}” twice` : "one without a name"}.`,
      1,
    );
  for (const { cells, line } of rest) {
    if (cells.length !== columns.length)
      throw new CsvError(`Expected ${columns.length} cells, as in the first row; got ${cells.length}.`, line);
  }
  const record = ({ cells }) => Object.fromEntries(columns.map((name, i) => [name, cells[i]]));
  return { columns, records: rest.map(record), lines: rest.map(({ line }) => line) };
}

/** Records as JSON lines. */
export function jsonLines(records) {
  return records.map((record) => `${JSON.stringify(record)}\n`).join("");
}

function rowsOf(text, separator) {
  const rows = [];
  let [cells, cell, line, start] = [[], "", 1, 1];
  let [isQuoted, wasQuoted] = [false, false];
  const endCell = () => {
    cells.push(cell);
    [cell, wasQuoted] = ["", false];
  };
  const endRow = () => {
    endCell();
    if (cells.length > 1 || cells[0] !== "") rows.push({ cells, line: start });
    cells = [];
  };
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === "\n") line += 1;
    if (isQuoted) {
      if (character !== '"') cell += character;
      else if (text[i + 1] === '"') cell += text[++i];
      else isQuoted = false;
    } else if (character === '"' && cell === "" && !wasQuoted) isQuoted = wasQuoted = true;
    else if (character === separator) endCell();
    else if (character === "\n") {
      endRow();
      start = line;
    } else if (character === "\r" && text[i + 1] === "\n") continue;
    else if (wasQuoted) throw new CsvError("Expected a separator after the closing quote.", line);
    else cell += character;
  }
  if (isQuoted) throw new CsvError("Expected a closing quote before the end of the file.", start);
  if (cell !== "" || cells.length || wasQuoted) endRow();
  return rows;
}
