/** Bar chart of token probabilities. */
import { h } from "../dom/elements.js";
import { percent, visible } from "../dom/format.js";

/** @param {{name: string, probability: number, isChosen?: boolean}[]} rows */
export function bars(rows) {
  const row = ({ name, probability, isChosen }) =>
    h(
      "div",
      { class: ["bar-row", isChosen && "chosen"] },
      h("span", { class: "token" }, visible(name)),
      h("span", { class: "bar-track" }, h("span", { vars: { probability: String(probability) } })),
      h("span", { class: "number small" }, probability < 0.001 ? "< 0.1 %" : percent(probability)),
    );
  return h("div", { class: "bars" }, rows.map(row));
}
