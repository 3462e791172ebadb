/** Points of a map as columns. The drawing order is by role: the most important points are drawn last, on top. */
import { readTexts } from "../api/safetensors.js";
import { sortedIndices } from "../plot/order.js";

export const TEXTS = ["source", "text", "token", "group", "role", "task", "prompt"];
const NO_POSITION = -(2 ** 31);
const RANK = { embedding: 0, state: 1, snapshot: 2, draw: 3, posterior: 4, placed: 5 };

export class Points {
  /**
   * @param {Object} columns `coordinates` [n, 3], `layer` [n], `position` [n], `since` [n] (order of arrival), `isFlat` (2-D),
   *   and a dictionary-encoded column `{codes, values}` for each of TEXTS; `own`: see `panelled`
   */
  constructor(columns) {
    Object.assign(this, columns);
    this.n = this.layer.length;
  }

  /** Reads the tensors of `GET /v1/maps/{id}` or its `project`. */
  static read({ tensors }) {
    const n = tensors.x.data.length;
    const coordinates = new Float32Array(3 * n);
    const isFlat = !tensors.z;
    for (let i = 0; i < n; i++) {
      coordinates[3 * i] = tensors.x.data[i];
      coordinates[3 * i + 1] = tensors.y.data[i];
      coordinates[3 * i + 2] = isFlat ? 0 : tensors.z.data[i];
    }
    const columns = {
      coordinates,
      isFlat,
      layer: tensors.layer.data,
      position: tensors.position.data,
      since: new Int32Array(n).map((_, i) => i),
    };
    for (const name of TEXTS)
      columns[name] = readTexts(tensors, name) ?? { codes: new Int32Array(n).fill(-1), values: [] };
    return new Points(columns);
  }

  static none() {
    const columns = {
      coordinates: new Float32Array(0),
      isFlat: true,
      layer: new Int32Array(0),
      position: new Int32Array(0),
      since: new Int32Array(0),
    };
    for (const name of TEXTS) columns[name] = { codes: new Int32Array(0), values: [] };
    return new Points(columns);
  }

  /** The text of point `i`, or null. */
  get(name, i) {
    const { codes, values } = this[name];
    return codes[i] < 0 ? null : values[codes[i]];
  }

  /** The token index or training step of point `i`, or null. */
  positionOf(i) {
    return this.position[i] === NO_POSITION ? null : this.position[i];
  }

  /** The index of point `i` among the points of its layer, as the server counts them. */
  fileIndex(i) {
    return this.since[i] - this.#starts().get(this.layer[i]);
  }

  /** The point with an index among the points of a layer, as the server counts them; −1 if it is not here. */
  at(layer, index) {
    return this.since.indexOf((this.#starts().get(layer) ?? NaN) + index);
  }

  /** The first order of arrival of each layer. */
  #starts() {
    if (this.starts) return this.starts;
    this.starts = new Map();
    for (let i = 0; i < this.n; i++) {
      const least = this.starts.get(this.layer[i]);
      if (least === undefined || this.since[i] < least) this.starts.set(this.layer[i], this.since[i]);
    }
    return this.starts;
  }

  /** These points followed by `other`. */
  joined(other) {
    const columns = { isFlat: this.isFlat && other.isFlat };
    for (const name of ["coordinates", "layer", "position"]) columns[name] = concatenated(this[name], other[name]);
    columns.since = concatenated(
      this.since,
      other.since.map((i) => i + this.n),
    );
    // Groups of the same name stay separate: a prompt's vectors and a text read with that prompt may share a name.
    for (const name of TEXTS)
      columns[name] = name === "group" ? appendedTexts(this.group, other.group) : joinedTexts(this[name], other[name]);
    return new Points(columns);
  }

  /** The points with the given indices. */
  only(items) {
    return this.#select(Uint32Array.from(items));
  }

  /** The same points in drawing order. Points of one rank are shuffled, so that no source covers another. */
  ordered() {
    const rank = this.role.values.map((role) => RANK[role] ?? 1);
    const [low, high, ranks] = [0, 1, 2].map(() => new Uint16Array(this.n));
    for (let i = 0; i < this.n; i++) {
      const bits = shuffled(i);
      low[i] = bits & 0xffff;
      high[i] = bits >>> 16;
      ranks[i] = rank[this.role.codes[i]] ?? 1;
    }
    return this.#select(sortedIndices([low, high, ranks], this.n));
  }

  #select(order) {
    const columns = { isFlat: this.isFlat, coordinates: new Float32Array(3 * order.length) };
    const [from, to] = [this.coordinates, columns.coordinates];
    for (let k = 0; k < order.length; k++) {
      for (let axis = 0; axis < 3; axis++) to[3 * k + axis] = from[3 * order[k] + axis];
    }
    for (const name of ["layer", "position", "since"]) columns[name] = picked(this[name], order);
    for (const name of TEXTS) columns[name] = { codes: picked(this[name].codes, order), values: this[name].values };
    return new Points(columns);
  }

  /** Ordered groups `{group, layer, isTrainingPath, items}`: the training path of a prompt vector, or a trajectory. */
  groups() {
    const found = new Map();
    for (let i = 0; i < this.n; i++) {
      const code = this.group.codes[i];
      if (code < 0) continue;
      const key = code * 4096 + this.layer[i];
      if (!found.has(key)) found.set(key, { group: this.group.values[code], layer: this.layer[i], items: [] });
      found.get(key).items.push(i);
    }
    for (const one of found.values()) {
      one.items.sort((a, b) => this.since[a] - this.since[b]);
      one.isTrainingPath = this.get("role", one.items[0]) !== "state";
    }
    return [...found.values()].sort((a, b) => this.since[a.items[0]] - this.since[b.items[0]]);
  }
}

/** Points as rows of a table, the names of the columns first. Coordinates are those of the map, also for points in panels. */
export function rowsOf(points, items) {
  const { coordinates, isFlat } = points.own ?? points;
  const head = ["x", "y", ...(isFlat ? [] : ["z"]), "layer", "position", ...TEXTS];
  const row = (i) => [
    ...coordinates.subarray(3 * i, 3 * i + (isFlat ? 2 : 3)),
    points.layer[i],
    points.positionOf(i),
    ...TEXTS.map((name) => points.get(name, i)),
  ];
  return [head, ...items.map(row)];
}

/** 32 pseudo-random bits that depend on `i` only. */
function shuffled(i) {
  return (Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(i + 7, 0x85ebca6b)) >>> 0;
}

function picked(column, order) {
  const found = new column.constructor(order.length);
  for (let i = 0; i < order.length; i++) found[i] = column[order[i]];
  return found;
}

function concatenated(a, b) {
  const joined = new a.constructor(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}

function appendedTexts(a, b) {
  const codes = b.codes.map((code) => (code < 0 ? -1 : code + a.values.length));
  return { values: [...a.values, ...b.values], codes: concatenated(a.codes, codes) };
}

function joinedTexts(a, b) {
  const numbers = new Map(a.values.map((value, i) => [value, i]));
  const values = [...a.values];
  const moved = b.values.map((value) => {
    if (!numbers.has(value)) numbers.set(value, values.push(value) - 1);
    return numbers.get(value);
  });
  return {
    values,
    codes: concatenated(
      a.codes,
      b.codes.map((code) => (code < 0 ? -1 : moved[code])),
    ),
  };
}
