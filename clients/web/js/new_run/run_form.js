/** The form of a run. The JSON of the spec and the fields show the same values; the server checks each change. */
import { button, field, h, setChildren } from "../dom/elements.js";
import { codeTabs } from "../dom/copy.js";
import { bytes, duration } from "../dom/format.js";
import { facts } from "../dom/table.js";
import { ObjectEditor } from "../schema/compound.js";
import { go, link } from "../shell/router.js";
import { codeOf } from "./code.js";
import { priorPicture } from "./pictures.js";

const DELAY_MS = 400;

export class RunForm {
  constructor({ api, catalogue, signal, schemas, entry, choices }) {
    Object.assign(this, { api, catalogue, signal, entry });
    const context = {
      schemas,
      choices,
      onChange: () => this.#onFields(),
      picture: (name, tag) => (name === "priors" ? priorPicture(tag) : null),
    };
    const schema = schemas.resolve(entry.schema);
    this.editor = new ObjectEditor({ context, name: "spec", schema, isOpen: true });
    this.name = h("input", {
      type: "text",
      maxlength: "200",
      placeholder: "Shown in lists",
      on: { input: () => this.#onName() },
    });
    this.json = h("textarea", {
      class: "mono",
      rows: "16",
      spellcheck: "false",
      "aria-label": "Spec as JSON",
      on: { input: () => this.#onJson() },
    });
    this.result = h("div", { role: "status", class: "stack tight" });
    this.code = h("div", {});
    this.go = button("Start the run", () => this.#start(), { class: "primary" });
    this.element = h(
      "div",
      { class: "columns new-run" },
      h("section", { class: "card stack" }, field("Name of the run", this.name), this.editor.element),
      h(
        "div",
        { class: "stack" },
        h("section", { class: "card stack" }, h("h2", {}, "Check"), this.result, h("div", { class: "row" }, this.go)),
        h("section", { class: "card stack" }, h("h2", {}, "Spec"), this.json),
        h("section", { class: "card stack" }, h("h2", {}, "As code"), this.code),
      ),
    );
    signal.addEventListener("abort", () => clearTimeout(this.waiting));
  }

  start({ spec, name }) {
    this.name.value = name;
    this.spec = spec;
    this.editor.write(spec);
    this.json.value = JSON.stringify(spec, null, 2);
    this.#checkSoon();
  }

  get body() {
    const name = this.name.value.trim();
    return { kind: this.entry.kind, spec: this.spec, ...(name && { name }) };
  }

  #onFields() {
    this.spec = this.editor.read() ?? {};
    this.json.value = JSON.stringify(this.spec, null, 2);
    this.#checkSoon();
  }

  #onName() {
    this.#checkSoon();
  }

  #onJson() {
    try {
      const spec = JSON.parse(this.json.value);
      if (typeof spec !== "object" || spec === null || Array.isArray(spec)) throw new SyntaxError("expected an object");
      this.spec = spec;
    } catch (error) {
      clearTimeout(this.waiting);
      this.checking?.abort();
      this.go.disabled = true;
      this.json.setAttribute("aria-invalid", "true");
      this.#show(h("p", { class: "field-fault" }, `The spec is not a JSON object: ${error.message}`));
      return;
    }
    this.editor.write(this.spec);
    this.#checkSoon();
  }

  #checkSoon() {
    this.json.removeAttribute("aria-invalid");
    this.go.disabled = false;
    setChildren(this.code, codeTabs(codeOf(this.api, this.body)));
    clearTimeout(this.waiting);
    this.checking?.abort();
    this.waiting = setTimeout(() => this.#check(), DELAY_MS);
  }

  async #check() {
    this.checking = new AbortController();
    const { signal } = this.checking;
    this.signal.addEventListener("abort", () => this.checking.abort(), { once: true });
    this.#show(h("p", { class: "muted" }, "Checking …"));
    try {
      const plan = await this.api.post("/v1/runs", this.body, { query: { dry_run: true }, signal });
      this.editor.clear();
      this.#show(planned(plan));
    } catch (error) {
      if (signal.aborted) return;
      if (error.name !== "ApiError") console.error(error);
      this.#refuse(error);
    }
  }

  async #start() {
    clearTimeout(this.waiting);
    this.checking?.abort();
    this.go.disabled = true;
    try {
      const run = await this.api.post("/v1/runs", this.body, { signal: this.signal });
      this.catalogue.invalidate();
      go(["runs", run.id]);
    } catch (error) {
      if (this.signal.aborted) return;
      if (error.name !== "ApiError") console.error(error);
      this.go.disabled = false;
      this.#refuse(error);
    }
  }

  /** Shows each refusal at its field, and all of them in the card. */
  #refuse(error) {
    this.editor.clear();
    const faults = error.errors ?? [];
    for (const { loc, msg } of faults) if (loc[0] === "spec") this.editor.fault(loc.slice(1), msg);
    const lines = faults.map(({ loc, msg }) =>
      h("li", {}, h("code", {}, loc.slice(1).join(".") || loc.join(".")), ` ${msg}`),
    );
    this.#show(
      h("p", { class: "field-fault" }, h("strong", {}, error.title ?? "Error in this page")),
      lines.length ? h("ul", { class: "small" }, lines) : h("p", {}, error.detail ?? String(error.message)),
    );
  }

  #show(...children) {
    setChildren(this.result, children);
  }
}

function planned(plan) {
  const source = plan.predicted_from;
  const seconds = plan.duration_s !== null && [
    `about ${duration(plan.duration_s)}, from `,
    h("a", { class: "inline", href: link(["runs", source]) }, "an earlier run"),
  ];
  return [
    h("p", {}, h("span", { class: "badge good" }, "valid"), " The server accepts this spec."),
    facts(
      [
        ["Memory of a worker", plan.memory_bytes !== null && `at least ${bytes(plan.memory_bytes)}`],
        ["Duration", seconds || "unknown: no earlier run with this model, dataset and kind of prompt"],
      ].filter(([, value]) => value),
    ),
  ];
}
