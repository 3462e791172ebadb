/** A prompt's vectors: the tokens nearest to each, what a lens reads in it, and measures of their collapse. */
import { path } from "../api/client.js";
import { h, put, select } from "../dom/elements.js";
import { number, visible } from "../dom/format.js";
import { fill } from "../dom/states.js";
import { table } from "../dom/table.js";
import { MEASURES } from "./manifests.js";

const K = 5;

export async function vectors({ api, signal, manifest }) {
  const found = await readVectors(api, manifest, "euclidean", signal);
  return new Vectors({ api, signal, manifest }, found).element;
}

/** What the server says of the vectors of a version. */
export function readVectors(api, manifest, metric, signal) {
  return api.get(
    path`/v1/prompts/${manifest.name}/versions/${String(manifest.version)}/nearest`,
    { k: K, metric },
    { signal },
  );
}

class Vectors {
  constructor(context, found) {
    Object.assign(this, context);
    const tensors = Object.keys(found.measures);
    this.tensor = select(tensors, { onchange: () => this.#show(), "aria-label": "Vectors of" });
    this.metric = select(
      [
        ["euclidean", "Euclidean distance"],
        ["cosine", "cosine distance"],
      ],
      { onchange: () => this.#load(), "aria-label": "Distance" },
    );
    this.measures = h("div", { class: "measures" });
    this.place = h("div", {});
    const controls = h("div", { class: "row" }, tensors.length > 1 && this.tensor, this.metric);
    this.element = h(
      "section",
      { class: "card flush" },
      h("header", {}, h("h2", {}, "What its vectors are near to"), controls),
      this.measures,
      this.place,
    );
    this.#take(found);
  }

  #load() {
    return fill(this.place, async () => {
      this.#take(await readVectors(this.api, this.manifest, this.metric.value, this.signal));
      return this.rows;
    });
  }

  #take(found) {
    this.found = found;
    this.#show();
  }

  #show() {
    const tensor = this.tensor.value;
    put(this.measures, measureTiles(this.found.measures[tensor]));
    this.rows = this.#table(this.found.vectors.filter((vector) => vector.tensor === tensor));
    put(this.place, this.rows);
  }

  #table(own) {
    const hasMoved = own.some((vector) => vector.moved !== null);
    const columns = [
      { label: "#", class: "number" },
      { label: "Nearest tokens" },
      { label: "Distance", class: "number" },
      { label: "Read by a logit lens" },
      { label: "Length", class: "number" },
      ...(hasMoved ? [{ label: "Moved", class: "number" }] : []),
    ];
    const rows = own.map((vector) => [
      number(vector.index),
      vector.nearest.length
        ? chips(vector.nearest, (token) => `${number(token.distance)} away`)
        : h("span", { class: "muted" }, "all zeros"),
      distance(vector),
      vector.lens === null
        ? h("span", { class: "muted" }, "no lens for this model")
        : chips(vector.lens, (token) => `${number(Math.exp(token.logprob) * 100, 3)} %`),
      number(vector.norm),
      ...(hasMoved ? [number(vector.moved)] : []),
    ]);
    return table(columns, rows, { caption: "Vectors" });
  }
}

/** Measures as numbers with their names. */
export function measureTiles(measures) {
  return Object.entries(MEASURES)
    .filter(([name]) => measures[name] !== undefined)
    .map(([name, [label, hint]]) =>
      h(
        "div",
        { class: "measure", title: hint },
        h("span", { class: "measure-value number" }, number(measures[name], 3)),
        h("span", { class: "faint small" }, label),
      ),
    );
}

function chips(tokens, title) {
  return h(
    "span",
    { class: "chips" },
    tokens.map((token) => h("span", { class: "token", title: title(token) }, visible(token.text))),
  );
}

function distance(vector) {
  if (!vector.nearest.length) return "–";
  const isWithin = vector.own_radius !== null && vector.nearest[0].distance <= vector.own_radius;
  return [
    number(vector.nearest[0].distance),
    isWithin &&
      h(
        "span",
        { class: "interval", title: `The token's own nearest neighbour is ${number(vector.own_radius)} away` },
        "within its radius",
      ),
  ];
}
