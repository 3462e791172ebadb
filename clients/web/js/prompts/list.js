/** The list of prompts by name. */
import { path } from "../api/client.js";
import { mainMetric, ownMetrics } from "../api/metrics.js";
import { h, setChildren } from "../dom/elements.js";
import { dateTime, number, priorName } from "../dom/format.js";
import { empty, fill } from "../dom/states.js";
import { table } from "../dom/table.js";
import { link } from "../shell/router.js";
import { shapeOf } from "./kinds.js";

const COLUMNS = [
  { label: "Prompt" },
  { label: "Versions" },
  { label: "Kind and shape" },
  { label: "Prior" },
  { label: "Model" },
  { label: "Metric", class: "number" },
  { label: "Created" },
];

export async function showPrompts({ root, api, catalogue, signal }) {
  const container = h("div", {});
  const search = h("input", { type: "search", placeholder: "Filter by name", "aria-label": "Filter prompts" });
  const title = h(
    "div",
    {},
    h("h1", {}, "Prompts"),
    h("p", { class: "muted" }, "Tuned prompts by name. The content of a version never changes."),
  );
  setChildren(root, h("div", { class: "view" }, h("header", {}, title, search), container));
  await fill(
    container,
    async () => {
      const rows = await catalogue.prompts();
      if (!rows.length) return noPrompts();
      const newest = await Promise.all(
        rows.map((row) => api.get(path`/v1/prompts/${row.name}/versions/${row.latest}`, {}, { signal })),
      );
      return listing(rows, newest, search);
    },
    { signal },
  );
}

function listing(rows, newest, search) {
  const container = h("div", { class: "card flush" });
  const show = () => {
    const words = search.value.toLowerCase();
    const shown = rows.map((row, i) => [row, newest[i]]).filter(([row]) => row.name.includes(words));
    setChildren(
      container,
      table(
        COLUMNS,
        shown.map(([row, manifest]) => line(row, manifest)),
        { caption: "Prompts" },
      ),
    );
  };
  search.addEventListener("input", show);
  show();
  return container;
}

function line(row, manifest) {
  const metric = mainMetric(manifest.metrics) ?? ownMetrics(manifest.metrics)[0];
  const aliases = Object.entries(row.aliases).map(([alias, version]) =>
    h("span", { class: "badge live" }, `${alias} = ${version}`),
  );
  return {
    class: "link",
    cells: [
      h("a", { href: link(["prompts", row.name, String(row.latest)]) }, row.name),
      h(
        "span",
        { class: "row" },
        row.versions.length > 1 ? `${number(row.versions.length)}, newest ${row.latest}` : `${row.latest}`,
        aliases,
      ),
      shapeOf(manifest),
      priorName(manifest.prior),
      row.base,
      metric ? [number(manifest.metrics[metric], 3), h("span", { class: "interval" }, metric)] : "",
      dateTime(manifest.created_at),
    ],
  };
}

function noPrompts() {
  return empty(
    "No prompts yet",
    "Tuning runs create prompts. You can also upload a native safetensors file or a PEFT adapter.",
    {
      command: "promptatlas tune spec.yaml --watch\npromptatlas prompts upload my-prompt adapter.zip --base demo",
    },
  );
}
