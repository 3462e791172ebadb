/** One version of a prompt: origin, metrics, nearest tokens of its vectors, and downloads. */
import { path } from "../api/client.js";
import { ownMetrics } from "../api/metrics.js";
import { button, h, select, setChildren } from "../dom/elements.js";
import { dateTime, number, priorName } from "../dom/format.js";
import { fill } from "../dom/states.js";
import { card, facts, table } from "../dom/table.js";
import { attempt } from "../shell/notices.js";
import { go, link } from "../shell/router.js";
import { setTitle } from "../shell/title.js";
import { descriptionOf, hasPeft, noNearestReason, shapeOf } from "./kinds.js";
import { aliases, deleteButton } from "./manage.js";
import { splitRef } from "./manifests.js";
import { vectors } from "./vectors.js";

export async function showPrompt({ root, api, catalogue, signal }, name, version) {
  const versions = await api.list(path`/v1/prompts/${name}/versions`);
  const manifest =
    version === undefined
      ? versions[0]
      : (versions.find((one) => String(one.version) === version) ??
        (await api.get(path`/v1/prompts/${name}/versions/${version}`, {}, { signal }))); // or its error
  if (signal.aborted) return;
  setTitle(`${manifest.name}@${manifest.version}`, "Prompts");
  const near = h("div", {});
  const columns = h(
    "div",
    { class: "columns" },
    h("div", { class: "stack" }, metrics(manifest), near),
    h(
      "div",
      { class: "stack" },
      about(manifest, versions),
      comparing(manifest, catalogue),
      aliases({ api, catalogue, signal, manifest }),
    ),
  );
  setChildren(root, h("div", { class: "view" }, header({ api, catalogue, manifest, versions }), columns));
  await fill(near, () => nearest({ api, signal, manifest }), { signal, text: "Loading the nearest tokens …" });
}

/** The nearest tokens, or why there are none. For kinds that the page does not know the server answers 422. */
async function nearest({ api, signal, manifest }) {
  const none = (reason) => card("Nearest tokens", h("p", { class: "muted" }, reason));
  const reason = noNearestReason(manifest.kind);
  if (reason) return none(reason);
  try {
    return await vectors({ api, signal, manifest });
  } catch (error) {
    if (error.status === 422) return none(error.detail);
    throw error;
  }
}

function header({ api, catalogue, manifest, versions }) {
  const choose = (version) => go(["prompts", manifest.name, version]);
  const versionPicker = select(
    versions.map((one) => [String(one.version), `version ${one.version}`]),
    { value: String(manifest.version), onchange: choose, "aria-label": "Version" },
  );
  const save = (format, suffix) => () =>
    attempt(() =>
      api.download(
        path`/v1/prompts/${manifest.name}/versions/${String(manifest.version)}/content`,
        `${manifest.name}-${manifest.version}.${suffix}`,
        { format },
      ),
    );
  const title = h(
    "div",
    {},
    h("p", { class: "crumbs" }, h("a", { href: "#/prompts" }, "Prompts")),
    h("h1", {}, `${manifest.name}@${manifest.version}`),
    h("p", { class: "muted" }, shapeOf(manifest)),
  );
  const toPlayground = h(
    "a",
    {
      class: "button primary",
      href: link(["playground"], { model: manifest.base, prompts: `${manifest.name}@${manifest.version}` }),
    },
    "Open in the playground",
  );
  return h(
    "header",
    {},
    title,
    h(
      "div",
      { class: "row" },
      versionPicker,
      deleteButton({ api, catalogue, manifest }),
      button("Download", save("native", "safetensors")),
      hasPeft(manifest.kind) && button("Download as PEFT", save("peft", "zip")),
      toPlayground,
    ),
  );
}

