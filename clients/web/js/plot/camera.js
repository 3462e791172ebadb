/** Camera: orthographic projection of world coordinates to pixels. 3-D maps are rotated before the projection. */

const IDENTITY = [1, 0, 0, 0, 1, 0, 0, 0, 1];
const FILLED = 0.86;

export class Camera {
  constructor() {
    this.width = 1;
    this.height = 1;
    this.centre = [0, 0];
    this.pivot = [0, 0, 0];
    /** Pixels per world unit. */
    this.scale = 1;
    /** Rotation matrix, row-major. */
    this.turn = IDENTITY;
  }

  copy() {
    return Object.assign(new Camera(), this, { centre: [...this.centre] });
  }

  get isFlat() {
    return this.turn === IDENTITY;
  }

  /** Centres and scales a box `{min: [x, y, z], max: [x, y, z]}` into view. */
  fit(box) {
    const size = box.max.map((high, i) => high - box.min[i]);
    const middle = box.max.map((high, i) => (high + box.min[i]) / 2);
    this.pivot = middle;
    this.centre = [middle[0], middle[1]];
    const span = this.isFlat ? size : size.map(() => Math.hypot(...size));
    const fits = [this.width / span[0], this.height / span[1]].filter(Number.isFinite);
    this.scale = FILLED * (fits.length ? Math.min(...fits) : 1);
  }

  /** `[x, y]` of a point after the rotation. */
  turned(x, y, z) {
    if (this.isFlat) return [x, y];
    const t = this.turn;
    const [px, py, pz] = this.pivot;
    const [dx, dy, dz] = [x - px, y - py, z - pz];
    return [px + t[0] * dx + t[1] * dy + t[2] * dz, py + t[3] * dx + t[4] * dy + t[5] * dz];
  }

  toScreen(x, y, z = 0) {
    const [wx, wy] = this.turned(x, y, z);
    return [(wx - this.centre[0]) * this.scale + this.width / 2, this.height / 2 - (wy - this.centre[1]) * this.scale];
  }

  /** Coefficients of `toScreen`: x, y, z and constant of the horizontal pixel, then of the vertical one. For many points. */
  affine() {
    const [t, [px, py, pz], scale] = [this.turn, this.pivot, this.scale];
    const offset = (k, own) => (this.isFlat ? 0 : own - (t[k] * px + t[k + 1] * py + t[k + 2] * pz));
    return [
      ...[scale * t[0], scale * t[1], scale * t[2], (offset(0, px) - this.centre[0]) * scale + this.width / 2],
      ...[-scale * t[3], -scale * t[4], -scale * t[5], this.height / 2 - (offset(3, py) - this.centre[1]) * scale],
    ];
  }

  /** The rotated coordinates of a pixel. */
  fromScreen(sx, sy) {
    return [
      (sx - this.width / 2) / this.scale + this.centre[0],
      (this.height / 2 - sy) / this.scale + this.centre[1],
    ];
  }

  /** Numbers rounded to a tenth of a pixel. */
  rounded(values) {
    const decimals = Math.min(20, Math.max(0, Math.ceil(Math.log10(this.scale)) + 1));
    return values.map((value) => Number(value.toFixed(decimals)));
  }

  /** What is shown, for any size of the window: `{centre, span, turn, pivot}`; span: of the shorter side, in world units. */
  state() {
    return {
      centre: this.rounded(this.centre),
      span: Number((Math.min(this.width, this.height) / this.scale).toPrecision(5)),
      ...(!this.isFlat && { turn: this.turn, pivot: this.pivot }),
    };
  }

  /** Shows a state of `state()`. */
  restore({ centre, span, turn = IDENTITY, pivot = this.pivot }) {
    Object.assign(this, { centre: [...centre], turn, pivot });
    this.scale = Math.min(1e9, Math.max(1e-9, Math.min(this.width, this.height) / span));
  }

  pan(dx, dy) {
    this.centre = [this.centre[0] - dx / this.scale, this.centre[1] + dy / this.scale];
  }

  /** Zooms by a factor around a pixel, which keeps its world coordinates. */
  zoom(factor, sx = this.width / 2, sy = this.height / 2) {
    const offset = [sx - this.width / 2, this.height / 2 - sy];
    const before = this.scale;
    this.scale = Math.min(1e9, Math.max(1e-9, before * factor));
    const gone = 1 / before - 1 / this.scale;
    this.centre = [this.centre[0] + offset[0] * gone, this.centre[1] + offset[1] * gone];
  }

  /** Rotates around the pivot by a drag of `dx`, `dy` pixels. */
  rotate(dx, dy) {
    const [a, b] = [dx * 0.008, dy * 0.008];
    const aroundY = [Math.cos(a), 0, Math.sin(a), 0, 1, 0, -Math.sin(a), 0, Math.cos(a)];
    const aroundX = [1, 0, 0, 0, Math.cos(b), -Math.sin(b), 0, Math.sin(b), Math.cos(b)];
    this.turn = product(aroundX, product(aroundY, this.turn));
  }

  /** The CSS transform from a picture by the camera `drawn` to this camera's picture; null if their rotations differ. */
  since(drawn) {
    if (this.turn !== drawn.turn) return null;
    const factor = this.scale / drawn.scale;
    const dx = (drawn.centre[0] - this.centre[0]) * this.scale + (this.width / 2) * (1 - factor);
    const dy = (this.centre[1] - drawn.centre[1]) * this.scale + (this.height / 2) * (1 - factor);
    return { dx, dy, factor };
  }
}

function product(a, b) {
  const at = (i, j) => a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
  return [at(0, 0), at(0, 1), at(0, 2), at(1, 0), at(1, 1), at(1, 2), at(2, 0), at(2, 1), at(2, 2)];
}
