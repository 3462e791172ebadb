/** Log messages of a run. */
import { h } from "../dom/elements.js";

export class Log {
  constructor() {
    this.lines = h("ol", { class: "log" });
    this.none = h("p", { class: "muted" }, "No log messages yet.");
    this.element = h("section", { class: "card" }, this.none, this.lines);
  }

  add({ level, text }) {
    this.none.hidden = true;
    this.lines.append(h("li", { class: level }, h("span", { class: "faint" }, level), text));
  }
}
