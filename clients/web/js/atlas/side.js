/** The panels at the side of a map. */
import { h } from "../dom/elements.js";
import { ColourPanel } from "./colour_panel.js";
import { MapPanel } from "./map_panel.js";
import { Neighbours } from "./neighbours.js";
import { PlacePanel } from "./place_panel.js";
import { SelectionPanel } from "./selection_panel.js";
import { TrajectoryPanel } from "./trajectory_panel.js";

/**
 * Creates the panels.
 *
 * @param {Object} context `{api, catalogue, signal, maps, id, make}`
 * @param {Object} start `{by, shown, hidden}`; see `ColourPanel`
 * @param {Object} on what the panels call: `layer`, `map`, `by`, `colours`, `raise`, `point`, `pick`, `isPlaced`, `step`, `place`,
 *   `clear`
 */
export function sidePanels({ api, catalogue, signal, maps, id, make }, { by, shown, hidden }, on) {
  const mapPanel = new MapPanel({ maps, id, onMap: on.map, onLayer: on.layer, onMake: make });
  const colourPanel = new ColourPanel({ signal, by, shown, hidden, onBy: on.by, onChange: on.colours });
  const neighbours = new Neighbours({ api, id, signal, onPick: on.pick, isPlaced: on.isPlaced });
  const selection = new SelectionPanel({ onRaise: on.raise, onPoint: on.point, neighbours });
  const trajectories = new TrajectoryPanel({ onChange: on.step });
  const placing = new PlacePanel({ api, catalogue, onPlace: on.place, onClear: on.clear });
  const side = h("aside", { class: "atlas-side", "aria-label": "Map" });
  side.append(...[mapPanel, colourPanel, selection, trajectories, placing].map((panel) => panel.element));
  return { mapPanel, colourPanel, selection, trajectories, placing, side };
}
