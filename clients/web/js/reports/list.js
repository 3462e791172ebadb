/** The list of reports: runs of kind `report`. */
import { curlCommand } from "../api/curl.js";
import { h, setChildren } from "../dom/elements.js";
import { dateTime } from "../dom/format.js";
import { empty, fill } from "../dom/states.js";
import { badge, table } from "../dom/table.js";
import { link } from "../shell/router.js";

const COLUMNS = [
  { label: "Report" },
  { label: "Model" },
  { label: "Datasets" },
  { label: "Status" },
  { label: "Created" },
];

const EXAMPLE = {
  kind: "report",
  spec: { model: "demo", datasets: ["demo-qa", "demo-arithmetic"], prompts: ["qa-isotropic-0", "qa-vocabulary-0"] },
};

export async function showReports({ root, api, signal }) {
  const container = h("div", {});
  const title = h(
    "div",
    {},
    h("h1", {}, "Reports"),
    h(
      "p",
      { class: "muted" },
      "The findings of the paper, measured on your models, prompts and datasets: numbers, verdicts and figures.",
    ),
  );
  setChildren(root, h("div", { class: "view" }, h("header", {}, title, newReport()), container));
  await fill(container, async () => listing(await api.list("/v1/runs", { kind: "report" }), api), { signal });
}

function newReport() {
  return h("a", { class: "button primary", href: link(["runs", "new", "report"]) }, "New report");
}

function listing(runs, api) {
  if (!runs.length) {
    return empty(
      "No reports yet",
      "A report compares tasks at every layer, and prompts with their draws and the vocabulary. It is a run of kind “report”.",
      {
        action: newReport(),
        command: curlCommand(api, "/v1/runs", EXAMPLE),
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
        dateTime(run.created_at),
      ],
    };
  });
  return h("div", { class: "card flush" }, table(COLUMNS, rows, { caption: "Reports" }));
}
