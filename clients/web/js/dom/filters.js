/** Filters of a table by its fields: choices among the values that occur, a least number, and a first day. Kept in the URL. */
import { updateQuery } from "../shell/router.js";
import { button, field, h, select, setChildren, setOptions } from "./elements.js";

/**
 * @typedef {Object} Field
 * @property {string} name in the URL
 * @property {string} label
 * @property {"choice"|"least"|"since"} kind choice: one of the values; least: numbers from it on; since: times from a day on
 * @property {(row: any) => any} of the value of a row; of a choice possibly several, as an array
 */

export class Filters {
  /** @param {{fields: Field[], query: URLSearchParams, onchange: () => void}} options */
  constructor({ fields, query, onchange }) {
    this.fields = fields;
    this.onchange = onchange;
    this.offered = new Map();
    this.inputs = new Map(fields.map((one) => [one.name, this.#input(one, query.get(one.name) ?? "")]));
    this.summary = h("summary", {});
    const clear = button("Clear the filters", () => this.#clear(), { class: "quiet small" });
    this.element = h(
      "details",
      { class: "filters", open: fields.some(({ name }) => query.get(name)) },
      this.summary,
      h(
        "div",
        { class: "filter-fields" },
        fields.map((one) => field(one.label, this.inputs.get(one.name))),
        clear,
      ),
    );
    this.#showCount();
  }

  /** Offers the values that occur in `rows`; a chosen value stays. */
  setRows(rows) {
    for (const one of this.fields.filter(({ kind }) => kind === "choice")) {
      const input = this.inputs.get(one.name);
      const offered = this.offered.get(one.name) ?? [];
      const all = new Set([input.value, ...offered, ...rows.flatMap((row) => one.of(row) ?? [])]);
      const values = [...all].filter(Boolean).map(String).sort();
      // A list of options that is open would close.
      if (String(values) === input.dataset.values) continue;
      input.dataset.values = String(values);
      setOptions(input, [["", "all"], ...values], input.value);
    }
  }

  /** The rows that pass every filter; see `passes`. */
  chosen(rows) {
    return rows.filter((row) => this.passes(row));
  }

  /** Whether a row passes every filter. */
  passes(row) {
    return this.fields.every((one) => passes(one, this.inputs.get(one.name).value, row));
  }

  /** Whether a row is before the first day. In a list of the newest rows first, so are all that follow. */
  isBefore(row) {
    return this.fields.some((one) => one.kind === "since" && !passes(one, this.inputs.get(one.name).value, row));
  }

  /** The chosen value of a field; empty without one. */
  value(name) {
    return this.inputs.get(name).value;
  }

  /** Offers further values of a choice. */
  offer(name, values) {
    this.offered.set(name, values);
  }

  get isEmpty() {
    return [...this.inputs.values()].every((input) => !input.value);
  }

  #input({ name, kind }, value) {
    const changed = () => {
      updateQuery({ [name]: this.inputs.get(name).value });
      this.#showCount();
      this.onchange();
    };
    if (kind === "choice") return select([["", "all"], ...(value ? [value] : [])], { value, onchange: changed });
    const props = kind === "least" ? { type: "number", step: "any" } : { type: "date" };
    return h("input", { ...props, value, on: { input: changed } });
  }

  #clear() {
    for (const input of this.inputs.values()) input.value = "";
    updateQuery(Object.fromEntries(this.fields.map(({ name }) => [name, null])));
    this.#showCount();
    this.onchange();
  }

  #showCount() {
    const n = [...this.inputs.values()].filter((input) => input.value).length;
    setChildren(this.summary, n ? `Filters (${n})` : "Filters");
  }
}

function passes({ kind, of }, wanted, row) {
  if (!wanted) return true;
  const value = of(row);
  if (value === null || value === undefined) return false;
  if (kind === "choice") return [value].flat().map(String).includes(wanted);
  // A day begins at midnight of the local time zone.
  return kind === "least" ? value >= Number(wanted) : new Date(value) >= new Date(`${wanted}T00:00`);
}
