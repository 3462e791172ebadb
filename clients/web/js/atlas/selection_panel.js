/** Panel for selected points: search, and the texts of points in the lasso. */
import { button, h, setChildren } from "../dom/elements.js";
import { count, number, truncated, visible } from "../dom/format.js";
import { notify } from "../shell/notices.js";
import { describe } from "./tip.js";

const SHOWN = 150;
const DELAY_MS = 180;

export class SelectionPanel {
  /**
   * @param {Object} on `onRaise(items, how)`: these points are selected; returns the number of points that the map shows as
   *   selected. how: `{find}`, `{line}` or `{items}`, for the link. `onPoint(i)`: the user looks at one of them.
   * @param {Neighbours} neighbours of a point that is selected alone
   */
  constructor({ onRaise, onPoint, neighbours }) {
    Object.assign(this, { onRaise, onPoint, neighbours, items: [] });
    this.search = h("input", {
      type: "search",
      placeholder: "Search tokens and texts",
      "aria-label": "Find points",
      on: { input: () => this.#onInput() },
    });
    this.hint = h("p", { class: "faint small" }, "Or select points with the lasso (L) or a click.");
    this.list = h("ul", { class: "picked", tabindex: "0", "aria-label": "Selected points" });
    this.heading = h("div", { class: "row apart tight", hidden: true });
    this.element = h(
      "section",
      { class: "panel" },
      h("h3", {}, "Selection"),
      this.search,
      this.hint,
      this.heading,
      this.list,
      neighbours.element,
    );
    neighbours.element.hidden = true;
  }

  setPoints(points) {
    this.points = points;
    this.#list([]);
  }

  /** Shows these points; an empty list clears the selection. */
  show(points, items, how = {}) {
    this.points = points;
    this.search.value = "";
    this.#list(items, this.onRaise(items, how));
  }

  /** Selects the points whose token or text contains these words. */
  find(words) {
    this.search.value = words;
    const items = words.trim() ? this.#find(words.toLowerCase()) : [];
    this.#list(items, this.onRaise(items, { find: words.trim() ? words : "" }));
  }

  #onInput() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.find(this.search.value), DELAY_MS);
  }

  #find(words) {
    const { points } = this;
    const has = (name) => points[name].values.map((value) => value.toLowerCase().includes(words));
    const [tokens, texts, prompts] = ["token", "text", "prompt"].map(has);
    const found = [];
    for (let i = 0; i < points.n; i++) {
      // Points of tokens match by their token only; their text would match all tokens of the text.
      const token = points.token.codes[i];
      if (token >= 0 ? tokens[token] : texts[points.text.codes[i]] || prompts[points.prompt.codes[i]]) found.push(i);
    }
    return found;
  }

  #list(items, nRaised = items.length) {
    this.items = items;
    this.hint.hidden = items.length > 0;
    this.heading.hidden = !items.length && !this.search.value;
    setChildren(
      this.heading,
      h(
        "span",
        { class: "small", role: "status" },
        items.length ? count(items.length, "point") : "No matching points",
        nRaised > items.length && ` · ${number(nRaised)} in all panels`,
      ),
      items.length > 0 &&
        h(
          "span",
          { class: "row" },
          button("Copy", () => this.#copy(), { class: "quiet small" }),
          button("Clear", () => this.show(this.points, []), { class: "quiet small" }),
        ),
    );
    setChildren(
      this.list,
      items.slice(0, SHOWN).map((i) => this.#row(i)),
      items.length > SHOWN &&
        h("li", { class: "faint small" }, `and ${(items.length - SHOWN).toLocaleString("en")} more`),
    );
    this.neighbours.element.hidden = items.length !== 1;
    if (items.length === 1) this.neighbours.show(this.points, items[0]);
  }

  #row(i) {
    const { points } = this;
    if (this.items.length === 1) return h("li", { class: "whole" }, describe(points, i));
    const token = points.get("token", i);
    const text = points.get("text", i) ?? (token === null ? (points.get("group", i) ?? points.get("prompt", i)) : null);
    const show = () => this.onPoint(i);
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", on: { pointerenter: show, focus: show, click: show } },
        token !== null && h("span", { class: "token" }, visible(token)),
        text !== null && h("span", {}, truncated(text, 130)),
        h(
          "span",
          { class: "faint" },
          ` ${points.get("source", i)}${text === null && token === null ? ` ${points.get("role", i)}` : ""}`,
        ),
      ),
    );
  }

  async #copy() {
    const { points } = this;
    const lines = this.items.map((i) =>
      [points.get("source", i), points.get("token", i), points.get("text", i)]
        .map((part) => (part ?? "").replace(/\s/g, " "))
        .join("\t"),
    );
    try {
      await navigator.clipboard.writeText(lines.join("\n"));
      notify(`Copied ${count(lines.length, "line")}: source, token, text`);
    } catch {
      notify("The browser denied access to the clipboard.", { bad: true });
    }
  }
}
