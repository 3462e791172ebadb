/** Probabilities of tokens as bars. */
import { h } from "../dom/elements.js";
import { percent, visible } from "../dom/format.js";

/** @param {{name: string, share: number, isChosen?: boolean}[]} rows */
export function bars(rows) {
  const row = ({ name, share, isChosen }) =>
    h(
      "div",
      { class: ["bar-row", isChosen && "chosen"] },
      h("span", { class: "token" }, visible(name)),
      h("span", { class: "bar-track" }, h("span", { vars: { share: String(share) } })),
      h("span", { class: "number small" }, share < 0.001 ? "< 0.1 %" : percent(share)),
    );
  return h("div", { class: "bars" }, rows.map(row));
}
