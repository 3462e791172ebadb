/** Steering: a direction is added to the residual stream at one layer, scaled by a slider; the answer with it and without it. */
import { path } from "../api/client.js";
import { writeTensors } from "../api/safetensors.js";
import { field, h, select, setChildren, setOptions } from "../dom/elements.js";
import { number } from "../dom/format.js";
import { failure } from "../dom/states.js";
import { splitRef } from "../prompts/manifests.js";
import { Answer } from "./answer.js";

const DELAY_MS = 200;
const SITE = "resid_post";
const TEXTS = "";
const VALUE = "direction";

/** @typedef {{layer: number, data: Float32Array}[]} Direction one vector `[d_model]` by layer */

export class Steering {
  constructor({ api, signal, request, catalogue, variants }) {
    Object.assign(this, { api, signal, request, catalogue, variants });
    this.directions = new Map();
    this.running = new AbortController();
    signal.addEventListener("abort", () => this.running.abort());
    this.source = select([], { onchange: () => this.#chooseSource(), "aria-label": "Direction", id: "steer-source" });
    this.layer = select([], {
      onchange: () => this.#runSoon(),
      "aria-label": "Layer of the direction",
      id: "steer-layer",
    });
    const text = (placeholder) => h("input", { type: "text", placeholder, on: { input: () => this.#runSoon() } });
    [this.toward, this.awayFrom] = [text("for example: I love this"), text("for example: I hate this")];
    this.scale = h("input", {
      type: "range",
      min: "-8",
      max: "8",
      step: "0.1",
      value: "1",
      "aria-label": "Scale of the direction",
      id: "steer-scale",
      on: { input: () => this.#runSoon() },
    });
    this.shown = h("output", { class: "number" });
    this.texts = h(
      "div",
      { class: "pair" },
      field("Toward the text", this.toward),
      field("Away from the text", this.awayFrom),
    );
    this.note = h("p", { class: "muted small", role: "status" });
    this.answer = h("div", { class: "mix-answer" });
    this.element = h(
      "section",
      { class: "card stack" },
      h("header", {}, h("h2", {}, "Steering"), h("div", { class: "row" }, this.source, this.layer)),
      h(
        "p",
        { class: "muted small" },
        "Adds scale × direction to the output of the layer at every token. The direction is a tuned steering prompt, or the mean state of one text minus that of another.",
      ),
      h("div", { class: "steering" }, this.texts, h("div", { class: "scale" }, this.scale, this.shown), this.note),
      this.answer,
    );
    this.ready = this.#load();
    this.ready.catch((error) => setChildren(this.answer, failure(error)));
  }

  refresh() {
    this.ready.then(
      () => this.#run(),
      () => {}, // shown already
    );
  }

  destroy() {
    clearTimeout(this.waiting);
    this.running.abort();
  }

  async #load() {
    const { model } = this.request();
    const [prompts, models] = await Promise.all([this.catalogue.prompts(), this.catalogue.models()]);
    this.nLayers = models.find((one) => one.id === model).n_layers;
    const refs = prompts
      .filter((row) => row.base === model && row.kind === "steering")
      .flatMap((row) => row.versions.map((version) => `${row.name}@${version}`));
    setOptions(this.source, [...refs, [TEXTS, "difference of two texts"]], refs[0] ?? TEXTS);
    await this.#setLayers();
  }

  async #chooseSource() {
    try {
      await this.#setLayers();
    } catch (error) {
      if (error.name !== "AbortError") setChildren(this.answer, failure(error));
      return;
    }
    this.#run();
  }

  /** The layers of the source: those of the prompt, and all of them together; every layer for two texts. */
  async #setLayers() {
    this.texts.hidden = this.source.value !== TEXTS;
    if (this.source.value === TEXTS) {
      const layers = Array.from({ length: this.nLayers }, (_, layer) => [String(layer), `layer ${layer}`]);
      setOptions(this.layer, layers, String(Math.floor(this.nLayers / 2)));
      return;
    }
    const direction = await this.#promptDirection(this.source.value);
    const layers = direction.map(({ layer }) => [String(layer), `layer ${layer}`]);
    setOptions(this.layer, layers.length > 1 ? [["all", "all its layers"], ...layers] : layers);
  }

  /** The vectors of a stored steering prompt. */
  async #promptDirection(ref) {
    if (!this.directions.has(ref)) {
      const [name, version] = splitRef(ref);
      const { tensors } = await this.api.tensors(path`/v1/prompts/${name}/versions/${version}/content`, {
        signal: this.signal,
      });
      const vectors = Object.entries(tensors).map(([tensor, { data }]) => ({
        layer: Number(tensor.split(".")[1]),
        data: Float32Array.from(data),
      }));
      this.directions.set(
        ref,
        vectors.sort((a, b) => a.layer - b.layer),
      );
    }
    return this.directions.get(ref);
  }

  /** The mean state of one text minus that of another, at one layer. */
  async #textDirection(signal) {
    const layer = Number(this.layer.value);
    const inputs = [this.toward.value, this.awayFrom.value];
    const key = JSON.stringify([this.request().model, layer, ...inputs]);
    if (!this.directions.has(key)) {
      const body = { model: this.request().model, inputs, sites: [SITE], layers: [layer], reduce: "mean" };
      const { tensors } = await this.api.tensors("/v1/activations", { body, signal });
      const { data, shape } = tensors[`${SITE}.${layer}`];
      const d = shape[1];
      this.directions.set(key, [{ layer, data: Float32Array.from({ length: d }, (_, i) => data[i] - data[d + i]) }]);
    }
    return this.directions.get(key);
  }

  /** @returns {Promise<?Direction>} null while a text is missing */
  async #direction(signal) {
    if (this.source.value === TEXTS)
      return this.toward.value && this.awayFrom.value ? this.#textDirection(signal) : null;
    const direction = await this.#promptDirection(this.source.value);
    return this.layer.value === "all" ? direction : direction.filter(({ layer }) => layer === Number(this.layer.value));
  }

