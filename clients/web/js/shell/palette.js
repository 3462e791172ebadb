/** The command palette: views, actions and stored objects by name. */
import { h, setChildren } from "../dom/elements.js";
import { truncated } from "../dom/format.js";
import { link } from "./router.js";
import { showShortcuts } from "./shortcuts.js";
import { setTheme, theme } from "./theme.js";
import { VIEWS } from "./views.js";

const SHOWN = 12;
const N_RUNS = 100;

/** Opens the palette. Objects of the server are added when their lists have been loaded. */
export function openPalette({ api, catalogue, onKey }) {
  new Palette({ api, catalogue, onKey }).open();
}

class Palette {
  constructor({ api, catalogue, onKey }) {
    this.commands = fixedCommands(onKey);
    this.at = 0;
    this.input = h("input", {
      type: "search",
      role: "combobox",
      "aria-label": "Command or name",
      "aria-controls": "palette-list",
      "aria-expanded": "true",
      "aria-autocomplete": "list",
      placeholder: "Type a view, an action, or the name of a run, prompt, dataset or map",
      on: { input: () => this.#show(0), keydown: (event) => this.#onKey(event) },
    });
    this.list = h("ul", { id: "palette-list", role: "listbox", "aria-label": "Commands" });
    this.dialog = h("dialog", { class: "palette", "aria-label": "Command palette" }, this.input, this.list);
    this.dialog.addEventListener("close", () => this.dialog.remove());
    this.loaded = storedCommands({ api, catalogue });
  }

  async open() {
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.input.focus();
    this.#show(0);
    for (const commands of this.loaded) {
      commands
        .then((found) => {
          this.commands.push(...found);
          this.#show(this.at);
        })
        .catch(() => {}); // the views themselves show what is wrong
    }
  }

  #show(at) {
    const words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.found = this.commands
      .filter(({ label, hint }) => words.every((word) => `${hint} ${label}`.toLowerCase().includes(word)))
      .slice(0, SHOWN);
    this.at = Math.max(0, Math.min(at, this.found.length - 1));
    setChildren(
      this.list,
      this.found.length
        ? this.found.map((command, i) => this.#option(command, i))
        : h("li", { class: "muted", role: "option", "aria-disabled": "true" }, "No command or name matches."),
    );
    this.input.setAttribute("aria-activedescendant", this.found.length ? `palette-${this.at}` : "");
  }

  #option(command, i) {
    return h(
      "li",
      {
        id: `palette-${i}`,
        role: "option",
        "aria-selected": String(i === this.at),
        on: { click: () => this.#run(command) },
      },
      h("span", { class: "cut" }, truncated(command.label, 80)),
      h("span", { class: "muted small" }, command.hint),
    );
  }

  #onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      this.#show((this.at + step + this.found.length) % Math.max(1, this.found.length));
    } else if (event.key === "Enter" && this.found[this.at]) {
      event.preventDefault();
      this.#run(this.found[this.at]);
    }
  }

  #run(command) {
    this.dialog.close();
    command.run();
  }
}

function opening(label, hint, parts, query) {
  return { label, hint, run: () => (location.hash = link(parts, query)) };
}

function fixedCommands(onKey) {
  const other = theme() === "dark" ? "light" : "dark";
  return [
    ...VIEWS.map(({ name, label }) => opening(label, "view", [name])),
    { label: `Switch to the ${other} theme`, hint: "action", run: () => setTheme(other) },
    { label: "Enter an API key", hint: "action", run: onKey },
    { label: "List the keyboard shortcuts", hint: "action", run: showShortcuts },
  ];
}

/** Promises of the commands that open the server's objects. */
function storedCommands({ api, catalogue }) {
  return [
    api
      .get("/v1/runs", { limit: N_RUNS })
      .then(({ data }) => data.map((run) => opening(run.name ?? run.id, `${run.kind} run`, ["runs", run.id]))),
    catalogue
      .prompts()
      .then((rows) => rows.map((row) => opening(row.name, "prompt", ["prompts", row.name, String(row.latest)]))),
    catalogue.maps().then((maps) => maps.map((map) => opening(map.name ?? map.id, "map", ["atlas", map.id]))),
  ];
}
