/** The atlas page of one map: canvas, selection and side panels. */
import { h } from "../dom/elements.js";
import { fill } from "../dom/states.js";
import { saveButtons } from "../plot/figure.js";
import { mapFigure } from "../plot/map_figure.js";
import { PointMap } from "../plot/point_map.js";
import { go, updateQuery } from "../shell/router.js";
import { setTitle, shortId } from "../shell/title.js";
import { COLOURINGS, colouring, idOf, linesOf, looksOf } from "./colouring.js";
import { IndexSet } from "./index_set.js";
import { hiddenText, readState, selectionEntries, viewText } from "./link_state.js";
import { firstLayer, MapLoader } from "./loader.js";
import { Overlay } from "./overlay.js";
import { linked, panelled } from "./panels.js";
import { Points, rowsOf } from "./points.js";
import { sidePanels } from "./side.js";
import { Tip } from "./tip.js";
import { Toolbar } from "./toolbar.js";

const LINK_DELAY_MS = 300;

export class Atlas {
  /** context: `{api, catalogue, signal, maps, id, query, make}` */
  constructor(context) {
    const { api, signal, id, query } = context;
    Object.assign(this, { signal, id });
    this.by = COLOURINGS.some(([by]) => by === query.get("colour")) ? query.get("colour") : "source";
    this.wanted = query.get("layer");
    this.restored = readState(query);
    const { isAll, hidden, labels, contours } = this.restored;
    Object.assign(this, { isAll, hiddenIds: hidden, hidden: new Set() });
    this.shown = { trainingPaths: true, trajectories: false, labels, contours };
    this.loader = new MapLoader({ api, id, signal });
    Object.assign(this, { placed: Points.none(), points: Points.none(), panels: [], groups: [] });
    this.raised = null;
    this.marked = [];
    this.canvasContainer = h("div", { class: "atlas-canvas" });
    this.status = h("p", { class: "atlas-status", role: "status" });
    this.tip = new Tip();
    this.overlay = new Overlay({
      onLayer: (layer) => this.mapPanel.choose(layer),
      onShowAll: () => this.#showRange("all"),
    });
    Object.assign(this, sidePanels(context, this, this.#handlers()));
    this.element = h("div", { class: "atlas" }, this.canvasContainer, this.side);
  }

  #handlers() {
    return {
      map: (other) => go(["atlas", other]),
      layer: (layer) => this.#showLayer(layer),
      by: (by) => this.#colourBy(by),
      colours: () => this.#onColours(),
      raise: (items, how) => this.#raise(items, how),
      point: (i) => this.#mark(i),
      pick: (i) => this.#pick(i),
      isPlaced: (i) => this.placedFrom !== null && this.points.since[i] >= this.placedFrom,
      step: () => this.map?.repaint(),
      place: (sources) => this.#place(sources),
      clear: () => this.#clearPlaced(),
    };
  }

  /** Loads the map and shows the layer of the URL. */
  async open() {
    const work = async () => {
      // The points of the first shown layer only: a map may be large.
      const layer = firstLayer(this.mapPanel.row, this.wanted);
      this.info = await this.loader.open(layer);
      this.mapPanel.setFacts(this.info, layer);
      setTitle("map", this.mapPanel.row?.name, shortId(this.id));
      await this.placing.open(this.info.model);
      return this.#stage();
    };
    await fill(this.canvasContainer, work, { text: "Loading the map …", signal: this.signal });
    if (this.map) await this.#showLayer(this.mapPanel.layer);
  }

  destroy() {
    clearTimeout(this.linking);
    this.overlay.destroy();
    this.trajectories.stop();
    this.map?.destroy();
  }

  #stage() {
    this.map = new PointMap({
      hover: (i, x, y) => this.tip.show(i < 0 ? null : this.points, i, x, y, this.map.element),
      pick: (i) => this.#pick(i),
      select: (items, line) => this.selection.show(this.points, items, { line }),
      paint: (context, toScreen) => this.#paintOver(context, toScreen),
      escape: () => this.selection.show(this.points, []),
      show: (view) => this.#showRange(view),
      moved: (transform) => this.overlay.moved(transform),
      drawn: () => this.#onDrawn(),
    });
    this.toolbar = new Toolbar(this.map, {
      onShow: (view) => this.#showRange(view),
      onPlace: () => this.placing.focus(),
    });
    this.toolbar.element.append(saveButtons(() => this.#figure(), { what: "the map" }));
    const parts = [this.map, this.overlay, this.toolbar].map((part) => part.element);
    return h("div", { class: "atlas-stage" }, parts, this.status, this.tip.element);
  }

  async #showLayer(layer) {
    this.layer = layer;
    updateQuery({ layer });
    if (!this.loader.has(layer)) this.status.textContent = "Loading the layer …";
    try {
      await this.loader.points(layer);
    } catch (error) {
      if (error.name !== "AbortError") this.status.textContent = error.detail ?? error.message;
      return;
    }
    if (this.layer !== layer || this.signal.aborted) return;
    const first = this.restored;
    this.restored = null;
    this.#show({ view: first?.view ?? (this.isAll ? "all" : "most") });
    if (first) this.#restoreSelection(first);
    await this.map.settled();
    performance.mark("atlas-painted"); // read by benchmarks
  }

  /** Shows the points of the layer; the selection is cleared. view: see `PointMap.setPoints` */
  #show({ view }) {
    updateQuery(selectionEntries({}));
    const own = this.loader.cache.get(this.layer);
    const placed = this.#placedHere();
    this.placedFrom = placed.n ? own.n : null;
    const ordered = (placed.n ? own.joined(placed) : own).ordered();
    const hasPanels = this.layer === "all" && this.info.layers.length > 1;
    const laid = hasPanels && panelled(ordered, this.info.layers, { isCropped: !this.isAll });
    Object.assign(this, laid || { points: ordered, panels: [] });
    this.groups = this.points.groups();
    this.raised = null;
    this.marked = [];
    this.#colour();
    this.trajectories.setGroups(
      this.points,
      this.groups.filter((one) => !one.isTrainingPath),
    );
    this.selection.setPoints(this.points);
    const looks = this.#looks();
    this.#updateOverlay(looks);
    const shownAs = hasPanels && view === "most" ? "all" : view; // the frames are cropped instead
    this.map.setPoints(this.points.coordinates, looks, this.#lines(looks), {
      isSolid: !this.points.isFlat,
      view: shownAs,
    });
    this.status.textContent = this.mapPanel.summary(this.points.n);
  }

  /** Shows "all" points or "most" of them: moves the camera, or fits the frames of the panels. */
  #showRange(view) {
    this.isAll = view === "all";
    if (this.panels.length) this.#show({ view });
    else this.map.show(view);
  }

  /** The figure of the shown points; the CSV file has the selected points, or all visible ones if none is selected. */
  #figure() {
    const { points } = this;
    const isChosen = (i) => (this.raised ? this.raised.has(i) : this.map.looks[4 * i + 2] > 0);
    const chosen = Array.from({ length: points.n }, (_, i) => i).filter(isChosen);
    return mapFigure(this.map, {
      name: `map-${shortId(this.id)}-layer-${this.layer}`,
      keys: this.colours.keys.filter((key, k) => !this.hidden.has(k)),
      caption: this.mapPanel.summary(points.n),
      rows: rowsOf(points, chosen),
      over: (context) => this.overlay.paintFigure(context, this.map),
    });
  }

  #placedHere() {
    if (this.layer === "all") return this.placed;
    const keep = [];
    for (let i = 0; i < this.placed.n; i++) if (this.placed.layer[i] === this.layer) keep.push(i);
    return this.placed.only(keep);
  }

  #colourBy(by) {
    this.by = by;
    this.hiddenIds.clear();
    this.#colour();
    updateQuery({ colour: by });
    this.#onColours();
  }

  /** Colours the points; entries of the legend stay hidden if they have the same name as before. */
  #colour() {
    this.colours = colouring(this.points, this.by, this.info.layers);
    this.hidden.clear();
    this.colours.keys.forEach((key, k) => this.hiddenIds.has(idOf(key)) && this.hidden.add(k));
    const scene = { isFlat: this.points.isFlat, isSingle: !this.panels.length };
    this.colourPanel.show(this.colours, this.groups, scene);
  }

  /** The user changed the legend or a switch. */
  #onColours() {
    this.hiddenIds = new Set([...this.hidden].map((k) => idOf(this.colours.keys[k])));
    const { labels, contours } = this.shown;
    updateQuery({ hide: hiddenText(this.hiddenIds), labels: labels ? "" : "0", contours: contours ? "1" : "" });
    this.#paint();
  }

  #looks() {
    return looksOf(this.points, this.colours, { hidden: this.hidden, raised: this.raised, placed: this.placedFrom });
  }

  #lines(looks) {
    return linesOf(this.points, this.groups, looks, (one) =>
      one.isTrainingPath ? this.shown.trainingPaths : this.shown.trajectories,
    );
  }

  #updateOverlay(looks) {
    const { points, colours, panels, shown } = this;
    this.overlay.update({ points, colours, looks, panels, shown, hidden: [...this.hidden].join() });
  }

  #paint() {
    if (!this.map) return;
    const looks = this.#looks();
    this.#updateOverlay(looks);
    this.map.setLooks(looks, this.#lines(looks), { hasRaised: this.raised !== null });
  }

  #pick(i) {
    this.selection.show(this.points, i < 0 ? [] : [i], i < 0 ? {} : { items: [this.points.since[i]] });
  }

  /** Selects points, in panels also those of the other layers that represent the same; @returns how many are selected */
  #raise(items, how) {
    const all = this.panels.length && items.length ? linked(this.points, items) : items;
    this.raised = items.length ? new IndexSet(this.points.n, all) : null;
    this.marked = [];
    updateQuery(selectionEntries(how));
    this.#paint();
    return this.raised?.size ?? 0;
  }

  #restoreSelection({ find, line, items }) {
    if (find) this.selection.find(find);
    else if (line) this.selection.show(this.points, this.map.inside(line), { line });
    else if (items.length) {
      const known = items.map((one) => this.points.since.indexOf(one)).filter((i) => i >= 0);
      if (known.length) this.selection.show(this.points, known, { items });
    }
  }

  #mark(i) {
    this.marked = this.panels.length ? [...linked(this.points, [i])] : [i];
    this.map.repaint();
  }

  #paintOver(context, toScreen) {
    this.overlay.paint(context, this.map.drawn);
    this.trajectories.paint(context, toScreen);
    for (const i of this.marked) {
      const [x, y] = toScreen(i);
      context.beginPath();
      context.arc(x, y, 9, 0, 2 * Math.PI);
      context.lineWidth = 2;
      context.strokeStyle = this.map.ink;
      context.stroke();
    }
  }

  #onDrawn() {
    this.overlay.drawn(this.map);
    clearTimeout(this.linking);
    this.linking = setTimeout(() => this.#linkView(), LINK_DELAY_MS);
  }

  /** Keeps in the link what the user shows, unless it is the first view. */
  #linkView() {
    if (this.signal.aborted) return;
    const isOwn = this.map.view === "moved" || typeof this.map.view === "object";
    updateQuery({ view: isOwn ? viewText(this.map.camera.state()) : "", range: this.isAll ? "all" : "" });
  }

  /** Projects sources onto the shown layers; @returns the number of new points */
  async #place(sources) {
    const points = await this.loader.project(sources, this.layer === "all" ? null : [this.layer]);
    this.placed = this.placed.joined(points);
    const isTrajectory = sources.some((source) => source.trajectories);
    if (isTrajectory) this.shown.trajectories = true;
    this.#show({ view: "keep" });
    if (isTrajectory) this.trajectories.selectLast();
    return points.n;
  }

  #clearPlaced() {
    this.placed = Points.none();
    this.#show({ view: "keep" });
  }
}
