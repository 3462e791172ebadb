/**
 * Interactive map of points. With a GPU every frame is drawn. With software rendering, where one frame takes long, the
 * compositor moves and scales the last picture with a CSS transform; the map is drawn again when the gesture pauses.
 */
import { h } from "../dom/elements.js";
import { Camera } from "./camera.js";
import { CanvasLayer, MAX_STEP } from "./canvas_layer.js";
import { listen } from "./gestures.js";
import { insideLine, lineOf, ScreenIndex } from "./screen_index.js";
import { CROPPED, rangeBox } from "./view_range.js";

const SLOW_MS = 20;
const MANY = 5000;
const PAUSE_MS = 110;
/** With slow drawing the picture extends beyond each side by this share, so that panning does not expose empty margins. */
const MARGIN = 0.15;
const MAX_STRETCH = 1.6;

export class PointMap {
  /**
   * @param {Object} on `hover(i, x, y)` and `pick(i)` (i is −1 where there is no point), `select(indices, line)` (line: see
   *   `lineOf`), `paint(context, toScreen)`, `escape()`; optional: `show(view)` instead of `show` of this class, `drawn()` after each complete picture, `moved(transform)` when
   *   the last picture is moved by a CSS transform instead
   */
  constructor(on) {
    this.on = on;
    this.tool = "pan";
    this.canvas = h("canvas", {});
    this.over = h("canvas", {});
    this.stage = h("div", { class: "stage" }, this.canvas, this.over);
    this.element = h(
      "div",
      {
        class: "point-map",
        tabindex: "0",
        role: "application",
        "aria-label": "Map of points. Arrow keys move, plus and minus zoom, 0 shows all, 1 shows most.",
      },
      this.stage,
    );
    this.layer = new CanvasLayer(this.canvas);
    this.camera = new Camera();
    this.drawn = new Camera();
    this.isSolid = false;
    this.view = "all";
    this.isSlow = false;
    this.costMs = 0;
    this.ratio = 1;
    this.margin = [0, 0];
    this.line = [];
    this.coordinates = new Float32Array(0);
    this.looks = new Uint8Array(0);
    this.lines = { coordinates: new Float32Array(0), looks: new Uint8Array(0) };
    this.#listen();
  }

  /**
   * @param {Float32Array} coordinates @param {Uint8Array} looks @param {{coordinates: Float32Array, looks: Uint8Array}} lines
   * @param {string|Object} view "all" points, "most" (the 2–98 % range of each axis), "keep", or a state of the camera
   */
  setPoints(coordinates, looks, lines, { isSolid = false, view = "all" } = {}) {
    Object.assign(this, { coordinates, looks, lines, isSolid });
    this.layer.setPoints(coordinates, looks);
    this.layer.setLines(lines.coordinates, lines.looks);
    if (view === "keep") this.#drawNow();
    else this.show(view);
    this.measured = this.#measure();
  }

  setLooks(looks, lines, { hasRaised = false } = {}) {
    Object.assign(this, { looks, lines });
    this.layer.setLooks(looks, { hasRaised });
    this.layer.setLines(lines.coordinates, lines.looks);
    this.#drawNow();
  }

  /** Shows "all" visible points, "most" of them, or a state of the camera. */
  show(view) {
    this.view = view;
    if (this.camera.width === 1) return; // without a size yet: shown at the first resize
    if (!this.isSolid) this.camera.turn = new Camera().turn;
    const isVisible = (i) => this.looks[4 * i + 2] > 0;
    const box = rangeBox(this.coordinates, isVisible, view === "most" ? CROPPED : 0);
    if (box) this.camera.fit(box);
    if (typeof view === "object") this.camera.restore(view);
    this.#drawNow();
  }

  /** Visible points inside a line of `lineOf`, sorted. */
  inside(line) {
    return insideLine(line, this.coordinates, (i) => this.looks[4 * i + 2] > 0);
  }

