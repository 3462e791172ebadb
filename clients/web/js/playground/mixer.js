/** Between two prompts: a weight that is moved, and what the model says on the way from one to the other. */
import { h, put, select, setOptions } from "../dom/elements.js";
import { empty, failure } from "../dom/states.js";
import { number } from "../dom/format.js";
import { Answer } from "./answer.js";

const WAIT_MS = 160;

export class Mixer {
  constructor({ api, signal, asked, catalogue, ways }) {
    Object.assign(this, { api, signal, asked, catalogue, ways });
    this.from = select([], { onchange: () => this.#later(), id: "mix-from" });
    this.to = select([], { onchange: () => this.#later(), id: "mix-to" });
    this.slider = h("input", {
      type: "range",
      min: "0",
      max: "1",
      step: "0.02",
      value: "0.5",
      "aria-label": "Share of the second prompt",
      id: "mix-weight",
      on: { input: () => this.#later() },
    });
    this.words = h("output", { class: "number" });
    this.answer = h("div", { class: "mix-answer" });
    this.body = h(
      "div",
      { class: "stack" },
      h("div", { class: "mix" }, this.from, this.slider, this.to),
      this.words,
      this.answer,
    );
    this.element = h(
      "section",
      { class: "card stack" },
      h("header", {}, h("h2", {}, "Mix two prompts")),
      h(
        "p",
        { class: "muted small" },
        "An affine mix of two prompts of one shape, made on the fly for each question; nothing is stored.",
      ),
      this.body,
    );
    this.running = new AbortController();
    signal.addEventListener("abort", () => this.running.abort());
    this.#load().catch((error) => put(this.body, failure(error)));
  }

  refresh() {
    this.#run();
  }

  destroy() {
    clearTimeout(this.waiting);
    this.running.abort();
  }

  async #load() {
    const rows = (await this.catalogue.prompts()).filter((row) => row.base === this.asked().model);
    const refs = rows.flatMap((row) => row.versions.map((version) => `${row.name}@${version}`));
    if (refs.length < 2) {
      put(
        this.body,
        empty(
          "There is nothing to mix",
          "It takes two prompts of one kind and shape for this model, for instance two members of one tuning run.",
        ),
      );
      return;
    }
    const [first, second] = [
      ...this.ways()
        .map((way) => way.ref)
        .filter(Boolean),
      ...refs,
    ];
    setOptions(this.from, refs, first);
    setOptions(this.to, refs, second === first ? refs.find((ref) => ref !== first) : second);
    this.#run();
  }

  #later() {
    clearTimeout(this.waiting);
    this.#say();
    this.waiting = setTimeout(() => this.#run(), WAIT_MS);
  }

  #say() {
    const share = Number(this.slider.value);
    this.words.textContent = `${number(1 - share, 2)} ${this.from.value} + ${number(share, 2)} ${this.to.value}`;
  }

  #run() {
    if (!this.from.value || !this.asked().text) return;
    this.#say();
    const share = Number(this.slider.value);
    const parts = [
      { ref: this.from.value, weight: 1 - share },
      { ref: this.to.value, weight: share },
    ];
    this.running.abort();
    this.running = new AbortController();
    const card = new Answer(this.api, { key: "mix", label: this.words.textContent, ref: { mix: parts } });
    put(this.answer, card.element);
    card.run(this.asked(), this.running.signal);
  }
}
