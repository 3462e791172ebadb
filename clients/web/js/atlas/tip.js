/** Tooltip of the point under the pointer. */
import { h, setChildren } from "../dom/elements.js";
import { truncated, visible } from "../dom/format.js";

export class Tip {
  constructor() {
    this.element = h("div", { class: "tip", hidden: true, "aria-live": "polite" });
  }

  /** Shows point `i` next to the pixel (x, y) of `around`; null for `points` hides the tooltip. */
  show(points, i, x, y, around) {
    this.element.hidden = points === null;
    if (points === null) return;
    setChildren(this.element, describe(points, i));
    const { offsetWidth: width, offsetHeight: height } = this.element;
    const right = x + 16 + width > around.clientWidth;
    this.element.style.left = `${right ? Math.max(4, x - width - 14) : x + 16}px`;
    this.element.style.top = `${Math.max(4, Math.min(y + 14, around.clientHeight - height - 4))}px`;
  }
}

/** All columns of a point as lines of text. */
export function describe(points, i) {
  const token = points.get("token", i);
  const text = points.get("text", i);
  const prompt = points.get("prompt", i);
  const role = points.get("role", i);
  const position = points.positionOf(i);
  const at = position === null ? null : role === "snapshot" ? `step ${position}` : `position ${position}`;
  const where = [points.get("source", i), role, at, `layer ${points.layer[i]}`].filter(Boolean).join(" · ");
  return [
    token !== null && h("div", {}, h("span", { class: "token" }, visible(token))),
    text !== null && h("div", { class: "tip-text" }, truncated(text, 220)),
    prompt !== null && h("div", {}, `prompt ${prompt}`),
    points.get("task", i) !== null && h("div", {}, `task ${points.get("task", i)}`),
    h("div", { class: "faint" }, where),
  ];
}
