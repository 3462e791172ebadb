/** Line chart of series over steps or seconds. Series may grow while the chart is shown. */
import { h, setChildren } from "../dom/elements.js";
import { number } from "../dom/format.js";
import { colour } from "../shell/theme.js";
import { categoryColour } from "./palette.js";
import { ticks } from "./ticks.js";

const LEGEND_LINE = 18;
const PAD = { left: 52, right: 14, top: 10, bottom: 40 };

export class LineChart {
  /** @param {{x?: string, isLog?: boolean, isLogX?: boolean}} options x: label of the x axis; isLog, isLogX: logarithmic axes */
  constructor({ x = "step", isLog = false, isLogX = false } = {}) {
    Object.assign(this, { x, isLog, isLogX });
    this.series = [];
    this.hidden = new Set();
    this.canvas = h("canvas", { role: "img", "aria-label": "Line chart" });
    this.tip = h("div", { class: "chart-tip", hidden: true });
    this.plot = h("div", { class: "chart" }, this.canvas, this.tip);
    this.legend = h("div", { class: "legend" });
    this.element = h("div", { class: "stack" }, this.plot, this.legend);
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.plot);
    this.onTheme = () => this.#updateLegend();
    document.addEventListener("themechange", this.onTheme);
    this.plot.addEventListener("pointermove", (event) => this.#hover(event.offsetX, event.offsetY));
    this.plot.addEventListener("pointerleave", () => this.#hover(null));
  }

  /**
   * @param {{name: string, points: [number, number][], isDashed?: boolean, colour?: number, band?: [number, number, number][]}[]}
   *   series points sorted by x; band: x, lowest and highest value, drawn below the line
   */
  set(series) {
    const changed = series.length !== this.series.length || series.some((one, i) => one.name !== this.series[i].name);
    this.series = series;
    this.#setLabel(); // here too, because nothing is drawn before the chart has a width
    if (changed) this.#updateLegend();
    else this.draw();
  }

  destroy() {
    this.observer.disconnect();
    document.removeEventListener("themechange", this.onTheme);
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    this.#paint(context, width, height);
    if (this.at !== undefined && this.at !== null) this.#marker(context, height);
    this.#setLabel();
  }

  /** The chart as a figure to save, with its legend; the rows of its CSV file are its points. */
  figure(name) {
    const { clientWidth: width, clientHeight: height } = this.plot;
    const shown = this.#shown();
    const paint = (context) => {
      this.#paint(context, width, height);
      context.textAlign = "left";
      context.textBaseline = "middle";
      shown.forEach((one, i) => {
        const y = height + 12 + LEGEND_LINE * i;
        context.strokeStyle = categoryColour(one.colour ?? this.series.indexOf(one));
        context.setLineDash(one.isDashed ? [5, 4] : []);
        context.lineWidth = 2;
        context.beginPath();
        context.moveTo(PAD.left, y);
        context.lineTo(PAD.left + 22, y);
        context.stroke();
        context.setLineDash([]);
        context.fillStyle = colour("ink");
        context.fillText(one.name, PAD.left + 30, y);
      });
    };
    const rows = shown.flatMap((one) => one.points.map(([x, y]) => [one.name, x, y]));
    return {
      name,
      width,
      height: height + LEGEND_LINE * shown.length + 12,
      paint,
      rows: [["series", this.x, "value"], ...rows],
    };
  }

  #paint(context, width, height) {
    this.frame = this.#frame(width, height);
    this.#axes(context, width, height);
    for (const one of this.#shown()) if (one.band) this.#band(context, one);
    for (const one of this.#shown()) this.#line(context, one);
  }

  #shown() {
    return this.series.filter((one) => !this.hidden.has(one.name) && one.points.length);
  }

  #frame(width, height) {
    const edges = (one) =>
      (one.band ?? []).flatMap(([x, low, high]) => [
        [x, low],
        [x, high],
      ]);
    const points = this.#shown().flatMap((one) => [...one.points, ...edges(one)]);
    const value = (y) => (this.isLog ? Math.log10(Math.max(y, 1e-12)) : y);
    const along = (x) => (this.isLogX ? Math.log10(Math.max(x, 1)) : x);
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const [x, y] of points) {
      if (!Number.isFinite(y)) continue;
      [x0, x1] = [Math.min(x0, along(x)), Math.max(x1, along(x))];
      [y0, y1] = [Math.min(y0, value(y)), Math.max(y1, value(y))];
    }
    if (x0 > x1) [x0, x1, y0, y1] = [0, 1, 0, 1];
    if (x0 === x1) [x0, x1] = [x0 - 0.5, x1 + 0.5];
    const room = (y1 - y0 || Math.abs(y1) || 1) * 0.06;
    [y0, y1] = [y0 - room, y1 + room];
    const sx = (x) => PAD.left + ((along(x) - x0) / (x1 - x0)) * (width - PAD.left - PAD.right);
    const sy = (y) => height - PAD.bottom - ((value(y) - y0) / (y1 - y0)) * (height - PAD.top - PAD.bottom);
    return { x0, x1, y0, y1, sx, sy };
  }

  #axes(context, width, height) {
    const { x0, x1, y0, y1, sx, sy } = this.frame;
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.fillStyle = colour("ink-3");
    context.strokeStyle = colour("plot-grid");
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const tick of ticks(y0, y1, 6)) {
      const y = this.isLog ? 10 ** tick : tick;
      line(context, PAD.left, Math.round(sy(y)) + 0.5, width - PAD.right, Math.round(sy(y)) + 0.5);
      context.fillText(number(y, 3), PAD.left - 8, sy(y));
    }
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const tick of ticks(x0, x1, 7)) {
      const x = this.isLogX ? 10 ** tick : tick;
      // Steps are whole numbers; half a step would have no meaning.
      if (Number.isInteger(tick) || (this.x !== "step" && !this.isLogX))
        context.fillText(number(x), sx(x), height - PAD.bottom + 7);
    }
    context.textAlign = "right";
    context.fillText(this.x, width - PAD.right, height - 14);
  }

  #band(context, one) {
    const { sx, sy } = this.frame;
    context.fillStyle = categoryColour(one.colour ?? this.series.indexOf(one));
    context.globalAlpha = 0.16;
    context.beginPath();
    for (const [x, , high] of one.band) context.lineTo(sx(x), sy(high));
    for (const [x, low] of [...one.band].reverse()) context.lineTo(sx(x), sy(low));
    context.fill();
    context.globalAlpha = 1;
  }

  #line(context, one) {
    const { sx, sy } = this.frame;
    context.strokeStyle = categoryColour(one.colour ?? this.series.indexOf(one));
    context.lineWidth = 1.6;
    context.lineJoin = "round";
    context.setLineDash(one.isDashed ? [5, 4] : []);
    context.beginPath();
    let isDrawing = false;
    for (const [x, y] of one.points) {
      if (!Number.isFinite(y)) isDrawing = false;
      else if (isDrawing) context.lineTo(sx(x), sy(y));
      else {
        context.moveTo(sx(x), sy(y));
        isDrawing = true;
      }
    }
    context.stroke();
    context.setLineDash([]);
    if (one.points.length > 40) return;
    context.fillStyle = context.strokeStyle;
    for (const [x, y] of one.points) if (Number.isFinite(y)) dot(context, sx(x), sy(y), 2);
  }

  #marker(context, height) {
    const { sx, sy } = this.frame;
    context.strokeStyle = colour("line-2");
    line(context, Math.round(sx(this.at)) + 0.5, PAD.top, Math.round(sx(this.at)) + 0.5, height - PAD.bottom);
    for (const one of this.#shown()) {
      const point = nearest(one.points, this.at);
      context.fillStyle = categoryColour(one.colour ?? this.series.indexOf(one));
      if (Number.isFinite(point[1])) dot(context, sx(point[0]), sy(point[1]), 3.5);
    }
  }

  #hover(px, py) {
    const shown = this.#shown();
    if (px === null || !this.frame || !shown.length) {
      this.at = null;
      this.tip.hidden = true;
      this.draw();
      return;
    }
    const { x0, x1 } = this.frame;
    const width = this.plot.clientWidth;
    const at = x0 + ((px - PAD.left) / (width - PAD.left - PAD.right)) * (x1 - x0);
    const x = this.isLogX ? 10 ** at : at;
    const all = shown.map((one) => nearest(one.points, x));
    this.at = all.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best))[0];
    this.draw();
    const rows = shown.slice(0, 12).map((one) => {
      const vars = { colour: categoryColour(one.colour ?? this.series.indexOf(one)) };
      return h(
        "div",
        { class: "row tight" },
        lineSwatch(one, vars),
        h("span", { class: "grow cut" }, one.name),
        h("span", { class: "number" }, number(nearest(one.points, this.at)[1])),
      );
    });
    setChildren(
      this.tip,
      h("div", { class: "muted" }, `${this.x} ${number(this.at)}`),
      rows,
      shown.length > 12 && h("div", { class: "faint" }, `and ${shown.length - 12} more`),
    );
    this.tip.hidden = false;
    this.tip.style.left = `${px > width / 2 ? Math.max(0, px - this.tip.offsetWidth - 14) : px + 14}px`;
    this.tip.style.top = `${Math.max(0, Math.min(py, this.plot.clientHeight - this.tip.offsetHeight))}px`;
  }

  #updateLegend() {
    setChildren(
      this.legend,
      this.series.map((one, i) => this.#key(one, i)),
    );
    this.draw();
  }

  #key(one, i) {
    const toggle = () => {
      if (!this.hidden.delete(one.name)) this.hidden.add(one.name);
      key.setAttribute("aria-pressed", String(!this.hidden.has(one.name)));
      this.draw();
    };
    const vars = { colour: categoryColour(one.colour ?? i) };
    const key = h(
      "button",
      {
        type: "button",
        "aria-pressed": String(!this.hidden.has(one.name)),
        on: { click: toggle },
        title: "Show or hide",
      },
      lineSwatch(one, vars),
      h("span", { class: "cut" }, one.name),
    );
    return key;
  }

  #setLabel() {
    const ends = this.#shown().map((one) => `${one.name}: ${number(one.points.at(-1)[1])}`);
    this.canvas.setAttribute("aria-label", `Chart over ${this.x}. Last values: ${ends.join(", ") || "none"}.`);
  }
}

/** A piece of the series' line in its colour, solid or dashed as in the chart. */
function lineSwatch(one, vars) {
  return h("span", { class: ["line-swatch", one.isDashed && "dashed"], vars });
}

/** The point with the x closest to `x`. */
function nearest(points, x) {
  let [low, high] = [0, points.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] <= x) low = middle;
    else high = middle;
  }
  return Math.abs(points[low][0] - x) <= Math.abs(points[high][0] - x) ? points[low] : points[high];
}

function line(context, x0, y0, x1, y1) {
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
