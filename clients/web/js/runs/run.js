/** One run: status and progress, live curves, evaluation, artifacts, spec and log. */
import { path } from "../api/client.js";
import { confirmed } from "../dom/confirm.js";
import { codeTabs } from "../dom/copy.js";
import { button, h, setChildren } from "../dom/elements.js";
import { count, dateTime, duration, number, secondsBetween } from "../dom/format.js";
import { loading } from "../dom/states.js";
import { badge, card, facts, progressBar, tabs } from "../dom/table.js";
import { codeOf } from "../new_run/code.js";
import { attempt } from "../shell/notices.js";
import { go, link, updateQuery } from "../shell/router.js";
import { setTitle, shortId } from "../shell/title.js";
import { Annotation } from "./annotation.js";
import { artifacts } from "./artifacts.js";
import { Curves } from "./curves.js";
import { evaluation, hasEvaluation } from "./evaluation.js";
import { Follower } from "./follower.js";
import { Log } from "./log.js";
import { hasEnded, resultLink } from "./results.js";

export async function showRun(context, id) {
  const { root, api, signal } = context;
  const run = await api.get(path`/v1/runs/${id}`, {}, { signal });
  if (signal.aborted) return;
  setTitle(run.kind, run.name, shortId(run.id));
  new RunPage(context, run).show(root);
}

class RunPage {
  constructor({ api, catalogue, signal, route }, run) {
    Object.assign(this, { api, catalogue, signal, run });
    this.tab = route.query.get("tab");
    this.problem = null;
    this.curves = new Curves(signal, { startedAt: () => this.run.started_at });
    this.log = new Log();
    this.head = h("div", { class: "row" });
    this.state = h("div", {});
    this.annotation = new Annotation({
      api,
      run,
      onchange: ({ notes, tags }) => Object.assign(this.run, { notes, tags }),
    });
    this.parts = h("div", {}, loading());
    this.follower = new Follower(api, signal, {
      metric: (data) => this.#addMetric(data),
      log: (data) => this.log.add(data),
      status: (data) => this.#update(data),
      done: () => this.#finish(),
      caughtUp: () => this.#catchUp(),
      connected: () => this.#setProblem(null),
      disconnected: (error) => this.#setProblem(error),
    });
  }

  show(root) {
    const { run } = this;
    const title = h(
      "div",
      {},
      h("p", { class: "crumbs" }, h("a", { href: "#/runs" }, "Runs")),
      h("h1", {}, run.name ?? run.id),
      h("p", { class: "muted mono small" }, `${run.kind} · ${run.id}`),
    );
    setChildren(
      root,
      h("div", { class: "view" }, h("header", {}, title, this.head), this.state, this.annotation.element, this.parts),
    );
    this.seenAt = new Date();
    this.#refresh();
    this.follower.follow(run.id);
  }

