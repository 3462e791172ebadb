/** Evaluation of a run: metrics of each member with confidence intervals, and the individual answers. */
import { bestValue, isOwnMetric } from "../api/metrics.js";
import { button, h, select, setChildren } from "../dom/elements.js";
import { number, priorName } from "../dom/format.js";
import { empty, fill } from "../dom/states.js";
import { badge, table } from "../dom/table.js";
import { saveCsv } from "../plot/figure.js";
import { artifactPath, hasArtifact } from "./artifacts.js";
import { hasEnded } from "./results.js";
import { TokenCurve, hasTokenCurve } from "./token_curve.js";

const FILE = "evaluation.jsonl";
const SHOWN = 60;

/** Whether a run has an evaluation, or its spec says that it will have one. */
export function hasEvaluation(run) {
  return hasArtifact(run, FILE) || (!hasEnded(run) && ("eval" in run.spec || "metrics" in run.spec));
}

export function evaluation({ api, signal, run }) {
  const container = h("div", { class: "stack" });
  if (!hasArtifact(run, FILE))
    return empty("No evaluation yet", "Members are evaluated after training. The table appears when the run ends.");
  fill(
    container,
    async () => {
      const [lines, members] = await Promise.all([
        api.text(artifactPath(run.id, FILE)),
        hasArtifact(run, "members.json") ? api.text(artifactPath(run.id, "members.json")) : null,
      ]);
      const rows = lines
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line));
      const parts = members ? [scores(JSON.parse(members))] : [summary(run.metrics)];
      if (hasTokenCurve(rows)) parts.push(new TokenCurve(rows, signal).element);
      return h("div", { class: "stack" }, parts, new Answers(rows).element);
    },
    { signal, text: "Loading the evaluation …" },
  );
  return container;
}

/** Metrics of each member, with those of its draw (before tuning) and of the model without a prompt. */
function scores(members) {
  const all = new Set(members.flatMap((member) => Object.keys(member.metrics)));
  const names = [...all].filter(isOwnMetric);
  const columns = [
    { label: "Member" },
    { label: "Prior" },
    { label: "Seed", class: "number" },
    { label: "Learning rate", class: "number" },
    { label: "Status" },
    ...names.map((label) => ({ label, class: "number" })),
  ];
  const best = Object.fromEntries(
    names.map((name) => [
      name,
      bestValue(
        name,
        members.map((member) => member.metrics[name]),
      ),
    ]),
  );
  const rows = members.map((member) => [
    h("a", { href: `#/prompts/${member.prompt.split("@").map(encodeURIComponent).join("/")}` }, member.prompt),
    priorName(member.prior),
    number(member.seed),
    number(member.lr),
    badge(member.status),
    ...names.map((name) => score(member.metrics, name, best[name])),
  ]);
  const first = members[0]?.metrics ?? {};
  rows.push(baseline("no prompt", names, first, "bare/"));
  if (names.some((name) => `teacher/${name}` in first)) rows.push(baseline("teacher", names, first, "teacher/"));
  const csv = button("Save as CSV", () => saveCsv({ name: "evaluation", rows: csvOf(members) }), {
    class: "quiet small",
  });
  return h(
    "div",
    { class: "card flush" },
    h("header", {}, h("h2", {}, "Metrics of each member"), csv),
    table(columns, rows, { caption: "Metrics of each member" }),
  );
}

/** All metrics of all members, with the bounds of intervals and the baselines. */
function csvOf(members) {
  const names = [...new Set(members.flatMap((member) => Object.keys(member.metrics)))];
  const row = (member) => [
    member.prompt,
    member.prior && JSON.stringify(member.prior),
    member.seed,
    member.lr,
    member.status,
    ...names.map((name) => member.metrics[name]),
  ];
  return [["prompt", "prior", "seed", "lr", "status", ...names], ...members.map(row)];
}

/** A row of what the members are compared with. */
function baseline(label, names, metrics, prefix) {
  return [h("span", { class: "muted" }, label), "", "", "", "", ...names.map((name) => score(metrics, prefix + name))];
}

function score(metrics, name, best) {
  const value = metrics[name];
  if (value === undefined) return "";
  const [low, high] = [metrics[`${name}_low`], metrics[`${name}_high`]];
  const interval =
    low === undefined ? null : h("span", { class: "interval" }, `${number(low, 3)} to ${number(high, 3)}`);
  const draw = metrics[`draw/${name}`];
  const before = draw === undefined ? null : h("span", { class: "interval" }, `before tuning ${number(draw, 3)}`);
  return [h("span", { class: value === best && "best" }, number(value, 3)), interval, before];
}

function summary(metrics) {
  const names = Object.keys(metrics).filter((name) => !/_(low|high)$/.test(name));
  const rows = names.map((name) => [name, score(metrics, name)]);
  return h("div", { class: "card flush" }, table([{ label: "Metric" }, { label: "Value", class: "number" }], rows));
}

/** Answers of one member at one stage: before or after tuning. */
class Answers {
  constructor(rows) {
    this.rows = rows;
    const names = [...new Set(rows.map(ownerOf))];
    const chosen = names.find((name) => name.endsWith("after")) ?? names[0];
    this.container = h("div", {});
    this.picker = select(names, { value: chosen, onchange: () => this.#show(), "aria-label": "Member and stage" });
    this.filter = select(
      [
        ["", "all answers"],
        ["wrong", "wrong answers"],
        ["correct", "correct answers"],
      ],
      { onchange: () => this.#show(), "aria-label": "Filter answers" },
    );
    this.element = h(
      "section",
      { class: "card flush" },
      h("header", {}, h("h2", {}, "Answers"), h("div", { class: "row" }, this.filter, this.picker)),
      this.container,
    );
    this.#show();
  }

  #show() {
    const own = this.rows.filter((row) => ownerOf(row) === this.picker.value);
    const filter = this.filter.value;
    const found = own.filter((row) => !filter || (row.output !== null && (filter === "correct") === isCorrect(row)));
    const columns = [
      { label: "Input", class: "text" },
      { label: "Expected" },
      { label: "Answer", class: "text" },
      { label: "Loss", class: "number" },
      { label: "" },
    ];
    const shown = found
      .slice(0, SHOWN)
      .map((row) => [
        row.input ?? "",
        row.answers.join(" / "),
        row.output ?? "",
        number(row.loss, 3),
        row.output === null
          ? ""
          : h("span", { class: ["badge", isCorrect(row) ? "good" : "bad"] }, isCorrect(row) ? "correct" : "wrong"),
      ]);
    setChildren(
      this.container,
      table(columns, shown, { caption: "Answers" }),
      found.length > SHOWN &&
        h(
          "p",
          { class: "faint small pad" },
          `The first ${SHOWN} of ${number(found.length)} answers. The artifact ${FILE} has all of them.`,
        ),
    );
  }
}

function ownerOf(row) {
  if (row.stage === "teacher") return "teacher";
  const name = row.member ?? row.prompt ?? "no prompt";
  return row.stage && row.stage !== "bare" ? `${name}, ${row.stage}` : name;
}

function isCorrect(row) {
  const score = row.exact_match ?? row.numeric_match ?? row.accuracy ?? row.f1 ?? 0;
  return score >= 1;
}
