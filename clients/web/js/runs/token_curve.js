/** Accuracy of answers against their generated tokens, for runs whose evaluation counts tokens. */
import { h, select } from "../dom/elements.js";
import { saveButtons } from "../plot/figure.js";
import { LineChart } from "../plot/line_chart.js";

const METRICS = ["exact_match", "numeric_match", "accuracy", "f1", "precision", "recall"];

/** @param {object[]} rows lines of `evaluation.jsonl` */
export function hasTokenCurve(rows) {
  return rows.some(isCounted);
}

/** One curve each for the model without a prompt, the teacher and every tuned member. */
export class TokenCurve {
  constructor(rows, signal) {
    this.rows = rows.filter((row) => isCounted(row) && row.stage !== "before");
    this.chart = new LineChart({ x: "generated tokens" });
    signal.addEventListener("abort", () => this.chart.destroy());
    const metrics = METRICS.filter((name) => this.rows.some((row) => name in row));
    const splits = [...new Set(this.rows.map((row) => row.split))];
    const draw = () => this.#draw();
    this.metric = select(
      metrics.map((name) => [name, name.replaceAll("_", " ")]),
      { onchange: draw, "aria-label": "Metric of answers" },
    );
    this.split = select(splits, { onchange: draw, "aria-label": "Split" });
    const figure = () => this.chart.figure(`tokens-${this.split.value}-${this.metric.value}`);
    const tools = [saveButtons(figure, { what: "the accuracies" }), splits.length > 1 && this.split, this.metric];
    const title = h("h2", {}, "Accuracy by generated tokens");
    const note =
      "Mean score over all examples if an answer counts only when it has at most so many generated tokens. The last values " +
      "are the metrics of the table.";
    this.element = h(
      "section",
      { class: "card" },
      h("header", {}, title, h("div", { class: "row" }, tools)),
      h("p", { class: "muted small" }, note),
      this.chart.element,
    );
    draw();
  }

  #draw() {
    const own = this.rows.filter((row) => row.split === this.split.value);
    this.chart.set(tokenCurves(own, this.metric.value));
  }
}

/**
 * Series of a line chart: at x tokens, Σ score · [tokens ≤ x] / n of each owner. They are exact at whole numbers.
 *
 * @param {object[]} rows of one split
 */
export function tokenCurves(rows, metric) {
  const last = Math.max(...rows.map((row) => row.n_generated));
  const owners = Map.groupBy(rows, (row) => row.member ?? (row.stage === "teacher" ? "teacher" : "no prompt"));
  return [...owners].map(([name, own], colour) => {
    const gains = new Map();
    for (const row of own) gains.set(row.n_generated, (gains.get(row.n_generated) ?? 0) + (row[metric] ?? 0));
    const points = [[0, 0]];
    let sum = 0;
    for (const [n, gain] of [...gains].sort((a, b) => a[0] - b[0])) {
      // A step: the value before it holds up to the token before.
      if (n - 1 > points.at(-1)[0]) points.push([n - 1, sum / own.length]);
      sum += gain;
      points.push([n, sum / own.length]);
    }
    if (points.at(-1)[0] < last) points.push([last, sum / own.length]);
    return { name, points, colour, isDashed: own[0].member === null };
  });
}

function isCounted(row) {
  return typeof row.n_generated === "number" && METRICS.some((name) => name in row);
}
