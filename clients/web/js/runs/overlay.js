/** Curves of several prompts or runs in one chart: smoothing, logarithmic axes, and seeds of a prior as mean and band. */
import { checkbox, h, select, setOptions } from "../dom/elements.js";
import { secondsBetween } from "../dom/format.js";
import { saveButtons } from "../plot/figure.js";
import { LineChart } from "../plot/line_chart.js";

const FIRST = ["loss", "validation_loss", "grad_norm", "lr"];

/**
 * @typedef {{name: string, group: string, metrics: Map<string, Point[]>}} Curve points sorted by step
 * @typedef {[number, number, number]} Point step, value, and seconds since the run started
 */

export class Overlay {
  /** @param {Curve[]} curves group: what curves have in common that are averaged, for example a prior */
  constructor(curves, signal) {
    this.curves = curves;
    this.chart = new LineChart({});
    signal.addEventListener("abort", () => this.chart.destroy());
    const names = [...new Set(curves.flatMap((curve) => [...curve.metrics.keys()]))];
    const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
    names.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
    this.metric = select([], { onchange: () => this.#draw(), "aria-label": "Metric of the curves" });
    setOptions(
      this.metric,
      names.map((name) => [name, name.replaceAll("_", " ")]),
      names[0],
    );
    this.smoothing = h("input", {
      type: "range",
      min: "0",
      max: "0.99",
      step: "0.01",
      value: "0",
      "aria-label": "Smoothing",
      on: { input: () => this.#draw() },
    });
    const scale = (property) => (isOn) => {
      this.chart[property] = isOn;
      this.#draw();
    };
    this.axis = select(["step", "seconds"], { onchange: () => this.#draw(), "aria-label": "Horizontal axis" });
    this.grouping = checkbox("seeds as mean and range", { onchange: () => this.#draw() });
    this.element = h(
      "section",
      { class: "card stack" },
      h(
        "header",
        {},
        h("h2", {}, "Curves"),
        h(
          "div",
          { class: "row" },
          names.length > 0 &&
            saveButtons(() => this.chart.figure(`curves-${this.metric.value}`), { what: "the curves" }),
          this.grouping,
          checkbox("log y", { onchange: scale("isLog") }),
          checkbox("log x", { onchange: scale("isLogX") }),
          this.axis,
          h("label", { class: "row small" }, "smoothing", this.smoothing),
          this.metric,
        ),
      ),
      names.length ? this.chart.element : h("p", { class: "muted" }, "These have no curves."),
    );
    this.#draw();
  }

  #draw() {
    const chosen = this.curves.filter((curve) => curve.metrics.has(this.metric.value));
    this.chart.x = this.axis.value;
    const smooth = (points) => along(smoothed(points, Number(this.smoothing.value)), this.axis.value);
    const one = ({ name, metrics }, colour) => ({ name, colour, points: smooth(metrics.get(this.metric.value)) });
    this.chart.set(
      this.grouping.firstChild.checked
        ? grouped(chosen, this.metric.value).map(({ points, band, ...series }) => ({
            ...series,
            points: smooth(points),
            band: band && points.map((point, i) => [xOf(point, this.axis.value), ...band[i]]),
          }))
        : chosen.map(one),
    );
  }
}

function xOf([step, , seconds], axis) {
  return axis === "seconds" ? seconds : step;
}

/** Points for the chart: x and value. */
export function along(points, axis) {
  return points.map((point) => [xOf(point, axis), point[1]]);
}

/** Curves of the members of a run, from the points of `GET /v1/runs/{id}/metrics`; by member, then by metric. */
export function curvesOf(points, run) {
  const members = new Map();
  for (const { step, member, time, ...values } of points) {
    const seconds = secondsBetween(run.started_at, time);
    const key = member ?? "run";
    if (!members.has(key)) members.set(key, new Map());
    const metrics = members.get(key);
    for (const [name, value] of Object.entries(values)) {
      if (typeof value !== "number") continue;
      if (!metrics.has(name)) metrics.set(name, new Map());
      metrics.get(name).set(step, [step, value, seconds]); // a resumed run repeats steps; the last value counts
    }
  }
  const sorted = (curve) => [...curve.values()].sort((a, b) => a[0] - b[0]);
  return new Map(
    [...members].map(([member, metrics]) => [
      member,
      new Map([...metrics].map(([name, curve]) => [name, sorted(curve)])),
    ]),
  );
}

/** Exponential moving average with bias correction, as in TensorBoard: `weight` of the past, 0 to 1. */
export function smoothed(points, weight) {
  if (!weight) return points;
  let [average, n] = [0, 0];
  return points.map(([x, y, ...rest]) => {
    if (!Number.isFinite(y)) return [x, y, ...rest];
    average = weight * average + (1 - weight) * y;
    n += 1;
    return [x, average / (1 - weight ** n), ...rest];
  });
}

/**
 * One series a group: the mean over its curves at each step that all of them have, with the mean of their seconds, and the
 * range from lowest to highest.
 */
export function grouped(curves, metric) {
  const groups = Map.groupBy(curves, (curve) => curve.group);
  return [...groups].map(([group, members], colour) => {
    const tables = members.map((curve) => new Map(curve.metrics.get(metric).map((point) => [point[0], point])));
    const steps = [...tables[0].keys()].filter((step) => tables.every((one) => one.has(step)));
    const at = (step, k) => tables.map((one) => one.get(step)[k]);
    const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
    return {
      name: `${group} (${members.length === 1 ? "1 seed" : `mean of ${members.length}`})`,
      colour,
      points: steps.map((step) => [step, mean(at(step, 1)), mean(at(step, 2))]),
      band: members.length > 1 ? steps.map((step) => [Math.min(...at(step, 1)), Math.max(...at(step, 1))]) : undefined,
    };
  });
}
