/** One version of a prompt: where it comes from, how good it is, what its vectors are near to. */
import { path } from "../api/client.js";
import { button, h, put, select } from "../dom/elements.js";
import { moment, number, priorName } from "../dom/format.js";
import { fill } from "../dom/states.js";
import { card, facts, table } from "../dom/table.js";
import { attempt } from "../shell/notices.js";
import { go, link } from "../shell/router.js";
import { ownMetrics, shapeOf, splitRef } from "./manifests.js";
import { vectors } from "./vectors.js";

export async function showPrompt({ root, api, catalogue, signal }, name, version) {
  const versions = await api.list(path`/v1/prompts/${name}/versions`);
  const manifest = versions.find((one) => String(one.version) === version) ?? versions[0];
  if (signal.aborted) return;
  const near = h("div", {});
  const columns = h(
    "div",
    { class: "columns" },
    h("div", { class: "stack" }, metrics(manifest), near),
    h("div", { class: "stack" }, about(manifest, versions), comparing(manifest, catalogue)),
  );
  put(root, h("div", { class: "view" }, header(manifest, versions, api), columns));
  if (manifest.kind === "prefix") {
    put(
      near,
      card(
        "Nearest tokens",
        h(
          "p",
          { class: "muted" },
          "A prefix is keys and values of every layer. No token is near to it, so there is nothing to compare.",
        ),
      ),
    );
    return;
  }
  await fill(near, () => vectors({ api, signal, manifest }), {
    signal,
    text: "Comparing its vectors with all tokens …",
  });
}

function header(manifest, versions, api) {
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
  const try_ = h(
    "a",
    {
      class: "button primary",
      href: link(["playground"], { model: manifest.base, prompts: `${manifest.name}@${manifest.version}` }),
    },
    "Try it",
  );
  return h(
    "header",
    {},
    title,
    h(
      "div",
      { class: "row" },
      versionPicker,
      button("Save native", save("native", "safetensors")),
      manifest.kind !== "deep" && button("Save as PEFT", save("peft", "zip")),
      try_,
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
  const lineage = versions.map((one) =>
    h(
      "li",
      {},
      one.version === manifest.version
        ? h("strong", {}, `version ${one.version}`)
        : h("a", { href: link(["prompts", one.name, String(one.version)]) }, `version ${one.version}`),
      ` · ${moment(one.created_at)}${one.prior ? ` · ${one.prior.kind}` : ""}`,
    ),
  );
  return card(
    "Where it comes from",
    facts([
      ["Model", manifest.base],
      ["Prior", priorName(manifest.prior)],
      ["Seed", manifest.seed === null ? null : number(manifest.seed)],
      ["Rate", manifest.notes?.lr && number(manifest.notes.lr)],
      ["Dataset", typeof dataset === "string" ? dataset : null],
      ["Run", run],
      ["Made of", parent],
      ["Made", moment(manifest.created_at)],
      ["Content", h("span", { class: "mono small", title: manifest.sha256 }, `${manifest.sha256.slice(7, 23)}…`)],
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
      "Measures",
      h(
        "p",
        { class: "muted" },
        "None is known: it was uploaded, or its run measured nothing. A run of kind “evaluate” measures any prompt.",
      ),
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
    { label: "Measure" },
    { label: "Tuned", class: "number" },
    { label: "Its draw", class: "number" },
    { label: "No prompt", class: "number" },
  ];
  const rows = names.map((name) => [name, value(name), value(`draw/${name}`), value(`bare/${name}`)]);
  return h(
    "section",
    { class: "card flush" },
    h("header", {}, h("h2", {}, "Measures")),
    table(columns, rows, { caption: "Measures" }),
  );
}

function comparing(manifest, catalogue) {
  const place = h("div", {});
  fill(place, async () => {
    const rows = await catalogue.prompts();
    const others = rows
      .flatMap((row) => row.versions.map((version) => `${row.name}@${version}`))
      .filter((ref) => ref !== `${manifest.name}@${manifest.version}`);
    if (!others.length) return h("p", { class: "muted small" }, "There is no other prompt yet.");
    const picker = select(others, { "aria-label": "Compare with", id: "compare-with" });
    return h(
      "div",
      { class: "row tight" },
      picker,
      button("Compare", () => go(["prompts", manifest.name, String(manifest.version)], { with: picker.value })),
    );
  });
  return card("Beside another", place);
}
