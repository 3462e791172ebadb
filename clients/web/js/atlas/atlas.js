/** The atlas page of one map: canvas, selection and side panels. */
import { h } from "../dom/elements.js";
import { fill } from "../dom/states.js";
import { path } from "../api/client.js";
import { saveButtons } from "../plot/figure.js";
import { mapFigure } from "../plot/map_figure.js";
import { PointMap } from "../plot/point_map.js";
import { go, updateQuery } from "../shell/router.js";
import { setTitle, shortId } from "../shell/title.js";
import { COLOURINGS, colouring, linesOf, looksOf } from "./colouring.js";
import { ColourPanel } from "./colour_panel.js";
import { MapPanel } from "./map_panel.js";
import { PlacePanel } from "./place_panel.js";
import { Points, rowsOf } from "./points.js";
import { SelectionPanel } from "./selection_panel.js";
import { Tip } from "./tip.js";
import { Toolbar } from "./toolbar.js";
import { TrajectoryPanel } from "./trajectory_panel.js";

export class Atlas {
  constructor({ api, catalogue, signal, maps, id, query, make }) {
    Object.assign(this, { api, catalogue, signal, id });
    this.by = COLOURINGS.some(([by]) => by === query.get("colour")) ? query.get("colour") : "source";
    this.wanted = query.get("layer");
    this.cache = new Map();
    this.placed = Points.none();
    this.points = Points.none();
    this.groups = [];
    this.hidden = new Set();
    this.raised = null;
    this.isJoined = { trainingPaths: true, trajectories: false };
    this.canvasContainer = h("div", { class: "atlas-canvas" });
    this.status = h("p", { class: "atlas-status", role: "status" });
    this.tip = new Tip();
    this.mapPanel = new MapPanel({
      maps,
      id,
      onMap: (other) => go(["atlas", other]),
      onLayer: (layer) => this.#showLayer(layer),
      onMake: make,
    });
    this.colourPanel = new ColourPanel({
      signal,
      by: this.by,
      isJoined: this.isJoined,
      onBy: (by) => this.#colourBy(by),
      onChange: () => this.#paint(),
    });
    this.colourPanel.hidden = this.hidden;
    this.selection = new SelectionPanel({ onRaise: (items) => this.#raise(items), onPoint: (i) => this.#mark(i) });
    this.trajectories = new TrajectoryPanel({ onChange: () => this.map?.repaint() });
    this.placing = new PlacePanel({
      api,
      catalogue,
      onPlace: (sources) => this.#place(sources),
      onClear: () => this.#clearPlaced(),
    });
    const panels = [this.mapPanel, this.colourPanel, this.selection, this.trajectories, this.placing].map(
      (panel) => panel.element,
    );
    this.element = h(
      "div",
      { class: "atlas" },
      this.canvasContainer,
      h("aside", { class: "atlas-side", "aria-label": "Map" }, panels),
    );
  }

  /** Loads the map and shows the layer of the URL. */
  async open() {
    const work = async () => {
      this.info = await this.#load();
      await this.placing.open(this.info.model);
      return this.#stage();
    };
    await fill(this.canvasContainer, work, { text: "Loading the map …", signal: this.signal });
    if (this.map) await this.#showLayer(this.mapPanel.layer);
  }

  destroy() {
    this.trajectories.stop();
    this.map?.destroy();
  }

  /** Loads the facts of the map together with the points of the first shown layer only: a map may be large. */
  async #load() {
    const layers = this.mapPanel.row?.layers;
    const wanted = this.wanted === null ? layers?.[0] : Number(this.wanted);
    const layer =
      this.wanted !== "all" && layers?.includes(wanted) ? wanted : layers && this.wanted !== "all" ? layers[0] : "all";
    const { points, facts } = await this.#fetch(layer);
    this.cache.set(layer, points);
    this.mapPanel.setFacts(facts, layer);
    setTitle("map", this.mapPanel.row?.name, shortId(this.id));
    return facts;
  }

  async #fetch(layer) {
    const query = layer === "all" ? {} : { layer };
    const answer = await this.api.tensors(path`/v1/maps/${this.id}`, { query, signal: this.signal });
    return { points: Points.read(answer), facts: answer.metadata };
  }

