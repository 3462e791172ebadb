/** Names of groups on the map, each at a point in the middle of its group. */
import { h, setChildren } from "../dom/elements.js";
import { truncated } from "../dom/format.js";
import { colour } from "../shell/theme.js";
import { select } from "../plot/order.js";
import { categoryColour } from "../plot/palette.js";

const FONT_PX = 12;
const LINE_PX = 18;
const MAX_NAME = 28;
/** Vertical shifts in lines that are tried where a label would cover another one. */
const SHIFTS = [0, -1, 1, -2, 2, -3, 3];

/**
 * The point nearest to the median of each named group's visible points, largest group first: `{name, colour, n, i}`.
 *
 * @param {Uint8Array} looks see `looksOf`
 */
export function anchorsOf(points, colours, looks) {
  const counts = new Uint32Array(colours.keys.length);
  for (let i = 0; i < points.n; i++) if (looks[4 * i + 2]) counts[colours.key[i]]++;
  const items = Array.from(counts, (n) => new Uint32Array(n));
  counts.fill(0);
  for (let i = 0; i < points.n; i++) {
    const k = colours.key[i];
    if (looks[4 * i + 2]) items[k][counts[k]++] = i;
  }
  const anchors = colours.keys.map((key, k) => {
    if (key.isRest || colours.ramp || !items[k].length) return null;
    return { name: key.name, colour: key.colour, n: items[k].length, i: nearestToMedian(points.coordinates, items[k]) };
  });
  return anchors.filter(Boolean).sort((a, b) => b.n - a.n);
}

function nearestToMedian(coordinates, items) {
  const values = new Float32Array(items.length);
  const [x, y, z] = [0, 1, 2].map((axis) => {
    for (let k = 0; k < items.length; k++) values[k] = coordinates[3 * items[k] + axis];
    return select(values, values.length >> 1);
  });
  let [best, least] = [items[0], Infinity];
  for (const i of items) {
    const distance =
      (coordinates[3 * i] - x) ** 2 + (coordinates[3 * i + 1] - y) ** 2 + (coordinates[3 * i + 2] - z) ** 2;
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}

/** Positions of labels, `{name, colour, x, y, width}`: the centre in pixels. A label that fits nowhere is left out. */
export function placedLabels(anchors, toScreen, { width, height }) {
  const placed = [];
  for (const { name, colour: own, i } of anchors) {
    const [px, py] = toScreen(i);
    if (px < 0 || py < 0 || px > width || py > height) continue;
    const text = truncated(name, MAX_NAME);
    const half = (text.length * FONT_PX * 0.58 + 22) / 2;
    const x = Math.min(width - half, Math.max(half, px));
    const y = SHIFTS.map((shift) => py + shift * LINE_PX).find((one) => isFree(placed, { x, y: one, half, height }));
    if (y !== undefined) placed.push({ name: text, colour: own, x, y, half });
  }
  return placed;
}

function isFree(placed, { x, y, half, height }) {
  if (y < LINE_PX || y > height - LINE_PX) return false;
  return placed.every((other) => Math.abs(other.y - y) >= LINE_PX || Math.abs(other.x - x) >= half + other.half);
}

export class GroupLabels {
  constructor() {
    // The legend has the same names.
    this.element = h("div", { class: "map-labels", "aria-hidden": "true" });
    this.anchors = [];
  }

  /** Shows the labels of these anchors at their pixels. */
  place(toScreen, size) {
    const labels = placedLabels(this.anchors, toScreen, size).map((label) => {
      const element = h(
        "span",
        { class: "map-label" },
        h("span", { class: "swatch", vars: { colour: categoryColour(label.colour) } }),
        label.name,
      );
      element.style.left = `${label.x}px`;
      element.style.top = `${label.y}px`;
      return element;
    });
    setChildren(this.element, labels);
  }

  /** Paints the same labels on a 2-D context, for a figure. */
  paint(context, toScreen, size) {
    for (const { name, colour: own, x, y, half } of placedLabels(this.anchors, toScreen, size)) {
      context.globalAlpha = 0.85;
      context.fillStyle = colour("plot");
      context.fillRect(x - half, y - LINE_PX / 2, 2 * half, LINE_PX);
      context.globalAlpha = 1;
      context.fillStyle = categoryColour(own);
      context.beginPath();
      context.arc(x - half + 8, y, 4, 0, 2 * Math.PI);
      context.fill();
      context.font = `${FONT_PX}px sans-serif`;
      context.textBaseline = "middle";
      context.textAlign = "left";
      context.fillStyle = colour("ink");
      context.fillText(name, x - half + 17, y);
    }
  }
}
