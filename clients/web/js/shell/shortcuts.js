/** Keyboard shortcuts of every view, and the dialog that lists them. */
import { button, h } from "../dom/elements.js";
import { go } from "./router.js";
import { VIEWS } from "./views.js";

const SEQUENCE_MS = 1500;

/** Keys that this page handles, by where they work. */
const LISTED = [
  [
    "Everywhere",
    [
      ["?", "list the shortcuts"],
      ["Ctrl K", "open the command palette"],
      ["/", "move the focus to the filter or search field of the view"],
      ["Esc", "close a dialog"],
      ...VIEWS.map(({ label, key }) => [`G ${key.toUpperCase()}`, `go to ${label}`]),
    ],
  ],
  [
    "Atlas, with the focus on the map",
    [
      ["← ↑ → ↓", "move the map"],
      ["+ −", "zoom"],
      ["0", "show all points"],
      ["1", "show the 2–98 % range of the points"],
      ["P", "choose the move tool"],
      ["L", "choose the lasso"],
      ["Esc", "clear the selection"],
    ],
  ],
  ["Playground", [["Ctrl Enter", "run the text"]]],
];

/** Listens to the keys of the whole page. `openPalette` is called for Ctrl+K. */
export class Shortcuts {
  constructor({ openPalette }) {
    Object.assign(this, { openPalette, isGoing: false });
    // In the capture phase: a key that follows G must not reach the map.
    document.addEventListener("keydown", (event) => this.#onKey(event), { capture: true });
  }

  #onKey(event) {
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
      event.preventDefault();
      if (!document.querySelector("dialog[open]")) this.openPalette();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    if (this.isGoing) this.#goTo(event);
    else if (event.key === "?") showShortcuts();
    else if (event.key === "/") focusFilter(event);
    else if (event.key === "g") this.#startGoing();
  }

  #startGoing() {
    this.isGoing = true;
    setTimeout(() => (this.isGoing = false), SEQUENCE_MS);
  }

  #goTo(event) {
    this.isGoing = false;
    const view = VIEWS.find(({ key }) => key === event.key);
    if (!view) return;
    event.preventDefault();
    event.stopPropagation();
    go([view.name]);
  }
}

/** Opens the dialog that lists all shortcuts. */
export function showShortcuts() {
  const dialog = h("dialog", { "aria-labelledby": "shortcuts-title" });
  const parts = LISTED.map(([where, keys]) => [
    h("h3", {}, where),
    h(
      "dl",
      { class: "facts" },
      keys.map(([key, action]) => [
        h(
          "dt",
          {},
          key.split(" ").map((one) => h("kbd", {}, one)),
        ),
        h("dd", {}, action),
      ]),
    ),
  ]);
  dialog.append(
    h(
      "div",
      { class: "stack" },
      h("h2", { id: "shortcuts-title" }, "Keyboard shortcuts"),
      parts,
      h(
        "div",
        { class: "row" },
        button("Close", () => dialog.close()),
      ),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function isTyping(element) {
  return element instanceof Element && element.closest("input, textarea, select, [contenteditable]") !== null;
}

function focusFilter(event) {
  const input = document.querySelector('main input[type="search"]');
  if (!input) return;
  event.preventDefault();
  input.focus();
}
