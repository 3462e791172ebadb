/** Attention patterns under a prompt: for one token, what each head of a layer attends to, virtual positions included. */
import { h, select, setChildren, setOptions } from "../dom/elements.js";
import { percent, visible } from "../dom/format.js";
import { withFades } from "../dom/scroll_fade.js";
import { fill } from "../dom/states.js";

const MAX_KEYS = 256;
const HEAD_COLUMN_PX = 54;

export class AttentionView {
  constructor({ api, catalogue, signal, request, variants, answerOf }) {
    Object.assign(this, { api, catalogue, signal, request, variants, answerOf });
    this.variant = select([], {
      onchange: () => this.refresh(),
      "aria-label": "Prompt of the attention",
      id: "attention-variant",
    });
    this.layer = select([], {
      onchange: () => this.refresh(),
      "aria-label": "Layer of the attention",
      id: "attention-layer",
    });
    this.container = h("div", {});
    const hint =
      "Rows are the heads of the layer, columns are the positions that a token attends to; v1, v2, … are the virtual positions of the prompt. Numbers are percent of the attention. A click on a token shows where it attends.";
    this.element = h(
      "section",
      { class: "card stack" },
      h("header", {}, h("h2", {}, "Attention"), h("div", { class: "row" }, this.variant, this.layer)),
      h("p", { class: "muted small" }, hint),
      this.container,
    );
    this.setVariants(variants());
  }

  setVariants(variants) {
    const options = variants.map((variant) => [variant.key, variant.label]);
    setOptions(this.variant, options, this.variant.value || variants.at(-1).key);
  }

  async refresh() {
    const { model, text } = this.request();
    if (!text) {
      setChildren(this.container, h("p", { class: "muted" }, "Enter a text above and run it."));
      return;
    }
    const work = async () => {
      await this.#setLayers(model);
      const variant = this.variants().find((one) => one.key === this.variant.value) ?? this.variants()[0];
      this.pattern = await this.#load(model, text + this.answerOf(variant), variant);
      this.query = this.pattern.tokens.length - 1;
      return this.#table();
    };
    await fill(this.container, work, { signal: this.signal, text: "Loading the attention …" });
  }

  async #setLayers(model) {
    const { n_layers: n } = (await this.catalogue.models()).find((one) => one.id === model);
    const layers = Array.from({ length: n }, (_, layer) => [String(layer), `layer ${layer}`]);
    setOptions(this.layer, layers, this.layer.value || String(n - 1));
  }

  async #load(model, input, variant) {
    const site = `attn_probs.${this.layer.value}`;
    const body = {
      model,
      inputs: [input],
      sites: ["attn_probs"],
      layers: [Number(this.layer.value)],
      ...(variant.ref && { prompt_ref: variant.ref }),
    };
    // Texts of tokens come with rankings of tokens only; every token is the nearest to itself.
    const named = { model, inputs: [input], sites: ["embed"], reduce: { nearest: 1 } };
    const [{ tensors }, { tensors: near, metadata }] = await Promise.all(
      [body, named].map((one) => this.api.tensors("/v1/activations", { body: one, signal: this.signal })),
    );
    const tokens = [...near.token_ids.data].map((id) => metadata.tokens[id] ?? "");
    const { data, shape } = tensors[site];
    const [, nHeads, nKeys] = shape;
    const nVirtual = nKeys - tokens.length;
    return {
      tokens,
      nHeads,
      nVirtual,
      at: (query, head, key) => data[(query * nHeads + head) * nKeys + key],
    };
  }

  /** The keys that are shown: virtual positions, then the tokens up to the query. */
  #keys() {
    const { tokens, nVirtual } = this.pattern;
    const virtual = Array.from({ length: nVirtual }, (_, k) => ({ key: k, label: `v${k + 1}`, isVirtual: true }));
    const texts = tokens.map((token, i) => ({ key: nVirtual + i, label: visible(token), position: i }));
    return [...virtual, ...texts].slice(0, MAX_KEYS);
  }

  #table() {
    const keys = this.#keys();
    const { tokens, nHeads, nVirtual, at } = this.pattern;
    const heads = Array.from({ length: nHeads }, (_, head) => ({ name: head, of: (key) => at(this.query, head, key) }));
    const mean = (key) => heads.reduce((sum, head) => sum + head.of(key), 0) / nHeads;
    const rows = [...heads, { name: "mean", of: mean }].map(({ name, of }) =>
      h(
        "tr",
        {},
        h("th", { scope: "row", class: "number" }, name),
        nVirtual > 0 && h("td", { class: "number small" }, percent(sumOf(nVirtual, of), 0)),
        keys.map((key) => h("td", {}, cell(of(key.key), `head ${name}, ${key.label}`))),
      ),
    );
    const columns = keys.map((key) => h("th", { scope: "col" }, this.#columnHead(key)));
    const scroller = h(
      "div",
      { class: "lens attention", tabindex: "0", role: "group", "aria-label": "Attention" },
      h(
        "table",
        {},
        h("caption", { class: "visually-hidden" }, `Attention of each head from token ${this.query + 1}`),
        h(
          "thead",
          {},
          h("tr", {}, h("th", { scope: "col" }, "head"), nVirtual > 0 && h("th", { scope: "col" }, "all v"), columns),
        ),
        h("tbody", {}, rows),
      ),
    );
    return h(
      "div",
      { class: "stack" },
      h(
        "p",
        { class: "small" },
        "From ",
        h("span", { class: "token" }, visible(tokens[this.query])),
        `, token ${this.query + 1}`,
      ),
      withFades(scroller, { left: HEAD_COLUMN_PX }),
    );
  }

  #columnHead({ label, isVirtual, position }) {
    if (isVirtual) return h("span", { class: "virtual", title: "virtual position of the prompt" }, label);
    const choose = () => {
      this.query = position;
      setChildren(this.container, this.#table());
      this.container.querySelector('thead [aria-pressed="true"]')?.focus();
    };
    const isChosen = position === this.query;
    const props = { type: "button", class: "token", "aria-pressed": String(isChosen), on: { click: choose } };
    return h("button", { ...props, title: `Attention from token ${position + 1}` }, label);
  }
}

function sumOf(n, of) {
  return Array.from({ length: n }, (_, k) => of(k)).reduce((a, b) => a + b, 0);
}

function cell(probability, name) {
  const label = probability >= 0.005 ? Math.round(100 * probability) : "";
  return h(
    "span",
    { class: "heat", vars: { probability: String(probability) }, title: `${name}: ${percent(probability)}` },
    label,
  );
}
