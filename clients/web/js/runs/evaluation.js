/** How good the members are: a table with intervals, and the answers one by one. */
import { h, put, select } from "../dom/elements.js";
import { number, priorName } from "../dom/format.js";
import { empty, fill } from "../dom/states.js";
import { badge, table } from "../dom/table.js";
import { artifactPath } from "./artifacts.js";

const SHOWN = 60;
const LESS_IS_BETTER = ["loss", "perplexity"];

export function evaluation({ api, signal, run }) {
  const place = h("div", { class: "stack" });
  const has = (file) => run.artifacts.some((one) => one.path === file);
  if (!has("evaluation.jsonl"))
    return empty(
      "Not evaluated yet",
      "Members are measured when they are trained; the table appears when the run is done.",
    );
  fill(
    place,
    async () => {
      const [lines, members] = await Promise.all([
        api.text(artifactPath(run.id, "evaluation.jsonl")),
        has("members.json") ? api.text(artifactPath(run.id, "members.json")) : null,
      ]);
      const rows = lines
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line));
      const parts = members ? [scores(JSON.parse(members))] : [summary(run.metrics)];
      return h("div", { class: "stack" }, parts, new Answers(rows).element);
    },
    { signal, text: "Fetching the evaluation …" },
  );
  return place;
}

/** A row a member; before tuning and without a prompt beside it. */
function scores(members) {
  const all = new Set(members.flatMap((member) => Object.keys(member.metrics)));
  const names = [...all].filter(
    (name) => !name.startsWith("draw/") && !name.startsWith("bare/") && !/_(low|high)$/.test(name),
  );
  const columns = [
    { label: "Member" },
    { label: "Prior" },
    { label: "Seed", class: "number" },
    { label: "Rate", class: "number" },
    { label: "Status" },
    ...names.map((label) => ({ label, class: "number" })),
  ];
  const best = Object.fromEntries(
    names.map((name) => [
      name,
      bestOf(
        members.map((member) => member.metrics[name]),
        name,
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
  const bare = members[0]?.metrics ?? {};
  rows.push([
    h("span", { class: "muted" }, "no prompt"),
    "",
    "",
    "",
    "",
    ...names.map((name) => score(bare, `bare/${name}`)),
  ]);
  return h("div", { class: "card flush" }, table(columns, rows, { caption: "Scores of each member" }));
}

function score(metrics, name, best) {
  const value = metrics[name];
  if (value === undefined) return "";
  const [low, high] = [metrics[`${name}_low`], metrics[`${name}_high`]];
  const interval =
    low === undefined ? null : h("span", { class: "interval" }, `${number(low, 3)} to ${number(high, 3)}`);
  const draw = metrics[`draw/${name}`];
  const before = draw === undefined ? null : h("span", { class: "interval" }, `draw ${number(draw, 3)}`);
  return [h("span", { class: value === best && "best" }, number(value, 3)), interval, before];
}

function bestOf(values, name) {
  const known = values.filter((value) => value !== undefined);
  return LESS_IS_BETTER.some((word) => name.endsWith(word)) ? Math.min(...known) : Math.max(...known);
}

function summary(metrics) {
  const names = Object.keys(metrics).filter((name) => !/_(low|high)$/.test(name));
  const rows = names.map((name) => [name, score(metrics, name)]);
  return h("div", { class: "card flush" }, table([{ label: "Measure" }, { label: "Value", class: "number" }], rows));
}

/** The answers of one member and stage. */
class Answers {
  constructor(rows) {
    this.rows = rows;
    const names = [...new Set(rows.map(ownerOf))];
    const chosen = names.find((name) => name.endsWith("after")) ?? names[0];
    this.place = h("div", {});
    this.picker = select(names, { value: chosen, onchange: () => this.#show(), "aria-label": "Whose answers" });
    this.onlyWrong = select(
      [
        ["", "all answers"],
        ["wrong", "wrong ones"],
        ["right", "right ones"],
      ],
      { onchange: () => this.#show(), "aria-label": "Which answers" },
    );
    this.element = h(
      "section",
      { class: "card flush" },
      h("header", {}, h("h2", {}, "Answers"), h("div", { class: "row" }, this.onlyWrong, this.picker)),
      this.place,
    );
    this.#show();
  }

  #show() {
    const own = this.rows.filter((row) => ownerOf(row) === this.picker.value);
    const which = this.onlyWrong.value;
    const found = own.filter((row) => !which || (which === "right") === isRight(row));
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
          : h("span", { class: ["badge", isRight(row) ? "good" : "bad"] }, isRight(row) ? "right" : "wrong"),
      ]);
    put(
      this.place,
      table(columns, shown, { caption: "Answers" }),
      found.length > SHOWN &&
        h(
          "p",
          { class: "faint small pad" },
          `The first ${SHOWN} of ${number(found.length)}; all are in evaluation.jsonl.`,
        ),
    );
  }
}

function ownerOf(row) {
  const name = row.member ?? row.prompt ?? "no prompt";
  return row.stage && row.stage !== "bare" ? `${name}, ${row.stage}` : name;
}

function isRight(row) {
  const score = row.exact_match ?? row.numeric_match ?? row.accuracy ?? row.f1 ?? 0;
  return score >= 1;
}
