/** Where we are, in the address behind `#`: `#/runs/run-1?tab=spec`. Each place can be linked to and gone back to. */

/** @returns {{parts: string[], query: URLSearchParams}} */
export function parseHash(hash) {
  const text = hash.replace(/^#\/?/, "");
  const mark = text.indexOf("?");
  const path = mark < 0 ? text : text.slice(0, mark);
  const parts = path.split("/").filter(Boolean).map(decode);
  return { parts, query: new URLSearchParams(mark < 0 ? "" : text.slice(mark + 1)) };
}

/** A link inside the page; parts may be anything. */
export function link(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(given).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

export function go(parts, query) {
  location.hash = link(parts, query);
}

/** Remembers what is shown in the address, without a step in the history and without showing it again. */
export function remember(changes) {
  const { parts, query } = parseHash(location.hash);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") query.delete(name);
    else query.set(name, value);
  }
  history.replaceState(null, "", link(parts, Object.fromEntries(query)));
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
