/** Tables, facts and badges: how values stand in every view. */
import { h } from "./elements.js";

/**
 * @param {{label: string, class?: string}[]} columns
 * @param {(Node|string|Array)[][]} rows cells in the columns' order; a row may be `{cells, class}`
 */
export function table(columns, rows, { caption } = {}) {
  const head = columns.map((column) => h("th", { scope: "col", class: column.class }, column.label));
  const body = rows.map((row) => {
    const cells = Array.isArray(row) ? row : row.cells;
    return h(
      "tr",
      { class: row.class },
      cells.map((cell, i) =>
        cell instanceof HTMLTableCellElement ? cell : h("td", { class: columns[i].class }, cell),
      ),
    );
  });
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      {},
      caption && h("caption", { class: "for-readers" }, caption),
      h("thead", {}, h("tr", {}, head)),
      h("tbody", {}, body),
    ),
  );
}

/** Names and values; those without a value are left out. */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h(
    "dl",
    { class: "facts" },
    known.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

const KINDS = {
  succeeded: "good",
  failed: "bad",
  cancelled: "warn",
  running: "live",
  queued: "",
  finished: "good",
  stopped: "",
  diverged: "bad",
};

/** A status in its colour. */
export function badge(status) {
  return h("span", { class: ["badge", KINDS[status]] }, status);
}

/** How far something is; unknown without a total. */
export function meter({ step, total }) {
  const share = total ? Math.min(1, step / total) : 0;
  return h(
    "div",
    {
      class: "meter",
      role: "progressbar",
      "aria-valuenow": Math.round(100 * share),
      "aria-valuemin": "0",
      "aria-valuemax": "100",
      vars: { share: String(share) },
    },
    h("span", {}),
  );
}

/** A card with a heading. */
export function card(title, ...children) {
  return h("section", { class: "card" }, title && h("header", {}, h("h2", {}, title)), children);
}

/** Parts of a view of which one is shown at a time: `[[name, label, () => Node], …]`. */
export function tabs(parts, chosen, onchange) {
  const place = h("div", { role: "tabpanel", tabindex: "0" });
  const buttons = parts.map(([name, label]) =>
    h("button", { type: "button", role: "tab", on: { click: () => choose(name) } }, label),
  );
  const bar = h("div", { class: "tabs", role: "tablist" }, buttons);
  const choose = (name) => {
    const k = Math.max(
      0,
      parts.findIndex(([own]) => own === name),
    );
    buttons.forEach((button, i) => {
      button.setAttribute("aria-selected", String(i === k));
      button.tabIndex = i === k ? 0 : -1;
    });
    place.replaceChildren(parts[k][2]());
    onchange?.(parts[k][0]);
  };
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const now = buttons.indexOf(document.activeElement);
    const next = buttons[(now + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
  choose(chosen);
  return h("div", { class: "stack" }, bar, place);
}
