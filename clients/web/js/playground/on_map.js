/** The ways that the answers take, drawn on a map that is there. */
import { path } from "../api/client.js";
import { h, put, select, setOptions } from "../dom/elements.js";
import { empty, failure, fill } from "../dom/states.js";
import { colouring, linesOf, looksOf } from "../atlas/colouring.js";
import { Points } from "../atlas/points.js";
import { Tip } from "../atlas/tip.js";
import { WalkPanel } from "../atlas/walk_panel.js";
import { DIM_INDEX, categoryColour } from "../plot/palette.js";
import { PointMap } from "../plot/point_map.js";

export class OnMap {
  constructor({ api, catalogue, signal, asked, ways }) {
    Object.assign(this, { api, catalogue, signal, asked, ways });
    this.grounds = new Map();
    this.map = select([], { onchange: () => this.#chooseMap(), "aria-label": "Map", id: "on-map" });
    this.layer = select([], { onchange: () => this.refresh(), "aria-label": "Layer", id: "on-layer" });
    this.place = h("div", { class: "on-map" });
    this.legend = h("div", { class: "legend" });
    this.walks = new WalkPanel({ onChange: () => this.picture?.repaint() });
    this.tip = new Tip();
    this.element = h(
      "section",
      { class: "card stack" },
      h("header", {}, h("h2", {}, "On a map"), h("div", { class: "row" }, this.map, this.layer)),
      h(
        "p",
        { class: "muted small" },
        "Each answer’s states, token by token, placed on a map that was fitted before; points of the map are grey.",
      ),
      this.place,
      this.legend,
      this.walks.element,
    );
    this.ready = this.#load().catch((error) => put(this.place, failure(error)));
  }

  async refresh() {
    await this.ready;
    const { model, text, max_tokens, temperature } = this.asked();
    if (!this.map.value || this.signal.aborted) return;
    if (!text) {
      put(this.place, h("p", { class: "muted" }, "Write a text above and run it."));
      return;
    }
    const layer = Number(this.layer.value);
    const sources = this.ways().map((way) => ({
      name: way.label,
      trajectories: { inputs: [text], max_tokens, temperature, ...(way.ref && { prompt_ref: way.ref }) },
    }));
    const work = async () => {
      const [ground, placed] = await Promise.all([
        this.#ground(layer),
        this.api.tensors(path`/v1/maps/${this.map.value}/project`, {
          body: { sources, layers: [layer] },
          signal: this.signal,
        }),
      ]);
      return this.#draw(ground, Points.read(placed), model);
    };
    await fill(this.place, work, { signal: this.signal, text: "Following the answers …" });
  }

  destroy() {
    this.walks.stop();
    this.picture?.destroy();
  }

  async #load() {
    const maps = (await this.catalogue.maps()).filter((map) => map.model === this.asked().model);
    this.maps = maps;
    if (!maps.length) {
      put(
        this.place,
        empty("There is no map of this model yet", "Make one in the atlas; trajectories can then be drawn on it.", {
          action: h("a", { class: "button", href: "#/atlas" }, "To the atlas"),
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

  async #ground(layer) {
    const key = `${this.map.value} ${layer}`;
    if (!this.grounds.has(key))
      this.grounds.set(
        key,
        Points.read(
          await this.api.tensors(path`/v1/maps/${this.map.value}`, { query: { layer }, signal: this.signal }),
        ),
      );
    return this.grounds.get(key);
  }

  #draw(ground, placed) {
    this.picture?.destroy();
    const points = ground.joined(placed);
    const groups = points.groups().filter((one) => points.since[one.items[0]] >= ground.n);
    const own = colouring(placed, "source");
    const colours = { key: new Int32Array(points.n), of: (i) => (i < ground.n ? DIM_INDEX : own.of(i - ground.n)) };
    const looks = looksOf(points, colours, { hidden: new Set(), raised: null, placed: null });
    for (let i = 0; i < points.n; i++)
      looks.set(i < ground.n ? [DIM_INDEX, 0, 1, 6] : [colours.of(i), 0, 1, 12], 4 * i);
    this.picture = new PointMap({
      hover: (i, x, y) => this.tip.show(i < 0 ? null : points, i, x, y, this.picture.element),
      pick: () => {},
      select: () => {},
      escape: () => {},
      paint: (context, toScreen) => this.walks.paint(context, toScreen),
    });
    this.walks.setGroups(points, groups);
    put(
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
      points.places,
      looks,
      linesOf(points, groups, looks, () => true),
      { isSolid: !points.isFlat },
    );
    return h("div", { class: "on-map-stage" }, this.picture.element, this.tip.element);
  }
}