  #stage() {
    this.map = new PointMap({
      hover: (i, x, y) => this.tip.show(i < 0 ? null : this.points, i, x, y, this.map.element),
      pick: (i) => this.selection.show(this.points, i < 0 ? [] : [i]),
      select: (items) => this.selection.show(this.points, items),
      paint: (context, toScreen) => this.#paintOver(context, toScreen),
      escape: () => this.selection.show(this.points, []),
    });
    this.toolbar = new Toolbar(this.map);
    this.toolbar.element.append(saveButtons(() => this.#figure(), { what: "the map" }));
    return h("div", { class: "atlas-stage" }, this.map.element, this.toolbar.element, this.status, this.tip.element);
  }

  async #showLayer(layer) {
    this.layer = layer;
    updateQuery({ layer });
    if (!this.cache.has(layer)) {
      this.status.textContent = "Loading the layer …";
      try {
        this.cache.set(layer, (await this.#fetch(layer)).points);
      } catch (error) {
        if (error.name !== "AbortError") this.status.textContent = error.detail ?? error.message;
        return;
      }
    }
    if (this.layer !== layer || this.signal.aborted) return;
    this.#show({ keepView: false });
    await this.map.settled();
    performance.mark("atlas-painted"); // read by benchmarks
  }

  #show({ keepView }) {
    const own = this.cache.get(this.layer);
    const placed = this.#placedHere();
    this.placedFrom = placed.n ? own.n : null;
    this.points = (placed.n ? own.joined(placed) : own).ordered();
    this.groups = this.points.groups();
    this.raised = null;
    this.marked = null;
    this.colours = colouring(this.points, this.by);
    this.hidden.clear();
    this.colourPanel.show(this.colours, this.groups);
    this.trajectories.setGroups(
      this.points,
      this.groups.filter((one) => !one.isTrainingPath),
    );
    this.selection.setPoints(this.points);
    const looks = this.#looks();
    this.map.setPoints(this.points.coordinates, looks, this.#lines(looks), { isSolid: !this.points.isFlat, keepView });
    this.status.textContent = this.mapPanel.summary(this.points.n);
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
    updateQuery({ colour: by });
    this.colours = colouring(this.points, by);
    this.hidden.clear();
    this.colourPanel.show(this.colours, this.groups);
    this.#paint();
  }

  #looks() {
    return looksOf(this.points, this.colours, { hidden: this.hidden, raised: this.raised, placed: this.placedFrom });
  }

  #lines(looks) {
    return linesOf(this.points, this.groups, looks, (one) =>
      one.isTrainingPath ? this.isJoined.trainingPaths : this.isJoined.trajectories,
    );
  }

  #paint() {
    if (!this.map) return;
    const looks = this.#looks();
    this.map.setLooks(looks, this.#lines(looks), { hasRaised: this.raised !== null });
  }

  #raise(items) {
    this.raised = items.length ? new Set(items) : null;
    this.marked = null;
    this.#paint();
  }

  #mark(i) {
    this.marked = i;
    this.map.repaint();
  }

  #paintOver(context, toScreen) {
    this.trajectories.paint(context, toScreen);
    if (this.marked === null || this.marked === undefined) return;
    const [x, y] = toScreen(this.marked);
    context.beginPath();
    context.arc(x, y, 9, 0, 2 * Math.PI);
    context.lineWidth = 2;
    context.strokeStyle = this.map.ink;
    context.stroke();
  }

  /** Projects sources onto the shown layers; @returns the number of new points */
  async #place(sources) {
    const layers = this.layer === "all" ? null : [this.layer];
    const answer = await this.api.tensors(path`/v1/maps/${this.id}/project`, {
      body: { sources, ...(layers && { layers }) },
      signal: this.signal,
    });
    const points = Points.read(answer);
    this.placed = this.placed.joined(points);
    const isTrajectory = sources.some((source) => source.trajectories);
    if (isTrajectory) this.isJoined.trajectories = true;
    this.#show({ keepView: true });
    if (isTrajectory) this.trajectories.selectLast();
    return points.n;
  }

  #clearPlaced() {
    this.placed = Points.none();
    this.#show({ keepView: true });
  }
}
