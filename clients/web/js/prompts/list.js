/** The list of prompts by name: sorted, filtered, and chosen for a comparison or a map. */
import { mainMetric, ownMetrics } from "../api/metrics.js";
import { PagedRows } from "../api/paged_rows.js";
import { button, h, setChildren } from "../dom/elements.js";
import { dateTime, number, priorName } from "../dom/format.js";
import { Choice } from "../dom/choice.js";
import { Extent } from "../dom/extent.js";
import { Filters } from "../dom/filters.js";
import { SortedTable } from "../dom/sorting.js";
import { empty, failure, fill } from "../dom/states.js";
import { link } from "../shell/router.js";
import { shapeOf } from "./kinds.js";
import { splitRef } from "./manifests.js";
import { openPromptUpload } from "./upload.js";

/** Prompts that are shown at first, and with each "Show more". */
const N_SHOWN = 500;

export async function showPrompts({ root, route, api, catalogue, signal }) {
  const list = new PromptList({ api, catalogue, signal, query: route.query });
  setChildren(root, list.element);
  await list.open();
}

class PromptList {
  constructor({ api, catalogue, signal, query }) {
    Object.assign(this, { api, catalogue, signal, wanted: N_SHOWN, isReading: false });
    this.tasks = new RunTasks({ api, signal });
    const get = (page) => api.get("/v1/prompts", { manifests: true, ...page }, { signal });
    this.paged = new PagedRows({ get, key: "name" });
    this.search = h("input", {
      type: "search",
      placeholder: "Filter by name, prior, kind or model",
      "aria-label": "Filter prompts",
      on: { input: () => this.#want(N_SHOWN) },
    });
    this.choice = new Choice({
      what: "prompt",
      actions: [
        ["Compare", 2, ([first, ...others]) => link(["prompts", ...splitRef(first)], { with: others.join(",") })],
        ["New map of these", 1, (refs) => link(["runs", "new", "map"], { prompts: refs.join(",") })],
      ],
    });
    this.sorted = new SortedTable({
      columns: columnsOf(),
      line: (row) => line(row, this.choice),
      caption: "Prompts",
    });
    this.filters = new Filters({ fields: fieldsOf(this.tasks), query, onchange: () => this.#want(N_SHOWN) });
    this.extent = new Extent({ what: "prompt", onMore: () => this.#want(this.wanted + N_SHOWN) });
    this.container = h("div", {});
    this.fault = h("div", {});
    const title = h(
      "div",
      {},
      h("h1", {}, "Prompts"),
      h("p", { class: "muted" }, "Tuned prompts by name. The content of a version never changes."),
    );
    const actions = h("div", { class: "row" }, this.search, uploading({ api, catalogue }));
    this.element = h("div", { class: "view" }, h("header", {}, title, actions), this.container);
  }

  async open() {
    this.#offerTasks().catch(() => {}); // the list itself shows what is wrong
    await fill(this.container, () => this.#load(), { signal: this.signal });
  }

  async #load() {
    await this.paged.renew();
    if (!this.paged.rows.length) return noPrompts(this);
    this.#want(N_SHOWN);
    const parts = [this.filters, this.extent, this.choice, this.sorted].map((part) => part.element);
    return h("div", { class: "stack" }, parts, this.extent.more, this.fault);
  }

  /** Offers all datasets in the filter of tasks: a task is known only after its run was read. */
  async #offerTasks() {
    const datasets = await this.catalogue.datasets();
    this.filters.offer(
      "task",
      datasets.map((row) => row.name),
    );
    this.filters.setRows(this.paged.rows);
  }

  #want(wanted) {
    this.wanted = wanted;
    this.#readOn();
    this.#show();
  }

  /** Reads prompts until as many match as are shown. A later call ends an earlier one. */
  async #readOn() {
    const turn = (this.turn = Symbol("turn"));
    const isCurrent = () => this.turn === turn && !this.signal.aborted;
    const wanted = { wanted: this.wanted, matches: (row) => this.#matches(row) };
    const needsTasks = this.filters.value("task") !== "";
    this.isReading = !this.paged.isEnough(wanted) || (needsTasks && !this.tasks.isComplete);
    if (!this.isReading) return;
    const goesOn = () => isCurrent() && (this.#show(), true);
    setChildren(this.fault);
    try {
      if (needsTasks) await this.tasks.read(goesOn);
      await this.paged.read({ ...wanted, goesOn });
    } catch (error) {
      if (error.name === "AbortError" || !isCurrent()) return;
      if (error.name !== "ApiError") console.error(error);
      setChildren(
        this.fault,
        failure(error, () => this.#want(this.wanted)),
      );
    }
    if (!isCurrent()) return;
    this.isReading = false;
    this.#show();
  }

  #matches(row) {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    return this.filters.passes(row) && words.every((word) => textOf(row).includes(word));
  }

  #show() {
    const { paged, filters, wanted } = this;
    filters.setRows(paged.rows);
    const chosen = paged.rows.filter((row) => this.#matches(row));
    this.sorted.show(chosen.slice(0, wanted));
    this.extent.show({
      n: Math.min(chosen.length, wanted),
      nRead: paged.rows.length,
      isComplete: paged.isComplete,
      hasMore: chosen.length > wanted || !paged.isComplete,
      isFiltered: !filters.isEmpty || this.search.value.trim() !== "",
      isReading: this.isReading,
    });
  }
}

/** The datasets of all tuning runs, read when they are needed. */
class RunTasks {
  constructor({ api, signal }) {
    this.runs = ["tune", "distill"].map((kind) => {
      const get = (page) => api.get("/v1/runs", { kind, ...page }, { signal });
      return new PagedRows({ get, key: "id" });
    });
    this.found = new Map();
  }

  get isComplete() {
    return this.runs.every((paged) => paged.isComplete);
  }

  async read(goesOn) {
    for (const paged of this.runs) await paged.read({ wanted: Infinity, matches: () => false, goesOn });
    this.found = new Map(this.runs.flatMap((paged) => paged.rows.map((run) => [run.id, run.spec.dataset])));
  }

  of(runId) {
    return this.found.get(runId);
  }
}

function fieldsOf(tasks) {
  const of = (read) => (row) => row.manifest && read(row.manifest);
  return [
    { name: "prior", label: "Prior", kind: "choice", of: of((manifest) => manifest.prior?.kind) },
    { name: "task", label: "Task", kind: "choice", of: of((manifest) => tasks.of(manifest.run_id)) },
    { name: "kind", label: "Kind", kind: "choice", of: (row) => row.kind },
    { name: "score", label: "Metric at least", kind: "least", of: of(metricOf) },
    { name: "since", label: "Created since", kind: "since", of: of((manifest) => manifest.created_at) },
  ];
}

function textOf({ name, base, kind, manifest }) {
  return [name, base, kind, manifest && priorName(manifest.prior)].join(" ").toLowerCase();
}

function columnsOf() {
  const of = (read) => (row) => row.manifest && read(row.manifest);
  return [
    { label: "" },
    { label: "Prompt", value: (row) => row.name },
    { label: "Versions", value: (row) => row.versions.length },
    { label: "Kind and shape", value: of(shapeOf) },
    { label: "Prior", value: of((manifest) => priorName(manifest.prior)) },
    { label: "Model", value: (row) => row.base },
    { label: "Metric", class: "number", value: of(metricOf) },
    { label: "Created", value: of((manifest) => manifest.created_at) },
  ];
}

function nameOfMetric({ metrics }) {
  return mainMetric(metrics) ?? ownMetrics(metrics)[0];
}

function metricOf(manifest) {
  return manifest.metrics[nameOfMetric(manifest)];
}

function line(row, choice) {
  const { manifest } = row;
  const metric = manifest && nameOfMetric(manifest);
  const aliases = Object.entries(row.aliases).map(([alias, version]) =>
    h("span", { class: "badge live" }, `${alias} = ${version}`),
  );
  return {
    class: "link",
    cells: [
      choice.box(`${row.name}@${row.latest}`),
      h("a", { href: link(["prompts", row.name, String(row.latest)]) }, row.name),
      h(
        "span",
        { class: "row" },
        row.versions.length > 1 ? `${number(row.versions.length)}, newest ${row.latest}` : `${row.latest}`,
        aliases,
      ),
      manifest ? shapeOf(manifest) : row.kind,
      manifest ? priorName(manifest.prior) : "",
      row.base,
      metric ? [number(metricOf(manifest), 3), h("span", { class: "interval" }, metric)] : "",
      manifest ? dateTime(manifest.created_at) : "",
    ],
  };
}

function uploading(context) {
  return button("Upload a prompt", () => openPromptUpload(context));
}

function noPrompts(context) {
  return empty(
    "No prompts yet",
    "Tuning runs create prompts. You can also upload a native safetensors file or a PEFT adapter.",
    {
      action: h(
        "div",
        { class: "row" },
        h("a", { class: "button primary", href: link(["runs", "new", "tune"]) }, "Tune a prompt"),
        uploading(context),
      ),
      command: "promptatlas tune spec.yaml --watch\npromptatlas prompts upload my-prompt adapter.zip --base demo",
    },
  );
}
