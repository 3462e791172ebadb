/** What is asked, of which prompts, and the views on it. */
import { button, field, h, put, select } from "../dom/elements.js";
import { tabs } from "../dom/table.js";
import { remember } from "../shell/router.js";
import { Answer } from "./answer.js";
import { LensView } from "./lens.js";
import { Mixer } from "./mixer.js";
import { OnMap } from "./on_map.js";
import { Ways } from "./ways.js";

export class Playground {
  constructor({ api, catalogue, signal, models, prompts, query }) {
    Object.assign(this, { api, catalogue, signal, models });
    this.running = new AbortController();
    const model = query.get("model") ?? models[0].id;
    this.model = select(
      models.map((one) => one.id),
      { value: model, onchange: () => this.#fitModel(), id: "model" },
    );
    this.text = h("textarea", {
      rows: "3",
      spellcheck: "false",
      placeholder: "A text for the model to go on with",
      "aria-label": "Text",
      on: { keydown: (event) => this.#key(event) },
    });
    this.text.value = query.get("text") ?? "";
    this.nTokens = h("input", { type: "number", min: "1", max: "512", value: query.get("tokens") ?? "16" });
    this.temperature = h("input", {
      type: "number",
      min: "0",
      max: "2",
      step: "0.1",
      value: query.get("temperature") ?? "0",
    });
    this.go = button("Run", () => this.run(), { class: "primary" });
    this.ways = new Ways({
      prompts,
      model: this.model.value,
      chosen: query.get("prompts"),
      onChange: () => this.#changed(),
    });
    this.answers = h("div", { class: "answers" });
    this.inside = h("div", {});
    this.tab = query.get("view") ?? "lens";
    this.element = h("div", { class: "view wide" }, this.#asking(), this.answers, this.inside);
  }

  begin() {
    this.#showWays();
    this.#showInside();
    if (this.text.value.trim()) this.run();
  }

  /** What the views inside need to know of the question. */
  get asked() {
    return {
      model: this.model.value,
      text: this.text.value,
      max_tokens: Number(this.nTokens.value),
      temperature: Number(this.temperature.value),
    };
  }

  async run() {
    const { asked } = this;
    if (!asked.text) {
      this.text.focus();
      return;
    }
    this.running.abort();
    this.running = new AbortController();
    this.signal.addEventListener("abort", () => this.running.abort(), { once: true });
    this.#remember();
    this.go.disabled = true;
    await Promise.all(this.cards.map((card) => card.run(asked, this.running.signal)));
    this.go.disabled = false;
    this.view?.refresh();
  }

  #asking() {
    const settings = h(
      "div",
      { class: "asking-side" },
      field("Model", this.model),
      h("div", { class: "pair" }, field("Tokens", this.nTokens), field("Temperature", this.temperature)),
      this.go,
    );
    const title = h(
      "div",
      {},
      h("h1", {}, "Playground"),
      h("p", { class: "muted" }, "One text under several prompts at once, in one batch. Ctrl+Enter runs it."),
    );
    return h(
      "section",
      { class: "stack" },
      title,
      h("div", { class: "asking" }, h("div", { class: "stack tight" }, this.text, this.ways.element), settings),
    );
  }

  #fitModel() {
    this.ways.setModel(this.model.value);
    this.#showInside();
  }

  #key(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.run();
    }
  }

  #changed() {
    this.#showWays();
    this.#remember();
    if (this.text.value.trim() && this.cards.some((card) => card.isFresh)) this.run();
    this.view?.setWays?.(this.ways.chosen);
  }

  #showWays() {
    const before = new Map((this.cards ?? []).map((card) => [card.way.key, card]));
    this.cards = this.ways.chosen.map((way) => before.get(way.key) ?? new Answer(this.api, way));
    put(
      this.answers,
      this.cards.map((card) => card.element),
    );
  }

  #showInside() {
    const context = {
      api: this.api,
      catalogue: this.catalogue,
      signal: this.signal,
      asked: () => this.asked,
      ways: () => this.ways.chosen,
      answerOf: (way) => this.cards.find((card) => card.way.key === way.key)?.text ?? "",
    };
    const make = (View) => () => {
      this.view?.destroy?.();
      this.view = new View(context);
      this.view.refresh();
      return this.view.element;
    };
    const parts = [
      ["lens", "Logit lens", make(LensView)],
      ["map", "On a map", make(OnMap)],
      ["mix", "Mix two prompts", make(Mixer)],
    ];
    put(
      this.inside,
      tabs(parts, this.tab, (name) => remember({ view: (this.tab = name) === "lens" ? null : name })),
    );
    this.signal.addEventListener("abort", () => this.view?.destroy?.());
  }

  #remember() {
    const { asked } = this;
    remember({
      model: asked.model,
      text: asked.text,
      prompts: this.ways.written,
      tokens: asked.max_tokens === 16 ? null : asked.max_tokens,
      temperature: asked.temperature || null,
    });
  }
}
