/** View of a new run: a form made from the schema of its kind, the spec as JSON, and the result of a dry run. */
import { path } from "../api/client.js";
import { h, select, setChildren } from "../dom/elements.js";
import { failure } from "../dom/states.js";
import { SpecSchemas } from "../schema/spec_schemas.js";
import { go } from "../shell/router.js";
import { setTitle } from "../shell/title.js";
import { choicesOf, initialSpec } from "./initial.js";
import { RunForm } from "./run_form.js";

/** Kinds that start best from this form; the others of the server follow. */
const DEFAULT_KIND = "tune";

export async function showNewRun({ root, route, api, catalogue, signal }) {
  const kind = route.parts[2] ?? DEFAULT_KIND;
  const from = route.query.get("from");
  const [document, models, datasets, prompts, original] = await Promise.all([
    catalogue.openapi(),
    catalogue.models(),
    catalogue.datasets(),
    catalogue.prompts(),
    from ? api.get(path`/v1/runs/${from}`, {}, { signal }) : null,
  ]);
  if (signal.aborted) return;
  setTitle("New run", kind);
  const schemas = new SpecSchemas(document);
  const entry = schemas.of(kind);
  const picker = select(
    schemas.kinds.map((one) => [one.kind, one.kind]),
    { value: kind, onchange: (name) => go(["runs", "new", name]), "aria-label": "Kind of run", id: "run-kind" },
  );
  const title = h(
    "div",
    {},
    h("p", { class: "crumbs" }, h("a", { href: "#/runs" }, "Runs")),
    h("h1", {}, "New run"),
    h("p", { class: "muted" }, entry?.description ?? ""),
  );
  const view = h("div", { class: "view wide" }, h("header", {}, title, picker));
  setChildren(root, view);
  if (!entry) {
    const error = { title: "Unknown kind of run", detail: `This server has no runs of kind “${kind}”.`, status: 404 };
    view.append(failure(error));
    return;
  }
  const choices = choicesOf({ models, datasets, prompts });
  const spec = original?.spec ?? initialSpec({ schema: schemas.resolve(entry.schema), choices, query: route.query });
  const form = new RunForm({ api, catalogue, signal, schemas, entry, choices });
  view.append(form.element);
  form.start({ spec, name: original?.name ? `${original.name} (copy)`.slice(0, 200) : "" });
}
