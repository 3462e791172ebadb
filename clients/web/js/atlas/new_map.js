/** Dialog for a new map: collects a spec and starts the run. Refusals of the server are shown at their fields. */
import { button, checkbox, h, select, setChildren } from "../dom/elements.js";
import { failure } from "../dom/states.js";
import { SpecSchemas } from "../schema/spec_schemas.js";
import { go } from "../shell/router.js";
import { notify } from "../shell/notices.js";
import { MapField, settingsEditor, trajectoriesEditor } from "./map_fields.js";

const METHODS = [
  ["pca", "PCA: fast, linear, keeps distances"],
  ["umap", "UMAP: keeps neighbourhoods"],
  ["tsne", "t-SNE: keeps small neighbourhoods"],
];

/** dataset: name of the dataset that is checked at first. */
export async function openMapDialog({ api, catalogue, dataset = null }) {
  const dialog = h("dialog", { class: "map-dialog", "aria-labelledby": "new-map" });
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  try {
    const [models, datasets, prompts, document_] = await Promise.all([
      catalogue.models(),
      catalogue.datasets(),
      catalogue.prompts(),
      catalogue.openapi(),
    ]);
    const schemas = new SpecSchemas(document_);
    dialog.append(new MapForm({ api, catalogue, dialog, models, datasets, prompts, dataset, schemas }).element);
  } catch (error) {
    if (error.name !== "ApiError") console.error(error);
    dialog.append(
      failure(error),
      button("Close", () => dialog.close()),
    );
  }
  dialog.showModal();
}

