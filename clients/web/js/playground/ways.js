/** The ways a text is asked: without a prompt, and under those that were chosen. */
import { button, h, put, select } from "../dom/elements.js";
import { icon } from "../shell/icons.js";

const BARE = { key: "", label: "no prompt", ref: null };
const MOST = 8;

export class Ways {
  /** chosen: references with commas between, as the address has them */
  constructor({ prompts, model, chosen, onChange }) {
    Object.assign(this, { prompts, model, onChange });
    this.refs = (chosen ?? "").split(",").filter(Boolean).slice(0, MOST);
    this.chips = h("div", { class: "row" });
    this.element = h("div", { class: "row", role: "group", "aria-label": "Prompts" }, this.chips);
    if (!this.refs.length && chosen === null) this.refs = this.#known().slice(0, 2);
    this.#show();
  }

  get chosen() {
    return [BARE, ...this.refs.map((ref) => ({ key: ref, label: ref, ref }))];
  }

  get written() {
    return this.refs.join(",");
  }

  setModel(model) {
    this.model = model;
    this.refs = [];
    this.#show();
    this.onChange();
  }

  #known() {
    return this.prompts.filter((row) => row.base === this.model).map((row) => `${row.name}@${row.latest}`);
  }

  #show() {
    const known = this.prompts
      .filter((row) => row.base === this.model)
      .flatMap((row) => row.versions.map((version) => `${row.name}@${version}`));
    const others = known.filter((ref) => !this.refs.includes(ref));
    const hint = known.length ? "add a prompt" : "no prompt is stored for this model yet";
    const add = select([["", hint], ...others], {
      onchange: (ref) => ref && this.#add(ref),
      "aria-label": "Add a prompt",
      id: "add-prompt",
      disabled: !others.length || this.refs.length >= MOST,
    });
    put(
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
