/** The atlas: where prompts, tokens and what the model does with texts lie, to look at and move about in. */
import { button, h, put } from "../dom/elements.js";
import { empty } from "../dom/states.js";
import { go } from "../shell/router.js";
import { Atlas } from "./atlas.js";
import { askForMap } from "./new_map.js";

export async function view({ root, route, api, catalogue, signal }) {
  const maps = await catalogue.maps();
  if (signal.aborted) return;
  const make = () => askForMap({ api, catalogue });
  const id = route.parts[1];
  if (!id && !maps.length) {
    put(root, h("div", { class: "view" }, noMaps(make)));
    return;
  }
  if (!id) {
    history.replaceState(null, "", `#/atlas/${encodeURIComponent(maps[0].id)}`);
  }
  const atlas = new Atlas({ api, catalogue, signal, maps, id: id ?? maps[0].id, query: route.query, make });
  signal.addEventListener("abort", () => atlas.destroy());
  put(root, atlas.element);
  await atlas.open();
}

function noMaps(make) {
  return empty(
    "There is no map yet",
    "A map is a fitted projection: of token embeddings, of what the model does with texts, of prompts and their priors. Make the first one here, or with a run of kind “map”. It takes some seconds on the demo model.",
    {
      action: h(
        "div",
        { class: "row" },
        button("Make a map", make, { class: "primary" }),
        button("Look at the runs", () => go(["runs"])),
      ),
      command: `curl -s ${location.origin}/v1/runs -H 'Content-Type: application/json' -d '{"kind": "map", "spec":\n  {"model": "demo", "sources": [{"embeddings": "vocabulary"}, {"dataset": "demo-qa"}]}}'`,
    },
  );
}
