/** Titles and frames of the panels of a map that shows one panel per layer. */
import { button, h, setChildren } from "../dom/elements.js";
import { count } from "../dom/format.js";
import { colour } from "../shell/theme.js";

export class PanelTitles {
  /** onLayer: shows one layer alone. onShowAll: shows the points on the frames at their own positions. */
  constructor({ onLayer, onShowAll }) {
    Object.assign(this, { onLayer, onShowAll, panels: [] });
    this.element = h("div", { class: "panel-titles", role: "group", "aria-label": "Panels", hidden: true });
  }

  /** panels: see `panelled`; empty for a map of one layer */
  show(panels) {
    this.panels = panels;
    this.element.hidden = !panels.length;
    this.titles = panels.map(({ layer, n, nBeyond }) => {
      const name = `layer ${layer}`;
      const title = button(name, () => this.onLayer(layer), {
        class: "quiet small",
        title: `Show ${name} alone`,
        "aria-label": `Show ${name} alone, ${count(n, "point")}`,
      });
      const text = `${count(nBeyond, "point")} of ${name} on the frame: show all`;
      const mark = button(`▸ ${nBeyond}`, this.onShowAll, { class: "edge-mark", title: text, "aria-label": text });
      return h("div", { class: "panel-title" }, title, nBeyond > 0 && mark);
    });
    setChildren(this.element, this.titles);
  }

  /** Moves the titles to their panels, as `camera` shows them. */
  place(camera) {
    this.panels.forEach(({ frame }, k) => {
      const [x, y] = camera.toScreen(frame.left, frame.top);
      const title = this.titles[k];
      title.hidden = x > camera.width - 40 || y < 30 || y > camera.height || camera.toScreen(frame.right, 0)[0] < 40;
      title.style.left = `${x}px`;
      title.style.top = `${y}px`;
    });
  }

  /** Paints the frames; withTitles: and the names of the layers, for a figure. */
  paint(context, camera, { withTitles = false } = {}) {
    for (const { layer, frame } of this.panels) {
      const [left, top] = camera.toScreen(frame.left, frame.top);
      const [right, bottom] = camera.toScreen(frame.right, frame.bottom);
      context.beginPath();
      context.moveTo(left, top);
      for (const [x, y] of [
        [right, top],
        [right, bottom],
        [left, bottom],
        [left, top],
      ])
        context.lineTo(x, y);
      context.lineWidth = 1;
      context.strokeStyle = colour("line-2");
      context.stroke();
      if (!withTitles) continue;
      context.font = "12px sans-serif";
      context.textAlign = "left";
      context.textBaseline = "alphabetic";
      context.fillStyle = colour("ink");
      context.fillText(`layer ${layer}`, left + 2, top - 6);
    }
  }
}
