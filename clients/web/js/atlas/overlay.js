/** What lies above the points of the map: labels of groups, titles and frames of panels, contours, and marks at the edges. */
import { h } from "../dom/elements.js";
import { beyond } from "../plot/view_range.js";
import { contoursOf, paintContours } from "./contours.js";
import { EdgeMarks } from "./edge_marks.js";
import { anchorsOf, GroupLabels } from "./group_labels.js";
import { PanelTitles } from "./panel_titles.js";

const PAUSE_MS = 100;

export class Overlay {
  /** onLayer(layer): shows one layer alone; onShowAll(): shows all points */
  constructor({ onLayer, onShowAll }) {
    this.labels = new GroupLabels();
    this.titles = new PanelTitles({ onLayer, onShowAll });
    this.marks = new EdgeMarks({ onShowAll });
    this.contours = [];
    this.moving = h("div", { class: "map-overlay" }, this.labels.element, this.titles.element);
    this.element = h("div", {}, this.moving, this.marks.element);
  }

  /**
   * Takes new points, or other visible ones. The next picture of the map shows them.
   *
   * @param {Object} shown `{labels, contours}`
   * @param {string} hidden names the hidden entries of the legend
   */
  update({ points, colours, looks, panels, shown, hidden }) {
    const basis = [points, colours, hidden, shown.labels, shown.contours];
    if (basis.every((value, k) => value === this.basis?.[k])) return;
    this.basis = basis;
    if (panels !== this.titles.panels) this.titles.show(panels);
    // Names would cover the panels; the legend has them.
    this.labels.anchors = shown.labels && !panels.length ? anchorsOf(points, colours, looks) : [];
    this.contours = shown.contours && points.isFlat ? contoursOf(points, colours, looks, panels) : [];
  }

  /** Follows a complete picture of the map. */
  drawn(map) {
    this.moving.style.transform = "";
    this.labels.place(screenOf(map), map.camera);
    this.titles.place(map.camera);
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.marks.show(beyond(map.camera, map.coordinates, map.looks)), PAUSE_MS);
  }

  /** Follows a picture that is moved by a CSS transform. */
  moved(transform) {
    this.moving.style.transform = transform;
  }

  /** Paints what belongs to the picture itself. */
  paint(context, camera) {
    this.titles.paint(context, camera);
    paintContours(context, this.contours, camera);
  }

  /** Paints everything but the marks, for a figure. */
  paintFigure(context, map) {
    this.titles.paint(context, map.camera, { withTitles: true });
    paintContours(context, this.contours, map.camera);
    this.labels.paint(context, screenOf(map), map.camera);
  }

  destroy() {
    clearTimeout(this.waiting);
  }
}

function screenOf(map) {
  return (i) => map.camera.toScreen(...map.coordinatesOf(i));
}
