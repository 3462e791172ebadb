/** Trajectories of the answers, projected onto an existing map. */
import { path } from "../api/client.js";
import { h, select, setChildren, setOptions } from "../dom/elements.js";
import { empty, failure, fill } from "../dom/states.js";
import { colouring, linesOf } from "../atlas/colouring.js";
import { Points } from "../atlas/points.js";
import { Tip } from "../atlas/tip.js";
import { TrajectoryPanel } from "../atlas/trajectory_panel.js";
import { DIM_INDEX, categoryColour } from "../plot/palette.js";
import { PointMap } from "../plot/point_map.js";

export class OnMap {
  constructor({ api, catalogue, signal, request, variants }) {
    Object.assign(this, { api, catalogue, signal, request, variants });
    this.backgrounds = new Map();
    this.map = select([], { onchange: () => this.#chooseMap(), "aria-label": "Map", id: "on-map" });
    this.layer = select([], { onchange: () => this.refresh(), "aria-label": "Layer", id: "on-layer" });
    this.container = h("div", { class: "on-map" });
    this.legend = h("div", { class: "legend" });
    this.trajectories = new TrajectoryPanel({ onChange: () => this.picture?.repaint() });
    this.tip = new Tip();
    this.element = h(
      "section",
      { class: "card stack" },
      h("header", {}, h("h2", {}, "Trajectories on a map"), h("div", { class: "row" }, this.map, this.layer)),
      h(
        "p",
        { class: "muted small" },
        "The hidden states of each answer, token by token, projected onto an existing map. The points of the map are grey.",
      ),
      this.container,
      this.legend,
      this.trajectories.element,
    );
    this.ready = this.#load().catch((error) => setChildren(this.container, failure(error)));
  }

  async refresh() {
    await this.ready;
    const { model, text, max_tokens, temperature } = this.request();
    if (!this.map.value || this.signal.aborted) return;
    if (!text) {
      setChildren(this.container, h("p", { class: "muted" }, "Enter a text above and run it."));
      return;
    }
    const layer = Number(this.layer.value);
    const sources = this.variants().map((variant) => ({
      name: variant.label,
      trajectories: { inputs: [text], max_tokens, temperature, ...(variant.ref && { prompt_ref: variant.ref }) },
    }));
    const work = async () => {
      const [background, placed] = await Promise.all([
        this.#background(layer),
        this.api.tensors(path`/v1/maps/${this.map.value}/project`, {
          body: { sources, layers: [layer] },
          signal: this.signal,
        }),
      ]);
      return this.#draw(background, Points.read(placed), model);
    };
    await fill(this.container, work, { signal: this.signal, text: "Projecting the trajectories …" });
  }

  destroy() {
    this.trajectories.stop();
    this.picture?.destroy();
  }

  async #load() {
    const maps = (await this.catalogue.maps()).filter((map) => map.model === this.request().model);
    this.maps = maps;
    if (!maps.length) {
      setChildren(
        this.container,
        empty("No map of this model", "Create one in the atlas. Then trajectories can be projected onto it.", {
          action: h("a", { class: "button", href: "#/atlas" }, "Open the atlas"),
        }),
      );
      return;
    }
    setOptions(
      this.map,
      maps.map((map) => [map.id, `${map.name ?? map.id} · ${map.method}`]),
    );
    this.#setLayers();
  }

  #chooseMap() {
    this.#setLayers();
    this.refresh();
  }

  #setLayers() {
    const { layers } = this.maps.find((map) => map.id === this.map.value);
    setOptions(
      this.layer,
      layers.map((layer) => [String(layer), `layer ${layer}`]),
      String(layers.at(-1)),
    );
  }

  async #background(layer) {
    const key = `${this.map.value} ${layer}`;
    if (!this.backgrounds.has(key))
      this.backgrounds.set(
        key,
        Points.read(
          await this.api.tensors(path`/v1/maps/${this.map.value}`, { query: { layer }, signal: this.signal }),
        ),
      );
    return this.backgrounds.get(key);
  }

  #draw(background, placed) {
    this.picture?.destroy();
    const points = background.joined(placed);
    const groups = points.groups().filter((one) => points.since[one.items[0]] >= background.n);
    const own = colouring(placed, "source");
    const looks = new Uint8Array(4 * points.n);
    for (let i = 0; i < points.n; i++)
      looks.set(i < background.n ? [DIM_INDEX, 0, 1, 6] : [own.of(i - background.n), 0, 1, 12], 4 * i);
    this.picture = new PointMap({
      hover: (i, x, y) => this.tip.show(i < 0 ? null : points, i, x, y, this.picture.element),
      pick: () => {},
      select: () => {},
      escape: () => {},
      paint: (context, toScreen) => this.trajectories.paint(context, toScreen),
    });
    this.trajectories.setGroups(points, groups);
    setChildren(
      this.legend,
      own.keys.map((key) =>
        h(
          "span",
          { class: "row small" },
          h("span", { class: "swatch", vars: { colour: categoryColour(key.colour) } }),
          key.name,
        ),
      ),
    );
    this.picture.setPoints(
      points.coordinates,
      looks,
      linesOf(points, groups, looks, () => true),
      { isSolid: !points.isFlat },
    );
    return h("div", { class: "on-map-stage" }, this.picture.element, this.tip.element);
  }
}
