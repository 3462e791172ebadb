/** Figures as files: PNG and SVG by the same drawing code, and tables as CSV. */
import { button, h } from "../dom/elements.js";
import { colour } from "../shell/theme.js";
import { attempt } from "../shell/notices.js";
import { SvgContext } from "./svg_context.js";

const PNG_RATIO = 2;

/**
 * Buttons that save a figure.
 *
 * @param {() => {name: string, width: number, height: number, paint: (context) => void, rows?: Array[]}} figure what to save
 *   now. name: of the file, without its ending. paint: draws on a 2-D context of `width` × `height`. rows: of the CSV file,
 *   the names of the columns first.
 */
export function saveButtons(figure, { what }) {
  const one = (label, save) =>
    button(label, () => attempt(() => save(figure())), {
      class: "quiet small",
      "aria-label": `Save ${what} as ${label}`,
    });
  return h(
    "div",
    { class: "row", role: "group", "aria-label": `Save ${what}` },
    one("PNG", savePng),
    one("SVG", saveSvg),
    one("CSV", saveCsv),
  );
}

/** Saves a figure with twice its pixels. */
export async function savePng({ name, width, height, paint }) {
  const canvas = h("canvas", { width: width * PNG_RATIO, height: height * PNG_RATIO });
  const context = canvas.getContext("2d");
  context.scale(PNG_RATIO, PNG_RATIO);
  paintOn(context, { width, height, paint });
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error(`The browser could not write a picture of ${width} × ${height} pixels.`);
  saveBlob(blob, `${name}.png`);
}

export function saveSvg({ name, width, height, paint }) {
  const context = new SvgContext(width, height);
  paintOn(context, { width, height, paint });
  saveBlob(new Blob([context.toString()], { type: "image/svg+xml" }), `${name}.svg`);
}

/** Rows as CSV (RFC 4180): numbers with all digits, texts quoted where they must be. */
export function saveCsv({ name, rows }) {
  saveBlob(new Blob([csvText(rows)], { type: "text/csv" }), `${name}.csv`);
}

export function csvText(rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

/** Starts the download of a file. */
export function saveBlob(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 30_000);
}

function paintOn(context, { width, height, paint }) {
  context.fillStyle = colour("plot");
  context.fillRect(0, 0, width, height);
  paint(context);
}
