/** Colour, shape and size of points, and the entries of the legend. */
import { DIM_INDEX, N_CATEGORIES, OTHER_INDEX, rampIndex } from "../plot/palette.js";

/** Columns that points can be coloured by: name and label. */
export const COLOURINGS = [
  ["source", "source"],
  ["task", "task"],
  ["prompt", "prompt"],
  ["role", "role"],
  ["token", "token"],
  ["layer", "layer"],
  ["position", "position or step"],
];

// Shape and size (half pixels) by role: discs, rings for draws, rimmed discs for posteriors, diamonds for placed points.
const LOOKS = {
  embedding: [0, 6],
  state: [0, 9],
  snapshot: [0, 7],
  draw: [1, 17],
  posterior: [2, 17],
  placed: [3, 22],
};

/**
 * @param {number[]} layers all layers of the map: the colour of a layer does not depend on which layers are shown
 * @returns {{keys: {name: string, n: number, colour: number}[], of: (i: number) => number, key: Int32Array, ramp: ?Object, note: ?string}}
 *   keys: entries of the legend, most frequent first; layers ascending. key: index of each point's entry. of: palette index of a point.
 *   note: a remark for the legend.
 */
export function colouring(points, by, layers = []) {
  if (by === "position") return byPosition(points);
  return by === "layer" ? byLayer(points, layers) : byCategory(points, by);
}

/** Name of a legend entry in links; entries that hold the rest are marked, since a category may have the same name. */
export function idOf(key) {
  return `${key.isRest ? "*" : ""}${key.name}`;
}

/**
 * Colour, shape, state and size of all points, four bytes each.
 *
 * @param {Object} state hidden: set of legend entries that are not shown. raised: set of points that stand out while the
 *   others are dimmed, or null. placed: points from this number on were placed by the user, or null.
 */
export function looksOf(points, colours, { hidden, raised, placed }) {
  const looks = new Uint8Array(4 * points.n);
  const shapes = points.role.values.map((role) => LOOKS[role] ?? LOOKS.state);
  const isHidden = Uint8Array.from(colours.keys, (_, k) => (hidden.has(k) ? 1 : 0));
  const smaller = points.n > 30_000 ? 3 : 0;
  for (let i = 0; i < points.n; i++) {
    const isPlaced = placed !== null && points.since[i] >= placed;
    const own = isPlaced ? LOOKS.placed : (shapes[points.role.codes[i]] ?? LOOKS.state);
    const shape = own[0];
    const isRaised = raised !== null && raised.has(i);
    const isDim = raised !== null && !isRaised;
    looks[4 * i] = isDim ? DIM_INDEX : colours.of(i);
    looks[4 * i + 1] = isDim && shape > 1 ? 0 : shape; // without the rim
    looks[4 * i + 2] = isHidden[colours.key[i]] ? 0 : isRaised ? 2 : 1;
    looks[4 * i + 3] = shape === 0 ? Math.max(4, own[1] - smaller) : own[1];
  }
  return looks;
}

/** Line segments between consecutive points of each group for which `isShown` holds, as the renderer takes them. */
export function linesOf(points, groups, looks, isShown) {
  const pairs = groups.filter(isShown).flatMap(({ items }) => items.slice(1).map((to, k) => [items[k], to]));
  const coordinates = new Float32Array(6 * pairs.length);
  const own = new Uint8Array(8 * pairs.length);
  pairs.forEach(([from, to], k) => {
    coordinates.set(points.coordinates.subarray(3 * from, 3 * from + 3), 6 * k);
    coordinates.set(points.coordinates.subarray(3 * to, 3 * to + 3), 6 * k + 3);
    const isSeen = looks[4 * from + 2] && looks[4 * to + 2];
    for (const end of [0, 1]) own.set([looks[4 * to], 0, isSeen ? 1 : 0, 0], 8 * k + 4 * end);
  });
  return { coordinates, looks: own };
}

