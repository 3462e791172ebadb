/** Routes in the fragment of the URL, for example `#/runs/run-1?tab=spec`. */

/** @returns {{parts: string[], query: URLSearchParams}} */
export function parseHash(hash) {
  const text = hash.replace(/^#\/?/, "");
  const mark = text.indexOf("?");
  const path = mark < 0 ? text : text.slice(0, mark);
  const parts = path.split("/").filter(Boolean).map(decode);
  return { parts, query: new URLSearchParams(mark < 0 ? "" : text.slice(mark + 1)) };
}

/** The fragment of a route; parts and values are encoded, empty values omitted. */
export function link(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(given).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

export function go(parts, query) {
  location.hash = link(parts, query);
}

/** Changes the query of the current route, without a new history entry and without rendering the view again. */
export function updateQuery(changes) {
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
