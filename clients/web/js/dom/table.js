/** Tables, definition lists, badges, progress bars, cards and tabs. */
import { h } from "./elements.js";

/**
 * @param {{label: string|Node, class?: string, sort?: ?string}[]} columns sort: `aria-sort` of the column
 * @param {(Node|string|Array)[][]} rows cells in column order; a row may be `{cells, class}`
 */
export function table(columns, rows, { caption } = {}) {
  const head = columns.map((column) =>
    h("th", { scope: "col", class: column.class, "aria-sort": column.sort }, column.label),
  );
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
    { class: "scroll", tabindex: "0", role: "group", "aria-label": caption ?? "Table" }, // wide tables scroll by keyboard
    h(
      "table",
      {},
      caption && h("caption", { class: "visually-hidden" }, caption),
      h("thead", {}, h("tr", {}, head)),
      h("tbody", {}, body),
    ),
  );
}

/** A definition list of `[name, value]` pairs; pairs without a value are omitted. */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h(
    "dl",
    { class: "facts" },
    known.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

const STATUS_CLASSES = {
  succeeded: "good",
  failed: "bad",
  cancelled: "warn",
  running: "live",
  queued: "",
  finished: "good",
  stopped: "",
  diverged: "bad",
};

/** A status as a coloured badge. */
export function badge(status) {
  return h("span", { class: ["badge", STATUS_CLASSES[status]] }, status);
}

/** A progress bar with the accessible name `label`; indeterminate while `total` is unknown. */
export function progressBar({ step, total }, label) {
  const share = total ? Math.min(1, step / total) : 0;
  return h(
    "div",
    {
      class: "progress-bar",
      role: "progressbar",
      "aria-label": label,
      "aria-valuenow": total ? Math.round(100 * share) : null,
      "aria-valuemin": "0",
      "aria-valuemax": "100",
      vars: { share: String(share) },
    },
    h("span", {}),
  );
}

/** A card with an optional heading. */
export function card(title, ...children) {
  return h("section", { class: "card" }, title && h("header", {}, h("h2", {}, title)), children);
}

/**
 * Tabs.
 *
 * @param {[string, string, () => Node][]} parts name, label and content of each tab
 * @param {string} chosen the name of the tab to show first; the first tab if there is none of this name
 * @param {(name: string) => void} [onchange] called when the user chooses a tab
 */
export function tabs(parts, chosen, onchange) {
  const container = h("div", { role: "tabpanel", tabindex: "0" });
  const buttons = parts.map(([name, label]) =>
    h("button", { type: "button", role: "tab", on: { click: () => choose(name) } }, label),
  );
  const bar = h("div", { class: "tabs", role: "tablist" }, buttons);
  const show = (name) => {
    const k = Math.max(
      0,
      parts.findIndex(([own]) => own === name),
    );
    buttons.forEach((button, i) => {
      button.setAttribute("aria-selected", String(i === k));
      button.tabIndex = i === k ? 0 : -1;
    });
    container.setAttribute("aria-label", parts[k][1]);
    container.replaceChildren(parts[k][2]());
  };
  const choose = (name) => {
    show(name);
    onchange?.(name);
  };
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const now = buttons.indexOf(document.activeElement);
    const next = buttons[(now + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
  show(chosen);
  return h("div", { class: "stack" }, bar, container);
}
