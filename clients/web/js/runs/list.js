/** The list of runs, newest first, polled. */
import { curlCommand } from "../api/curl.js";
import { bestMember, mainMetric } from "../api/metrics.js";
import { Choice } from "../dom/choice.js";
import { h, select, setChildren, setOptions } from "../dom/elements.js";
import { Filters } from "../dom/filters.js";
import { count, dateTime, duration, number, secondsBetween } from "../dom/format.js";
import { repeat } from "../dom/polling.js";
import { SortedTable } from "../dom/sorting.js";
import { empty, fill } from "../dom/states.js";
import { badge, progressBar } from "../dom/table.js";
import { link, updateQuery } from "../shell/router.js";
import { tagLinks } from "./annotation.js";
import { hasEnded, resultLink } from "./results.js";

const POLL_MS = 2500;
const STATUSES = ["queued", "running", "succeeded", "failed", "cancelled"];
const COLUMNS = [
  { label: "" },
  { label: "Run", value: (run) => run.name ?? run.id },
  { label: "Kind", value: (run) => run.kind },
  { label: "Status", value: (run) => run.status },
  { label: "Progress" },
  { label: "Metric", class: "number", value: (run) => run.metrics[mainMetric(run.metrics)] },
  { label: "Created", value: (run) => run.created_at },
  { label: "Duration", class: "number", value: (run) => secondsBetween(run.started_at, run.ended_at) },
];

const FIELDS = [
  { name: "task", label: "Task", kind: "choice", of: ({ spec }) => spec.datasets ?? spec.dataset },
  { name: "prior", label: "Prior", kind: "choice", of: ({ spec }) => spec.priors?.map((prior) => prior.kind) },
  { name: "score", label: "Metric at least", kind: "least", of: ({ metrics }) => metrics[mainMetric(metrics)] },
  { name: "since", label: "Created since", kind: "since", of: (run) => run.created_at },
];
const N_LOADED = 100;

export async function showRuns({ root, route, api, catalogue, signal }) {
  const page = new RunList({ api, catalogue, signal, query: route.query });
  setChildren(root, page.element);
  await page.open();
}

class RunList {
  constructor({ api, catalogue, signal, query }) {
    Object.assign(this, { api, catalogue, signal });
    this.query = { kind: query.get("kind") ?? "", status: query.get("status") ?? "", tag: query.get("tag") ?? "" };
    this.kind = select([], { onchange: (kind) => this.#filter({ kind }), "aria-label": "Kind" });
    this.status = select([["", "all statuses"], ...STATUSES], {
      value: this.query.status,
      onchange: (status) => this.#filter({ status }),
      "aria-label": "Status",
    });
    this.tag = select([], { onchange: (tag) => this.#filter({ tag }), "aria-label": "Tag" });
    this.#setKinds([]);
    this.#setTags([]);
    this.choice = new Choice({
      what: "run",
      actions: [["Compare", 2, (ids) => link(["runs", "compare"], { ids: ids.join(",") })]],
    });
    this.sorted = new SortedTable({ columns: COLUMNS, line: (run) => row(run, this.choice), caption: "Runs" });
    this.filters = new Filters({ fields: FIELDS, query, onchange: () => this.#showChosen() });
    this.filterNote = h("p", { class: "muted small", role: "status", hidden: true });
    this.body = h(
      "div",
      { class: "stack" },
      this.filters.element,
      this.filterNote,
      this.choice.element,
      this.sorted.element,
    );
    this.container = h("div", {});
    this.warning = h("p", { class: "notice bad", role: "alert", hidden: true });
    const title = h(
      "div",
      {},
      h("h1", {}, "Runs"),
      h("p", { class: "muted" }, "Long jobs on the workers: tuning, evaluations, harvests, maps, reports."),
    );
    this.element = h(
      "div",
      { class: "view" },
      h("header", {}, title, h("div", { class: "row" }, this.kind, this.status, this.tag, newRun())),
      this.warning,
      this.container,
    );
  }

  async open() {
    this.#loadKinds().catch(() => {}); // the list itself shows what is wrong
    await fill(this.container, () => this.#load(), { signal: this.signal });
    repeat(POLL_MS, () => this.#renew(), this.signal);
  }

  async #loadKinds() {
    const { run_kinds: kinds } = await this.catalogue.capabilities();
    this.#setKinds(kinds ?? (await this.#presentKinds()));
  }

  /** For servers that do not list their kinds of runs: the kinds of the newest runs. */
  async #presentKinds() {
    const { data } = await this.api.get("/v1/runs", { limit: 100 }, { signal: this.signal });
    return [...new Set(data.map((run) => run.kind))].sort();
  }

  #setKinds(kinds) {
    const { kind } = this.query;
    const extra = kind && !kinds.includes(kind) ? [kind] : [];
    setOptions(this.kind, [["", "all kinds"], ...kinds, ...extra], kind);
  }

  /** The tags of the listed runs; those that were listed before stay. */
  #setTags(runs) {
    const before = this.tags;
    const all = new Set([this.query.tag, ...(before ?? []), ...runs.flatMap((run) => run.tags)]);
    this.tags = [...all].filter(Boolean).sort();
    // An open list of options would close.
    if (String(before) !== String(this.tags)) setOptions(this.tag, [["", "all tags"], ...this.tags], this.query.tag);
  }

  #filter(change) {
    Object.assign(this.query, change);
    updateQuery(change);
    fill(this.container, () => this.#load(), { signal: this.signal });
  }

  async #load() {
    const page = await this.api.get("/v1/runs", { ...this.query, limit: N_LOADED }, { signal: this.signal });
    this.hasMore = page.has_more;
    this.loadedAt = new Date();
    this.#setStale(null);
    return this.#listing(page.data);
  }

  /** Renews the list in place and keeps the focus. Without a response the old list stays, marked as stale. */
  async #renew() {
    const { query } = this;
    const before = JSON.stringify(query);
    try {
      const rows = await this.#load();
      if (this.signal.aborted || JSON.stringify(query) !== before) return;
      if (this.container.firstChild !== rows) setChildren(this.container, rows);
    } catch (error) {
      if (error.name === "ApiError") this.#setStale(error);
      else if (error.name !== "AbortError") console.error(error);
    }
  }

  #setStale(error) {
    const isStale = error !== null && this.loadedAt !== undefined;
    this.warning.hidden = !isStale;
    this.container.classList.toggle("stale", isStale);
    if (isStale) this.warning.textContent = `${error.title}. This list was loaded ${dateTime(this.loadedAt)}.`;
  }

  /** Shows the loaded runs that pass the filters of the fields; kind, status and tag are filtered by the server. */
  #showChosen() {
    const chosen = this.filters.chosen(this.runs);
    this.sorted.show(chosen);
    const of = this.hasMore ? `the newest ${N_LOADED} of these runs` : count(this.runs.length, "run");
    this.filterNote.hidden = this.filters.isEmpty;
    this.filterNote.textContent = `${count(chosen.length, "run")} of ${of}.`;
  }

