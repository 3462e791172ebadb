/** Formatting of numbers, times, sizes and tokens. */

/** A number with `digits` significant digits and no trailing zeros; a dash if the value is missing. */
export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return minus(value.toExponential(2));
  return minus(String(Number(value.toPrecision(digits))));
}

/** A fraction as a percentage. */
export function percent(value, digits = 1) {
  return value === null || value === undefined || Number.isNaN(value) ? "–" : `${(value * 100).toFixed(digits)} %`;
}

/** 1 536 → "1.5 KiB". */
export function bytes(n) {
  let value = n;
  for (const unit of ["B", "KiB", "MiB", "GiB", "TiB"]) {
    if (value < 1024 || unit === "TiB") return `${unit === "B" ? value : value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return "";
}

/** Seconds as "2 min 5 s". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** A date and time in the local time zone. */
export function dateTime(time) {
  if (!time) return "–";
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  const clock = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return today ? `today ${clock}` : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${clock}`;
}

/** Seconds between two times; up to now if `end` is missing; null without `start`. */
export function secondsBetween(start, end) {
  return start ? (new Date(end ?? Date.now()) - new Date(start)) / 1000 : null;
}

/**
 * A token with visible spaces, tabs, line breaks, and control and format characters. Format characters can hide a token or change
 * the direction of the text around it. A combining mark at the start gets a dotted circle, so that it is not drawn on the
 * character before the token.
 */
export function visible(token) {
  if (token === "") return "∅";
  const shown = token.replaceAll(" ", "·").replaceAll("\n", "⏎").replaceAll("\t", "⇥");
  return shown.replace(/^(?=\p{M})/u, "◌").replace(/(?!·)[\p{Zs}\p{C}\p{Zl}\p{Zp}]/gu, escaped);
}

function escaped(character) {
  const code = character.codePointAt(0).toString(16);
  return code.length > 2 ? `\\u{${code}}` : `\\x${code.padStart(2, "0")}`;
}

/** A text truncated to `n` characters. */
export function truncated(text, n = 160) {
  return text.length > n ? `${text.slice(0, n - 1)}…` : text;
}

/** "1 point", "3 points". */
export function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

/** A short description of a prior's spec: its kind and up to three parameters. */
export function priorName(prior) {
  if (!prior) return "–";
  const { kind, ...rest } = prior;
  const detail = Object.entries(rest)
    .filter(([, value]) => ["number", "string"].includes(typeof value))
    .map(([name, value]) => `${name} ${typeof value === "number" ? number(value) : truncated(value, 40)}`);
  return [kind, ...detail.slice(0, 3)].join(", ");
}

function minus(text) {
  return text.replace("-", "−");
}