/** Layers are ordered: their colours are those of the ramp, from the lowest to the highest layer of the map. */
function byLayer(points, layers) {
  const counts = new Map();
  for (const layer of points.layer) counts.set(layer, (counts.get(layer) ?? 0) + 1);
  const shown = [...counts.keys()].sort((a, b) => a - b);
  const known = layers.length ? layers : shown;
  const share = (layer) => known.indexOf(layer) / Math.max(1, known.length - 1);
  const keyOf = (layer) => ({ name: `layer ${layer}`, n: counts.get(layer), colour: rampIndex(share(layer)) });
  const keys = shown.map(keyOf);
  const numbers = new Map(shown.map((layer, k) => [layer, k]));
  const key = Int32Array.from(points.layer, (layer) => numbers.get(layer));
  const note =
    shown.length === 1 && known.length > 1
      ? `Only layer ${shown[0]} is shown, so all points have one colour. Show all layers to compare them.`
      : null;
  return { by: "layer", keys, key, of: (i) => keys[key[i]].colour, ramp: null, note };
}

function byCategory(points, by) {
  const { codes, values } = points[by];
  const counts = new Uint32Array(values.length);
  let nNone = 0;
  for (let i = 0; i < points.n; i++) {
    if (codes[i] < 0) nNone++;
    else counts[codes[i]]++;
  }
  const found = Array.from(counts, (n, code) => [code, n]).filter(([, n]) => n > 0);
  found.sort(by === "source" ? (a, b) => a[0] - b[0] : (a, b) => b[1] - a[1] || a[0] - b[0]);
  const several = found.length > N_CATEGORIES;
  const named = several ? found.slice(0, N_CATEGORIES - 1) : found;
  const backgrounds = by === "source" ? backgroundsOf(points) : new Set();
  let next = 0;
  const keys = named.map(([code, n]) => {
    const colour = backgrounds.has(code) ? OTHER_INDEX : next++;
    return { name: values[code], n, colour };
  });
  const numbers = new Map(named.map(([code], k) => [code, k]));
  const add = (name, n) => (n ? keys.push({ name, n, colour: OTHER_INDEX, isRest: true }) - 1 : -1);
  const others = add(
    `others (${found.length - named.length})`,
    found.slice(named.length).reduce((sum, [, n]) => sum + n, 0),
  );
  const none = add("none", nNone);
  const keyOf = Int32Array.from(values, (_, code) => numbers.get(code) ?? others);
  const key = new Int32Array(points.n);
  for (let i = 0; i < points.n; i++) key[i] = codes[i] < 0 ? none : keyOf[codes[i]];
  return { by, keys, key, of: (i) => keys[key[i]].colour, ramp: null };
}

/** Sources of embeddings only. They are the background of all other points and share the colour `other`. */
function backgroundsOf(points) {
  const embedding = points.role.values.indexOf("embedding");
  const hasOthers = new Uint8Array(points.source.values.length);
  for (let i = 0; i < points.n; i++) {
    if (points.role.codes[i] !== embedding || embedding < 0) hasOthers[points.source.codes[i]] = 1;
  }
  return new Set([...hasOthers.keys()].filter((source) => !hasOthers[source]));
}

function byPosition(points) {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < points.n; i++) {
    const value = points.positionOf(i);
    if (value !== null) [low, high] = [Math.min(low, value), Math.max(high, value)];
  }
  const key = new Int32Array(points.n);
  const counts = [0, 0];
  for (let i = 0; i < points.n; i++) counts[(key[i] = points.positionOf(i) === null ? 1 : 0)]++;
  const keys = [
    { name: "with a position", n: counts[0], colour: rampIndex(0.5) },
    { name: "none", n: counts[1], colour: OTHER_INDEX, isRest: true },
  ];
  const of = (i) => (key[i] ? OTHER_INDEX : rampIndex((points.positionOf(i) - low) / (high - low || 1)));
  return { by: "position", keys, key, of, ramp: counts[0] ? { low, high } : null };
}
