/** Points and facts of one map from the server, kept by layer. */
import { path } from "../api/client.js";
import { Points } from "./points.js";

export class MapLoader {
  constructor({ api, id, signal }) {
    Object.assign(this, { api, id, signal });
    this.cache = new Map();
  }

  /** The facts of the map, together with the points of a layer, or of "all" layers. */
  async open(layer) {
    const { points, facts } = await this.#fetch(layer);
    this.cache.set(layer, points);
    return facts;
  }

  async points(layer) {
    if (!this.cache.has(layer)) this.cache.set(layer, (await this.#fetch(layer)).points);
    return this.cache.get(layer);
  }

  has(layer) {
    return this.cache.has(layer);
  }

  /** Projects sources onto the given layers, null for all; nothing is stored. */
  async project(sources, layers) {
    const answer = await this.api.tensors(path`/v1/maps/${this.id}/project`, {
      body: { sources, ...(layers && { layers }) },
      signal: this.signal,
    });
    return Points.read(answer);
  }

  async #fetch(layer) {
    const query = layer === "all" ? {} : { layer };
    const answer = await this.api.tensors(path`/v1/maps/${this.id}`, { query, signal: this.signal });
    return { points: Points.read(answer), facts: answer.metadata };
  }
}

/**
 * The layer that is shown first.
 *
 * @param {?Object} row of the list of maps; null if it is not listed
 * @param {?string} wanted the layer in the link: a number, "all", or null
 */
export function firstLayer(row, wanted) {
  if (!row || wanted === "all") return "all";
  if (wanted !== null && row.layers.includes(Number(wanted))) return Number(wanted);
  return row.default_layer ?? row.layers[0];
}
