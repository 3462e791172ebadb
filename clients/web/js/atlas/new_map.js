/** Dialog for a new map: collects a spec and starts the run. */
import { button, checkbox, field, h, select } from "../dom/elements.js";
import { failure } from "../dom/states.js";
import { go } from "../shell/router.js";
import { notify } from "../shell/notices.js";

const METHODS = [
  ["pca", "PCA: fast, linear, keeps distances"],
  ["umap", "UMAP: keeps neighbourhoods"],
  ["tsne", "t-SNE: keeps small neighbourhoods"],
];

/** dataset: name of the dataset that is checked at first. */
export async function openMapDialog({ api, catalogue, dataset = null }) {
  const dialog = h("dialog", { "aria-labelledby": "new-map" });
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  try {
    const [models, datasets, prompts] = await Promise.all([
      catalogue.models(),
      catalogue.datasets(),
      catalogue.prompts(),
    ]);
    dialog.append(new MapForm({ api, catalogue, dialog, models, datasets, prompts, dataset }).element);
  } catch (error) {
    dialog.append(
      failure(error),
      button("Close", () => dialog.close()),
    );
  }
  dialog.showModal();
}

class MapForm {
  constructor({ api, catalogue, dialog, models, datasets, prompts, dataset }) {
    Object.assign(this, { api, catalogue, dialog, models, prompts });
    this.name = h("input", { type: "text", maxlength: "200", placeholder: "Optional" });
    this.model = select(
      models.map((model) => model.id),
      { onchange: () => this.#changeModel() },
    );
    this.method = select(METHODS);
    this.layers = h("input", { type: "text", spellcheck: "false" });
    this.n = h("input", { type: "number", min: "1", max: "100000", value: "200" });
    this.per = select([
      ["text", "one point per text"],
      ["token", "one point per token"],
    ]);
    this.vocabulary = checkbox("Token embeddings of the vocabulary (layer 0)", { checked: true });
    this.datasets = datasets.map(({ name }) => checkbox(name, { value: name, checked: name === dataset }));
    this.promptList = h("div", { class: "choices" });
    this.fault = h("div", { hidden: true });
    this.element = this.#form();
    this.#changeModel();
  }

  #form() {
    const submit = (event) => {
      event.preventDefault();
      this.#start();
    };
    return h(
      "form",
      { on: { submit } },
      h("h2", { id: "new-map" }, "New map"),
      h("div", { class: "pair" }, field("Name", this.name), field("Model", this.model)),
      h("div", { class: "pair" }, field("Method", this.method), field("Layers", this.layers)),
      h("div", { class: "field" }, h("span", {}, "Datasets"), h("div", { class: "choices" }, this.datasets)),
      h("div", { class: "pair" }, field("Texts per dataset", this.n), field("Points", this.per)),
      h("div", { class: "field" }, h("span", {}, "Tuned prompts, with draws and snapshots"), this.promptList),
      this.vocabulary,
      this.fault,
      h(
        "div",
        { class: "row" },
        h("button", { type: "submit", class: "button primary" }, "Create map"),
        button("Cancel", () => this.dialog.close()),
      ),
    );
  }

  #changeModel() {
    const model = this.models.find((one) => one.id === this.model.value);
    if (!model) return;
    this.layers.value = [0, Math.floor(model.n_layers / 2), model.n_layers - 1].join(", ");
    const own = this.prompts.filter((row) => row.base === model.id);
    const boxes = own.map((row) => checkbox(`${row.name}@${row.latest}`, { value: `${row.name}@${row.latest}` }));
    this.promptList.replaceChildren(
      ...(boxes.length ? boxes : [h("span", { class: "faint small" }, "No prompts for this model.")]),
    );
  }

  #spec() {
    const chosen = (boxes) =>
      boxes
        .map((box) => box.querySelector("input"))
        .filter((input) => input?.checked)
        .map((input) => input.value);
    const sources = chosen(this.datasets).map((dataset) => ({ dataset, n: Number(this.n.value), per: this.per.value }));
    const layers = this.layers.value
      .split(/[\s,]+/)
      .filter(Boolean)
      .map(Number);
    if (this.vocabulary.firstChild.checked && layers.includes(0)) sources.push({ embeddings: "vocabulary" });
    const prompts = chosen([...this.promptList.children]);
    if (prompts.length) sources.push({ prompts, snapshots: true });
    return { model: this.model.value, method: this.method.value, layers, sources };
  }

  async #start() {
    try {
      const run = await this.api.post("/v1/runs", {
        kind: "map",
        spec: this.#spec(),
        ...(this.name.value && { name: this.name.value }),
      });
      this.catalogue.invalidate();
      this.dialog.close();
      notify("The run has been queued. The map appears in the atlas when it succeeds.");
      go(["runs", run.id]);
    } catch (error) {
      this.fault.hidden = false;
      this.fault.replaceChildren(failure(error));
    }
  }
}
