/** How much of a paginated list is shown: `element`, above its table, and a button for more of it: `more`, below. */
import { button, h } from "./elements.js";
import { count, number } from "./format.js";

export class Extent {
  /** what: the name of a row, for example "run" */
  constructor({ what, onMore }) {
    this.what = what;
    this.element = h("p", { class: "muted small", role: "status", hidden: true });
    this.more = button("Show more", onMore, { hidden: true });
  }

  /**
   * @param {Object} state n: rows that are shown. nRead: rows that were read. isComplete: all rows were. hasMore: others may
   *   be shown. isFiltered: some rows may be left out. isReading: rows are being read.
   */
  show({ n, nRead, isComplete, hasMore, isFiltered, isReading }) {
    this.element.hidden = !isFiltered && !hasMore;
    this.more.hidden = !hasMore || isReading;
    const read = isComplete ? count(nRead, this.what) : `the first ${number(nRead)} ${this.what}s`;
    const text = isFiltered
      ? `${count(n, this.what)} of ${read}${isReading ? "; reading more …" : "."}`
      : `The first ${count(n, this.what)}.`;
    // A status is announced when it changes.
    if (this.element.textContent !== text) this.element.textContent = text;
  }
}