  #showTabs() {
    const { run } = this;
    const context = { api: this.api, signal: this.signal, run };
    const isOver = hasEnded(run);
    this.hasCurves = !this.curves.isEmpty || !isOver;
    const parts = [
      ...(this.hasCurves ? [["curves", "Curves", () => this.curves.element]] : []),
      ...(hasEvaluation(run) ? [["evaluation", "Evaluation", () => evaluation(context)]] : []),
      ["artifacts", "Artifacts", () => artifacts(context)],
      ["spec", "Spec", () => specCard(run, this.api)],
      ["log", "Log", () => this.log.element],
    ];
    const byDefault = this.curves.isEmpty ? (isOver ? "artifacts" : "log") : "curves";
    this.shown = this.tab ?? byDefault;
    setChildren(
      this.parts,
      tabs(parts, this.shown, (name) => updateQuery({ tab: (this.tab = name) })),
    );
  }

  /** The first metric opens the curves, unless the user has chosen a tab. Many kinds of runs report no metrics. */
  #addMetric(data) {
    const isFirst = this.curves.isEmpty;
    this.curves.add(data);
    if (isFirst && !this.curves.isEmpty && !(this.tab && this.hasCurves)) this.#showTabs();
  }

  #catchUp() {
    if (!this.shown) this.#showTabs();
    this.curves.draw();
  }

  #setProblem(error) {
    if (!error) this.seenAt = new Date();
    if (!error && !this.problem) return;
    this.problem = error;
    if (!this.shown) this.#showTabs();
    this.#refresh();
  }

  #refresh() {
    const { run, problem } = this;
    const isOver = hasEnded(run);
    const result = resultLink(run);
    setChildren(
      this.head,
      badge(run.status),
      result && h("a", { class: "button primary", href: result.href }, result.label),
      !isOver && !problem && button("Cancel", () => this.#post("cancel"), { class: "danger" }),
      run.resumable && !problem && button("Resume", () => this.#post("resume"), { class: "primary" }),
      h("a", { class: "button", href: link(["runs", "new", run.kind], { from: run.id }) }, "Clone"),
      isOver && button("Delete", () => this.#delete(), { class: "danger" }),
    );
    const warning =
      problem &&
      !isOver &&
      h(
        "p",
        { class: "state failure", role: "alert" },
        `${problem.title ?? "The connection to the server was lost"}. Shown is the state at ${dateTime(this.seenAt)}.`,
      );
    setChildren(
      this.state,
      h(
        "div",
        { class: "card stack" },
        warning,
        !isOver && progressBar(run.progress, `Progress of ${run.name ?? run.id}`),
        run.error && h("p", { class: "state failure" }, run.error),
        facts(factsOf(run, { hasEta: !isOver && !problem })),
      ),
    );
  }

  async #post(action) {
    const run = await attempt(
      () => this.api.post(path`/v1/runs/${this.run.id}/${action}`),
      action === "cancel" ? "Cancellation requested." : "The run is queued again.",
    );
    if (!run) return;
    this.run = { ...this.run, ...run };
    this.#refresh();
    if (action === "resume") this.follower.follow(this.run.id);
  }

  async #delete() {
    const { run } = this;
    const result = { map: " The map that it made is deleted too.", report: " Its report is deleted too." }[run.kind];
    const text = `Its artifacts, curves and log are deleted.${result ?? " Its prompts stay."}`;
    if (!(await confirmed(`Delete ${run.name ?? run.id}?`, text))) return;
    await attempt(async () => {
      await this.api.remove(path`/v1/runs/${run.id}`);
      this.catalogue.invalidate();
      go(["runs"]);
    }, "The run was deleted.");
  }

  #update(data) {
    this.seenAt = new Date();
    this.run = {
      ...this.run,
      status: data.status ?? this.run.status,
      queue_position: (data.status ?? this.run.status) === "queued" ? this.run.queue_position : null,
      progress: { ...this.run.progress, ...data.progress },
    };
    this.#refresh();
  }

  async #finish() {
    const before = this.run;
    const run = await attempt(() => this.api.get(path`/v1/runs/${this.run.id}`, {}, { signal: this.signal }));
    if (!run || this.signal.aborted) return;
    this.run = run;
    this.annotation.setRun(run);
    this.catalogue.invalidate();
    this.#refresh();
    if (!this.shown || run.artifacts.length !== before.artifacts.length || !hasEnded(before)) this.#showTabs();
  }
}

function factsOf(run, { hasEta }) {
  const { step, total, eta_s: eta } = run.progress;
  const left = hasEta && eta !== null ? `, about ${duration(eta)} left` : "";
  const steps = total ? `${number(step)} of ${number(total)}${left}` : step ? `step ${number(step)}` : null;
  const position = run.queue_position;
  const prompts = run.prompts.map((ref) => [h("a", { href: link(["prompts", ...ref.split("@")]) }, ref), " "]);
  return [
    ["Progress", steps ?? (hasEnded(run) ? null : "not started")],
    ["Queue", position === null ? null : position === 0 ? "next" : `${count(position, "run")} ahead`],
    ["Created", dateTime(run.created_at)],
    ["Duration", run.started_at && duration(secondsBetween(run.started_at, run.ended_at))],
    ["Attempts", run.attempts > 1 ? number(run.attempts) : null],
    ["Prompts", prompts.length ? prompts : null],
  ];
}

function specCard(run, api) {
  return card(
    null,
    h("pre", { tabindex: "0", "aria-label": "Spec" }, JSON.stringify(run.spec, null, 2)),
    h("h3", {}, "Resolved names"),
    h("pre", { tabindex: "0", "aria-label": "Resolved names" }, JSON.stringify(run.resolved ?? {}, null, 2)),
    h("h3", { class: "above" }, "As code"),
    codeTabs(codeOf(api, { kind: run.kind, spec: run.spec, ...(run.name && { name: run.name }) })),
  );
}
