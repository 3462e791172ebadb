/** The variants of a completion: without a prompt, and with each selected prompt. */
import { button, h, select, setChildren } from "../dom/elements.js";
import { icon } from "../shell/icons.js";

const BARE = { key: "", label: "no prompt", ref: null };
const MAX_PROMPTS = 8;

export class Variants {
  /** chosen: comma-separated prompt references, as in the URL; null selects the first two prompts of the model */
  constructor({ prompts, model, chosen, onChange }) {
    Object.assign(this, { prompts, model, onChange });
    this.refs = (chosen ?? "").split(",").filter(Boolean).slice(0, MAX_PROMPTS);
    this.chips = h("div", { class: "row" });
    this.element = h("div", { class: "row", role: "group", "aria-label": "Prompts" }, this.chips);
    if (!this.refs.length && chosen === null) this.refs = this.#known().slice(0, 2);
    this.#show();
  }

  get chosen() {
    return [BARE, ...this.refs.map((ref) => ({ key: ref, label: ref, ref }))];
  }

  get refsText() {
    return this.refs.join(",");
  }

  /** Selects prompts of another model; none by default. */
  setModel(model, { refs = [] } = {}) {
    this.model = model;
    this.setRefs(refs);
  }

  setRefs(refs) {
    this.refs = refs.slice(0, MAX_PROMPTS);
    this.#show();
  }

  #known() {
    return this.prompts.filter((row) => row.base === this.model).map((row) => `${row.name}@${row.latest}`);
  }

  #show() {
    const known = this.prompts
      .filter((row) => row.base === this.model)
      .flatMap((row) => row.versions.map((version) => `${row.name}@${version}`));
    const others = known.filter((ref) => !this.refs.includes(ref));
    const hint = known.length ? "add a prompt" : "no prompts for this model";
    const add = select([["", hint], ...others], {
      onchange: (ref) => ref && this.#add(ref),
      "aria-label": "Add a prompt",
      id: "add-prompt",
      disabled: !others.length || this.refs.length >= MAX_PROMPTS,
    });
    setChildren(
      this.chips,
      h("span", { class: "chip" }, "no prompt"),
      this.refs.map((ref) => this.#chip(ref)),
      add,
    );
  }

  #chip(ref) {
    return h(
      "span",
      { class: "chip" },
      ref,
      button(icon("close"), () => this.#remove(ref), { class: "quiet icon", "aria-label": `Remove ${ref}` }),
    );
  }

  #add(ref) {
    this.refs.push(ref);
    this.#show();
    this.onChange();
  }

  #remove(ref) {
    this.refs = this.refs.filter((one) => one !== ref);
    this.#show();
    this.onChange();
  }
}
