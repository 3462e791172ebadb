/** The logit lens: what each layer would say next at each token, if the model ended there. */
import { h, put, select, setOptions } from "../dom/elements.js";
import { percent, visible } from "../dom/format.js";
import { fill } from "../dom/states.js";
import { bars } from "./bars.js";

const K = 6;
const MOST_TOKENS = 200;

export class LensView {
  constructor({ api, signal, asked, ways, answerOf }) {
    Object.assign(this, { api, signal, asked, ways, answerOf });
    this.way = select([], { onchange: () => this.refresh(), "aria-label": "Under which prompt", id: "lens-way" });
    this.place = h("div", {});
    this.detail = h("div", { class: "lens-detail" });
    const hint =
      "Each column is a token that is read, each row a layer, the embeddings’ side below. A cell says what the model would write next if it ended at that layer; the darker, the surer.";
    this.element = h(
      "section",
      { class: "card stack" },
      h("header", {}, h("h2", {}, "Logit lens"), this.way),
      h("p", { class: "muted small" }, hint),
      this.place,
      this.detail,
    );
    this.setWays(ways());
  }

  setWays(ways) {
    setOptions(
      this.way,
      ways.map((way) => [way.key, way.label]),
      this.way.value || ways.at(-1).key,
    );
  }

  async refresh() {
    const { model, text } = this.asked();
    if (!text) {
      put(this.place, h("p", { class: "muted" }, "Write a text above and run it."));
      return;
    }
    const way = this.ways().find((one) => one.key === this.way.value) ?? this.ways()[0];
    const body = {
      model,
      inputs: [text + this.answerOf(way)],
      sites: ["resid_post"],
      layers: "all",
      reduce: { lens: K },
      ...(way.ref && { prompt_ref: way.ref }),
    };
    put(this.detail);
    await fill(
      this.place,
      async () => this.#grid(await this.api.tensors("/v1/activations", { body, signal: this.signal })),
      { signal: this.signal, text: "Reading every layer …" },
    );
  }

  #grid({ tensors, metadata }) {
    const texts = metadata.tokens;
    const read = [...tensors.token_ids.data].slice(0, MOST_TOKENS).map((id) => texts[id] ?? "");
    const layers = Object.keys(tensors)
      .filter((name) => name.endsWith(".lens_ids"))
      .map((name) => Number(name.split(".")[1]))
      .sort((a, b) => b - a);
    const head = h(
      "tr",
      {},
      h("th", {}, "layer"),
      read.map((token) => h("th", { scope: "col" }, h("span", { class: "token" }, visible(token)))),
    );
    const rows = layers.map((layer) => {
      const ids = tensors[`resid_post.${layer}.lens_ids`].data;
      const logprobs = tensors[`resid_post.${layer}.lens_logprobs`].data;
      const cells = read.map((token, at) => {
        const top = Array.from({ length: K }, (_, k) => ({
          name: texts[ids[at * K + k]] ?? "",
          share: Math.exp(logprobs[at * K + k]),
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
        h("caption", { class: "for-readers" }, "Likeliest next token by layer and position"),
        h("thead", {}, head),
        h("tbody", {}, rows),
      ),
    );
  }

  #cell(top, { token, layer }) {
    const [first] = top;
    const show = () => put(this.detail, h("h3", {}, `After “${visible(token)}” at layer ${layer}`), bars(top));
    return h(
      "td",
      {},
      h(
        "button",
        {
          type: "button",
          vars: { sure: String(first.share) },
          class: first.share > 0.85 && "sure",
          title: percent(first.share),
          on: { click: show, focus: show, pointerenter: show },
        },
        visible(first.name),
      ),
    );
  }
}
