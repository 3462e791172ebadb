/** The playground: one text under several prompts side by side, and what happens inside. */
import { h, put } from "../dom/elements.js";
import { empty } from "../dom/states.js";
import { Playground } from "./playground.js";

export async function view({ root, route, api, catalogue, signal }) {
  const [models, prompts] = await Promise.all([catalogue.models(), catalogue.prompts()]);
  if (signal.aborted) return;
  if (!models.length) {
    put(
      root,
      h("div", { class: "view" }, empty("No model is hosted", "Start the server with PROMPTATLAS_MODELS=name=path.")),
    );
    return;
  }
  const playground = new Playground({ api, catalogue, signal, models, prompts, query: route.query });
  put(root, playground.element);
  playground.begin();
}
