/** Comparison of versions: properties, metrics with the best marked, curves, cosines by layer and nearest tokens. */
import { path } from "../api/client.js";
import { bestValue, ownMetrics } from "../api/metrics.js";
import { h, setChildren } from "../dom/elements.js";
import { number, priorName, visible } from "../dom/format.js";
import { fill } from "../dom/states.js";
import { card, table } from "../dom/table.js";
import { MAX_CHOSEN } from "../dom/choice.js";
import { Overlay, curvesOf } from "../runs/overlay.js";
import { link } from "../shell/router.js";
import { setTitle } from "../shell/title.js";
import { cosines } from "./cosines.js";
import { noNearestReason, shapeOf } from "./kinds.js";
import { MEASURES, splitRef } from "./manifests.js";
import { readVectors } from "./vectors.js";

export async function showComparison({ root, api, signal }, chosen) {
  const refs = [...new Set(chosen)].slice(0, MAX_CHOSEN);
  const manifests = await Promise.all(
    refs.map((ref) => api.get(path`/v1/prompts/${splitRef(ref)[0]}/versions/${splitRef(ref)[1]}`, {}, { signal })),
  );
  const found = await Promise.all(manifests.map((manifest) => vectorsOrNull(api, manifest, signal)));
  if (signal.aborted) return;
  setTitle(refs.join(" and "), "Prompts");
  const query = { model: manifests[0].base, prompts: refs.join(",") };
  const actions = h(
    "div",
    { class: "row" },
    h("a", { class: "button", href: link(["runs", "new", "map"], query) }, "New map of these"),
    h("a", { class: "button primary", href: link(["playground"], query) }, "Open in the playground"),
  );
  const title = h(
    "div",
    {},
    h("p", { class: "crumbs" }, h("a", { href: "#/prompts" }, "Prompts")),
    h("h1", {}, "Compare prompts"),
    h("p", { class: "muted" }, refs.join(" and ")),
  );
  const curves = h("div", {});
  setChildren(
    root,
    h(
      "div",
      { class: "view wide" },
      h("header", {}, title, actions),
      facts(manifests, refs),
      measures(manifests, found, refs),
      curves,
      cosines({ api, signal, manifests, refs }),
      tokens(found, refs),
    ),
  );
  await fill(curves, async () => new Overlay(await curvesOfPrompts(api, manifests, signal), signal).element, {
    signal,
  });
}

/** The training curves of the prompts, from the runs that made them. */
async function curvesOfPrompts(api, manifests, signal) {
  const ids = [...new Set(manifests.map((one) => one.run_id).filter(Boolean))];
  const read = async (id) => {
    try {
      const [run, { data }] = await Promise.all([
        api.get(path`/v1/runs/${id}`, {}, { signal }),
        api.get(path`/v1/runs/${id}/metrics`, {}, { signal }),
      ]);
      return [id, curvesOf(data, run)];
    } catch (error) {
      if ([404, 410].includes(error.status)) return [id, new Map()]; // the run or its events were deleted
      throw error;
    }
  };
  const runs = new Map(await Promise.all(ids.map(read)));
  return manifests
    .map((one) => ({
      name: `${one.name}@${one.version}`,
      group: priorName(one.prior),
      metrics: runs.get(one.run_id)?.get(one.name),
    }))
    .filter((curve) => curve.metrics);
}

/** Vectors with their nearest tokens; null for prompts that have none. */
async function vectorsOrNull(api, manifest, signal) {
  if (noNearestReason(manifest.kind)) return null;
  try {
    return await readVectors(api, manifest, "euclidean", signal);
  } catch (error) {
    if (error.status === 422) return null;
    throw error;
  }
}

function heads(refs) {
  const links = refs.map((ref) => h("a", { href: link(["prompts", ...splitRef(ref)]) }, ref));
  return [{ label: "" }, ...links.map((label) => ({ label }))];
}

