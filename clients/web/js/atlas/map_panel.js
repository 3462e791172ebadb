/** Panel for the map: choice of map and layer, facts and quality measures. */
import { button, checkbox, h, select, setChildren } from "../dom/elements.js";
import { count, dateTime, number, percent } from "../dom/format.js";
import { link } from "../shell/router.js";

export class MapPanel {
  constructor({ maps, id, onMap, onLayer, onMake }) {
    this.onLayer = onLayer;
    this.row = maps.find((map) => map.id === id) ?? null;
    const options = maps.map((map) => [map.id, `${map.name ?? map.id} · ${map.method}`]);
    if (!this.row) options.unshift([id, id]);
    const picker = select(options, { value: id, onchange: onMap, id: "map-picker", "aria-label": "Map" });
    const heading = h(
      "div",
      { class: "row apart tight" },
      h("h3", {}, "Map"),
      button("New map", onMake, { class: "quiet small" }),
    );
    this.slider = h("input", {
      type: "range",
      min: 0,
      max: 0,
      step: 1,
      "aria-label": "Layer",
      on: { input: () => this.#moveSlider() },
    });
    this.layerName = h("output", { class: "number" });
    this.all = checkbox("All layers at once", {
      onchange: (isAll) => this.#choose(isAll ? "all" : this.layers[this.slider.value]),
    });
    this.layerPart = h(
      "div",
      { class: "panel-part" },
      h("div", { class: "row apart" }, h("span", { class: "label" }, "Layer"), this.layerName),
      this.slider,
      this.all,
    );
    this.facts = h("dl", { class: "facts" });
    this.more = h("details", {}, h("summary", {}, "About this map"), this.facts);
    this.element = h("section", { class: "panel" }, heading, picker, this.layerPart, this.more);
  }

  /** Takes the facts of the map from the server's metadata. */
  setFacts(facts, layer) {
    this.map = facts;
    this.layers = facts.layers;
    this.layer = layer;
    this.slider.max = facts.layers.length - 1;
    this.slider.value = layer === "all" ? 0 : facts.layers.indexOf(layer);
    this.all.firstChild.checked = layer === "all";
    this.layerPart.hidden = facts.layers.length < 2;
    this.#showFacts();
  }

  /** One line about the shown layer. */
  summary(n) {
    const quality = this.map.quality?.find((one) => one.layer === this.layer);
    const parts = [
      this.map.method.toUpperCase(),
      this.layer === "all" ? "one panel per layer, each with its own basis" : layerName(this.layer),
      count(n, "point"),
    ];
    if (quality?.explained_variance)
      parts.push(`variance ${quality.explained_variance.map((share) => percent(share, 0)).join(" + ")}`);
    if (quality?.trustworthiness) parts.push(`trustworthiness ${number(quality.trustworthiness, 2)}`);
    return parts.join("  ·  ");
  }

  /** Shows a layer, as if the user had chosen it. */
  choose(layer) {
    this.slider.value = this.layers.indexOf(layer);
    this.#moveSlider();
  }

  #moveSlider() {
    this.all.firstChild.checked = false;
    this.#choose(this.layers[this.slider.value]);
  }

  #choose(layer) {
    this.layer = layer;
    this.#showFacts();
    this.onLayer(layer);
  }

  #showFacts() {
    this.layerName.textContent = this.layer === "all" ? "all" : layerName(this.layer);
    this.slider.setAttribute("aria-valuetext", this.layerName.textContent);
    const quality = this.map.quality?.find((one) => one.layer === this.layer) ?? {};
    const rows = [
      ["run", h("a", { href: link(["runs", this.map.id]) }, this.map.id)],
      ["model", this.map.model],
      ["created", dateTime(this.map.created_at)],
      ["sources", this.map.sources.join(", ")],
      ["points", number(this.map.n_points)],
      ["variance", quality.explained_variance?.map((share) => percent(share)).join(", ")],
      ["trustworthiness", quality.trustworthiness && number(quality.trustworthiness)],
      ["silhouette of the tasks", silhouettes(this.map.quality ?? [])],
      ["neighbours preserved", quality.neighbor_overlap && percent(quality.neighbor_overlap)],
      [
        "trustworthiness of placed points",
        quality.placed_trustworthiness &&
          `${number(quality.placed_trustworthiness)}; ${number(quality.refitted_trustworthiness)} after a refit`,
      ],
    ];
    setChildren(
      this.facts,
      rows.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
    );
  }
}

/** The silhouette of the tasks at each layer where it was measured; null if there is none. */
function silhouettes(quality) {
  const measured = quality.filter((one) => one.task_silhouette !== null && one.task_silhouette !== undefined);
  return measured.map((one) => `layer ${one.layer}: ${number(one.task_silhouette, 2)}`).join(", ") || null;
}

function layerName(layer) {
  return layer === 0 ? "layer 0, embeddings" : `layer ${layer}`;
}