function about(manifest, versions) {
  const parent =
    manifest.parent &&
    (manifest.parent.includes("@")
      ? h("a", { href: link(["prompts", ...splitRef(manifest.parent)]) }, manifest.parent)
      : manifest.parent);
  const run = manifest.run_id && h("a", { href: link(["runs", manifest.run_id]) }, manifest.run_id);
  const dataset = manifest.notes?.dataset?.name;
  const description = descriptionOf(manifest.kind);
  const lineage = versions.map((one) =>
    h(
      "li",
      {},
      one.version === manifest.version
        ? h("strong", {}, `version ${one.version}`)
        : h("a", { href: link(["prompts", one.name, String(one.version)]) }, `version ${one.version}`),
      ` · ${dateTime(one.created_at)}${one.prior ? ` · ${one.prior.kind}` : ""}`,
    ),
  );
  return card(
    "Origin",
    facts([
      ["Kind", description ? `${manifest.kind}: ${description}` : manifest.kind],
      ["Model", manifest.base],
      ["Prior", priorName(manifest.prior)],
      ["Seed", manifest.seed === null ? null : number(manifest.seed)],
      ["Learning rate", manifest.notes?.lr && number(manifest.notes.lr)],
      ["Dataset", typeof dataset === "string" ? dataset : null],
      ["Run", run],
      ["Derived from", parent],
      ["Created", dateTime(manifest.created_at)],
      ["SHA-256", h("span", { class: "mono small", title: manifest.sha256 }, `${manifest.sha256.slice(7, 23)}…`)],
    ]),
    versions.length > 1 && [h("h3", { class: "above" }, "Versions"), h("ul", { class: "small" }, lineage)],
    manifest.notes &&
      h(
        "details",
        { class: "above small" },
        h("summary", {}, "Notes"),
        h("pre", {}, JSON.stringify(manifest.notes, null, 2)),
      ),
  );
}

function metrics(manifest) {
  const names = ownMetrics(manifest.metrics);
  if (!names.length)
    return card(
      "Metrics",
      h("p", { class: "muted" }, "This version has no metrics. A run of kind “evaluate” evaluates any prompt."),
    );
  const value = (name) => {
    const at = manifest.metrics[name];
    if (at === undefined) return "";
    const [low, high] = [manifest.metrics[`${name}_low`], manifest.metrics[`${name}_high`]];
    return [
      number(at),
      low !== undefined && h("span", { class: "interval" }, `${number(low, 3)} to ${number(high, 3)}`),
    ];
  };
  const columns = [
    { label: "Metric" },
    { label: "Tuned", class: "number" },
    { label: "Before tuning", class: "number" },
    { label: "No prompt", class: "number" },
  ];
  const rows = names.map((name) => [name, value(name), value(`draw/${name}`), value(`bare/${name}`)]);
  return h(
    "section",
    { class: "card flush" },
    h("header", {}, h("h2", {}, "Metrics")),
    table(columns, rows, { caption: "Metrics" }),
  );
}

/** The part of a name that members of one tuning run share: "qa" of "qa-isotropic-0". */
function stem(name) {
  return name.split("-")[0];
}

function comparing(manifest, catalogue) {
  const container = h("div", {});
  fill(container, async () => {
    const rows = await catalogue.prompts();
    const others = rows
      .flatMap((row) => row.versions.map((version) => `${row.name}@${version}`))
      .filter((ref) => ref !== `${manifest.name}@${manifest.version}`);
    if (!others.length) return h("p", { class: "muted small" }, "There are no other prompts.");
    const sibling = rows.find(
      (row) => row.name !== manifest.name && row.kind === manifest.kind && stem(row.name) === stem(manifest.name),
    );
    const value = sibling && `${sibling.name}@${sibling.latest}`;
    const picker = select(others, { value, "aria-label": "Compare with", id: "compare-with" });
    return h(
      "div",
      { class: "row tight" },
      picker,
      button("Compare", () => go(["prompts", manifest.name, String(manifest.version)], { with: picker.value })),
    );
  });
  return card("Compare", container);
}