  /** Redraws the overlay above the points: lasso, marks and trajectories. */
  repaint() {
    const context = this.over.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, this.margin[0] * this.ratio, this.margin[1] * this.ratio);
    context.clearRect(-this.margin[0], -this.margin[1], this.over.width, this.over.height);
    this.on.paint(context, (i) => this.drawn.toScreen(...this.coordinatesOf(i)));
    if (this.line.length > 1) drawLine(context, this.line, this.ink);
  }

  /** Resolves when everything has been drawn. */
  settled() {
    return this.layer.settled();
  }

  coordinatesOf(i) {
    return [this.coordinates[3 * i], this.coordinates[3 * i + 1], this.coordinates[3 * i + 2]];
  }

  destroy() {
    this.observer.disconnect();
    clearTimeout(this.pauseTimer);
    document.removeEventListener("themechange", this.onTheme);
    this.layer.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  #listen() {
    this.observer = new ResizeObserver(() => this.#resize());
    this.observer.observe(this.element);
    this.onTheme = () => {
      this.layer.setColours();
      this.#drawNow();
    };
    document.addEventListener("themechange", this.onTheme);
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => {
      this.layer.setUp();
      this.layer.setPoints(this.coordinates, this.looks);
      this.#drawNow();
    });
    const on = {
      pan: (dx, dy) => this.#moved(() => this.camera.pan(dx, dy)),
      turn: (dx, dy) => this.#moved(() => this.camera.rotate(dx, dy)),
      zoom: (factor, x, y) => this.#moved(() => this.camera.zoom(factor, x, y)),
      hover: (x, y) => this.#hover(x, y),
      leave: () => this.on.hover(-1),
      pick: (x, y) => this.on.pick(this.#at(x, y)),
      line: (line, isDone) => this.#drawLine(line, isDone),
      show: (view) => (this.on.show ? this.on.show(view) : this.show(view)),
      escape: () => this.on.escape(),
    };
    listen(this.element, on, () => ({ tool: this.tool, turns: this.isSolid }));
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    const isFirst = this.camera.width === 1;
    Object.assign(this.camera, { width, height });
    this.#size();
    if (isFirst) this.show(this.view);
    else this.#drawNow();
  }

  /** Sizes both canvases to the view plus, with slow drawing, a margin around it. */
  #size() {
    const share = this.isSlow && !this.isSolid ? MARGIN : 0;
    const { width, height } = this.camera;
    this.ratio = Math.min(devicePixelRatio || 1, this.isSlow ? 1 : 2);
    this.margin = [Math.round(width * share), Math.round(height * share)];
    for (const canvas of [this.canvas, this.over]) {
      canvas.width = Math.round((width + 2 * this.margin[0]) * this.ratio);
      canvas.height = Math.round((height + 2 * this.margin[1]) * this.ratio);
      canvas.style.width = `${width + 2 * this.margin[0]}px`;
      canvas.style.height = `${height + 2 * this.margin[1]}px`;
      canvas.style.left = `${-this.margin[0]}px`;
      canvas.style.top = `${-this.margin[1]}px`;
    }
  }

  /** Measures how long one frame takes and chooses how to move the picture. */
  async #measure() {
    const { coordinates } = this;
    await this.layer.settled(); // the first frame also compiles the shaders
    if (this.camera.width === 1 || this.coordinates !== coordinates) return;
    const start = performance.now();
    this.layer.draw(this.#wide(), { ratio: this.ratio, isSolid: this.isSolid });
    await this.layer.settled();
    this.costMs = performance.now() - start;
    const isSlow = this.costMs > SLOW_MS;
    if (this.coordinates !== coordinates || isSlow === this.isSlow) return;
    this.isSlow = isSlow;
    this.layer.isSmooth = !isSlow || coordinates.length / 3 < MANY;
    this.#size();
    this.#drawNow();
  }

  /** The camera of the canvas, which may be larger than the view. */
  #wide() {
    const camera = this.camera.copy();
    camera.width += 2 * this.margin[0];
    camera.height += 2 * this.margin[1];
    return camera;
  }

  #moved(change) {
    change();
    this.view = "moved";
    this.on.hover(-1);
    this.index = null;
    if (!this.pending) this.pending = requestAnimationFrame(() => this.#frame());
    clearTimeout(this.pauseTimer);
    if (this.isSlow) this.pauseTimer = setTimeout(() => this.#drawNow(), PAUSE_MS);
  }

  #frame() {
    this.pending = null;
    if (!this.isSlow) {
      this.#drawNow();
      return;
    }
    const since = this.camera.since(this.drawn);
    if (since === null) {
      this.#drawSome();
      return;
    }
    const { dx, dy, factor } = since;
    const outside = Math.abs(dx) > 4 * this.margin[0] || Math.abs(dy) > 4 * this.margin[1];
    if (factor > MAX_STRETCH || factor < 1 / MAX_STRETCH || (outside && factor === 1)) this.#drawSome();
    else {
      this.stage.style.transform = `translate(${dx}px, ${dy}px) scale(${factor})`;
      this.on.moved?.(this.stage.style.transform);
    }
  }

  #drawNow() {
    clearTimeout(this.pauseTimer);
    this.#draw(1);
  }

  /** Draws as many of the points as a frame has time for; all are drawn when the gesture pauses. */
  #drawSome() {
    this.#draw(Math.min(MAX_STEP, Math.ceil(this.costMs / SLOW_MS)));
  }

  #draw(step) {
    if (this.camera.width === 1) return;
    this.stage.style.transform = "";
    this.drawn = this.camera.copy();
    this.index = null;
    this.layer.draw(this.#wide(), { ratio: this.ratio, isSolid: this.isSolid, step });
    this.ink = getComputedStyle(this.element).color;
    this.repaint();
    this.on.drawn?.();
  }

  #at(x, y) {
    this.index ??= new ScreenIndex(this.camera, this.coordinates, (i) => this.looks[4 * i + 2] > 0);
    return this.index.nearest(x, y);
  }

  #hover(x, y) {
    if (this.pending || this.stage.style.transform) return; // while moving
    this.on.hover(this.#at(x, y), x, y);
  }

  #drawLine(line, isDone) {
    this.line = isDone ? [] : line;
    this.on.hover(-1);
    if (isDone) {
      const drawn = lineOf(this.camera, line);
      this.on.select(this.inside(drawn), drawn);
    }
    this.repaint();
  }
}

function drawLine(context, line, ink) {
  context.beginPath();
  line.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.setLineDash([4, 3]);
  context.lineWidth = 1.4;
  context.strokeStyle = ink;
  context.stroke();
  context.setLineDash([]);
}
