/** Mix of two prompts: a slider sets the weight, and the model answers with the mix. */
import { h, select, setChildren, setOptions } from "../dom/elements.js";
import { empty, failure } from "../dom/states.js";
import { number } from "../dom/format.js";
import { Answer } from "./answer.js";

const DELAY_MS = 160;

export class Mixer {
  constructor({ api, signal, request, catalogue, variants }) {
    Object.assign(this, { api, signal, request, catalogue, variants });
    this.from = select([], { onchange: () => this.#runSoon(), id: "mix-from" });
    this.to = select([], { onchange: () => this.#runSoon(), id: "mix-to" });
    this.slider = h("input", {
      type: "range",
      min: "0",
      max: "1",
      step: "0.02",
      value: "0.5",
      "aria-label": "Weight of the second prompt",
      id: "mix-weight",
      on: { input: () => this.#runSoon() },
    });
    this.formula = h("output", { class: "number" });
    this.answer = h("div", { class: "mix-answer" });
    this.body = h(
      "div",
      { class: "stack" },
      h("div", { class: "mix" }, this.from, this.slider, this.to),
      this.formula,
      this.answer,
    );
    this.element = h(
      "section",
      { class: "card stack" },
      h("header", {}, h("h2", {}, "Mix two prompts")),
      h(
        "p",
        { class: "muted small" },
        "An affine combination of two prompts of the same kind and shape. It is computed per request and not stored.",
      ),
      this.body,
    );
    this.running = new AbortController();
    signal.addEventListener("abort", () => this.running.abort());
    this.#load().catch((error) => setChildren(this.body, failure(error)));
  }

  refresh() {
    this.#run();
  }

  destroy() {
    clearTimeout(this.waiting);
    this.running.abort();
  }

  async #load() {
    const rows = (await this.catalogue.prompts()).filter((row) => row.base === this.request().model);
    const refs = rows.flatMap((row) => row.versions.map((version) => `${row.name}@${version}`));
    if (refs.length < 2) {
      setChildren(
        this.body,
        empty(
          "No prompts to mix",
          "A mix needs two prompts of the same kind and shape for this model, for example two members of a tuning run.",
        ),
      );
      return;
    }
    const [first, second] = [
      ...this.variants()
        .map((variant) => variant.ref)
        .filter(Boolean),
      ...refs,
    ];
    setOptions(this.from, refs, first);
    setOptions(this.to, refs, second === first ? refs.find((ref) => ref !== first) : second);
    this.#run();
  }

  #runSoon() {
    clearTimeout(this.waiting);
    this.#showFormula();
    this.waiting = setTimeout(() => this.#run(), DELAY_MS);
  }

  #showFormula() {
    const weight = Number(this.slider.value);
    this.formula.textContent = `${number(1 - weight, 2)} ${this.from.value} + ${number(weight, 2)} ${this.to.value}`;
  }

  #run() {
    if (!this.from.value || !this.request().text) return;
    this.#showFormula();
    const weight = Number(this.slider.value);
    const parts = [
      { ref: this.from.value, weight: 1 - weight },
      { ref: this.to.value, weight },
    ];
    this.running.abort();
    this.running = new AbortController();
    const card = new Answer(this.api, { key: "mix", label: this.formula.textContent, ref: { mix: parts } });
    setChildren(this.answer, card.element);
    card.run(this.request(), this.running.signal);
  }
}
