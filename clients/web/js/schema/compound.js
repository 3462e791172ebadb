/** Editors of objects, of unions with a discriminator, and of lists of them. The interface is that of `editors.js`. */
import { button, h, select, setChildren } from "../dom/elements.js";
import { editorOf } from "./editors.js";
import { labelOf, sentenceOf } from "./spec_schemas.js";

/** The fields of an object: required ones first, optional objects folded. */
export class ObjectEditor {
  constructor({ context, name, schema, isNullable = false, isOpen = false }, { skipped = [] } = {}) {
    this.isNullable = isNullable;
    const required = new Set(schema.required ?? []);
    this.fields = new Map(
      Object.entries(schema.properties ?? {})
        .filter(([key]) => !skipped.includes(key))
        .map(([key, one]) => [
          key,
          editorOf(context, { name: key, schema: one, owner: schema, isRequired: required.has(key) }),
        ]),
    );
    const elements = [...this.fields.values()].map((field) => field.element).filter(Boolean);
    this.grid = h("div", { class: "spec-fields" }, elements);
    this.element = isOpen
      ? this.grid
      : h("details", { class: "spec-part", data: { field: name } }, h("summary", {}, labelOf(name)), this.grid);
  }

  read() {
    const given = [...this.fields]
      .map(([key, field]) => [key, field.read()])
      .filter(([, value]) => value !== undefined);
    return given.length ? Object.fromEntries(given) : undefined;
  }

  write(value) {
    for (const [key, field] of this.fields) field.write(value?.[key] ?? undefined);
  }

  fault([key, ...rest], message) {
    const field = this.fields.get(key);
    if (!field?.fault(rest, message)) return false;
    if (this.element.tagName === "DETAILS") this.element.open = true;
    return true;
  }

  clear() {
    for (const field of this.fields.values()) field.clear();
  }
}

/** A choice of the discriminator, and the fields of the chosen alternative. */
export class UnionEditor {
  constructor({ context, name, schema, isRequired }) {
    Object.assign(this, { context, name });
    this.union = context.schemas.union(schema);
    const none = isRequired || schema.default === undefined ? [] : [["", "default"]];
    this.picker = select([...none, ...this.union.options.keys()], {
      onchange: () => {
        this.#show(this.picker.value);
        context.onChange();
      },
    });
    this.body = h("div", {});
    this.message = h("span", { class: "field-fault small", hidden: true });
    this.sentence = h("span", { class: "faint small" });
    this.element = h(
      "div",
      { class: "spec-part", data: { field: name } },
      h(
        "div",
        { class: "field" },
        h("label", { class: "field" }, h("span", {}, labelOf(name)), this.picker),
        this.sentence,
        this.message,
      ),
      this.body,
    );
    this.#show(this.picker.value);
    this.isDefault = !isRequired;
  }

  #show(tag) {
    this.isDefault = false;
    const schema = this.union.options.get(tag);
    this.editor = schema
      ? new ObjectEditor({ context: this.context, name: tag, schema, isOpen: true }, { skipped: [this.union.name] })
      : null;
    this.sentence.textContent = schema ? sentenceOf(schema.description) : "";
    setChildren(this.body, this.editor?.element);
  }

  read() {
    const fields = this.editor?.read();
    // The first alternative without fields is what the server takes if the field is missing.
    if (!this.picker.value || (this.isDefault && !fields)) return undefined;
    return { [this.union.name]: this.picker.value, ...fields };
  }

  write(value) {
    if (!value) {
      this.picker.selectedIndex = 0;
      this.#show(this.picker.value);
      this.isDefault = true;
      return;
    }
    this.picker.value = value[this.union.name];
    this.#show(this.picker.value);
    this.editor?.write(value);
  }

  fault(loc, message) {
    // Locations in a union may name the alternative: method.soft.n_virtual.
    const rest = this.union.options.has(loc[0]) ? loc.slice(1) : loc;
    if (this.editor?.fault(rest, message)) return true;
    this.message.textContent = message;
    this.message.hidden = false;
    return true;
  }

  clear() {
    this.message.hidden = true;
    this.editor?.clear();
  }
}

/** A list of alternatives: cards to add, and the added ones with their fields. */
export class ListEditor {
  constructor({ context, name, isRequired }, items) {
    Object.assign(this, { context, name, editors: [] });
    this.union = context.schemas.union(items);
    this.chosen = h("ol", { class: "spec-list" });
    this.message = h("p", { class: "field-fault small", hidden: true });
    const cards = [...this.union.options].map(([tag, schema]) => this.#card(tag, schema));
    this.element = h(
      "fieldset",
      { class: "spec-part", data: { field: name } },
      h("legend", {}, labelOf(name), isRequired && h("span", { class: "faint" }, " (required)")),
      h("div", { class: "spec-cards" }, cards),
      this.message,
      this.chosen,
    );
  }

  #card(tag, schema) {
    return button(
      [
        h("strong", {}, tag, " "),
        this.context.picture?.(this.name, tag),
        h("span", {}, sentenceOf(schema.description)),
      ],
      () => {
        this.#add(tag);
        this.#update();
      },
      { class: "spec-card" },
    );
  }

  #add(tag, value) {
    const schema = this.union.options.get(tag);
    const editor = new ObjectEditor(
      { context: this.context, name: tag, schema: schema ?? { properties: {} }, isOpen: true },
      { skipped: [this.union.name] },
    );
    if (value) editor.write(value);
    this.editors.push({ tag, editor });
  }

  #update() {
    this.#show();
    this.context.onChange();
  }

  #show() {
    setChildren(
      this.chosen,
      this.editors.map((one) => {
        const remove = () => {
          this.editors = this.editors.filter((other) => other !== one);
          this.#update();
        };
        const removing = button("Remove", remove, { class: "quiet small", "aria-label": `Remove ${one.tag}` });
        return h("li", {}, h("div", { class: "row apart" }, h("strong", {}, one.tag), removing), one.editor.element);
      }),
    );
  }

  read() {
    if (!this.editors.length) return undefined;
    return this.editors.map(({ tag, editor }) => ({ [this.union.name]: tag, ...editor.read() }));
  }

  write(values) {
    this.editors = [];
    for (const value of Array.isArray(values) ? values : []) this.#add(value[this.union.name], value);
    this.#show();
  }

  fault([index, ...rest], message) {
    const at = this.editors[index];
    const inner = this.union.options.has(rest[0]) ? rest.slice(1) : rest;
    if (at?.editor.fault(inner, message)) return true;
    this.message.textContent = at ? `${at.tag}: ${message}` : message;
    this.message.hidden = false;
    return true;
  }

  clear() {
    this.message.hidden = true;
    for (const { editor } of this.editors) editor.clear();
  }
}
