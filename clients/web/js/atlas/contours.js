/** Density contours of the groups of a map: regions that hold 50 % and 90 % of a group's visible points. */
import { contour, density, levelOf } from "../plot/density.js";
import { categoryColour } from "../plot/palette.js";

const SHARES = [0.5, 0.9];
/** Smaller groups have no contours. */
const MIN_POINTS = 10;

/**
 * Contours `{colour, name, layer, share, segments}` of each named group; on a map of panels, in each panel.
 *
 * @param {Object[]} panels see `panelled`; empty for a map of one layer
 */
export function contoursOf(points, colours, looks, panels) {
  const frames = new Map(panels.map((panel) => [panel.layer, panel.frame]));
  const groups = new Map();
  for (let i = 0; i < points.n; i++) {
    const k = colours.key[i];
    if (!looks[4 * i + 2] || colours.keys[k].isRest) continue;
    const id = `${k} ${panels.length ? points.layer[i] : ""}`;
    if (!groups.has(id)) groups.set(id, { key: colours.keys[k], layer: points.layer[i], items: [] });
    groups.get(id).items.push(i);
  }
  return [...groups.values()].flatMap((group) => ofGroup(points, group, frames.get(group.layer)));
}

function ofGroup(points, { key, layer, items }, frame) {
  if (items.length < MIN_POINTS) return [];
  const own = new Float32Array(3 * items.length);
  items.forEach((i, k) => own.set(points.coordinates.subarray(3 * i, 3 * i + 3), 3 * k));
  const grid = density(own);
  if (!grid) return [];
  return SHARES.map((share) => {
    const segments = contour(grid, levelOf(grid, own, share)).filter((segment) => isWithin(segment, frame));
    return { colour: key.colour, name: key.name, layer, share, segments };
  });
}

function isWithin([x1, y1, x2, y2], frame) {
  if (!frame) return true;
  const holds = (x, y) => x >= frame.left && x <= frame.right && y >= frame.bottom && y <= frame.top;
  return holds(x1, y1) && holds(x2, y2);
}

/** Paints contours on a 2-D context. */
export function paintContours(context, contours, camera) {
  for (const { colour, share, segments } of contours) {
    context.beginPath();
    for (const [x1, y1, x2, y2] of segments) {
      context.moveTo(...camera.toScreen(x1, y1));
      context.lineTo(...camera.toScreen(x2, y2));
    }
    context.lineWidth = share > 0.5 ? 1 : 1.8;
    context.strokeStyle = categoryColour(colour);
    context.stroke();
  }
}