class MapForm {
  constructor({ api, catalogue, dialog, models, datasets, prompts, dataset, schemas }) {
    Object.assign(this, { api, catalogue, dialog, models, prompts, schemas });
    this.datasetNames = datasets.map(({ name }) => name);
    this.name = new MapField("Name", h("input", { type: "text", maxlength: "200", placeholder: "Optional" }));
    const ids = models.map((model) => model.id);
    this.model = new MapField("Model", select(ids, { onchange: () => this.#changeModel() }));
    this.method = new MapField("Method", select(METHODS, { onchange: () => this.#changeMethod() }));
    this.layers = new MapField("Layers", h("input", { type: "text", spellcheck: "false" }));
    this.settings = h("div", {});
    this.n = new MapField("Texts per dataset", h("input", { type: "text", inputmode: "decimal", value: "200" }));
    const per = [
      ["text", "one point per text"],
      ["token", "one point per token"],
    ];
    this.per = new MapField("Points", select(per));
    const boxes = this.datasetNames.map((name) => checkbox(name, { value: name, checked: name === dataset }));
    this.datasets = new MapField("Datasets", h("div", { class: "choices" }, boxes), { isGroup: true });
    const promptList = h("div", { class: "choices" });
    this.chosen = new MapField("Tuned prompts, with draws and snapshots", promptList, { isGroup: true });
    this.trajectories = h("div", {});
    this.vocabulary = checkbox("Token embeddings of the vocabulary (layer 0)", { checked: true });
    this.fault = h("div", { hidden: true });
    this.element = this.#form();
    this.#changeModel();
    this.#changeMethod();
  }

  #form() {
    const submit = (event) => {
      event.preventDefault();
      this.#start();
    };
    const pair = (...fields) => h("div", { class: "pair" }, ...fields.map((one) => one.element));
    const folded = (title, body) => h("details", {}, h("summary", {}, title), body);
    const actions = [
      h("button", { type: "submit", class: "button primary" }, "Create map"),
      button("Cancel", () => this.dialog.close()),
    ];
    return h(
      "form",
      { novalidate: true, on: { submit } },
      h("h2", { id: "new-map" }, "New map"),
      pair(this.name, this.model),
      pair(this.method, this.layers),
      (this.settingsPart = folded("Settings of the method", this.settings)),
      this.datasets.element,
      pair(this.n, this.per),
      this.chosen.element,
      (this.trajectoriesPart = folded("Trajectories: generations from the inputs of a dataset", this.trajectories)),
      this.vocabulary,
      h("div", { class: "dialog-actions" }, this.fault, h("div", { class: "row" }, actions)),
    );
  }

  #changeModel() {
    const model = this.models.find((one) => one.id === this.model.input.value);
    if (!model) return;
    this.layers.input.value = [0, Math.floor(model.n_layers / 2), model.n_layers - 1].join(", ");
    const own = this.prompts.filter((row) => row.base === model.id).map((row) => `${row.name}@${row.latest}`);
    const boxes = own.map((ref) => checkbox(ref, { value: ref }));
    setChildren(
      this.chosen.input,
      boxes.length ? boxes : h("span", { class: "faint small" }, "No prompts for this model."),
    );
    this.context = {
      schemas: this.schemas,
      choices: { dataset: this.datasetNames, prompt_ref: own },
      onChange: () => {},
      picture: () => null,
    };
    this.trajectoriesEditor = trajectoriesEditor(this.context);
    setChildren(this.trajectories, this.trajectoriesEditor.element);
  }

  #changeMethod() {
    const kept = this.settingsEditor?.read();
    this.settingsEditor = settingsEditor(this.context, this.method.input.value);
    if (kept) this.settingsEditor.write(kept);
    setChildren(this.settings, this.settingsEditor.element);
  }

  /** The spec, and for each source the part of the form that it comes from. */
  #read() {
    const sources = [];
    const parts = [];
    const add = (source, part) => parts.push(part) && sources.push(source);
    const n = wholeNumber(this.n.input.value);
    for (const dataset of checked(this.datasets.input)) {
      add({ dataset, n, per: this.per.input.value }, { n: this.n, per: this.per, rest: this.datasets });
    }
    const layers = this.layers.input.value
      .split(/[\s,]+/)
      .filter(Boolean)
      .map(wholeNumber);
    if (this.vocabulary.firstChild.checked && layers.includes(0))
      add({ embeddings: "vocabulary" }, { rest: this.layers });
    const prompts = checked(this.chosen.input);
    if (prompts.length) add({ prompts, snapshots: true }, { rest: this.chosen });
    const trajectories = this.trajectoriesEditor.read();
    if (trajectories) add({ trajectories }, { trajectories: this.trajectoriesEditor, rest: this.chosen });
    const { value: model } = this.model.input;
    const spec = { model, method: this.method.input.value, layers, sources, ...this.settingsEditor.read() };
    return { spec, parts };
  }

  async #start() {
    const { spec, parts } = this.#read();
    const name = this.name.input.value.trim();
    try {
      const run = await this.api.post("/v1/runs", { kind: "map", spec, ...(name && { name }) });
      this.catalogue.invalidate();
      this.dialog.close();
      notify("The run has been queued. The map appears in the atlas when it succeeds.");
      go(["runs", run.id]);
    } catch (error) {
      if (error.name !== "ApiError") console.error(error);
      this.#refuse(error, parts);
    }
  }

  #refuse(error, parts) {
    const fields = ["name", "model", "method", "layers", "n", "per", "datasets", "chosen"].map((key) => this[key]);
    for (const one of [...fields, this.settingsEditor, this.trajectoriesEditor]) one.clear();
    for (const { loc, msg } of error.errors ?? []) this.#faultAt(loc, msg, parts);
    for (const part of [this.settingsPart, this.trajectoriesPart])
      part.open ||= part.querySelector(".field-fault:not([hidden])") !== null;
    this.fault.hidden = false;
    setChildren(this.fault, failure(error));
    this.element.querySelector('[aria-invalid="true"]')?.focus();
  }

  /** Shows a refusal at the field of its location, which begins with `spec` or is a field of the run. */
  #faultAt([root, ...loc], message, parts) {
    if (root === "name") return this.name.fault([], message);
    if (loc[0] !== "sources") return this[loc[0]]?.fault?.([], message) ?? this.settingsEditor.fault(loc, message);
    const part = parts[loc[1]];
    // Locations in a union may name the alternative before the field.
    const key = loc.slice(2).find((one) => part && one !== "rest" && part[one]);
    const rest = loc.slice(loc.indexOf(key) + 1);
    if (key && part[key].fault(rest, message)) return true;
    return (part?.rest ?? this.datasets).fault([], message);
  }
}

function checked(list) {
  return [...list.querySelectorAll("input:checked")].map((input) => input.value);
}

/** The number in a text; the text itself if it is none, for the server to refuse. */
function wholeNumber(text) {
  return /^\s*-?\d+\s*$/.test(text) ? Number(text) : text;
}
