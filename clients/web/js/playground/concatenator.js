/** Prompts in sequence: the model answers with the virtual positions of several prompts, one after the other. */
import { button, h, select, setChildren, setOptions } from "../dom/elements.js";
import { empty, failure } from "../dom/states.js";
import { icon } from "../shell/icons.js";
import { Answer } from "./answer.js";

/** Kinds with virtual positions; prompts of one kind can follow one another. */
const KINDS = ["soft", "deep", "prefix"];

export class Concatenator {
  constructor({ api, signal, request, catalogue, variants }) {
    Object.assign(this, { api, signal, request, catalogue, variants });
    this.refs = [];
    this.kinds = new Map();
    this.chips = h("ol", { class: "row sequence", "aria-label": "Order of the prompts" });
    this.add = select([], {
      onchange: (ref) => ref && this.#change([...this.refs, ref]),
      "aria-label": "Append a prompt",
    });
    this.answer = h("div", { class: "mix-answer" });
    this.body = h("div", { class: "stack" }, h("div", { class: "row" }, this.chips, this.add), this.answer);
    this.element = h(
      "section",
      { class: "card stack" },
      h("header", {}, h("h2", {}, "Prompts in sequence")),
      h(
        "p",
        { class: "muted small" },
        "The virtual positions of two or more prompts of one kind, in this order. They are joined per request and not stored.",
      ),
      this.body,
    );
    this.running = new AbortController();
    signal.addEventListener("abort", () => this.running.abort());
    this.#load().catch((error) => setChildren(this.body, failure(error)));
  }

  refresh() {
    this.#run();
  }

  destroy() {
    this.running.abort();
  }

  async #load() {
    const rows = (await this.catalogue.prompts()).filter(
      (row) => row.base === this.request().model && KINDS.includes(row.kind),
    );
    for (const row of rows) for (const version of row.versions) this.kinds.set(`${row.name}@${version}`, row.kind);
    if (!this.kinds.size) {
      setChildren(
        this.body,
        empty("No prompts to join", "A sequence needs soft, deep or prefix prompts for this model."),
      );
      return;
    }
    const chosen = this.variants()
      .map((variant) => variant.ref)
      .filter((ref) => this.kinds.has(ref));
    const [first] = chosen;
    this.#change(chosen.filter((ref) => this.kinds.get(ref) === this.kinds.get(first)).slice(0, 2));
  }

  /** Shows the prompts in their order, and answers with them. */
  #change(refs) {
    this.refs = refs;
    setChildren(
      this.chips,
      refs.map((ref, k) => this.#chip(ref, k)),
    );
    const [first] = refs;
    const others = [...this.kinds.keys()].filter((ref) => !first || this.kinds.get(ref) === this.kinds.get(first));
    setOptions(this.add, [["", "append a prompt"], ...others], "");
    this.#run();
  }

  #chip(ref, k) {
    const others = this.refs.filter((_, i) => i !== k);
    const earlier = () => this.#change([...others.slice(0, k - 1), ref, ...others.slice(k - 1)]);
    const place = `${k + 1}, ${ref}`;
    return h(
      "li",
      { class: "chip" },
      k > 0 && button("◂", earlier, { class: "quiet icon", title: "Earlier", "aria-label": `Move earlier: ${place}` }),
      ref,
      button(icon("close"), () => this.#change(others), { class: "quiet icon", "aria-label": `Remove: ${place}` }),
    );
  }

  #run() {
    this.running.abort();
    if (this.refs.length < 2 || !this.request().text) {
      const hint = "Append at least two prompts, and write a text above.";
      setChildren(this.answer, h("p", { class: "faint small" }, hint));
      return;
    }
    this.running = new AbortController();
    const label = this.refs.join(" then ");
    const card = new Answer(this.api, { key: "concat", label, ref: { concat: this.refs } });
    setChildren(this.answer, card.element);
    card.run(this.request(), this.running.signal);
  }
}
