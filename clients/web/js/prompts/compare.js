/** Comparison of two versions: properties, metrics, spread measures and nearest tokens. */
import { path } from "../api/client.js";
import { ownMetrics } from "../api/metrics.js";
import { h, setChildren } from "../dom/elements.js";
import { number, priorName, visible } from "../dom/format.js";
import { card, table } from "../dom/table.js";
import { link } from "../shell/router.js";
import { setTitle } from "../shell/title.js";
import { noNearestReason, shapeOf } from "./kinds.js";
import { MEASURES, splitRef } from "./manifests.js";
import { readVectors } from "./vectors.js";

export async function showComparison({ root, api, signal }, first, second) {
  const manifests = await Promise.all(
    [first, second].map((ref) =>
      api.get(path`/v1/prompts/${splitRef(ref)[0]}/versions/${splitRef(ref)[1]}`, {}, { signal }),
    ),
  );
  const found = await Promise.all(manifests.map((manifest) => vectorsOrNull(api, manifest, signal)));
  if (signal.aborted) return;
  const refs = manifests.map((manifest) => `${manifest.name}@${manifest.version}`);
  setTitle(refs.join(" and "), "Prompts");
  const toPlayground = h(
    "a",
    { class: "button primary", href: link(["playground"], { model: manifests[0].base, prompts: refs.join(",") }) },
    "Open in the playground",
  );
  const title = h(
    "div",
    {},
    h("p", { class: "crumbs" }, h("a", { href: "#/prompts" }, "Prompts")),
    h("h1", {}, "Compare prompts"),
    h("p", { class: "muted" }, refs.join(" and ")),
  );
  setChildren(
    root,
    h(
      "div",
      { class: "view" },
      h("header", {}, title, toPlayground),
      facts(manifests, refs),
      measures(manifests, found, refs),
      tokens(found, refs),
    ),
  );
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
  const [a, b] = refs.map((ref) => h("a", { href: link(["prompts", ...splitRef(ref)]) }, ref));
  return [{ label: "" }, { label: a, class: "" }, { label: b }];
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

function measures(manifests, found, refs) {
  const names = [...new Set(manifests.flatMap((manifest) => ownMetrics(manifest.metrics)))];
  const rows = names.map((name) => [name, ...manifests.map((manifest) => number(manifest.metrics[name]))]);
  const means = found.map((one) => one && meanOver(one.measures));
  for (const [name, [label]] of Object.entries(MEASURES)) {
    if (means.some((mean) => mean?.[name] !== undefined))
      rows.push([label, ...means.map((mean) => number(mean?.[name]))]);
  }
  const columns = heads(refs).map((column, i) => (i ? { ...column, class: "number" } : column));
  return h(
    "section",
    { class: "card flush" },
    h("header", {}, h("h2", {}, "Metrics and measures")),
    table(columns, rows, { caption: "Metrics and measures" }),
  );
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
