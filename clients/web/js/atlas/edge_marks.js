/** Marks at the edges of the map: how many visible points lie outside the view on each side. A click shows all points. */
import { button, h } from "../dom/elements.js";
import { count } from "../dom/format.js";

const SIDES = {
  left: ["◂", "to the left of"],
  right: ["▸", "to the right of"],
  above: ["▴", "above"],
  below: ["▾", "below"],
};

export class EdgeMarks {
  /** onShowAll: shows all points */
  constructor({ onShowAll }) {
    this.buttons = Object.fromEntries(
      Object.keys(SIDES).map((side) => [side, button("", onShowAll, { class: `edge-mark ${side}`, hidden: true })]),
    );
    this.element = h("div", { class: "edge-marks", role: "group", "aria-label": "Points outside the view" });
    this.element.append(...Object.values(this.buttons));
  }

  /** counts: see `beyond` */
  show(counts) {
    for (const [side, [arrow, where]] of Object.entries(SIDES)) {
      const mark = this.buttons[side];
      const n = counts[side];
      mark.hidden = n === 0;
      mark.textContent = `${arrow} ${n.toLocaleString("en")}`;
      const text = `${count(n, "point")} ${where} the view: show all`;
      mark.title = text;
      mark.setAttribute("aria-label", text);
    }
  }
}
