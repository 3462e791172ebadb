/** All prompts by name. */
import { path } from "../api/client.js";
import { h, put } from "../dom/elements.js";
import { moment, number, priorName } from "../dom/format.js";
import { empty, fill } from "../dom/states.js";
import { table } from "../dom/table.js";
import { link } from "../shell/router.js";
import { mainMetric } from "./manifests.js";

const COLUMNS = [
  { label: "Prompt" },
  { label: "Versions" },
  { label: "Kind" },
  { label: "Prior" },
  { label: "Model" },
  { label: "Best known", class: "number" },
  { label: "Made" },
];

export async function showPrompts({ root, api, catalogue, signal }) {
  const place = h("div", {});
  const search = h("input", { type: "search", placeholder: "Find a name", "aria-label": "Find a prompt" });
  const title = h(
    "div",
    {},
    h("h1", {}, "Prompts"),
    h("p", { class: "muted" }, "Each version is kept as it was tuned or uploaded; its content never changes."),
  );
  put(root, h("div", { class: "view" }, h("header", {}, title, search), place));
  await fill(
    place,
    async () => {
      const rows = await catalogue.prompts();
      if (!rows.length) return nothing();
      const newest = await Promise.all(
        rows.map((row) => api.get(path`/v1/prompts/${row.name}/versions/${row.latest}`, {}, { signal })),
      );
      return listing(rows, newest, search);
    },
    { signal },
  );
}

function listing(rows, newest, search) {
  const place = h("div", { class: "card flush" });
  const show = () => {
    const words = search.value.toLowerCase();
    const shown = rows.map((row, i) => [row, newest[i]]).filter(([row]) => row.name.includes(words));
    put(
      place,
      table(
        COLUMNS,
        shown.map(([row, manifest]) => line(row, manifest)),
        { caption: "Prompts" },
      ),
    );
  };
  search.addEventListener("input", show);
  show();
  return place;
}

function line(row, manifest) {
  const metric = mainMetric(manifest.metrics);
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
      `${row.kind}, ${manifest.n_virtual}`,
      priorName(manifest.prior),
      row.base,
      metric ? [number(manifest.metrics[metric], 3), h("span", { class: "interval" }, metric)] : "",
      moment(manifest.created_at),
    ],
  };
}

function nothing() {
  return empty(
    "There is no prompt yet",
    "Prompts come out of tuning runs; those made elsewhere can be uploaded, as a native file or a PEFT adapter.",
    {
      command: `promptatlas prompts upload my-prompt adapter.zip --base demo\npromptatlas tune …      # or POST /v1/runs, kind "tune"`,
    },
  );
}