function facts(manifests, refs) {
  const rows = [
    ["Shape", ...manifests.map(shapeOf)],
    ["Prior", ...manifests.map((manifest) => priorName(manifest.prior))],
    ["Seed", ...manifests.map((manifest) => number(manifest.seed))],
    ["Model", ...manifests.map((manifest) => manifest.base)],
    [
      "Run",
      ...manifests.map((manifest) =>
        manifest.run_id ? h("a", { href: link(["runs", manifest.run_id]) }, manifest.run_id) : "–",
      ),
    ],
  ];
  return h("section", { class: "card flush" }, table(heads(refs), rows, { caption: "Properties" }));
}

/** Metrics with their intervals, the best of each in bold; of two prompts also the difference. Then measures of the vectors. */
function measures(manifests, found, refs) {
  const names = [...new Set(manifests.flatMap((manifest) => ownMetrics(manifest.metrics)))];
  const rows = names.map((name) => metricRow(name, manifests));
  const means = found.map((one) => one && meanOver(one.measures));
  for (const [name, [label]] of Object.entries(MEASURES)) {
    const values = means.map((mean) => mean?.[name]);
    if (values.some((value) => value !== undefined))
      rows.push([label, ...values.map((value) => number(value)), ...difference(values)]);
  }
  const columns = heads(refs).map((column, i) => (i ? { ...column, class: "number" } : column));
  if (refs.length === 2) columns.push({ label: "Difference", class: "number" });
  return h(
    "section",
    { class: "card flush" },
    h("header", {}, h("h2", {}, "Metrics and measures")),
    table(columns, rows, { caption: "Metrics and measures" }),
  );
}

function metricRow(name, manifests) {
  const values = manifests.map(({ metrics }) => metrics[name]);
  const best = bestValue(name, values);
  const isTie = values.every((value) => value === best);
  const cell = ({ metrics }) => {
    const [value, low, high] = [metrics[name], metrics[`${name}_low`], metrics[`${name}_high`]];
    const interval = low !== undefined && h("span", { class: "interval" }, `${number(low, 3)} to ${number(high, 3)}`);
    return [h("span", { class: value === best && !isTie && "best" }, number(value)), interval];
  };
  return [name, ...manifests.map(cell), ...difference(values)];
}

/** The second value minus the first; nothing unless there are two. */
function difference(values) {
  if (values.length !== 2) return [];
  const [first, second] = values;
  return [first === undefined || second === undefined ? "" : `${second > first ? "+" : ""}${number(second - first)}`];
}

/** Means over the tensors of a prompt, for example the layers of a deep one. */
function meanOver(measures) {
  const layers = Object.values(measures);
  const names = Object.keys(MEASURES).filter((name) => layers.some((layer) => layer[name] !== undefined));
  const known = (name) => layers.map((layer) => layer[name]).filter((value) => value !== undefined);
  return Object.fromEntries(names.map((name) => [name, known(name).reduce((a, b) => a + b, 0) / known(name).length]));
}

function tokens(found, refs) {
  if (found.every((one) => one === null))
    return card(
      "Nearest tokens",
      h("p", { class: "muted" }, "The tensors of these prompts are not in the space of the token embeddings."),
    );
  const n = Math.max(...found.map((one) => one?.vectors.length ?? 0));
  const cell = (one, i) => {
    const vector = one?.vectors[i];
    if (!vector) return "";
    const where = Object.keys(one.measures).length === 1 ? "" : `${vector.tensor} `;
    return h(
      "span",
      { class: "chips" },
      h("span", { class: "faint small" }, `${where}${vector.index}`),
      vector.nearest
        .slice(0, 4)
        .map((token) =>
          h("span", { class: "token", title: `distance ${number(token.distance)}` }, visible(token.text)),
        ),
    );
  };
  const rows = Array.from({ length: n }, (_, i) => [number(i), ...found.map((one) => cell(one, i))]);
  const columns = heads(refs).map((column, i) => (i ? column : { label: "#", class: "number" }));
  return h(
    "section",
    { class: "card flush" },
    h("header", {}, h("h2", {}, "Nearest tokens")),
    table(columns, rows, { caption: "Nearest tokens" }),
  );
}
