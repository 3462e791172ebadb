/** The list of runs, newest first, polled. */
import { curlCommand } from "../api/curl.js";
import { mainMetric } from "../api/metrics.js";
import { PagedRows } from "../api/paged_rows.js";
import { Choice } from "../dom/choice.js";
import { h, select, setChildren, setOptions } from "../dom/elements.js";
import { Extent } from "../dom/extent.js";
import { Filters } from "../dom/filters.js";
import { dateTime, secondsBetween } from "../dom/format.js";
import { repeat } from "../dom/polling.js";
import { SortedTable } from "../dom/sorting.js";
import { empty, fill } from "../dom/states.js";
import { link, updateQuery } from "../shell/router.js";
import { runRow } from "./run_row.js";

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
/** Runs that are shown at first, and with each "Show more". */
const N_SHOWN = 100;
/** Every so many polls, the rows after the first page are read again as well. */
const POLLS_PER_RELOAD = 12;

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
    this.sorted = new SortedTable({ columns: COLUMNS, line: (run) => runRow(run, this.choice), caption: "Runs" });
    this.filters = new Filters({ fields: FIELDS, query, onchange: () => this.#want(N_SHOWN) });
    this.wanted = N_SHOWN;
    this.nPolls = 0;
    this.extent = new Extent({ what: "run", onMore: () => this.#want(this.wanted + N_SHOWN) });
    this.body = h(
      "div",
      { class: "stack" },
      this.filters.element,
      this.extent.element,
      this.choice.element,
      this.sorted.element,
      this.extent.more,
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
    for (const work of [this.#loadKinds(), this.#offerTasks()]) work.catch(() => {}); // the list itself shows what is wrong
    await fill(this.container, () => this.#load(), { signal: this.signal });
    repeat(POLL_MS, () => this.#renew(), this.signal);
  }

  async #loadKinds() {
    const { run_kinds: kinds } = await this.catalogue.capabilities();
    this.#setKinds(kinds ?? (await this.#presentKinds()));
  }

  /** Offers all datasets in the filter of tasks, also those of runs that are not read yet. */
  async #offerTasks() {
    const datasets = await this.catalogue.datasets();
    this.filters.offer(
      "task",
      datasets.map((row) => row.name),
    );
    if (this.paged) this.filters.setRows(this.paged.rows);
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

  /** Reads the first page of a choice of kind, status and tag; what the filters of the fields need is read meanwhile. */
  async #load() {
    const query = { ...this.query };
    const get = (page) => this.api.get("/v1/runs", { ...query, ...page }, { signal: this.signal });
    const paged = new PagedRows({ get, key: "id" });
    Object.assign(this, { paged: null, isReading: false });
    await paged.renew();
    Object.assign(this, { paged, wanted: N_SHOWN });
    const listing = this.#renewed();
    this.#readOn();
    return listing;
  }

  /** Reads runs until as many pass the filters as are shown. A later call ends an earlier one. */
  async #readOn() {
    const { paged, filters } = this;
    const turn = (this.turn = Symbol("turn"));
    const isCurrent = () => this.turn === turn && this.paged === paged && !this.signal.aborted;
    const wanted = {
      wanted: this.wanted,
      matches: (run) => filters.passes(run),
      isPast: (run) => filters.isBefore(run),
    };
    this.isReading = !paged.isEnough(wanted);
    if (!this.isReading) return;
    const goesOn = () => isCurrent() && (this.#showChosen(), true);
    try {
      await paged.read({ ...wanted, goesOn });
    } catch (error) {
      if (error.name === "ApiError") this.#setStale(error);
      else if (error.name !== "AbortError") console.error(error);
    }
    if (!isCurrent()) return;
    this.isReading = false;
    this.#showChosen();
  }

  #want(wanted) {
    this.wanted = wanted;
    this.#readOn();
    this.#showChosen();
  }

  #renewed() {
    this.loadedAt = new Date();
    this.#setStale(null);
    return this.#listing(this.paged.rows);
  }

  /** Renews the list in place and keeps the focus. Without a response the old list stays, marked as stale. */
  async #renew() {
    const { paged, query } = this;
    const before = JSON.stringify(query);
    if (this.isReading) return;
    try {
      if (paged) await (++this.nPolls % POLLS_PER_RELOAD ? paged.renew() : paged.reload());
      if (this.signal.aborted || this.paged !== paged) return;
      const rows = paged ? this.#renewed() : await this.#load();
      if (this.signal.aborted || JSON.stringify(query) !== before) return;
      this.#readOn();
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

  /** Shows runs that pass the filters of the fields; kind, status and tag are filtered by the server. */
  #showChosen() {
    const { paged, filters, wanted } = this;
    filters.setRows(paged.rows);
    const chosen = filters.chosen(paged.rows);
    this.sorted.show(chosen.slice(0, wanted));
    const isAll = paged.isComplete || (paged.rows.length > 0 && filters.isBefore(paged.rows.at(-1)));
    this.extent.show({
      n: Math.min(chosen.length, wanted),
      nRead: paged.rows.length,
      isComplete: paged.isComplete,
      hasMore: chosen.length > wanted || !isAll,
      isFiltered: !filters.isEmpty,
      isReading: this.isReading,
    });
  }

  #listing(runs) {
    this.#setTags(runs);
    if (runs.length) {
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
