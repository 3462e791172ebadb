/** Notes and tags of a run: shown, and edited in place. */
import { path } from "../api/client.js";
import { button, field, h, setChildren } from "../dom/elements.js";
import { attempt } from "../shell/notices.js";
import { link } from "../shell/router.js";

const MAX_NOTES = 4000;

export class Annotation {
  /** onchange: called with the run as the server returned it */
  constructor({ api, run, onchange }) {
    Object.assign(this, { api, run, onchange });
    this.element = h("section", { class: "card stack", "aria-label": "Notes and tags" });
    this.#show();
  }

  /** Shows the notes and tags of `run`, unless they are being edited. */
  setRun(run) {
    this.run = run;
    if (!this.isEdited) this.#show();
  }

  #show() {
    this.isEdited = false;
    const { notes, tags } = this.run;
    const edit = button(notes || tags.length ? "Edit notes and tags" : "Add notes and tags", () => this.#edit(), {
      class: "quiet small",
    });
    setChildren(
      this.element,
      h("div", { class: "row" }, tags.length > 0 && tagLinks(tags), edit),
      notes && h("p", { class: "notes" }, notes),
    );
    return edit;
  }

  #edit() {
    this.isEdited = true;
    const notes = h("textarea", { rows: "4", maxlength: MAX_NOTES });
    notes.value = this.run.notes;
    const tags = h("input", { type: "text", spellcheck: "false", value: this.run.tags.join(" ") });
    const save = async (event) => {
      event.preventDefault();
      const body = { notes: notes.value, tags: tags.value.split(/[\s,]+/).filter(Boolean) };
      const run = await attempt(() => this.api.patch(path`/v1/runs/${this.run.id}`, body), "Saved.");
      if (!run) return;
      this.run = run;
      this.#show().focus();
      this.onchange(run);
    };
    const form = h(
      "form",
      { class: "stack", on: { submit: save } },
      field("Notes", notes),
      field("Tags", tags, "Separated by spaces: letters, digits and . _ : -"),
      h(
        "div",
        { class: "row" },
        h("button", { type: "submit", class: "button primary" }, "Save"),
        button("Discard", () => this.#show().focus()),
      ),
    );
    setChildren(this.element, form);
    notes.focus();
  }
}

/** Tags as links to the list of the runs that have them. */
export function tagLinks(tags) {
  const one = (tag) => h("a", { class: "chip", href: link(["runs"], { tag }), title: `Runs tagged ${tag}` }, tag);
  return h("div", { class: "tags" }, tags.map(one));
}
