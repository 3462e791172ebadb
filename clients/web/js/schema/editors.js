/**
 * Editors of values by JSON schema. An editor has `element`; `read()`, the value or undefined for the default; `write(value)`;
 * `fault(loc, message)`, which shows a message at the field of a location and returns whether it has that field; `clear()`,
 * which removes messages.
 */
import { h, select } from "../dom/elements.js";
import { ListEditor, ObjectEditor, UnionEditor } from "./compound.js";
import { hintOf, labelOf } from "./spec_schemas.js";

let nEditors = 0;

/** The editor of one field: label, input, hint, message. `choices` are known values, such as names of datasets. */
export function editorOf(context, { name, schema, owner, isRequired = false }) {
  const { schema: plain, isNullable } = context.schemas.withoutNull(schema);
  const given = { context, name, schema: plain, isNullable, isRequired, hint: hintOf(owner?.description, name) };
  if (plain.const !== undefined) return new Constant(plain.const);
  if (context.schemas.union(plain)) return new UnionEditor(given);
  if (plain.type === "object" && plain.properties) return new ObjectEditor(given);
  const items = plain.type === "array" && plain.items ? context.schemas.resolve(plain.items) : null;
  if (items && context.schemas.union(items)) return new ListEditor(given, items);
  if (items?.enum) return new SetEditor(given, items.enum);
  if (items && context.choices[name]) return new SetEditor(given, context.choices[name]);
  return new ScalarEditor(given, items);
}

class Constant {
  constructor(value) {
    this.value = value;
    this.element = null;
  }

  read() {
    return this.value;
  }

  write() {}

  fault() {
    return false;
  }

  clear() {}
}

/** One input with its label and message. */
class ScalarEditor {
  constructor({ context, name, schema, isNullable, isRequired, hint }, items) {
    Object.assign(this, { schema, items, isNullable });
    this.id = `spec-field-${++nEditors}`;
    this.input = this.#input(context, name, isRequired);
    this.input.id = this.id;
    this.message = h("span", { class: "field-fault small", id: `${this.id}-fault`, hidden: true });
    const description = hint && h("span", { class: "faint small", id: `${this.id}-hint` }, hint);
    this.hintId = description ? description.id : null;
    this.#describe([]);
    this.element = h(
      "div",
      { class: "field", data: { field: name } },
      h(
        "div",
        { class: "label" },
        h("label", { for: this.id }, labelOf(name)),
        isRequired && h("span", { class: "faint" }, " (required)"),
      ),
      this.input,
      description,
      this.message,
    );
  }

  read() {
    const text = this.input.value.trim();
    if (text === "") return undefined;
    return this.items ? readList(text, this.items) : readValue(text, this.schema);
  }

  write(value) {
    this.input.value = this.items ? writeList(value) : writeValue(value);
    if (this.input.tagName === "SELECT" && this.input.value !== writeValue(value)) this.#keepUnknown(value);
  }

  fault(loc, message) {
    this.message.textContent = message;
    this.message.hidden = false;
    this.input.setAttribute("aria-invalid", "true");
    this.#describe([this.message.id]);
    return true;
  }

  clear() {
    this.message.hidden = true;
    this.input.removeAttribute("aria-invalid");
    this.#describe([]);
  }

  /** Screen readers read the hint, and messages while they are shown. */
  #describe(ids) {
    const all = [...ids, this.hintId].filter(Boolean);
    if (all.length) this.input.setAttribute("aria-describedby", all.join(" "));
    else this.input.removeAttribute("aria-describedby");
  }

  /** A value that is not among the known ones stays what it is; the server judges it. */
  #keepUnknown(value) {
    if (value === undefined || value === null) return;
    this.input.append(h("option", { value: writeValue(value) }, writeValue(value)));
    this.input.value = writeValue(value);
  }

  #input(context, name, isRequired) {
    const { schema } = this;
    const known = this.items ? null : context.choices[name];
    const initial =
      schema.default === undefined || schema.default === null ? "" : `default ${writeValue(schema.default)}`;
    const on = { input: context.onChange };
    if (schema.enum || schema.type === "boolean") {
      const options = schema.enum ?? [true, false];
      const none = isRequired ? [] : [["", initial || "none"]];
      return select([...none, ...options.map((one) => [String(one), String(one)])], { onchange: context.onChange });
    }
    if (known) {
      const none = isRequired ? [] : [["", "none"]];
      return select([...none, ...known], { onchange: context.onChange });
    }
    return h("input", {
      type: "text",
      spellcheck: "false",
      placeholder: this.items ? `${initial || "values"}, separated by commas` : initial,
      inputmode: ["number", "integer"].includes(schema.type) ? "decimal" : null,
      on,
    });
  }
}

/** Checkboxes for an array of known values; none checked is the default. Other values that are written are kept. */
class SetEditor {
  constructor({ context, name, schema, isRequired, hint }, values) {
    this.others = [];
    this.boxes = values.map((value) =>
      h("input", { type: "checkbox", value: JSON.stringify(value), on: { change: context.onChange } }),
    );
    this.message = h("span", { class: "field-fault small", hidden: true });
    const initial = schema.default?.length ? `none checked: ${writeList(schema.default)}` : null;
    const label = (value) => h("span", {}, value === null ? "no prompt" : value);
    this.element = h(
      "fieldset",
      { class: "field plain", data: { field: name } },
      h("legend", {}, labelOf(name), isRequired && h("span", { class: "faint" }, " (required)")),
      h(
        "div",
        { class: values.length > 8 ? "choices" : "row" },
        this.boxes.map((box, i) => h("label", { class: "check" }, box, label(values[i]))),
        !values.length && h("span", { class: "faint small" }, "There are none yet."),
      ),
      (hint ?? initial) && h("span", { class: "faint small" }, [hint, initial].filter(Boolean).join("; ")),
      this.message,
    );
  }

  read() {
    const chosen = this.boxes.filter((box) => box.checked).map((box) => JSON.parse(box.value));
    return chosen.length + this.others.length ? [...chosen, ...this.others] : undefined;
  }

  write(values) {
    const given = (Array.isArray(values) ? values : []).map((value) => JSON.stringify(value));
    for (const box of this.boxes) box.checked = given.includes(box.value);
    const known = this.boxes.map((box) => box.value);
    this.others = given.filter((value) => !known.includes(value)).map((value) => JSON.parse(value));
  }

  fault(loc, message) {
    this.message.textContent = message;
    this.message.hidden = false;
    return true;
  }

  clear() {
    this.message.hidden = true;
  }
}

/** Texts of fields as values. What cannot be read as a number or JSON is passed on as text, and the server refuses it. */
function readValue(text, schema) {
  if (schema.type === "string") return text;
  if (schema.enum) return schema.enum.find((one) => String(one) === text) ?? text;
  try {
    return JSON.parse(text);
  } catch {
    const parts = text.split(",").map((part) => part.trim());
    return parts.length > 1 ? parts.filter(Boolean).map((part) => readValue(part, {})) : text;
  }
}

function readList(text, items) {
  if (text.startsWith("[")) return readValue(text, {});
  const item = items.type ? items : {};
  return text
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean)
    .map((part) => (part === "null" ? null : readValue(part, item)));
}

function writeValue(value) {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function writeList(value) {
  if (!Array.isArray(value)) return writeValue(value);
  const isPlain = value.every((one) => one === null || (typeof one !== "object" && !String(one).includes(",")));
  return isPlain ? value.map((one) => (one === null ? "null" : String(one))).join(", ") : JSON.stringify(value);
}
