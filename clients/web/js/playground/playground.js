/** The playground: a text, generation settings, selected prompts, their answers, and tabs that inspect them. */
import { curlCommand } from "../api/curl.js";
import { codeTabs } from "../dom/copy.js";
import { button, field, h, select, setChildren } from "../dom/elements.js";
import { tabs } from "../dom/table.js";
import { pythonCompletion } from "../new_run/code.js";
import { updateQuery } from "../shell/router.js";
import { Answer } from "./answer.js";
import { LensView } from "./lens.js";
import { Mixer } from "./mixer.js";
import { OnMap } from "./on_map.js";
import { Variants } from "./variants.js";

function numberInput(props) {
  return h("input", { type: "number", ...props });
}

export class Playground {
  constructor({ api, catalogue, signal, models, prompts, query }) {
    Object.assign(this, { api, catalogue, signal, models });
    this.running = new AbortController();
    const model = query.get("model") ?? models[0].id;
    this.model = select(
      models.map((one) => one.id),
      { value: model, onchange: () => this.#changeModel(), id: "model" },
    );
    this.text = h("textarea", {
      rows: "3",
      spellcheck: "false",
      placeholder: "Text to complete",
      "aria-label": "Text",
      on: { keydown: (event) => this.#onKey(event) },
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
    this.topP = numberInput({ min: "0.01", max: "1", step: "0.01", value: query.get("top_p") ?? "1" });
    this.seed = numberInput({ min: "0", step: "1", value: query.get("seed") ?? "", placeholder: "random" });
    this.stops = h("input", { type: "text", spellcheck: "false", placeholder: "separated by commas" });
    this.stops.value = query.get("stop") ?? "";
    this.go = button("Run", () => this.run(), { class: "primary" });
    this.stop = button("Stop", () => this.running.abort(), { hidden: true });
    this.code = h("details", { class: "small", on: { toggle: () => this.#showCode() } }, h("summary", {}, "As code"));
    this.variants = new Variants({
      prompts,
      model: this.model.value,
      chosen: query.get("prompts"),
      onChange: () => this.#onVariants(),
    });
    this.answers = h("div", { class: "answers" });
    this.tabs = h("div", {});
    this.tab = query.get("view") ?? "lens";
    this.element = h("div", { class: "view wide" }, this.#form(), this.answers, this.tabs);
  }

  start() {
    this.#showVariants();
    this.#showTabs();
    if (this.text.value.trim()) this.run();
  }

  /** Model, text and generation settings, as the tabs need them. */
  get request() {
    return {
      model: this.model.value,
      text: this.text.value,
      max_tokens: Number(this.nTokens.value),
      temperature: Number(this.temperature.value),
      sampling: this.#sampling,
    };
  }

  /** Sampling settings that differ from the server's defaults. */
  get #sampling() {
    const stop = this.stops.value.split(",").filter(Boolean);
    return {
      ...(this.topP.value !== "1" && this.topP.value !== "" && { top_p: Number(this.topP.value) }),
      ...(this.seed.value !== "" && { seed: Number(this.seed.value) }),
      ...(stop.length && { stop }),
    };
  }

  /** The completion of the last chosen variant as code. */
  #showCode() {
    const { model, text, max_tokens, temperature, sampling } = this.request;
    const { ref } = this.variants.chosen.at(-1);
    const body = { model, prompt: text, max_tokens, temperature, ...sampling, ...(ref && { prompt_ref: ref }) };
    const python = pythonCompletion(body, { hasKey: this.api.hasKey });
    setChildren(
      this.code,
      h("summary", {}, "As code"),
      codeTabs([
        ["curl", curlCommand(this.api, "/v1/completions", body)],
        ["Python", python],
      ]),
    );
  }

  async run() {
    const { request } = this;
    if (!request.text) {
      this.text.focus();
      return;
    }
    this.running.abort();
    this.running = new AbortController();
    this.signal.addEventListener("abort", () => this.running.abort(), { once: true });
    this.#updateUrl();
    this.go.disabled = true;
    this.stop.hidden = false;
    const { signal } = this.running;
    await Promise.all(this.cards.map((card) => card.run(request, signal)));
    if (this.running.signal !== signal) return; // a later run has begun
    this.go.disabled = false;
    this.stop.hidden = true;
    if (this.code.open) this.#showCode();
    this.view?.refresh();
  }

  #form() {
    const settings = h(
      "div",
      { class: "playground-settings" },
      field("Model", this.model),
      h("div", { class: "pair" }, field("Max tokens", this.nTokens), field("Temperature", this.temperature)),
      h("div", { class: "pair" }, field("Top-p", this.topP), field("Seed", this.seed)),
      field("Stop strings", this.stops),
      h("div", { class: "row" }, this.go, this.stop),
      this.code,
    );
    const title = h(
      "div",
      {},
      h("h1", {}, "Playground"),
      h("p", { class: "muted" }, "Complete one text with several prompts in one batch. Ctrl+Enter runs it."),
    );
    return h(
      "section",
      { class: "stack" },
      title,
      h(
        "div",
        { class: "playground-form" },
        h("div", { class: "stack tight" }, this.text, this.variants.element),
        settings,
      ),
    );
  }

  #changeModel() {
    this.variants.setModel(this.model.value);
    this.#showTabs();
  }

  #onKey(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.run();
    }
  }

  #onVariants() {
    this.#showVariants();
    this.#updateUrl();
    if (this.text.value.trim() && this.cards.some((card) => card.isNew)) this.run();
    this.view?.setVariants?.(this.variants.chosen);
  }

  #showVariants() {
    const before = new Map((this.cards ?? []).map((card) => [card.variant.key, card]));
    this.cards = this.variants.chosen.map((variant) => before.get(variant.key) ?? new Answer(this.api, variant));
    setChildren(
      this.answers,
      this.cards.map((card) => card.element),
    );
  }

  #showTabs() {
    const context = {
      api: this.api,
      catalogue: this.catalogue,
      signal: this.signal,
      request: () => this.request,
      variants: () => this.variants.chosen,
      answerOf: (variant) => this.cards.find((card) => card.variant.key === variant.key)?.text ?? "",
    };
    const open = (View) => () => {
      this.view?.destroy?.();
      this.view = new View(context);
      this.view.refresh();
      return this.view.element;
    };
    const parts = [
      ["lens", "Logit lens", open(LensView)],
      ["map", "Trajectories on a map", open(OnMap)],
      ["mix", "Mix two prompts", open(Mixer)],
    ];
    setChildren(
      this.tabs,
      tabs(parts, this.tab, (name) => updateQuery({ view: (this.tab = name) === "lens" ? null : name })),
    );
    this.signal.addEventListener("abort", () => this.view?.destroy?.());
  }

  #updateUrl() {
    const { request } = this;
    updateQuery({
      model: request.model,
      text: request.text,
      prompts: this.variants.refsText,
      tokens: request.max_tokens === 16 ? null : request.max_tokens,
      temperature: request.temperature || null,
      top_p: request.sampling.top_p,
      seed: request.sampling.seed,
      stop: this.stops.value,
    });
  }
}
