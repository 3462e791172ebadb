/** One report: its findings, and its HTML page in a sandboxed frame. */
import { path } from "../api/client.js";
import { button, h, setChildren } from "../dom/elements.js";
import { number } from "../dom/format.js";
import { empty, fill } from "../dom/states.js";
import { tabs, table } from "../dom/table.js";
import { artifactPath, hasArtifact } from "../runs/artifacts.js";
import { attempt } from "../shell/notices.js";
import { link, updateQuery } from "../shell/router.js";
import { setTitle, shortId } from "../shell/title.js";

const VERDICTS = { confirmed: "good", contradicted: "bad", mixed: "warn", "not measured": "" };
const SHOWN_NUMBERS = 14;
const SHOWN_PARTS = 12;

export async function showReport({ root, route, api, signal }, id) {
  const run = await api.get(path`/v1/runs/${id}`, {}, { signal });
  if (signal.aborted) return;
  setTitle("report", run.name ?? run.spec.title, shortId(id));
  const download = () => attempt(() => api.download(artifactPath(id, "report.html"), `${run.name ?? id}.html`));
  const title = h(
    "div",
    {},
    h("p", { class: "crumbs" }, h("a", { href: "#/reports" }, "Reports")),
    h("h1", {}, run.name ?? run.spec.title ?? id),
  );
  const actions = h(
    "div",
    { class: "row" },
    h("a", { class: "button", href: link(["runs", id]) }, "Open the run"),
    hasArtifact(run, "report.html") && button("Download the report", download),
  );
  const body = h("div", {});
  setChildren(root, h("div", { class: "view wide" }, h("header", {}, title, actions), body));
  if (!hasArtifact(run, "report.json")) {
    setChildren(
      body,
      empty("No report yet", "The report appears when its run succeeds.", {
        action: h("a", { class: "button primary", href: link(["runs", id]) }, "Open the run"),
      }),
    );
    return;
  }
  const parts = [
    ["findings", "Findings", () => findings(api, id, signal)],
    ["page", "The report", () => page(api, id, signal)],
  ];
  setChildren(
    body,
    tabs(hasArtifact(run, "report.html") ? parts : parts.slice(0, 1), route.query.get("tab") ?? "findings", (tab) =>
      updateQuery({ tab: tab === "findings" ? null : tab }),
    ),
  );
}

function findings(api, id, signal) {
  const container = h("div", {});
  fill(container, async () => findingCards(await api.get(artifactPath(id, "report.json"), {}, { signal })), { signal });
  return container;
}

function findingCards(report) {
  const label = labelsOf(report.labels ?? {});
  const cards = report.findings.map((finding) =>
    h(
      "article",
      { class: "card finding" },
      h(
        "header",
        {},
        h("h2", {}, `${finding.number}. ${finding.title}`),
        h("span", { class: ["badge", VERDICTS[finding.verdict]] }, finding.verdict),
      ),
      h("p", { class: "muted small" }, finding.rule),
      finding.missing && h("p", {}, finding.missing),
      partList(finding.numbers.parts ?? {}, label),
      numbers(finding.numbers, label),
    ),
  );
  return h(
    "div",
    { class: "stack" },
    verdicts(report.findings, cards),
    cards,
    separation(report.separation ?? [], label),
  );
}

/** All verdicts in one strip; a click moves to the finding. */
function verdicts(findings, cards) {
  const entry = ({ number: k, title, verdict }, i) =>
    button(
      [`${k}. ${title}`, h("span", { class: ["badge", VERDICTS[verdict]] }, verdict)],
      () => cards[i].scrollIntoView({ block: "start" }),
      { class: "small" },
    );
  return h("div", { class: "row verdicts", role: "group", "aria-label": "Verdicts" }, findings.map(entry));
}

/** Labels of keys and of parts of rules; a part is named up to its colon. Reports of earlier versions have no labels. */
function labelsOf(labels) {
  return (name) => {
    const [key, ...subject] = name.split(":");
    const known = Object.hasOwn(labels, key) ? labels[key] : key.replaceAll("_", " ");
    return [known, ...subject].join(":");
  };
}

/** The parts of a rule, and whether each holds. */
function partList(parts, label) {
  const entries = Object.entries(parts);
  if (!entries.length) return null;
  const state = (holds) => (holds === null ? "open" : holds ? "holds" : "does not hold");
  return h(
    "ul",
    { class: "small" },
    entries.slice(0, SHOWN_PARTS).map(([name, holds]) => h("li", {}, `${label(name)}: `, h("b", {}, state(holds)))),
    entries.length > SHOWN_PARTS &&
      h("li", { class: "muted" }, `and ${entries.length - SHOWN_PARTS} more in the report`),
  );
}

/** The first numbers of a finding, with nested names joined; the report has all of them. */
function numbers({ parts: _, ...found }, label) {
  const plain = flat(found, label).slice(0, SHOWN_NUMBERS);
  return plain.length
    ? h(
        "dl",
        { class: "facts numbers" },
        plain.map(([name, value]) => [h("dt", {}, name), h("dd", { class: "number" }, value)]),
      )
    : null;
}

function flat(found, label, before = "") {
  return Object.entries(found ?? {}).flatMap(([key, value]) => {
    const name = `${before}${label(key)}`;
    if (typeof value === "number") return [[name, number(value)]];
    if (typeof value === "boolean") return [[name, value ? "yes" : "no"]];
    if (typeof value === "string") return [[name, value]];
    if (Array.isArray(value)) return listed(name, value);
    if (value && typeof value === "object" && typeof value.value === "number") return [[name, interval(value)]];
    return value && typeof value === "object" ? flat(value, label, `${name} · `) : [];
  });
}

/** A list of numbers or names; tables are only in the report. */
function listed(name, values) {
  if (values.some((one) => typeof one === "object")) return [];
  return [[name, values.map((one) => (typeof one === "number" ? number(one) : one)).join(", ") || "none"]];
}

/** A value with its interval. The bootstrap of one value has no width, which would look like certainty. */
function interval({ value, low, high, n }) {
  if (n === 1) return `${number(value)} (too few for an interval)`;
  return typeof low === "number" ? `${number(value)} (${number(low)} to ${number(high)})` : number(value);
}

function separation(rows, label) {
  if (!rows.length) return null;
  const columns = [
    { label: "Layer", class: "number" },
    { label: "Measure" },
    { label: "Per" },
    { label: "Value", class: "number" },
    { label: "p-value", class: "number" },
  ];
  const lines = rows.map((row) => [
    number(row.layer),
    label(row.measure),
    row.per ?? "text",
    interval(row),
    number(row.p_value),
  ]);
  return h(
    "details",
    { class: "card flush" },
    h("summary", { class: "pad" }, `Separation of the tasks at every layer (${rows.length} values)`),
    table(columns, lines, { caption: "Separation" }),
  );
}

/** The report's HTML page in a sandboxed frame. It is fetched as text, because the URL of a frame cannot carry the key. */
function page(api, id, signal) {
  const container = h("div", {});
  fill(
    container,
    async () => {
      const text = await api.text(artifactPath(id, "report.html"));
      const frame = h("iframe", {
        class: "report-frame",
        title: "Report",
        sandbox: "allow-scripts allow-downloads",
        src: "/web/report-frame.html",
      });
      const send = (event) => {
        if (event.source !== frame.contentWindow || event.data !== "ready") return;
        removeEventListener("message", send);
        frame.contentWindow.postMessage(text, "*"); // a sandboxed frame has no origin to name
      };
      addEventListener("message", send, { signal });
      return frame;
    },
    { signal, text: "Loading the report …" },
  );
  return container;
}
