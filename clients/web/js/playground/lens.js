/** The logit lens: the most likely next tokens at each token, if the model ended at each layer; of one prompt, or of two. */
import { h, setChildren, select, setOptions } from "../dom/elements.js";
import { number, percent, visible } from "../dom/format.js";
import { withFades } from "../dom/scroll_fade.js";
import { fill } from "../dom/states.js";
import { bars } from "./bars.js";

const N_TOP = 6;
const MAX_TOKENS = 200;
const LAYER_COLUMN_PX = 54;
const SITE = "resid_post";
const ALONE = "-";

export class LensView {
  constructor({ api, signal, request, variants, answerOf }) {
    Object.assign(this, { api, signal, request, variants, answerOf });
    const chooser = (id, label) => select([], { onchange: () => this.refresh(), "aria-label": label, id });
    this.variant = chooser("lens-variant", "Prompt of the lens");
    this.other = chooser("lens-other", "Compare the lens with");
    this.container = h("div", {});
    this.detail = h("div", { class: "lens-detail", "aria-live": "polite" });
    const hint =
      "Columns are input and generated tokens, rows are layers with the first layer at the bottom. A cell shows the most likely next token if the model ended at that layer. A stronger colour means a higher probability.";
    this.element = h(
      "section",
      { class: "card stack" },
      h("header", {}, h("h2", {}, "Logit lens"), h("div", { class: "row" }, this.variant, this.other)),
      h("p", { class: "muted small" }, hint),
      this.container,
      this.detail,
    );
    this.setVariants(variants());
  }

  setVariants(variants) {
    const options = variants.map((variant) => [variant.key, variant.label]);
    setOptions(this.variant, options, this.variant.value || variants.at(-1).key);
    const others = options.map(([key, label]) => [key, `compared with ${label}`]);
    setOptions(this.other, [[ALONE, "compare with …"], ...others], this.other.value || ALONE);
  }

  async refresh() {
    const { text } = this.request();
    if (!text) {
      setChildren(this.container, h("p", { class: "muted" }, "Enter a text above and run it."));
      return;
    }
    const find = (key) => this.variants().find((one) => one.key === key);
    const variant = find(this.variant.value) ?? this.variants()[0];
    const other = this.other.value === ALONE ? null : find(this.other.value);
    setChildren(this.detail);
    const work = async () => {
      const input = text + this.answerOf(variant);
      const compared = [variant, ...(other ? [other] : [])];
      const [divergence, ...lenses] = await Promise.all([
        other ? this.#divergence(input, variant, other) : null,
        ...compared.map((one) => this.#lens(input, one)),
      ]);
      return this.#table(lenses, divergence);
    };
    await fill(this.container, work, { signal: this.signal, text: "Loading the logit lens …" });
  }

  /** The lens of one variant. */
  async #lens(input, variant) {
    const body = {
      model: this.request().model,
      inputs: [input],
      sites: [SITE],
      layers: "all",
      reduce: { lens: N_TOP },
      ...(variant.ref && { prompt_ref: variant.ref }),
    };
    const { tensors, metadata } = await this.api.tensors("/v1/activations", { body, signal: this.signal });
    const texts = metadata.tokens;
    const tokens = [...tensors.token_ids.data].slice(0, MAX_TOKENS).map((id) => texts[id] ?? "");
    const layers = Object.keys(tensors)
      .filter((name) => name.endsWith(".lens_ids"))
      .map((name) => Number(name.split(".")[1]))
      .sort((a, b) => b - a);
    const top = (layer, at) =>
      Array.from({ length: N_TOP }, (_, k) => ({
        name: texts[tensors[`${SITE}.${layer}.lens_ids`].data[at * N_TOP + k]] ?? "",
        probability: Math.exp(tensors[`${SITE}.${layer}.lens_logprobs`].data[at * N_TOP + k]),
      }));
    return { variant, tokens, layers, top };
  }

  /** KL(p ‖ q) in nats by layer and token; p under the first prompt. */
  async #divergence(input, variant, other) {
    const { model } = this.request();
    const body = { model, inputs: [input], prompt_ref: variant.ref, against: other.ref };
    const { kl } = await this.api.post("/v1/activations/divergence", body, { signal: this.signal });
    return (layer, at) => kl[`${SITE}.${layer}`][at];
  }

  #table(lenses, divergence) {
    const [{ tokens, layers }] = lenses;
    const head = h(
      "tr",
      {},
      h("th", { scope: "col" }, "layer"),
      tokens.map((token) => h("th", { scope: "col" }, h("span", { class: "token" }, visible(token)))),
    );
    const part = (title, cell) =>
      h(
        "tbody",
        {},
        title &&
          h(
            "tr",
            {},
            h("th", { scope: "rowgroup", class: "part-name", colspan: tokens.length + 1 }, h("span", {}, title)),
          ),
        layers.map((layer) =>
          h(
            "tr",
            {},
            h("th", { scope: "row", class: "number" }, layer),
            tokens.map((token, at) => h("td", {}, cell(layer, at, token))),
          ),
        ),
      );
    const parts = lenses.map((lens) => part(divergence && lens.variant.label, (...at) => this.#cell(lens, ...at)));
    if (divergence) {
      const [p, q] = lenses.map(({ variant }) => variant.label);
      parts.push(part(`KL divergence of ${q} from ${p}, in nats`, (...at) => this.#klCell(lenses, divergence, ...at)));
    }
    const caption = h("caption", { class: "visually-hidden" }, "Most likely next token by layer and position");
    const scroller = h(
      "div",
      { class: "lens", tabindex: "0", role: "group", "aria-label": "Logit lens" },
      h("table", {}, caption, h("thead", {}, head), parts),
    );
    return withFades(scroller, { left: LAYER_COLUMN_PX });
  }

  #cell(lens, layer, at, token) {
    const top = lens.top(layer, at);
    const show = () => setChildren(this.detail, h("h3", {}, `After “${visible(token)}” at layer ${layer}`), bars(top));
    return cellButton(visible(top[0].name), top[0].probability, show, { title: percent(top[0].probability) });
  }

  #klCell(lenses, divergence, layer, at, token) {
    const value = divergence(layer, at);
    const show = () =>
      setChildren(
        this.detail,
        h("h3", {}, `After “${visible(token)}” at layer ${layer}: ${number(value)} nats`),
        h(
          "div",
          { class: "lens-compared" },
          lenses.map((lens) =>
            h("div", {}, h("h4", { class: "muted small" }, lens.variant.label), bars(lens.top(layer, at))),
          ),
        ),
      );
    // 0 nats has no colour; 1 nat has most of it.
    const label = value !== null && value < 0.001 ? "< 0.001" : number(value, 2);
    return cellButton(label, 1 - Math.exp(-2 * (value ?? 0)), show, { class: "divergence" });
  }
}

function cellButton(label, strength, show, props) {
  const on = { click: show, focus: show, pointerenter: show };
  return h("button", { type: "button", vars: { probability: String(strength) }, on, ...props }, label);
}
