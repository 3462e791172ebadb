/** The state of a map in the link: view, selection, hidden groups and switches. Placed points are not kept. */

/** Selected points that a link lists one by one; of more than these a link keeps the line or the search only. */
const MAX_LISTED = 200;

/**
 * @param {URLSearchParams} query
 * @returns {{view: ?Object, isAll: boolean, hidden: Set<string>, find: string, line: ?Object, items: number[], labels: boolean, contours: boolean}}
 *   view: a state of the camera. isAll: the frames of panels show all points. items: points by their order in the answer of the
 *   server. Malformed values are left out.
 */
export function readState(query) {
  return {
    view: readView(query.get("view")),
    isAll: query.get("range") === "all",
    hidden: new Set((query.get("hide") ?? "").split(",").filter(Boolean).map(decode)),
    find: query.get("find") ?? "",
    line: readLine(query.get("lasso")),
    items: (numbers(query.get("points")) ?? []).filter((value) => Number.isInteger(value) && value >= 0),
    labels: query.get("labels") !== "0",
    contours: query.get("contours") === "1",
  };
}

/** The entry of the link for a state of the camera. */
export function viewText({ centre, span, turn, pivot }) {
  const more = turn ? [...turn, ...pivot].map((value) => Number(value.toPrecision(7))) : [];
  return [...centre, span, ...more].join(",");
}

/** The entries of the link for a selection `{find}`, `{line}` or `{items}`; all others are removed. */
export function selectionEntries({ find = "", line = null, items = [] }) {
  return {
    find,
    lasso: line ? [line.corners.flat().join(","), ...(line.frame ? [line.frame.join(",")] : [])].join("~") : "",
    points: items.length <= MAX_LISTED ? items.join(",") : "",
  };
}

export function hiddenText(names) {
  return [...names].map(encodeURIComponent).join(",");
}

function readView(text) {
  const found = numbers(text);
  if (!found || ![3, 15].includes(found.length) || !(found[2] > 0)) return null;
  const view = { centre: found.slice(0, 2), span: found[2] };
  return found.length === 3 ? view : { ...view, turn: found.slice(3, 12), pivot: found.slice(12) };
}

function readLine(text) {
  const [corners, frame] = (text ?? "").split("~").map(numbers);
  if (!corners || corners.length < 6 || corners.length % 2) return null;
  if (frame !== undefined && frame?.length !== 12) return null;
  const pairs = Array.from({ length: corners.length / 2 }, (_, k) => corners.slice(2 * k, 2 * k + 2));
  return { corners: pairs, frame: frame ?? null };
}

/** Comma-separated finite numbers; null if there is anything else. */
function numbers(text) {
  if (!text) return null;
  const found = text.split(",").map(Number);
  return found.every(Number.isFinite) ? found : null;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
