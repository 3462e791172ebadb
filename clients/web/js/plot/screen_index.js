/** Points under the pointer, by a grid index in screen space, and points inside a line that was drawn around them. */
import { Camera } from "./camera.js";

const CELL = 14;
const MAX_CORNERS = 80;

export class ScreenIndex {
  /**
   * @param {Camera} camera @param {Float32Array} coordinates `[n, 3]`
   * @param {(i: number) => boolean} isVisible
   */
  constructor(camera, coordinates, isVisible) {
    const n = coordinates.length / 3;
    this.x = new Float32Array(n);
    this.y = new Float32Array(n);
    this.across = Math.ceil(camera.width / CELL) + 1;
    this.down = Math.ceil(camera.height / CELL) + 1;
    const cells = new Int32Array(n);
    const starts = new Uint32Array(this.across * this.down + 1);
    const { width, height } = camera;
    const [ax, ay, az, a, bx, by, bz, b] = camera.affine();
    for (let i = 0; i < n; i++) {
      const px = coordinates[3 * i];
      const py = coordinates[3 * i + 1];
      const pz = coordinates[3 * i + 2];
      const sx = ax * px + ay * py + az * pz + a;
      const sy = bx * px + by * py + bz * pz + b;
      this.x[i] = sx;
      this.y[i] = sy;
      const outside = sx < 0 || sy < 0 || sx > width || sy > height || !isVisible(i);
      cells[i] = outside ? -1 : Math.floor(sy / CELL) * this.across + Math.floor(sx / CELL);
      if (!outside) starts[cells[i] + 1]++;
    }
    for (let c = 0; c < starts.length - 1; c++) starts[c + 1] += starts[c];
    this.starts = starts;
    this.items = new Uint32Array(starts[starts.length - 1]);
    const next = starts.slice();
    for (let i = 0; i < n; i++) if (cells[i] >= 0) this.items[next[cells[i]]++] = i;
  }

  /** The visible point nearest to a pixel, within `reach` pixels; −1 if there is none. Of equally near points the last one. */
  nearest(sx, sy, reach = 9) {
    let best = -1;
    let least = reach * reach;
    this.#forEachNear(sx, sy, reach, (i) => {
      const distance = (this.x[i] - sx) ** 2 + (this.y[i] - sy) ** 2;
      if (distance <= least) {
        least = distance;
        best = i;
      }
    });
    return best;
  }

  #forEachNear(sx, sy, reach, visit) {
    const clamp = (value, most) => Math.min(most - 1, Math.max(0, Math.floor(value / CELL)));
    for (let row = clamp(sy - reach, this.down); row <= clamp(sy + reach, this.down); row++) {
      for (let column = clamp(sx - reach, this.across); column <= clamp(sx + reach, this.across); column++) {
        const cell = row * this.across + column;
        for (let k = this.starts[cell]; k < this.starts[cell + 1]; k++) visit(this.items[k]);
      }
    }
  }
}

/**
 * A drawn line in the coordinates of the map, so that it selects the same points in another window.
 *
 * @param {number[][]} pixels
 * @returns {{corners: number[][], frame: ?number[]}} corners: at most 80, rounded to a tenth of a pixel. frame: rotation and pivot of a
 *   rotated camera
 */
export function lineOf(camera, pixels) {
  const step = Math.ceil(pixels.length / MAX_CORNERS);
  const corners = pixels.filter((_, i) => i % step === 0).map(([x, y]) => camera.rounded(camera.fromScreen(x, y)));
  const frame = [...camera.turn, ...camera.pivot].map((value) => Number(value.toPrecision(7)));
  return { corners, frame: camera.isFlat ? null : frame };
}

/** Points inside a line of `lineOf` for which `isVisible(i)` holds, sorted. */
export function insideLine({ corners, frame }, coordinates, isVisible) {
  const camera = new Camera();
  if (frame) Object.assign(camera, { turn: frame.slice(0, 9), pivot: frame.slice(9) });
  const xs = corners.map((point) => point[0]);
  const ys = corners.map((point) => point[1]);
  const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  // At the scale 1 and the centre 0, with the vertical axis upwards.
  const [ax, ay, az, a, bx, by, bz, b] = Object.assign(camera, { width: 0, height: 0 }).affine();
  const found = [];
  for (let i = 0; i < coordinates.length / 3; i++) {
    if (!isVisible(i)) continue;
    const px = coordinates[3 * i];
    const py = coordinates[3 * i + 1];
    const pz = coordinates[3 * i + 2];
    const x = ax * px + ay * py + az * pz + a;
    const y = -(bx * px + by * py + bz * pz + b);
    if (x >= left && x <= right && y >= bottom && y <= top && isInside(x, y, xs, ys)) found.push(i);
  }
  return found;
}

/** Ray casting: whether a ray to the right crosses the polygon an odd number of times. */
function isInside(x, y, xs, ys) {
  let inside = false;
  for (let a = 0, b = xs.length - 1; a < xs.length; b = a++) {
    const crosses = ys[a] > y !== ys[b] > y;
    if (crosses && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) inside = !inside;
  }
  return inside;
}
