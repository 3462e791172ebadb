/** Comparison of runs: curves of their members overlaid, final metrics side by side, and the fields in which their specs differ. */
import { path } from "../api/client.js";
import { bestMember, bestValue, ownMetrics } from "../api/metrics.js";
import { MAX_CHOSEN } from "../dom/choice.js";
import { h, setChildren } from "../dom/elements.js";
import { duration, number, priorName, secondsBetween } from "../dom/format.js";
import { fill } from "../dom/states.js";
import { badge, table } from "../dom/table.js";
import { link } from "../shell/router.js";
import { setTitle } from "../shell/title.js";
import { Overlay, curvesOf } from "./overlay.js";

export async function showRunComparison({ root, route, api, signal }) {
  const ids = [...new Set((route.query.get("ids") ?? "").split(",").filter(Boolean))].slice(0, MAX_CHOSEN);
  const runs = await Promise.all(ids.map((id) => api.get(path`/v1/runs/${id}`, {}, { signal })));
  if (signal.aborted) return;
  setTitle("Compare runs", "Runs");
  const curves = h("div", {});
  const title = h(
    "div",
    {},
    h("p", { class: "crumbs" }, h("a", { href: "#/runs" }, "Runs")),
    h("h1", {}, "Compare runs"),
    h("p", { class: "muted" }, runs.map(nameOf).join(" and ")),
  );
  setChildren(root, h("div", { class: "view wide" }, h("header", {}, title), outcomes(runs), curves, specs(runs)));
  await fill(curves, async () => new Overlay(await curvesOfRuns(api, runs, signal), signal).element, { signal });
}

function nameOf(run) {
  return run.name ?? run.id;
}

async function curvesOfRuns(api, runs, signal) {
  const found = await Promise.all(
    runs.map(async (run) => {
      const { data } = await api.get(path`/v1/runs/${run.id}/metrics`, {}, { signal });
      return [...curvesOf(data, run)].map(([member, metrics]) => ({
        name: `${nameOf(run)}: ${member}`,
        group: `${nameOf(run)}: ${priorOf(member, run)}`,
        metrics,
      }));
    }),
  );
  return found.flat();
}

/** The prior of a member, from its name `{name}-{prior}-{seed}`; the member itself if the run has only one. */
function priorOf(member, run) {
  const priors = (run.spec.priors ?? []).filter(({ kind }) => new RegExp(`-${kind}(-\\d+)?-\\d`).test(member));
  return priors.length === 1 ? priorName(priors[0]) : member.replace(/-\d+(-lr.*)?$/, "");
}

function heads(runs) {
  const name = (run) => h("a", { href: link(["runs", run.id]), title: run.id }, nameOf(run));
  return [{ label: "" }, ...runs.map((run) => ({ label: name(run), class: "number" }))];
}

function outcomes(runs) {
  const isMain = (name) => name.split("/").length <= 2;
  const names = [...new Set(runs.flatMap((run) => ownMetrics(run.metrics).filter(isMain)))];
  const rows = [
    ["kind", ...runs.map((run) => run.kind)],
    ["status", ...runs.map((run) => badge(run.status))],
    ["duration", ...runs.map((run) => duration(secondsBetween(run.started_at, run.ended_at)))],
    ["metrics of", ...runs.map((run) => bestOf(run))],
  ];
  for (const name of names) {
    const values = runs.map((run) => run.metrics[name]);
    const best = bestValue(name, values);
    const isTie = values.every((value) => value === best);
    const cell = ({ metrics }) => {
      const [value, low, high] = [metrics[name], metrics[`${name}_low`], metrics[`${name}_high`]];
      const interval = low !== undefined && h("span", { class: "interval" }, `${number(low, 3)} to ${number(high, 3)}`);
      return [h("span", { class: value === best && !isTie && "best" }, number(value)), interval];
    };
    rows.push([name, ...runs.map(cell)]);
  }
  return h(
    "section",
    { class: "card flush" },
    h("header", {}, h("h2", {}, "Metrics")),
    table(heads(runs), rows, { caption: "Metrics of the runs" }),
  );
}

function bestOf(run) {
  const best = bestMember(run.metrics);
  if (best) return `${best.member ?? "the best"}, best of ${best.n}`;
  return run.prompts.length === 1 ? run.prompts[0] : "the run";
}

/** Fields of the specs that are not equal in all runs. */
function specs(runs) {
  const flat = runs.map((run) => flattened(run.spec));
  const keys = [...new Set(flat.flatMap((one) => [...one.keys()]))];
  const different = keys.filter((key) => new Set(flat.map((one) => one.get(key))).size > 1);
  const rows = different.map((key) => [h("code", {}, key), ...flat.map((one) => one.get(key) ?? "–")]);
  return h(
    "section",
    { class: "card flush" },
    h("header", {}, h("h2", {}, "Differences of the specs")),
    rows.length
      ? table(
          heads(runs).map((column) => ({ ...column, class: "" })),
          rows,
          { caption: "Differences of the specs" },
        )
      : h("p", { class: "muted pad" }, "The specs are equal."),
  );
}

function flattened(value, before = "", found = new Map()) {
  for (const [key, one] of Object.entries(value)) {
    const isNested = typeof one === "object" && one !== null && !Array.isArray(one);
    if (isNested) flattened(one, `${before}${key}.`, found);
    else found.set(`${before}${key}`, JSON.stringify(one));
  }
  return found;
}
