/** The list of prompts by name: sorted, filtered, and chosen for a comparison or a map. */
import { mainMetric, ownMetrics } from "../api/metrics.js";
import { button, h, setChildren } from "../dom/elements.js";
import { dateTime, number, priorName } from "../dom/format.js";
import { Choice } from "../dom/choice.js";
import { Filters } from "../dom/filters.js";
import { SortedTable } from "../dom/sorting.js";
import { empty, fill } from "../dom/states.js";
import { link } from "../shell/router.js";
import { shapeOf } from "./kinds.js";
import { splitRef } from "./manifests.js";
import { openPromptUpload } from "./upload.js";

export async function showPrompts({ root, route, api, catalogue, signal }) {
  const container = h("div", {});
  const search = h("input", {
    type: "search",
    placeholder: "Filter by name, prior, kind or model",
    "aria-label": "Filter prompts",
  });
  const title = h(
    "div",
    {},
    h("h1", {}, "Prompts"),
    h("p", { class: "muted" }, "Tuned prompts by name. The content of a version never changes."),
  );
  const actions = h("div", { class: "row" }, search, uploading({ api, catalogue }));
  setChildren(root, h("div", { class: "view" }, h("header", {}, title, actions), container));
  await fill(
    container,
    async () => {
      const [rows, tasks] = await Promise.all([api.list("/v1/prompts", { manifests: true }), tasksOf(api)]);
      const withTasks = rows.map((row) => ({ ...row, task: tasks.get(row.manifest?.run_id) }));
      return rows.length ? listing(withTasks, search, route.query) : noPrompts({ api, catalogue });
    },
    { signal },
  );
}

/** The dataset of each tuning run by its id; of the newest runs only, as a list of all would take long. */
async function tasksOf(api) {
  const lists = await Promise.all(["tune", "distill"].map((kind) => api.list("/v1/runs", { kind })));
  return new Map(lists.flat().map((run) => [run.id, run.spec.dataset]));
}

function fields() {
  const of = (read) => (row) => row.manifest && read(row.manifest);
  return [
    { name: "prior", label: "Prior", kind: "choice", of: of((manifest) => manifest.prior?.kind) },
    { name: "task", label: "Task", kind: "choice", of: (row) => row.task },
    { name: "kind", label: "Kind", kind: "choice", of: (row) => row.kind },
    { name: "score", label: "Metric at least", kind: "least", of: of(metricOf) },
    { name: "since", label: "Created since", kind: "since", of: of((manifest) => manifest.created_at) },
  ];
}

function listing(rows, search, query) {
  const choice = new Choice({
    what: "prompt",
    actions: [
      ["Compare", 2, ([first, ...others]) => link(["prompts", ...splitRef(first)], { with: others.join(",") })],
      ["New map of these", 1, (refs) => link(["runs", "new", "map"], { prompts: refs.join(",") })],
    ],
  });
  const sorted = new SortedTable({ columns: columnsOf(), line: (row) => line(row, choice), caption: "Prompts" });
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    sorted.show(filters.chosen(rows).filter((row) => words.every((word) => textOf(row).includes(word))));
  };
  const filters = new Filters({ fields: fields(), query, onchange: show });
  filters.setRows(rows);
  search.addEventListener("input", show);
  show();
  return h("div", { class: "stack" }, filters.element, choice.element, sorted.element);
}

function textOf({ name, base, kind, manifest }) {
  return [name, base, kind, manifest && priorName(manifest.prior)].join(" ").toLowerCase();
}

function columnsOf() {
  const of = (read) => (row) => row.manifest && read(row.manifest);
  return [
    { label: "" },
    { label: "Prompt", value: (row) => row.name },
    { label: "Versions", value: (row) => row.versions.length },
    { label: "Kind and shape", value: of(shapeOf) },
    { label: "Prior", value: of((manifest) => priorName(manifest.prior)) },
    { label: "Model", value: (row) => row.base },
    { label: "Metric", class: "number", value: of(metricOf) },
    { label: "Created", value: of((manifest) => manifest.created_at) },
  ];
}

function nameOfMetric({ metrics }) {
  return mainMetric(metrics) ?? ownMetrics(metrics)[0];
}

function metricOf(manifest) {
  return manifest.metrics[nameOfMetric(manifest)];
}

function line(row, choice) {
  const { manifest } = row;
  const metric = manifest && nameOfMetric(manifest);
  const aliases = Object.entries(row.aliases).map(([alias, version]) =>
    h("span", { class: "badge live" }, `${alias} = ${version}`),
  );
  return {
    class: "link",
    cells: [
      choice.box(`${row.name}@${row.latest}`),
      h("a", { href: link(["prompts", row.name, String(row.latest)]) }, row.name),
      h(
        "span",
        { class: "row" },
        row.versions.length > 1 ? `${number(row.versions.length)}, newest ${row.latest}` : `${row.latest}`,
        aliases,
      ),
      manifest ? shapeOf(manifest) : row.kind,
      manifest ? priorName(manifest.prior) : "",
      row.base,
      metric ? [number(metricOf(manifest), 3), h("span", { class: "interval" }, metric)] : "",
      manifest ? dateTime(manifest.created_at) : "",
    ],
  };
}

function uploading(context) {
  return button("Upload a prompt", () => openPromptUpload(context));
}

function noPrompts(context) {
  return empty(
    "No prompts yet",
    "Tuning runs create prompts. You can also upload a native safetensors file or a PEFT adapter.",
    {
      action: h(
        "div",
        { class: "row" },
        h("a", { class: "button primary", href: link(["runs", "new", "tune"]) }, "Tune a prompt"),
        uploading(context),
      ),
      command: "promptatlas tune spec.yaml --watch\npromptatlas prompts upload my-prompt adapter.zip --base demo",
    },
  );
}
