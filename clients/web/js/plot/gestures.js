/** Gestures on a map: translates pointer, wheel and key events to pan, zoom, rotate, hover, pick and lasso. */

const STEP = 48;
const KEYS = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };

/**
 * @param {HTMLElement} element a focusable element
 * @param {Object} on `pan(dx, dy)`, `turn(dx, dy)`, `zoom(factor, x, y)`, `hover(x, y)`, `leave()`, `pick(x, y)`,
 *   `line(points, isDone)`, `show("all" or "most")`, `escape()`
 * @param {() => {tool: string, turns: boolean}} mode
 */
export function listen(element, on, mode) {
  const dragged = new Drag(element, on, mode);
  element.addEventListener("pointerdown", (event) => dragged.begin(event));
  element.addEventListener("pointermove", (event) => dragged.move(event));
  element.addEventListener("pointerup", (event) => dragged.end(event));
  element.addEventListener("pointercancel", () => dragged.cancel());
  element.addEventListener("pointerleave", () => on.leave());
  element.addEventListener("dblclick", () => on.show("all"));
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      on.zoom(Math.exp(-event.deltaY * lines * 0.0016), event.offsetX, event.offsetY);
    },
    { passive: false },
  );
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (KEYS[event.key]) on.pan(...KEYS[event.key]);
    else if (event.key === "+" || event.key === "=") on.zoom(1.25);
    else if (event.key === "-") on.zoom(0.8);
    else if (event.key === "0") on.show("all");
    else if (event.key === "1") on.show("most");
    else if (event.key === "Escape") on.escape();
    else return;
    event.preventDefault();
  });
}

class Drag {
  constructor(element, on, mode) {
    Object.assign(this, { element, on, mode, pointers: new Map(), line: null, distance: 0 });
  }

  begin(event) {
    if (event.button > 0) return;
    this.element.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.distance = 0;
    if (this.mode().tool === "lasso" && this.pointers.size === 1) this.line = [[event.offsetX, event.offsetY]];
    if (this.pointers.size > 1) this.line = null;
  }

  move(event) {
    const at = [event.offsetX, event.offsetY];
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.on.hover(...at);
      return;
    }
    const [dx, dy] = [at[0] - before[0], at[1] - before[1]];
    this.distance += Math.hypot(dx, dy);
    if (this.pointers.size === 2) this.#pinch(event.pointerId, before, at);
    this.pointers.set(event.pointerId, at);
    if (this.line) {
      this.line.push(at);
      this.on.line(this.line, false);
    } else if (this.mode().turns && !event.shiftKey) this.on.turn(dx, dy);
    else this.on.pan(dx, dy);
  }

  end(event) {
    const wasDown = this.pointers.delete(event.pointerId);
    const line = this.line;
    this.line = null;
    if (!wasDown) return;
    if (this.distance < 4) this.on.pick(event.offsetX, event.offsetY);
    else if (line) this.on.line(line, true);
  }

  cancel() {
    this.pointers.clear();
    this.line = null;
    this.on.line([], false);
  }

  #pinch(moved, before, at) {
    const [other] = [...this.pointers].filter(([id]) => id !== moved).map(([, pixel]) => pixel);
    const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
    const is = Math.hypot(at[0] - other[0], at[1] - other[1]);
    if (was > 10) this.on.zoom(is / was, other[0], other[1]);
  }
}
