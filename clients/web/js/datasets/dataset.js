/** One dataset: splits, rows as the model reads them, and the tokens of a row. */
import { path } from "../api/client.js";
import { openMapDialog } from "../atlas/new_map.js";
import { confirmed } from "../dom/confirm.js";
import { button, field, h, select, setChildren } from "../dom/elements.js";
import { bytes, dateTime, number } from "../dom/format.js";
import { fill } from "../dom/states.js";
import { card, facts, table } from "../dom/table.js";
import { attempt } from "../shell/notices.js";
import { go, link } from "../shell/router.js";
import { setTitle } from "../shell/title.js";
import { TokenView } from "./tokens.js";

const N_ROWS = 20;
const SPLITS = ["train", "validation", "test"];
const COLUMNS = [
  { label: "#", class: "number" },
  { label: "Split" },
  { label: "Input", class: "text" },
  { label: "Target", class: "text" },
  { label: "" },
];

export async function showDataset(context, name) {
  const { api, catalogue, signal, root } = context;
  const [first, models] = await Promise.all([
    api.get(path`/v1/datasets/${name}`, { limit: N_ROWS }, { signal }),
    catalogue.models(),
  ]);
  if (signal.aborted) return;
  setTitle(first.name, "Datasets");
  const rows = new Rows({ api, signal, models, first });
  setChildren(
    root,
    h(
      "div",
      { class: "view" },
      header(first, context),
      h("div", { class: "columns" }, rows.element, h("div", { class: "stack" }, about(first), rows.side)),
    ),
  );
}

function header(info, { api, catalogue }) {
  const remove = async () => {
    if (!(await confirmed(`Delete ${info.name}?`, "Its records are deleted. Prompts that were tuned on it stay.")))
      return;
    await attempt(async () => {
      await api.remove(path`/v1/datasets/${info.name}`);
      catalogue.invalidate();
      go(["datasets"]);
    }, `Deleted ${info.name}.`);
  };
  const title = h(
    "div",
    {},
    h("p", { class: "crumbs" }, h("a", { href: "#/datasets" }, "Datasets")),
    h("h1", {}, info.name),
    h("p", { class: "muted" }, info.template ? "inputs with targets" : "running text"),
  );
  const toTune = link(["runs", "new", "tune"], { dataset: info.name });
  return h(
    "header",
    {},
    title,
    h(
      "div",
      { class: "row" },
      !info.builtin && button("Delete", remove, { class: "danger" }),
      button("Map this", () => openMapDialog({ api, catalogue, dataset: info.name })),
      h("a", { class: "button primary", href: toTune }, "Tune on this"),
    ),
  );
}

function about(info) {
  return card(
    "About",
    facts([
      ["Format", info.format],
      ...SPLITS.map((split) => [split, number(info.splits[split] ?? 0)]),
      ["Size", bytes(info.n_bytes)],
      ["Fields", info.fields.join(", ")],
      ["Template", info.template && h("code", {}, `${info.template.input}${info.template.target}`)],
      ["Made by", info.traces && h("a", { href: link(["runs", info.traces.run_id]) }, info.traces.run_id)],
      ["Created", info.builtin ? "built in" : dateTime(info.created_at)],
      ["SHA-256", h("span", { class: "mono small", title: info.sha256 }, `${info.sha256.slice(7, 23)}…`)],
    ]),
  );
}

/** Rows of a split under a template; a chosen row is shown as tokens. */
class Rows {
  constructor({ api, signal, models, first }) {
    Object.assign(this, { api, signal, info: first });
    this.container = h("div", {});
    this.split = select([["", "all splits"], ...SPLITS.filter((split) => first.splits[split])], {
      onchange: () => this.#load(),
      "aria-label": "Split",
    });
    this.more = button("More rows", () => this.#load(this.page.next), { class: "small" });
    this.element = h(
      "section",
      { class: "card flush" },
      h("header", {}, h("h2", {}, "Rows as the model reads them"), this.split),
      this.container,
      h("div", { class: "pad" }, this.more),
    );
    this.tokens = new TokenView({ api, signal, models });
    this.side = h("div", { class: "stack" }, this.tokens.element, first.fields.length > 0 && this.#trial());
    this.#show(first);
    if (first.data.length) this.tokens.show(first.data[0]);
  }

  /** Another template over the fields of the records; nothing is stored. */
  #trial() {
    const { template } = this.info;
    this.input = h("textarea", { rows: "2", spellcheck: "false" });
    this.target = h("textarea", { rows: "1", spellcheck: "false" });
    [this.input.value, this.target.value] = [template?.input ?? "", template?.target ?? ""];
    return card(
      "Try another template",
      h(
        "div",
        { class: "stack tight" },
        field("Template of the input", this.input),
        field("Template of the target", this.target),
        h(
          "p",
          { class: "faint small" },
          `Fields: ${this.info.fields.map((name) => `{${name}}`).join(", ")}. Nothing is stored.`,
        ),
        h(
          "div",
          { class: "row" },
          button("Apply", () => this.#load()),
        ),
      ),
    );
  }

  #load(after = null) {
    const query = {
      split: this.split.value,
      limit: N_ROWS,
      after,
      ...(this.input && this.input.value !== (this.info.template?.input ?? "") && { input: this.input.value }),
      ...(this.target && this.target.value !== (this.info.template?.target ?? "") && { target: this.target.value }),
    };
    return fill(
      this.container,
      async () => {
        const page = await this.api.get(path`/v1/datasets/${this.info.name}`, query, { signal: this.signal });
        if (page.data.length) this.tokens.show(page.data[0]);
        return this.#table(page);
      },
      { signal: this.signal },
    );
  }

  #show(page) {
    setChildren(this.container, this.#table(page));
  }

  #table(page) {
    this.page = page;
    this.more.hidden = !page.has_more;
    const rows = page.data.map((item) => [
      item.index === null || item.index === undefined ? "" : number(item.index),
      item.split ?? "",
      item.text ?? item.input,
      item.target ?? "",
      button("Tokens", () => this.tokens.show(item), {
        class: "quiet small",
        "aria-label": `Tokens of row ${item.index}`,
      }),
    ]);
    return table(COLUMNS, rows, { caption: "Rows" });
  }
}
