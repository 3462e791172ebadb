/** The requests of this browser: kept in its local storage, never sent. */
import { button, h, setChildren } from "../dom/elements.js";
import { count, dateTime, truncated } from "../dom/format.js";

const NAME = "promptatlas-playground";
const MAX_ENTRIES = 40;
/** Longer texts are not kept: local storage has about 5 MB. */
const MAX_CHARACTERS = 20_000;

/** A list of requests, newest first, that restores one into the form. */
export class History {
  /** restore: called with the `query` of the chosen entry */
  constructor({ restore }) {
    this.restore = restore;
    this.element = h("details", { class: "small history" });
    this.#show();
  }

  /** Adds a request; the same one moves to the front. query: its values by name, without nulls. */
  add(query) {
    const given = Object.fromEntries(Object.entries(query).filter(([, value]) => value !== null && value !== ""));
    if ((given.text ?? "").length > MAX_CHARACTERS) return;
    const same = JSON.stringify(given);
    const others = read().filter((one) => JSON.stringify(one.query) !== same);
    write([{ at: new Date().toISOString(), query: given }, ...others].slice(0, MAX_ENTRIES));
    this.#show();
  }

  #show() {
    const entries = read();
    const clear = () => {
      write([]);
      this.#show();
    };
    const one = ({ at, query }) => {
      const n = query.prompts ? query.prompts.split(",").length : 0;
      const about = `${dateTime(at)} · ${query.model} · ${n ? count(n, "prompt") : "no prompt"}`;
      return h(
        "li",
        {},
        h(
          "button",
          { type: "button", class: "history-entry", title: query.text, on: { click: () => this.restore(query) } },
          h("span", { class: "cut" }, truncated(query.text, 80)),
          h("span", { class: "faint" }, about),
        ),
      );
    };
    setChildren(
      this.element,
      h("summary", {}, `History (${entries.length})`),
      entries.length
        ? [
            h("ol", { class: "history-list" }, entries.map(one)),
            button("Clear the history", clear, { class: "quiet small" }),
          ]
        : h("p", { class: "muted" }, "Requests that you run are kept here, in this browser only."),
    );
  }
}

/** Storage may be blocked, full, or hold what another version wrote. */
function read() {
  try {
    const found = JSON.parse(localStorage.getItem(NAME) ?? "[]");
    return Array.isArray(found) ? found.filter((one) => typeof one?.query?.text === "string") : [];
  } catch {
    return [];
  }
}

function write(entries) {
  try {
    if (entries.length) localStorage.setItem(NAME, JSON.stringify(entries));
    else localStorage.removeItem(NAME);
  } catch {
    // Without storage there is no history.
  }
}
