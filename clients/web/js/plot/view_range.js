/** Ranges of coordinates: what a first view shows, and what lies outside a view. */
import { quantile } from "./order.js";

/** Share of the points at each end of an axis that a cropped view leaves outside. */
export const CROPPED = 0.02;

/**
 * The box `{min: [x, y, z], max: [x, y, z]}` of the coordinates for which `isIncluded(i)` holds; null if there are none.
 *
 * @param {Float32Array} coordinates `[n, 3]`
 * @param {number} cropped share of the points at each end of each axis that is left outside; quantiles are interpolated
 *   linearly
 */
export function rangeBox(coordinates, isIncluded, cropped = 0) {
  const n = coordinates.length / 3;
  const items = new Uint32Array(n);
  let nIncluded = 0;
  for (let i = 0; i < n; i++) if (isIncluded(i)) items[nIncluded++] = i;
  if (!nIncluded) return null;
  const values = new Float32Array(nIncluded);
  const ends = [0, 1, 2].map((axis) => {
    for (let k = 0; k < nIncluded; k++) values[k] = coordinates[3 * items[k] + axis];
    return endsOf(values, cropped);
  });
  return { min: ends.map(([low]) => low), max: ends.map(([, high]) => high) };
}

function endsOf(values, cropped) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  // The third coordinate of a map in the plane, for example.
  if (cropped === 0 || low === high) return [low, high];
  return [quantile(values, cropped), quantile(values, 1 - cropped)];
}

/** Numbers of visible points outside the view of a camera, `{left, right, above, below}`; each point counts once. */
export function beyond(camera, coordinates, looks) {
  const found = { left: 0, right: 0, above: 0, below: 0 };
  const { width, height } = camera;
  const [ax, ay, az, a, bx, by, bz, b] = camera.affine();
  for (let i = 0; i < looks.length / 4; i++) {
    if (looks[4 * i + 2] === 0) continue;
    const px = coordinates[3 * i];
    const py = coordinates[3 * i + 1];
    const pz = coordinates[3 * i + 2];
    const x = ax * px + ay * py + az * pz + a;
    const y = bx * px + by * py + bz * pz + b;
    if (x < 0) found.left++;
    else if (x > width) found.right++;
    else if (y < 0) found.above++;
    else if (y > height) found.below++;
  }
  return found;
}
