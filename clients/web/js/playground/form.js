/** The fields of a request: text, model and generation settings. Their values are part of the URL and of the history. */
import { field, h, select } from "../dom/elements.js";

/** By the name in the URL: label, default, and attributes of the input. Defaults are not written to the URL. */
const SETTINGS = {
  tokens: ["Max tokens", "16", { type: "number", min: "1", max: "512" }],
  temperature: ["Temperature", "0", { type: "number", min: "0", max: "2", step: "0.1" }],
  top_p: ["Top-p", "1", { type: "number", min: "0.01", max: "1", step: "0.01" }],
  seed: ["Seed", "", { type: "number", min: "0", step: "1", placeholder: "random" }],
  n: ["Answers per prompt (n)", "1", { type: "number", min: "1", max: "8", step: "1" }],
  stop: ["Stop strings", "", { type: "text", spellcheck: "false", placeholder: "separated by commas" }],
};

export class RequestForm {
  /** onmodel: the model was changed by the user; onrun: Ctrl+Enter; ontext: the text was edited */
  constructor({ models, query, onmodel, onrun, ontext }) {
    this.model = select(
      models.map((one) => one.id),
      { value: query.get("model") ?? models[0].id, onchange: onmodel, id: "model" },
    );
    this.text = h("textarea", {
      rows: "3",
      spellcheck: "false",
      placeholder: "Text to complete",
      "aria-label": "Text",
      on: {
        input: ontext,
        keydown: (event) => {
          if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
          event.preventDefault();
          onrun();
        },
      },
    });
    this.inputs = Object.fromEntries(
      Object.entries(SETTINGS).map(([name, [, , attributes]]) => [name, h("input", attributes)]),
    );
    this.restore(Object.fromEntries(query));
  }

  /** The labelled settings. */
  get fields() {
    const one = (name) => field(SETTINGS[name][0], this.inputs[name]);
    const pair = (...names) => h("div", { class: "pair" }, names.map(one));
    return [field("Model", this.model), pair("tokens", "temperature"), pair("top_p", "seed"), one("n"), one("stop")];
  }

  /** Model, text and generation settings, as requests need them; settings with the server's defaults are left out of `sampling`. */
  get request() {
    const { tokens, temperature, top_p: topP, seed, n, stop } = this.#values();
    const stops = stop.split(",").filter(Boolean);
    return {
      model: this.model.value,
      text: this.text.value,
      max_tokens: Number(tokens),
      temperature: Number(temperature),
      sampling: {
        ...(topP !== "1" && topP !== "" && { top_p: Number(topP) }),
        ...(seed !== "" && { seed: Number(seed) }),
        ...(Number(n) > 1 && { n: Number(n) }),
        ...(stops.length && { stop: stops }),
      },
    };
  }

  /** Values of the form for the URL and the history; null for defaults. */
  get query() {
    const settings = Object.entries(this.#values()).map(([name, value]) => [
      name,
      value === SETTINGS[name][1] ? null : value,
    ]);
    return { model: this.model.value, text: this.text.value, ...Object.fromEntries(settings) };
  }

  /** Sets all fields but the model, which only changes if it is hosted. Missing values become the defaults. */
  restore(query) {
    if ([...this.model.options].some((option) => option.value === query.model)) this.model.value = query.model;
    this.text.value = query.text ?? "";
    for (const [name, input] of Object.entries(this.inputs)) input.value = query[name] ?? SETTINGS[name][1];
  }

  #values() {
    return Object.fromEntries(Object.entries(this.inputs).map(([name, input]) => [name, input.value]));
  }
}
