/** Panel for selected points: search, and the texts of points in the lasso. */
import { button, h, setChildren } from "../dom/elements.js";
import { count, truncated, visible } from "../dom/format.js";
import { notify } from "../shell/notices.js";
import { describe } from "./tip.js";

const SHOWN = 150;
const DELAY_MS = 180;

export class SelectionPanel {
  constructor({ onRaise, onPoint }) {
    Object.assign(this, { onRaise, onPoint, items: [] });
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
    );
  }

  setPoints(points) {
    this.points = points;
    this.#list([]);
  }

  /** Shows these points; an empty list clears the selection. */
  show(points, items) {
    this.points = points;
    this.search.value = "";
    this.#list(items);
    this.onRaise(items);
  }

  #onInput() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      const items = this.search.value.trim() ? this.#find(this.search.value.toLowerCase()) : [];
      this.#list(items);
      this.onRaise(items);
    }, DELAY_MS);
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

  #list(items) {
    this.items = items;
    this.hint.hidden = items.length > 0;
    this.heading.hidden = !items.length && !this.search.value;
    setChildren(
      this.heading,
      h("span", { class: "small", role: "status" }, items.length ? count(items.length, "point") : "No matching points"),
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
