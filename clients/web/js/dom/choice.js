/** Rows of a table that are chosen by checkboxes, and the actions on them. */
import { button, h, setChildren } from "./elements.js";
import { count } from "./format.js";

/** The most rows that can be chosen: more curves or columns cannot be told apart. */
export const MAX_CHOSEN = 8;

export class Choice {
  /**
   * @param {string} what the name of a row, for example "prompt"
   * @param {[string, number, (keys: string[]) => string][]} actions label, least number of rows, and the link of the action
   */
  constructor({ what, actions }) {
    Object.assign(this, { what, actions, keys: [] });
    this.element = h("div", { class: "row", role: "group", "aria-label": `Chosen ${what}s` });
    this.#show();
  }

  /** The checkbox of a row. */
  box(key) {
    const input = h("input", {
      type: "checkbox",
      checked: this.keys.includes(key),
      "aria-label": `Choose ${key}`,
      data: { column: `box-${key}` },
    });
    input.addEventListener("change", () => {
      this.keys = this.keys.filter((one) => one !== key);
      if (input.checked && this.keys.length >= MAX_CHOSEN) input.checked = false;
      else if (input.checked) this.keys.push(key);
      this.#show();
    });
    return input;
  }

  #show() {
    const n = this.keys.length;
    const open = (to) => () => (location.hash = to(this.keys));
    const isFull = n === MAX_CHOSEN && ", the most at once";
    setChildren(
      this.element,
      this.actions.map(([label, least, to]) => button(label, open(to), { disabled: n < least })),
      h(
        "span",
        { class: "faint small", role: "status" },
        n ? [`${count(n, this.what)} chosen`, isFull] : `Choose ${this.what}s by their checkboxes.`,
      ),
    );
  }
}
