/** Ranges of coordinates: what a first view shows, and what lies outside a view. */

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
  const items = [];
  for (let i = 0; i < coordinates.length / 3; i++) if (isIncluded(i)) items.push(i);
  if (!items.length) return null;
  const ends = [0, 1, 2].map((axis) => endsOf(Float32Array.from(items, (i) => coordinates[3 * i + axis]), cropped));
  return { min: ends.map(([low]) => low), max: ends.map(([, high]) => high) };
}

function endsOf(values, cropped) {
  if (cropped === 0) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    return [low, high];
  }
  const sorted = values.sort();
  return [quantile(sorted, cropped), quantile(sorted, 1 - cropped)];
}

function quantile(sorted, share) {
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}

/** Numbers of visible points outside the view of a camera, `{left, right, above, below}`; each point counts once. */
export function beyond(camera, coordinates, looks) {
  const found = { left: 0, right: 0, above: 0, below: 0 };
  for (let i = 0; i < looks.length / 4; i++) {
    if (looks[4 * i + 2] === 0) continue;
    const [x, y] = camera.toScreen(coordinates[3 * i], coordinates[3 * i + 1], coordinates[3 * i + 2]);
    if (x < 0) found.left++;
    else if (x > camera.width) found.right++;
    else if (y < 0) found.above++;
    else if (y > camera.height) found.below++;
  }
  return found;
}
