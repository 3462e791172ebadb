/** Metric curves of a run's members: one chart, one metric at a time. */
import { checkbox, h, select, setOptions } from "../dom/elements.js";
import { secondsBetween } from "../dom/format.js";
import { saveButtons } from "../plot/figure.js";
import { LineChart } from "../plot/line_chart.js";

const FIRST = ["loss", "validation_loss", "grad_norm", "lr"];
const PAIRED = { loss: "validation_loss" };
const DRAW_DELAY_MS = 100;

export class Curves {
  /** startedAt: returns when the run started, for the axis of seconds; null before */
  constructor(signal, { startedAt }) {
    this.startedAt = startedAt;
    this.members = new Map();
    this.names = new Set();
    this.wanted = "loss";
    this.chosen = "loss";
    this.chart = new LineChart({});
    this.picker = select([["loss", "loss"]], {
      onchange: (name) => this.#choose(name),
      "aria-label": "Metric",
      id: "curve-metric",
    });
    this.axis = select(["step", "seconds"], { onchange: () => this.draw(), "aria-label": "Horizontal axis" });
    const log = checkbox("log scale", { onchange: (on) => this.#scale(on) });
    this.none = h("p", { class: "muted" }, "No metrics yet. Curves appear when the run reports its first metrics.");
    const heading = h(
      "header",
      {},
      h("h2", {}, "Metrics"),
      h(
        "div",
        { class: "row" },
        saveButtons(() => this.chart.figure(`curves-${this.chosen}`), { what: "the curves" }),
        log,
        this.axis,
        this.picker,
      ),
    );
    this.element = h("section", { class: "card" }, heading, this.none, this.chart.element);
    this.chart.element.hidden = true;
    signal.addEventListener("abort", () => this.chart.destroy());
  }

  /**
   * Adds the data of a `metric` event: `step`, optionally `member`, and numbers. A resumed run may repeat steps; the last
   * value counts.
   */
  add({ step, member, time, ...values }) {
    this.firstTime ??= time;
    const key = member ?? "run";
    if (!this.members.has(key)) this.members.set(key, new Map());
    for (const [name, value] of Object.entries(values)) {
      if (typeof value !== "number") continue;
      if (!this.names.has(name)) this.#addName(name);
      const curves = this.members.get(key);
      if (!curves.has(name)) curves.set(name, new Map());
      curves.get(name).set(step, { value, time });
    }
    this.waiting ??= setTimeout(() => this.draw(), DRAW_DELAY_MS);
  }

  get isEmpty() {
    return this.names.size === 0;
  }

  draw() {
    clearTimeout(this.waiting);
    this.waiting = null;
    this.none.hidden = !this.isEmpty;
    this.chart.element.hidden = this.isEmpty;
    this.chart.x = this.axis.value;
    if (!this.isEmpty) this.chart.set(this.#series());
  }

  #series() {
    const second = PAIRED[this.chosen];
    const isBySeconds = this.axis.value === "seconds";
    const start = this.startedAt() ?? this.firstTime; // a run that was queued when the page opened
    const series = [];
    [...this.members].forEach(([member, curves], colour) => {
      for (const name of [this.chosen, second]) {
        if (!curves.has(name)) continue;
        const points = [...curves.get(name)]
          .sort((a, b) => a[0] - b[0])
          .map(([step, { value, time }]) => [isBySeconds ? secondsBetween(start, time) : step, value]);
        series.push({
          name: name === second ? `${member}, validation` : member,
          points,
          colour,
          isDashed: name === second,
        });
      }
    });
    return series;
  }

  #addName(name) {
    this.names.add(name);
    const rank = (one) => (FIRST.includes(one) ? FIRST.indexOf(one) : FIRST.length);
    const names = [...this.names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
    const chosen = this.names.has(this.wanted) ? this.wanted : names[0];
    setOptions(
      this.picker,
      names.map((one) => [one, one.replaceAll("_", " ")]),
      chosen,
    );
    this.chosen = this.picker.value;
  }

  #choose(name) {
    this.wanted = this.chosen = name;
    this.draw();
  }

  #scale(isLog) {
    this.chart.isLog = isLog;
    this.draw();
  }
}
