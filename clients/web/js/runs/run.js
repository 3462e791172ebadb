/** One run: how far it is, its curves as they grow, what came out, what it was asked for. */
import { path } from "../api/client.js";
import { button, h, put } from "../dom/elements.js";
import { between, duration, moment, number } from "../dom/format.js";
import { badge, card, facts, meter, tabs } from "../dom/table.js";
import { attempt } from "../shell/notices.js";
import { link, remember } from "../shell/router.js";
import { artifacts } from "./artifacts.js";
import { Curves } from "./curves.js";
import { evaluation } from "./evaluation.js";
import { Follower } from "./follower.js";
import { Log } from "./log.js";

export async function showRun(context, id) {
  const { root, api, signal } = context;
  const run = await api.get(path`/v1/runs/${id}`, {}, { signal });
  if (signal.aborted) return;
  new RunPage(context, run).show(root);
}

class RunPage {
  constructor({ api, catalogue, signal, route }, run) {
    Object.assign(this, { api, catalogue, signal, run });
    this.tab = route.query.get("tab") ?? "curves";
    this.curves = new Curves(signal);
    this.log = new Log();
    this.head = h("div", { class: "row" });
    this.state = h("div", {});
    this.follower = new Follower(api, signal, {
      metric: (data) => this.curves.add(data),
      log: (data, time) => this.log.add(data, time),
      status: (data) => this.#changed(data),
      done: () => this.#ended(),
      caughtUp: () => this.curves.draw(),
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
    this.parts = h("div", {});
    put(root, h("div", { class: "view" }, h("header", {}, title, this.head), this.state, this.parts));
    this.#refresh();
    this.#showParts();
    this.follower.follow(run.id);
  }

  #showParts() {
    const { run } = this;
    const context = { api: this.api, signal: this.signal, run };
    const parts = [
      ["curves", "Curves", () => this.curves.element],
      ...(["tune", "evaluate"].includes(run.kind) ? [["evaluation", "Evaluation", () => evaluation(context)]] : []),
      ["artifacts", "Artifacts", () => artifacts(context)],
      [
        "spec",
        "Spec",
        () =>
          card(
            null,
            h("pre", {}, JSON.stringify(run.spec, null, 2)),
            h("h3", {}, "What its names meant"),
            h("pre", {}, JSON.stringify(run.resolved ?? {}, null, 2)),
          ),
      ],
      ["log", "Log", () => this.log.element],
    ];
    put(
      this.parts,
      tabs(parts, this.tab, (name) => remember({ tab: (this.tab = name) === "curves" ? null : name })),
    );
  }

  #refresh() {
    const { run } = this;
    const isOver = !["queued", "running"].includes(run.status);
    put(
      this.head,
      badge(run.status),
      run.status === "succeeded" &&
        run.kind === "map" &&
        h("a", { class: "button primary", href: link(["atlas", run.id]) }, "Look at the map"),
      run.status === "succeeded" &&
        run.kind === "report" &&
        h("a", { class: "button primary", href: link(["reports", run.id]) }, "Read the report"),
      !isOver && button("Cancel", () => this.#tell("cancel"), { class: "danger" }),
      run.resumable && button("Resume", () => this.#tell("resume"), { class: "primary" }),
    );
    const { step, total, eta_s: eta } = run.progress;
    const prompts = run.prompts.map((ref) => [h("a", { href: link(["prompts", ...ref.split("@")]) }, ref), " "]);
    put(
      this.state,
      h(
        "div",
        { class: "card stack" },
        !isOver && meter(run.progress),
        run.error && h("p", { class: "state failure" }, run.error),
        facts([
          [
            "Progress",
            total
              ? `${number(step)} of ${number(total)}${!isOver && eta !== null ? `, about ${duration(eta)} left` : ""}`
              : isOver
                ? null
                : "not begun",
          ],
          [
            "In line",
            run.queue_position === null
              ? null
              : run.queue_position === 0
                ? "next"
                : `${run.queue_position} runs before it`,
          ],
          ["Made", moment(run.created_at)],
          ["Took", run.started_at && duration(between(run.started_at, run.ended_at))],
          ["Attempts", run.attempts > 1 ? number(run.attempts) : null],
          ["Prompts", prompts.length ? prompts : null],
        ]),
      ),
    );
  }

  async #tell(verb) {
    const found = await attempt(
      () => this.api.post(path`/v1/runs/${this.run.id}/${verb}`),
      verb === "cancel" ? "It stops at its next check." : "It is in line again.",
    );
    if (!found) return;
    this.run = { ...this.run, ...found };
    this.#refresh();
    if (verb === "resume") this.follower.follow(this.run.id);
  }

  #changed(data) {
    this.run = {
      ...this.run,
      status: data.status ?? this.run.status,
      progress: { ...this.run.progress, ...data.progress },
    };
    this.#refresh();
  }

  async #ended() {
    const before = this.run.artifacts.length;
    const found = await attempt(() => this.api.get(path`/v1/runs/${this.run.id}`, {}, { signal: this.signal }));
    if (!found) return;
    this.run = found;
    this.catalogue.forget();
    this.#refresh();
    if (this.run.artifacts.length !== before) this.#showParts();
  }
}
