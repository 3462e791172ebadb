/** Densities of points in the plane, and their contours. */
import { CROPPED, rangeBox } from "./view_range.js";

const SIZE = 96;
/** The grid and the kernel end at this number of bandwidths. */
const REACH = 4;

/**
 * Gaussian kernel density on a grid: points are binned linearly, then smoothed along each axis. The bandwidth is the same along
 * both axes: s · n^(−1/6) (Scott), where s² is the mean over the axes of min(σ, IQR / 1.349)², so that outliers do not widen it.
 *
 * @param {Float32Array} coordinates `[n, 3]`; the third is ignored
 * @returns {?{values: Float64Array, origin: number[], step: number[], size: number, bandwidth: number}} values: `[size, size]`, row by
 *   row from the bottom, per unit of area. null if the points have no extent.
 */
export function density(coordinates) {
  const n = coordinates.length / 3;
  const axes = [0, 1].map((axis) => Float64Array.from({ length: n }, (_, i) => coordinates[3 * i + axis]));
  const bandwidth = Math.hypot(...axes.map(spread)) * Math.SQRT1_2 * n ** (-1 / 6);
  if (!(bandwidth > 0)) return null;
  const box = rangeBox(coordinates, () => true, CROPPED);
  const origin = [0, 1].map((axis) => box.min[axis] - REACH * bandwidth);
  const step = [0, 1].map((axis) => (box.max[axis] + REACH * bandwidth - origin[axis]) / (SIZE - 1));
  const grid = { values: new Float64Array(SIZE * SIZE), origin, step, size: SIZE, bandwidth };
  bin(grid, axes);
  smooth(grid, { axis: 0, along: 1, across: SIZE });
  smooth(grid, { axis: 1, along: SIZE, across: 1 });
  const unit = 1 / (n * step[0] * step[1]);
  grid.values.forEach((value, k) => (grid.values[k] = value * unit));
  return grid;
}

/** The density above which the given share of the points lies (Hyndman 1996). */
export function levelOf(grid, coordinates, share) {
  const n = coordinates.length / 3;
  const own = (_, i) => valueAt(grid, coordinates[3 * i], coordinates[3 * i + 1]);
  const found = Float64Array.from({ length: n }, own).sort();
  return found[Math.min(n - 1, Math.floor((1 - share) * n))];
}

/** Segments of a contour, `[x, y, x, y]` each, by marching squares with linear interpolation. */
export function contour({ values, origin, step, size }, level) {
  const segments = [];
  const at = (column, row) => values[row * size + column];
  const place = (column, row) => [origin[0] + column * step[0], origin[1] + row * step[1]];
  for (let row = 0; row < size - 1; row++) {
    for (let column = 0; column < size - 1; column++) {
      const corners = [
        [column, row],
        [column + 1, row],
        [column + 1, row + 1],
        [column, row + 1],
      ];
      const crossings = [];
      corners.forEach((from, k) => {
        const to = corners[(k + 1) % 4];
        const [a, b] = [at(...from), at(...to)];
        if (a >= level === b >= level) return;
        const share = (level - a) / (b - a);
        crossings.push(place(from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])));
      });
      for (let k = 0; k + 1 < crossings.length; k += 2) segments.push([...crossings[k], ...crossings[k + 1]]);
    }
  }
  return segments;
}

function valueAt({ values, origin, step, size }, x, y) {
  const [u, v] = [(x - origin[0]) / step[0], (y - origin[1]) / step[1]];
  const [column, row] = [Math.floor(u), Math.floor(v)];
  if (column < 0 || row < 0 || column >= size - 1 || row >= size - 1) return 0;
  const [a, b] = [u - column, v - row];
  const at = (dx, dy) => values[(row + dy) * size + column + dx];
  return (1 - b) * ((1 - a) * at(0, 0) + a * at(1, 0)) + b * ((1 - a) * at(0, 1) + a * at(1, 1));
}

function spread(values) {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, n - 1));
  const sorted = values.slice().sort();
  const quartile = (share) => sorted[Math.round(share * (n - 1))];
  const robust = (quartile(0.75) - quartile(0.25)) / 1.349;
  return robust > 0 ? Math.min(deviation, robust) : deviation;
}

function bin({ values, origin, step, size }, [xs, ys]) {
  for (let i = 0; i < xs.length; i++) {
    const [u, v] = [(xs[i] - origin[0]) / step[0], (ys[i] - origin[1]) / step[1]];
    const [column, row] = [Math.floor(u), Math.floor(v)];
    if (column < 0 || row < 0 || column >= size - 1 || row >= size - 1) continue;
    const [a, b] = [u - column, v - row];
    values[row * size + column] += (1 - a) * (1 - b);
    values[row * size + column + 1] += a * (1 - b);
    values[(row + 1) * size + column] += (1 - a) * b;
    values[(row + 1) * size + column + 1] += a * b;
  }
}

/** Convolves each line of the grid along an axis with the Gaussian. along, across: distances in `values`. */
function smooth({ values, step, size, bandwidth }, { axis, along, across }) {
  const sigma = bandwidth / step[axis];
  const reach = Math.ceil(REACH * sigma);
  const weight = (_, k) => Math.exp(-((k - reach) ** 2) / (2 * sigma ** 2));
  const kernel = Float64Array.from({ length: 2 * reach + 1 }, weight);
  const total = kernel.reduce((sum, value) => sum + value, 0);
  const line = new Float64Array(size);
  for (let other = 0; other < size; other++) {
    for (let k = 0; k < size; k++) line[k] = values[other * across + k * along];
    for (let k = 0; k < size; k++) {
      let sum = 0;
      const last = Math.min(size - 1, k + reach);
      for (let j = Math.max(0, k - reach); j <= last; j++) sum += line[j] * kernel[j - k + reach];
      values[other * across + k * along] = sum / total;
    }
  }
}
