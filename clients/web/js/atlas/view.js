/** Atlas view: maps of tokens, hidden states, prompts and priors. */
import { button, h, setChildren } from "../dom/elements.js";
import { curlCommand } from "../api/curl.js";
import { empty } from "../dom/states.js";
import { go } from "../shell/router.js";
import { Atlas } from "./atlas.js";
import { openMapDialog } from "./new_map.js";

export async function view({ root, route, api, catalogue, signal }) {
  const maps = await catalogue.maps();
  if (signal.aborted) return;
  const make = () => openMapDialog({ api, catalogue });
  const id = route.parts[1];
  if (!id && !maps.length) {
    setChildren(root, h("div", { class: "view" }, noMaps(api, make)));
    return;
  }
  if (!id) {
    history.replaceState(null, "", `#/atlas/${encodeURIComponent(maps[0].id)}`);
  }
  const atlas = new Atlas({ api, catalogue, signal, maps, id: id ?? maps[0].id, query: route.query, make });
  signal.addEventListener("abort", () => atlas.destroy());
  setChildren(root, atlas.element);
  await atlas.open();
}

const EXAMPLE = {
  kind: "map",
  spec: { model: "demo", sources: [{ embeddings: "vocabulary" }, { dataset: "demo-qa" }] },
};

function noMaps(api, make) {
  return empty(
    "No maps yet",
    "A map is a fitted projection of token embeddings, hidden states, prompts and priors. Create one here, or with a run of kind “map”. It takes some seconds with the demo model.",
    {
      action: h(
        "div",
        { class: "row" },
        button("New map", make, { class: "primary" }),
        button("Open the runs", () => go(["runs"])),
      ),
      command: curlCommand(api, "/v1/runs", EXAMPLE),
    },
  );
}