  #runSoon() {
    clearTimeout(this.waiting);
    this.#showScale();
    this.waiting = setTimeout(() => this.#run(), DELAY_MS);
  }

  #showScale() {
    this.shown.textContent = `× ${number(Number(this.scale.value), 3)}`;
  }

  async #run() {
    this.#showScale();
    this.running.abort();
    this.running = new AbortController();
    const { signal } = this.running;
    if (!this.request().text) return;
    try {
      const direction = await this.#direction(signal);
      if (signal.aborted) return;
      this.note.textContent = direction ? aboutOf(direction) : "Enter two texts: their difference is the direction.";
      if (direction) this.#answer(direction, signal);
      else setChildren(this.answer);
    } catch (error) {
      if (error.name !== "AbortError") setChildren(this.answer, failure(error));
    }
  }

  #answer(direction, signal) {
    const strength = Number(this.scale.value);
    const interventions = direction.map(({ layer }) => ({
      site: SITE,
      layers: [layer],
      positions: "all",
      op: "add",
      value: `${VALUE}.${layer}`,
      strength,
    }));
    const tensors = writeTensors(
      Object.fromEntries(direction.map(({ layer, data }) => [`${VALUE}.${layer}`, { shape: [data.length], data }])),
    );
    const send = (body, aborting) =>
      this.api.events("/v1/completions", { body: { ...body, interventions }, tensors, signal: aborting });
    const label = `${this.source.value || "difference"} ${this.shown.textContent}`;
    const card = new Answer(this.api, { key: "steer", label, ref: null }, send);
    setChildren(this.answer, card.element);
    card.run(this.request(), signal);
  }
}

function aboutOf(direction) {
  const norms = direction.map(({ layer, data }) => `${number(Math.hypot(...data), 3)} at layer ${layer}`);
  return `Length of the direction: ${norms.join(", ")}.`;
}
