/** Dialog that stores a file as a dataset: drop zone, format, template, and errors with their line. */
import { button, checkbox, field, h, select, setChildren } from "../dom/elements.js";
import { truncated } from "../dom/format.js";
import { failure } from "../dom/states.js";
import { go } from "../shell/router.js";
import { FORMATS, formatOf, lineOf, nameFor, prepared } from "./files.js";

/** Fields that the server reads without a template. */
const READY = [["input", "target"], ["text"]];

export function openUpload({ api, catalogue, file = null }) {
  const dialog = new Upload({ api, catalogue });
  document.body.append(dialog.element);
  dialog.element.showModal();
  if (file) dialog.choose(file);
}

class Upload {
  constructor({ api, catalogue }) {
    Object.assign(this, { api, catalogue, file: null });
    this.picker = h("input", {
      type: "file",
      id: "dataset-file",
      on: { change: () => this.choose(this.picker.files[0]) },
    });
    this.name = h("input", { type: "text", required: true, spellcheck: "false" });
    this.format = select(FORMATS, { onchange: () => this.#prepare() });
    this.input = h("input", { type: "text", spellcheck: "false" });
    this.target = h("input", { type: "text", spellcheck: "false" });
    this.template = h("div", { class: "pair", hidden: true }, field("Input", this.input), field("Target", this.target));
    this.templateHint = h("p", { class: "faint small", hidden: true });
    this.cloze = checkbox("Split running text into cloze items");
    this.cloze.hidden = true;
    this.fault = h("div", {});
    this.go = h("button", { type: "submit", class: "button primary", disabled: true }, "Store the dataset");
    this.element = h("dialog", { "aria-labelledby": "upload-title" }, this.#form());
    this.element.addEventListener("close", () => this.element.remove());
  }

  #form() {
    const zone = h(
      "label",
      { class: "drop-zone", for: "dataset-file" },
      h("strong", {}, "Drop a file here, or choose one"),
      h("span", { class: "faint small" }, "CSV, TSV, JSON lines, SQuAD, GSM8K, DeepMind mathematics or text"),
      this.picker,
    );
    acceptDrops(zone, (file) => this.choose(file));
    const submit = (event) => {
      event.preventDefault();
      this.#store();
    };
    return h(
      "form",
      { on: { submit } },
      h("h2", { id: "upload-title" }, "New dataset"),
      zone,
      h("div", { class: "pair" }, field("Name", this.name), field("Format", this.format)),
      this.template,
      this.templateHint,
      this.cloze,
      this.fault,
      h(
        "div",
        { class: "row" },
        this.go,
        button("Cancel", () => this.element.close()),
      ),
    );
  }

  choose(file) {
    if (!file) return;
    this.file = file;
    this.name.value = nameFor(file.name);
    this.format.value = formatOf(file.name);
    this.#prepare();
  }

  /** Reads the fields of the file for the template, and shows faults of a CSV file at once. */
  async #prepare() {
    setChildren(this.fault);
    this.cloze.hidden = this.format.value !== "text";
    if (!this.file) return;
    const turn = (this.turn = Symbol("turn"));
    try {
      const upload = await prepared(this.file, this.format.value);
      if (turn !== this.turn) return;
      this.upload = upload;
      this.go.disabled = false;
      this.#suggestTemplate(upload.fields);
    } catch (error) {
      if (turn !== this.turn) return;
      this.go.disabled = true;
      await this.#showFault(error, error.line ?? null);
    }
  }

  #suggestTemplate(fields) {
    const isReady = !fields.length || READY.some((names) => names.every((name) => fields.includes(name)));
    this.template.hidden = this.templateHint.hidden = isReady;
    this.input.value = isReady ? "" : `{${fields[0]}}\n`.replace("\n", " ");
    this.target.value = isReady || fields.length < 2 ? "" : `{${fields.at(-1)}}`;
    this.templateHint.textContent = `The model reads the input followed by the target, with nothing in between. Fields: ${fields.map((name) => `{${name}}`).join(", ")}.`;
  }

  async #store() {
    setChildren(this.fault);
    this.go.disabled = true;
    const { file, format } = this.upload;
    const query = {
      name: this.name.value.trim(),
      format,
      input: this.input.value,
      target: this.target.value,
      ...(format === "text" && this.cloze.firstChild.checked && { cloze: true }),
    };
    try {
      const found = await this.api.upload("/v1/datasets", { file, type: "application/octet-stream", query });
      this.catalogue.invalidate();
      this.element.close();
      go(["datasets", found.name]);
    } catch (error) {
      this.go.disabled = false;
      const named = /\bline (\d+)/i.exec(error.detail ?? "");
      const line = named && Number(named[1]);
      await this.#showFault(error, line && (this.upload.lines?.[line - 1] ?? line));
    }
  }

  /** An error; with the text of the line of the file, if it is about one. */
  async #showFault(error, line) {
    const text = line ? await lineOf(this.file, line) : null;
    setChildren(
      this.fault,
      error.name === "CsvError"
        ? h(
            "div",
            { class: "state failure", role: "alert" },
            h("h3", {}, "The file cannot be read"),
            h("p", {}, error.message),
          )
        : failure(error),
      text !== null &&
        h(
          "div",
          { class: "stack tight" },
          h("h3", {}, `Line ${line} of ${this.file.name}`),
          h("pre", { tabindex: "0" }, truncated(text, 400)),
        ),
    );
  }
}

/** Lets files be dropped on an element. */
export function acceptDrops(element, onFile) {
  const hold = (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    element.classList.toggle("dropping", event.type !== "drop" && event.type !== "dragleave");
    if (event.type === "drop" && event.dataTransfer.files.length) onFile(event.dataTransfer.files[0]);
  };
  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) element.addEventListener(type, hold);
}
