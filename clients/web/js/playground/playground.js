/** The playground: a text, generation settings, selected prompts, their answers, and tabs that inspect them. */
import { curlCommand } from "../api/curl.js";
import { codeTabs } from "../dom/copy.js";
import { button, h, setChildren } from "../dom/elements.js";
import { truncated } from "../dom/format.js";
import { tabs } from "../dom/table.js";
import { pythonCompletion } from "../new_run/code.js";
import { link, updateQuery } from "../shell/router.js";
import { Answer } from "./answer.js";
import { AttentionView } from "./attention.js";
import { Concatenator } from "./concatenator.js";
import { examplesOf } from "./examples.js";
import { RequestForm } from "./form.js";
import { History } from "./history.js";
import { LensView } from "./lens.js";
import { Mixer } from "./mixer.js";
import { OnMap } from "./on_map.js";
import { Steering } from "./steering.js";
import { Variants } from "./variants.js";

export class Playground {
  constructor({ api, catalogue, signal, models, prompts, query }) {
    Object.assign(this, { api, catalogue, signal, models });
    this.running = new AbortController();
    this.form = new RequestForm({
      models,
      query,
      onmodel: () => this.#changeModel(),
      onrun: () => this.run(),
      ontext: () => setChildren(this.example),
    });
    this.go = button("Run", () => this.run(), { class: "primary" });
    this.stop = button("Stop", () => this.running.abort(), { hidden: true });
    this.code = h("details", { class: "small", on: { toggle: () => this.#showCode() } }, h("summary", {}, "As code"));
    this.example = h("p", { class: "muted small", "aria-live": "polite" });
    this.history = new History({ restore: (entry) => this.#restore(entry) });
    this.variants = new Variants({
      prompts,
      model: this.form.model.value,
      chosen: query.get("prompts") ?? (query.has("text") ? null : ""),
      onChange: () => this.#onVariants(),
    });
    this.choosesPrompt = !query.has("prompts");
    this.answers = h("div", { class: "answers" });
    this.tabs = h("div", {});
    this.tab = query.get("view") ?? "lens";
    this.element = h("div", { class: "view wide" }, this.#layout(), this.tabs);
  }

  async start() {
    this.#showVariants();
    this.#showTabs();
    if (!this.form.text.value.trim()) await this.#startWithExample();
    else this.run();
  }

  /** Model, text and generation settings, as the tabs need them. */
  get request() {
    return this.form.request;
  }

  async run() {
    const { request } = this;
    if (!request.text) {
      this.form.text.focus();
      return;
    }
    this.running.abort();
    this.running = new AbortController();
    this.signal.addEventListener("abort", () => this.running.abort(), { once: true });
    this.#updateUrl();
    this.history.add({ ...this.form.query, prompts: this.variants.refsText });
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

  /** Fills the form with an example, and runs it; an error leaves the form empty, as there is something to type. */
  async #startWithExample() {
    const [ref = null] = this.variants.refs;
    const { model } = this.request;
    try {
      this.examples = await examplesOf({ api: this.api, catalogue: this.catalogue, model, ref, signal: this.signal });
    } catch (error) {
      if (error.name === "ApiError" || error.name === "AbortError") return;
      throw error;
    }
    const isUntouched = !this.form.text.value && this.request.model === model;
    if (this.signal.aborted || !isUntouched || !this.examples.length) return;
    if (this.choosesPrompt && this.examples[0].ref) this.variants.setRefs([this.examples[0].ref]);
    this.#showVariants();
    this.#showExample(0);
  }

  #showExample(k) {
    const { text, target, dataset, split } = this.examples[k];
    this.form.text.value = text;
    const other = () => this.#showExample((k + 1) % this.examples.length);
    setChildren(
      this.example,
      "Example from ",
      h("a", { href: link(["datasets", dataset]) }, dataset),
      `, ${split} split`,
      target !== null && [". Expected: ", h("code", {}, truncated(target.trim(), 120))],
      " ",
      this.examples.length > 1 && button("Another example", other, { class: "quiet small" }),
    );
    this.run();
  }

  /** Puts a request of the history back into the form, without running it. */
  #restore(entry) {
    this.running.abort();
    setChildren(this.example);
    this.form.restore(entry);
    this.variants.setModel(this.form.model.value, { refs: (entry.prompts ?? "").split(",").filter(Boolean) });
    this.cards = [];
    this.#showVariants();
    this.#updateUrl();
    this.#showTabs();
    this.go.focus();
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

  #layout() {
    const settings = h(
      "div",
      { class: "playground-settings" },
      this.form.fields,
      h("div", { class: "row" }, this.go, this.stop),
      this.code,
      this.history.element,
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
        h("div", { class: "stack tight playground-text" }, this.form.text, this.example, this.variants.element),
        settings,
        this.answers,
      ),
    );
  }

  #changeModel() {
    this.variants.setModel(this.form.model.value);
    this.#onVariants();
    this.#showTabs();
  }

  #onVariants() {
    this.#showVariants();
    this.#updateUrl();
    if (this.form.text.value.trim() && this.cards.some((card) => card.isNew)) this.run();
    this.view?.setVariants?.(this.variants.chosen);
  }

  #showVariants() {
    const before = new Map((this.cards ?? []).map((card) => [card.variant.key, card]));
    this.cards = this.variants.chosen.map((variant) => before.get(variant.key) ?? new Answer(this.api, variant));
    setChildren(
      this.answers,
      this.cards.map((card) => card.element),
    );
    this.view?.setVariants?.(this.variants.chosen);
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
      ["attention", "Attention", open(AttentionView)],
      ["mix", "Mix two prompts", open(Mixer)],
      ["concat", "Prompts in sequence", open(Concatenator)],
      ["steer", "Steering", open(Steering)],
    ];
    setChildren(
      this.tabs,
      tabs(parts, this.tab, (name) => updateQuery({ view: (this.tab = name) === "lens" ? null : name })),
    );
    this.signal.addEventListener("abort", () => this.view?.destroy?.());
  }

  #updateUrl() {
    updateQuery({ ...this.form.query, prompts: this.variants.refsText });
  }
}
