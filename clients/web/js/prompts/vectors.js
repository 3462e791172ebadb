/** Vectors of a prompt: nearest tokens, logit lens and spread measures. */
import { path } from "../api/client.js";
import { h, select, setChildren } from "../dom/elements.js";
import { number, visible } from "../dom/format.js";
import { fill } from "../dom/states.js";
import { table } from "../dom/table.js";
import { MEASURES } from "./manifests.js";

const K = 5;

export async function vectors({ api, signal, manifest }) {
  const data = await readVectors(api, manifest, "euclidean", signal);
  return new Vectors({ api, signal, manifest }, data).element;
}

/** `GET …/nearest`: vectors of a version with their nearest tokens and measures. */
export function readVectors(api, manifest, metric, signal) {
  return api.get(
    path`/v1/prompts/${manifest.name}/versions/${String(manifest.version)}/nearest`,
    { k: K, metric },
    { signal },
  );
}

class Vectors {
  constructor(context, data) {
    Object.assign(this, context);
    const tensors = Object.keys(data.measures);
    this.tensor = select(tensors, { onchange: () => this.#show(), "aria-label": "Tensor" });
    this.metric = select(
      [
        ["euclidean", "Euclidean distance"],
        ["cosine", "cosine distance"],
      ],
      { onchange: () => this.#load(), "aria-label": "Distance" },
    );
    this.measures = h("div", { class: "measures" });
    this.container = h("div", {});
    const controls = h("div", { class: "row" }, tensors.length > 1 && this.tensor, this.metric);
    this.element = h(
      "section",
      { class: "card flush" },
      h("header", {}, h("h2", {}, "Nearest tokens"), controls),
      this.measures,
      this.container,
    );
    this.#setData(data);
  }

  #load() {
    return fill(this.container, async () => {
      this.#setData(await readVectors(this.api, this.manifest, this.metric.value, this.signal));
      return this.rows;
    });
  }

  #setData(data) {
    this.data = data;
    this.#show();
  }

  #show() {
    const tensor = this.tensor.value;
    setChildren(this.measures, measureTiles(this.data.measures[tensor]));
    this.rows = this.#table(this.data.vectors.filter((vector) => vector.tensor === tensor));
    setChildren(this.container, this.rows);
  }

  #table(own) {
    const hasMoved = own.some((vector) => vector.moved !== null);
    const columns = [
      { label: "#", class: "number" },
      { label: "Nearest tokens" },
      { label: "Distance", class: "number" },
      { label: "Logit lens" },
      { label: "Norm", class: "number" },
      ...(hasMoved ? [{ label: "Displacement", class: "number" }] : []),
    ];
    const rows = own.map((vector) => [
      number(vector.index),
      vector.nearest.length
        ? chips(vector.nearest, (token) => `distance ${number(token.distance)}`)
        : h("span", { class: "muted" }, "zero vector"),
      distance(vector),
      vector.lens === null
        ? h("span", { class: "muted" }, "not available for this model")
        : chips(vector.lens, (token) => `${number(Math.exp(token.logprob) * 100, 3)} %`),
      number(vector.norm),
      ...(hasMoved ? [number(vector.moved)] : []),
    ]);
    return table(columns, rows, { caption: "Vectors" });
  }
}

/** Measures as numbers with labels. */
function measureTiles(measures) {
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
        {
          class: "interval",
          title: `Distance from the token to its nearest other token: ${number(vector.own_radius)}`,
        },
        "within the token’s radius",
      ),
  ];
}
