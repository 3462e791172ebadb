/** The nearest points of one point in the original space, as the server computes them from the stored vectors. */
import { path } from "../api/client.js";
import { h, select, setChildren } from "../dom/elements.js";
import { number, truncated, visible } from "../dom/format.js";

const SHOWN = 10;
const METRICS = [
  ["euclidean", "Euclidean"],
  ["cosine", "cosine"],
];

export class Neighbours {
  /**
   * @param {Object} on `onPick(i)`: the user chose a neighbour. `isPlaced(i)`: the user placed this point, so it has no stored
   *   vector.
   */
  constructor({ api, id, signal, onPick, isPlaced }) {
    Object.assign(this, { api, id, signal, onPick, isPlaced });
    this.metric = select(METRICS, { onchange: () => this.#load(), "aria-label": "Distance of neighbours" });
    this.list = h("ol", { class: "neighbours", "aria-label": "Nearest in the original space" });
    this.note = h("p", { class: "faint small", "aria-live": "polite" });
    const heading = h("div", { class: "row apart tight" }, h("h4", { class: "label" }, "Nearest in the original space"), this.metric);
    this.element = h("div", { class: "stack tight" }, heading, this.note, this.list);
  }

  /** Shows the neighbours of point `i`. */
  show(points, i) {
    Object.assign(this, { points, layer: points.layer[i], index: this.isPlaced(i) ? null : points.fileIndex(i) });
    return this.#load();
  }

  async #load() {
    const turn = (this.turn = Symbol("turn"));
    setChildren(this.list);
    const isPlaced = this.index === null;
    this.note.textContent = isPlaced ? "A placed point is not stored, so it has no neighbours here." : "Loading …";
    if (isPlaced) return;
    const query = { layer: this.layer, point: this.index, k: SHOWN, metric: this.metric.value };
    try {
      const found = await this.api.get(path`/v1/maps/${this.id}/neighbors`, query, { signal: this.signal });
      if (this.turn !== turn) return;
      this.note.textContent = "";
      setChildren(
        this.list,
        found.index.map((index, k) => this.#row(found, index, k)),
      );
    } catch (error) {
      if (error.name === "AbortError" || this.turn !== turn) return;
      if (error.name !== "ApiError") console.error(error);
      this.note.textContent = error.message;
    }
  }

  #row(found, index, k) {
    const token = found.token[k];
    const text = found.text[k] ?? (token === null ? (found.group[k] ?? found.prompt[k]) : null);
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", on: { click: () => this.onPick(this.points.at(this.layer, index)) } },
        h("span", { class: "number faint" }, `${number(found.distance[k], 3)} `),
        token !== null && h("span", { class: "token" }, visible(token)),
        text !== null && h("span", {}, truncated(text, 90)),
        h("span", { class: "faint" }, ` ${found.source[k]} ${found.role[k]}`),
      ),
    );
  }
}