  #listing(runs) {
    this.#setTags(runs);
    if (runs.length) {
      this.runs = runs;
      this.filters.setRows(runs);
      this.#showChosen();
      return this.body;
    }
    if (this.query.kind || this.query.status || this.query.tag)
      return empty("No matching runs", "No run has this kind, status and tag. Change the filters above.");
    return empty(
      "No runs yet",
      "Tune a first prompt: two priors × two seeds, four prompts trained in one batch of one frozen model.",
      { action: newRun(), command: curlCommand(this.api, "/v1/runs", EXAMPLE) },
    );
  }
}

function newRun() {
  return h("a", { class: "button primary", href: link(["runs", "new"]) }, "New run");
}

const EXAMPLE = {
  kind: "tune",
  name: "two priors",
  spec: {
    model: "demo",
    dataset: "demo-qa",
    name: "qa",
    seeds: [0, 1],
    priors: [{ kind: "isotropic" }, { kind: "vocabulary" }],
    optimizer: { lr: 0.01, steps: 200 },
  },
};

function row(run, choice) {
  const name = run.name ?? run.id;
  return {
    class: "link",
    cells: [
      choice.box(run.id),
      [
        h("a", { href: link(["runs", run.id]), title: run.notes || null }, name),
        run.name && h("div", { class: "faint small mono" }, run.id),
        run.tags.length > 0 && tagLinks(run.tags),
      ],
      run.kind,
      badge(run.status),
      progress(run, name),
      metric(run.metrics),
      dateTime(run.created_at),
      duration(secondsBetween(run.started_at, hasEnded(run) ? run.ended_at : null)),
    ],
  };
}

function progress(run, name) {
  if (run.status === "queued") return queuePosition(run);
  if (!hasEnded(run)) {
    const { step, total, eta_s: eta } = run.progress;
    return [
      progressBar(run.progress, `Progress of ${name}`),
      h(
        "span",
        { class: "small muted number" },
        total ? `${number(step)} of ${number(total)}` : `step ${number(step)}`,
        eta !== null && h("span", { class: "eta" }, ` · ${duration(eta)} left`),
      ),
    ];
  }
  if (run.error) return run.error;
  const result = resultLink(run);
  if (result) return h("a", { href: result.href }, result.label);
  return run.prompts.length ? count(run.prompts.length, "prompt") : "";
}

function queuePosition({ queue_position: position }) {
  if (position === null) return "waiting for a worker";
  return position === 0 ? "next in the queue" : `${count(position, "run")} ahead`;
}

function metric(metrics) {
  const name = mainMetric(metrics);
  if (!name) return "";
  const best = bestMember(metrics);
  const owner = best && h("span", { class: "interval" }, best.member ?? "", ` best of ${best.n}`);
  return [number(metrics[name], 3), h("span", { class: "interval" }, name), owner];
}
