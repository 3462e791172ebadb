/**
 * One panel per layer on one map. The points of each layer are scaled into a frame, so that pan, zoom, lasso and selection work on
 * all panels at once. Coordinates of different layers cannot be compared, and are not drawn over one another.
 */
import { CROPPED, rangeBox } from "../plot/view_range.js";
import { Points } from "./points.js";

const GAP = { across: 0.08, down: 0.22 };
const FILLED = 0.92;

/**
 * @param {Points} points
 * @param {number[]} layers of the map, in the order of the panels
 * @param {boolean} isCropped frames show the 2–98 % range of each axis; points outside lie on the frame
 * @returns {{points: Points, panels: {layer: number, n: number, nBeyond: number, frame: Object}[]}} points: with coordinates on the
 *   common map, two-dimensional; `own` are the coordinates of the map. frame: `{left, right, bottom, top}`.
 */
export function panelled(points, layers, { isCropped }) {
  const items = new Map(layers.map((layer) => [layer, []]));
  for (let i = 0; i < points.n; i++) items.get(points.layer[i])?.push(i);
  const coordinates = new Float32Array(3 * points.n);
  const columns = Math.ceil(Math.sqrt(layers.length));
  const panels = layers.map((layer, k) => {
    const x = (k % columns) * (1 + GAP.across);
    const y = -Math.floor(k / columns) * (1 + GAP.down);
    const frame = { left: x - 0.5, right: x + 0.5, bottom: y - 0.5, top: y + 0.5 };
    const own = items.get(layer);
    const nBeyond = place(points, own, { frame, coordinates, cropped: isCropped ? CROPPED : 0 });
    return { layer, n: own.length, nBeyond, frame };
  });
  return { points: new Points({ ...points, coordinates, own: points, isFlat: true }), panels };
}

/** Writes the coordinates of a panel's points; @returns the number of points outside the range, which lie on the frame. */
function place(points, items, { frame, coordinates, cropped }) {
  const own = new Float32Array(3 * items.length);
  items.forEach((i, k) => own.set(points.coordinates.subarray(3 * i, 3 * i + 3), 3 * k));
  const box = rangeBox(own, () => true, cropped);
  if (!box) return 0;
  const scale = FILLED / (Math.max(box.max[0] - box.min[0], box.max[1] - box.min[1]) || 1);
  let nBeyond = 0;
  items.forEach((i, k) => {
    const [x, y] = [0, 1].map((axis) => (own[3 * k + axis] - (box.min[axis] + box.max[axis]) / 2) * scale);
    if (Math.abs(x) > 0.5 || Math.abs(y) > 0.5) nBeyond++;
    coordinates[3 * i] = (frame.left + frame.right) / 2 + clamped(x);
    coordinates[3 * i + 1] = (frame.bottom + frame.top) / 2 + clamped(y);
  });
  return nBeyond;
}

function clamped(value) {
  return Math.min(0.5, Math.max(-0.5, value));
}

/** The points of all layers that represent the same thing as one of `items`: the same text, token, vector or draw; a set. */
export function linked(points, items) {
  const columns = ["source", "group", "text", "token", "role", "prompt"].map((name) => points[name].codes);
  const keyOf = (i) => `${columns.map((codes) => codes[i]).join()},${points.position[i]}`;
  const keys = new Set(Array.from(items, keyOf));
  const found = new Set(items);
  if (keys.size) for (let i = 0; i < points.n; i++) if (keys.has(keyOf(i))) found.add(i);
  return found;
}
