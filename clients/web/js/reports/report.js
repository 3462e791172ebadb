/** One report: its page in a frame that can reach nothing, and its findings as a table. */
import { path } from "../api/client.js";
import { button, h, put } from "../dom/elements.js";
import { number } from "../dom/format.js";
import { empty, fill } from "../dom/states.js";
import { tabs, table } from "../dom/table.js";
import { artifactPath } from "../runs/artifacts.js";
import { attempt } from "../shell/notices.js";
import { link, remember } from "../shell/router.js";

const VERDICTS = { confirmed: "good", contradicted: "bad", mixed: "warn", "not measured": "" };
const SHOWN_NUMBERS = 14;

export async function showReport({ root, route, api, signal }, id) {
  const run = await api.get(path`/v1/runs/${id}`, {}, { signal });
  if (signal.aborted) return;
  const has = (file) => run.artifacts.some((one) => one.path === file);
  const save = () => attempt(() => api.download(artifactPath(id, "report.html"), `${run.name ?? id}.html`));
  const title = h(
    "div",
    {},
    h("p", { class: "crumbs" }, h("a", { href: "#/reports" }, "Reports")),
    h("h1", {}, run.name ?? run.spec.title ?? id),
  );
  const actions = h(
    "div",
    { class: "row" },
    h("a", { class: "button", href: link(["runs", id]) }, "Its run"),
    has("report.html") && button("Save the page", save),
  );
  const body = h("div", {});
  put(root, h("div", { class: "view wide" }, h("header", {}, title, actions), body));
  if (!has("report.json")) {
    put(
      body,
      empty("Not written yet", "The report appears when its run is done.", {
        action: h("a", { class: "button primary", href: link(["runs", id]) }, "Follow the run"),
      }),
    );
    return;
  }
  const parts = [
    ["findings", "Findings", () => findings(api, id, signal)],
    ["page", "The report", () => page(api, id, signal)],
  ];
  put(
    body,
    tabs(has("report.html") ? parts : parts.slice(0, 1), route.query.get("tab") ?? "findings", (tab) =>
      remember({ tab: tab === "findings" ? null : tab }),
    ),
  );
}

function findings(api, id, signal) {
  const place = h("div", {});
  fill(place, async () => findingCards(await api.get(artifactPath(id, "report.json"), {}, { signal })), { signal });
  return place;
}

function findingCards(report) {
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
      numbers(finding.numbers),
    ),
  );
  return h("div", { class: "stack" }, cards, separation(report.separation ?? []));
}

/** The plain numbers of a finding; what is nested is in the report itself. */
function numbers(found) {
  const plain = flat(found).slice(0, SHOWN_NUMBERS);
  return plain.length
    ? h(
        "dl",
        { class: "facts numbers" },
        plain.map(([name, value]) => [h("dt", {}, name), h("dd", { class: "number" }, value)]),
      )
    : null;
}

function flat(found, before = "") {
  return Object.entries(found ?? {}).flatMap(([name, value]) => {
    const label = `${before}${name.replaceAll("_", " ")}`;
    if (typeof value === "number") return [[label, number(value)]];
    if (typeof value === "string" || typeof value === "boolean") return [[label, String(value)]];
    if (value && typeof value === "object" && typeof value.value === "number") return [[label, interval(value)]];
    return value && typeof value === "object" && !Array.isArray(value) ? flat(value, `${label} · `) : [];
  });
}

function interval({ value, low, high }) {
  return typeof low === "number" ? `${number(value)} (${number(low)} to ${number(high)})` : number(value);
}

function separation(rows) {
  if (!rows.length) return null;
  const columns = [
    { label: "Layer", class: "number" },
    { label: "Measure" },
    { label: "Per" },
    { label: "Value", class: "number" },
    { label: "p", class: "number" },
  ];
  const lines = rows.map((row) => [
    number(row.layer),
    row.measure,
    row.per ?? "text",
    interval(row),
    number(row.p_value),
  ]);
  return h(
    "details",
    { class: "card flush" },
    h("summary", { class: "pad" }, `Separation of the tasks at every layer (${rows.length} numbers)`),
    table(columns, lines, { caption: "Separation" }),
  );
}

/** The report's own page. It comes as text, since a frame's address cannot carry the key, and is shown where scripts reach nothing. */
function page(api, id, signal) {
  const place = h("div", {});
  fill(
    place,
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
        frame.contentWindow.postMessage(text, "*"); // the frame has no origin that could be named
      };
      addEventListener("message", send, { signal });
      return frame;
    },
    { signal, text: "Fetching the report …" },
  );
  return place;
}
