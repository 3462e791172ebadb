/** Tables that sort by a click on a column's name. */
import { h, setChildren } from "./elements.js";
import { table } from "./table.js";

/**
 * A table whose columns sort.
 *
 * @param {{label: string, class?: string, value?: (row: any) => any}[]} columns value: what the column sorts by, a number or a
 *   text; columns without it do not sort
 * @param {(row: any) => Object} line the cells of a row, as for `table`
 */
export class SortedTable {
  constructor({ columns, line, caption }) {
    Object.assign(this, { columns, line, caption, rows: [], by: null, isDescending: false });
    this.element = h("div", { class: "card flush" });
  }

  /** Shows these rows, in the chosen order. */
  show(rows) {
    this.rows = rows;
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    const key = focused?.dataset.column ?? focused?.getAttribute("href");
    const columns = this.columns.map((column, k) => ({
      ...column,
      label: this.#head(column, k),
      sort: this.#direction(k),
    }));
    setChildren(this.element, table(columns, this.#sorted().map(this.line), { caption: this.caption }));
    if (key) this.#focus(key);
  }

  /** A table that is replaced while it has the focus gives it to the same column or link. */
  #focus(key) {
    const quoted = CSS.escape(key);
    this.element.querySelector(`[data-column="${quoted}"], a[href="${quoted}"]`)?.focus();
  }

  #head(column, k) {
    if (!column.value) return column.label;
    const mark = this.by === k ? (this.isDescending ? " ↓" : " ↑") : "";
    const choose = () => {
      this.isDescending = this.by === k && !this.isDescending;
      this.by = k;
      this.show(this.rows);
    };
    return h(
      "button",
      { type: "button", class: "sort", data: { column: String(k) }, on: { click: choose } },
      `${column.label}${mark}`,
    );
  }

  #direction(k) {
    if (this.by !== k) return null;
    return this.isDescending ? "descending" : "ascending";
  }

  #sorted() {
    if (this.by === null) return this.rows;
    const value = this.columns[this.by].value;
    const sign = this.isDescending ? -1 : 1;
    const isMissing = (one) => one === null || one === undefined || one === "";
    return [...this.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (isMissing(x) || isMissing(y)) return Number(isMissing(x)) - Number(isMissing(y)); // at the end in both orders
      return sign * (typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
    });
  }
}
