/** Runs that write reports. */
import { h, put } from "../dom/elements.js";
import { moment } from "../dom/format.js";
import { empty, fill } from "../dom/states.js";
import { badge, table } from "../dom/table.js";
import { link } from "../shell/router.js";

const COLUMNS = [
  { label: "Report" },
  { label: "Model" },
  { label: "Datasets" },
  { label: "Status" },
  { label: "Made" },
];

export async function showReports({ root, api, signal }) {
  const place = h("div", {});
  const title = h(
    "div",
    {},
    h("h1", {}, "Reports"),
    h(
      "p",
      { class: "muted" },
      "The paper’s findings, measured on models, prompts and datasets of your own: numbers, a verdict with its rule, figures.",
    ),
  );
  put(root, h("div", { class: "view" }, h("header", {}, title), place));
  await fill(place, async () => listing(await api.list("/v1/runs", { kind: "report" })), { signal });
}

function listing(runs) {
  if (!runs.length) {
    return empty(
      "There is no report yet",
      "A report compares tasks at every layer, and prompts with their draws and with the vocabulary. It is a run of kind “report”.",
      {
        command: `promptatlas report --help\ncurl -s ${location.origin}/v1/runs -H 'Content-Type: application/json' -d '{"kind": "report",\n  "spec": {"model": "demo", "datasets": ["demo-qa", "demo-arithmetic"], "prompts": ["…"]}}'`,
      },
    );
  }
  const rows = runs.map((run) => {
    const target = run.status === "succeeded" ? ["reports", run.id] : ["runs", run.id];
    const name = run.name ?? run.spec.title ?? run.id;
    return {
      class: "link",
      cells: [
        h("a", { href: link(target) }, name),
        run.spec.model,
        (run.spec.datasets ?? []).join(", "),
        badge(run.status),
        moment(run.created_at),
      ],
    };
  });
  return h("div", { class: "card flush" }, table(COLUMNS, rows, { caption: "Reports" }));
}
