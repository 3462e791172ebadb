/** Fields of the dialog for a new map. */
import { h } from "../dom/elements.js";
import { ObjectEditor } from "../schema/compound.js";

let nFields = 0;

/** A labelled input or group with a place for a message of the server; `fault` and `clear` as in `schema/editors.js`. */
export class MapField {
  /** isGroup: `input` contains several inputs */
  constructor(label, input, { isGroup = false } = {}) {
    this.input = input;
    const id = `map-field-${++nFields}`;
    this.message = h("span", { class: "field-fault small", id: `${id}-fault`, hidden: true });
    if (isGroup) {
      input.setAttribute("role", "group");
      input.setAttribute("aria-labelledby", id);
    } else input.id = `${id}-input`;
    const name = isGroup ? h("span", { id }, label) : h("label", { for: input.id }, label);
    this.element = h("div", { class: "field" }, h("div", { class: "label" }, name), input, this.message);
  }

  fault(loc, message) {
    this.message.textContent = message;
    this.message.hidden = false;
    this.input.setAttribute("aria-invalid", "true");
    this.input.setAttribute("aria-describedby", this.message.id);
    return true;
  }

  clear() {
    this.message.hidden = true;
    this.input.removeAttribute("aria-invalid");
    this.input.removeAttribute("aria-describedby");
  }
}

/** Settings of each method, as fields of the spec. */
const SETTINGS = {
  pca: ["n_components", "seed"],
  umap: ["n_components", "n_neighbors", "min_dist", "metric", "n_pca", "seed"],
  tsne: ["perplexity", "metric", "n_pca", "seed"],
};

/** An editor of the settings of a method, from the schema of the spec. */
export function settingsEditor(context, method) {
  return editorOfSome(context, "map", context.schemas.of("map").schema, SETTINGS[method]);
}

const OF_TRAJECTORIES = ["dataset", "n", "max_tokens", "temperature", "prompt_ref"];

/** An editor of trajectories that continue the inputs of a dataset. */
export function trajectoriesEditor(context) {
  return editorOfSome(context, "trajectories", { $ref: "#/components/schemas/Trajectories" }, OF_TRAJECTORIES);
}

function editorOfSome(context, name, schema, fields) {
  const { properties, ...rest } = context.schemas.resolve(schema);
  const some = Object.fromEntries(fields.map((field) => [field, properties[field]]));
  return new ObjectEditor({ context, name, schema: { ...rest, required: [], properties: some }, isOpen: true });
}
