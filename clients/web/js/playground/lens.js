/** The logit lens: the most likely next tokens at each token, if the model ended at each layer. */
import { h, setChildren, select, setOptions } from "../dom/elements.js";
import { percent, visible } from "../dom/format.js";
import { fill } from "../dom/states.js";
import { bars } from "./bars.js";

const N_TOP = 6;
const MAX_TOKENS = 200;

export class LensView {
  constructor({ api, signal, request, variants, answerOf }) {
    Object.assign(this, { api, signal, request, variants, answerOf });
    this.variant = select([], {
      onchange: () => this.refresh(),
      "aria-label": "Prompt of the lens",
      id: "lens-variant",
    });
    this.container = h("div", {});
    this.detail = h("div", { class: "lens-detail" });
    const hint =
      "Columns are input and generated tokens, rows are layers with the first layer at the bottom. A cell shows the most likely next token if the model ended at that layer. A stronger colour means a higher probability.";
    this.element = h(
      "section",
      { class: "card stack" },
      h("header", {}, h("h2", {}, "Logit lens"), this.variant),
      h("p", { class: "muted small" }, hint),
      this.container,
      this.detail,
    );
    this.setVariants(variants());
  }

  setVariants(variants) {
    setOptions(
      this.variant,
      variants.map((variant) => [variant.key, variant.label]),
      this.variant.value || variants.at(-1).key,
    );
  }

  async refresh() {
    const { model, text } = this.request();
    if (!text) {
      setChildren(this.container, h("p", { class: "muted" }, "Enter a text above and run it."));
      return;
    }
    const variant = this.variants().find((one) => one.key === this.variant.value) ?? this.variants()[0];
    const body = {
      model,
      inputs: [text + this.answerOf(variant)],
      sites: ["resid_post"],
      layers: "all",
      reduce: { lens: N_TOP },
      ...(variant.ref && { prompt_ref: variant.ref }),
    };
    setChildren(this.detail);
    await fill(
      this.container,
      async () => this.#grid(await this.api.tensors("/v1/activations", { body, signal: this.signal })),
      { signal: this.signal, text: "Loading the logit lens …" },
    );
  }

  #grid({ tensors, metadata }) {
    const texts = metadata.tokens;
    const tokens = [...tensors.token_ids.data].slice(0, MAX_TOKENS).map((id) => texts[id] ?? "");
    const layers = Object.keys(tensors)
      .filter((name) => name.endsWith(".lens_ids"))
      .map((name) => Number(name.split(".")[1]))
      .sort((a, b) => b - a);
    const head = h(
      "tr",
      {},
      h("th", {}, "layer"),
      tokens.map((token) => h("th", { scope: "col" }, h("span", { class: "token" }, visible(token)))),
    );
    const rows = layers.map((layer) => {
      const ids = tensors[`resid_post.${layer}.lens_ids`].data;
      const logprobs = tensors[`resid_post.${layer}.lens_logprobs`].data;
      const cells = tokens.map((token, at) => {
        const top = Array.from({ length: N_TOP }, (_, k) => ({
          name: texts[ids[at * N_TOP + k]] ?? "",
          probability: Math.exp(logprobs[at * N_TOP + k]),
        }));
        return this.#cell(top, { token, layer });
      });
      return h("tr", {}, h("th", { scope: "row", class: "number" }, layer), cells);
    });
    return h(
      "div",
      { class: "lens" },
      h(
        "table",
        {},
        h("caption", { class: "visually-hidden" }, "Most likely next token by layer and position"),
        h("thead", {}, head),
        h("tbody", {}, rows),
      ),
    );
  }

  #cell(top, { token, layer }) {
    const [first] = top;
    const show = () => setChildren(this.detail, h("h3", {}, `After “${visible(token)}” at layer ${layer}`), bars(top));
    return h(
      "td",
      {},
      h(
        "button",
        {
          type: "button",
          vars: { probability: String(first.probability) },
          title: percent(first.probability),
          on: { click: show, focus: show, pointerenter: show },
        },
        visible(first.name),
      ),
    );
  }
}
