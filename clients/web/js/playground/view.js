/** Playground view. */
import { h, setChildren } from "../dom/elements.js";
import { empty } from "../dom/states.js";
import { link } from "../shell/router.js";
import { setTitle } from "../shell/title.js";
import { Playground } from "./playground.js";

export async function view({ root, route, api, catalogue, signal }) {
  const [models, prompts] = await Promise.all([catalogue.models(), catalogue.prompts()]);
  if (signal.aborted) return;
  if (!models.length) {
    setChildren(
      root,
      h(
        "div",
        { class: "view" },
        empty("No models", "This server hosts no model. Start it with PROMPTATLAS_MODELS=name=path."),
      ),
    );
    return;
  }
  const model = route.query.get("model");
  if (model !== null && !models.some((one) => one.id === model)) {
    setChildren(root, h("div", { class: "view" }, unknownModel(model, models, route.query)));
    return;
  }
  setTitle("Playground", model ?? models[0].id);
  const playground = new Playground({ api, catalogue, signal, models, prompts, query: route.query });
  setChildren(root, playground.element);
  playground.start();
}

function unknownModel(name, models, query) {
  const links = models.map(({ id }) =>
    h("a", { class: "button", href: link(["playground"], { ...Object.fromEntries(query), model: id }) }, id),
  );
  return h(
    "div",
    { class: "state failure", role: "alert" },
    h("h1", {}, "Unknown model"),
    h("p", {}, `This server does not host a model “${name}”. Choose one of its models:`),
    h("div", { class: "row" }, links),
  );
}
