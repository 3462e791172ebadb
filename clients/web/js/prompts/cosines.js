/** Cosine similarity between the tensors of prompts, as a table with colours, one a layer. */
import { path } from "../api/client.js";
import { h, select, setChildren } from "../dom/elements.js";
import { number } from "../dom/format.js";
import { fill } from "../dom/states.js";

/** A card with the cosines of all pairs, for each tensor that at least two of the prompts have in the same shape. */
export function cosines({ api, signal, manifests, refs }) {
  const container = h("div", {});
  const work = async () => {
    const files = await Promise.all(
      manifests.map((one) =>
        api.tensors(path`/v1/prompts/${one.name}/versions/${String(one.version)}/content`, {
          query: { format: "native" },
          signal,
        }),
      ),
    );
    return new Heatmap(
      files.map((file) => file.tensors),
      refs,
    ).element;
  };
  fill(container, work, { signal });
  return container;
}

class Heatmap {
  constructor(tensors, refs) {
    Object.assign(this, { tensors, refs });
    const names = [...new Set(tensors.flatMap((one) => Object.keys(one)))].filter(
      (name) => tensors.filter((one) => one[name]).length > 1,
    );
    this.picker = select(names, { onchange: () => this.#show(), "aria-label": "Tensor of the cosines" });
    this.body = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Cosines" });
    const none = h("p", { class: "muted" }, "These prompts have no tensor in common.");
    this.element = h(
      "section",
      { class: "card stack" },
      h("header", {}, h("h2", {}, "Cosine similarity"), names.length > 1 && this.picker),
      names.length
        ? h(
            "p",
            { class: "muted small" },
            "Of the whole tensor, all vectors one after the other. Blue is similar, red is opposite.",
          )
        : none,
      this.body,
    );
    if (names.length) this.#show();
  }

  #show() {
    const chosen = this.tensors.map((one) => one[this.picker.value]);
    const cell = (a, b) => {
      const value = a && b && cosine(a, b);
      const isNumber = typeof value === "number" && Number.isFinite(value);
      const vars = { share: String(isNumber ? Math.abs(value) : 0) };
      return h(
        "td",
        { class: ["number", "cosine", isNumber && value < 0 && "negative"], vars },
        isNumber ? number(value, 3) : "–",
      );
    };
    const head = h(
      "tr",
      {},
      h("td", {}),
      this.refs.map((ref) => h("th", { scope: "col" }, ref)),
    );
    const rows = chosen.map((a, i) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, this.refs[i]),
        chosen.map((b) => cell(a, b)),
      ),
    );
    setChildren(
      this.body,
      h(
        "table",
        {},
        h("caption", { class: "visually-hidden" }, `Cosines of ${this.picker.value}`),
        h("thead", {}, head),
        h("tbody", {}, rows),
      ),
    );
  }
}

/** Cosine of two tensors of one shape as flat vectors; null for different shapes, NaN if one is zero. */
export function cosine(a, b) {
  if (a.shape.join() !== b.shape.join()) return null;
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.data.length; i++) {
    dot += a.data[i] * b.data[i];
    aa += a.data[i] * a.data[i];
    bb += b.data[i] * b.data[i];
  }
  return dot / Math.sqrt(aa * bb);
}
