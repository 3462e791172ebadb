/** What a place shows while there is nothing to show: that it waits, that there is nothing yet, or what went wrong. */
import { button, h, put } from "./elements.js";

export function loading(text = "Loading …") {
  return h("p", { class: "loading", role: "status" }, text);
}

/** Nothing there: says so, and what to do about it. `command` is something to copy into a terminal. */
export function empty(title, hint, { command, action } = {}) {
  return h("div", { class: "state" }, h("h2", {}, title), h("p", {}, hint), command && h("pre", {}, command), action);
}

/** An error in the server's own words, with what can be done. */
export function failure(error, retry) {
  const faults = (error.errors ?? []).map((fault) => h("li", {}, `${fault.loc.join(".")}: ${fault.msg}`));
  return h(
    "div",
    { class: "state failure", role: "alert" },
    h("h2", {}, error.title ?? "Something went wrong in this page"),
    h("p", {}, error.detail ?? String(error.message ?? error)),
    faults.length > 1 && h("ul", {}, faults),
    h("p", { class: "muted small" }, advice(error)),
    error.requestId &&
      h("p", { class: "faint small" }, `Request ${error.requestId}: the server's log has more under this id.`),
    retry && button("Try again", retry),
  );
}

/** What each place waits for: of several fillings of one place only the last one counts. */
const awaited = new WeakMap();

/** Fills `place` with what `work` comes to; shows that it waits, and errors with a way to try again. */
export async function fill(place, work, { text, signal } = {}) {
  const turn = Symbol("turn");
  awaited.set(place, turn);
  const isOver = () => signal?.aborted || awaited.get(place) !== turn;
  put(place, loading(text));
  try {
    const found = await work();
    if (!isOver()) put(place, found);
  } catch (error) {
    if (error.name === "AbortError" || isOver()) return;
    if (error.name !== "ApiError") console.error(error);
    put(
      place,
      failure(error, () => fill(place, work, { text, signal })),
    );
  }
}

const ADVICE = {
  0: "Is the server still running? Start it with `make up`, then try again.",
  401: "Enter a key of this server: the button with the key, above on the right.",
  403: "Your key's scope is less than this needs. Ask whoever runs the server for another one.",
  404: "It may have been deleted. Go back to the list.",
  409: "Something else changed it meanwhile: load it again.",
  413: "Ask for less at once.",
  422: "Change what is named above.",
  429: "The server is busy. Wait a moment.",
  503: "The server is starting or has lost its engine; it comes back by itself.",
  504: "It took longer than the server's deadline. Ask for less at once.",
};

function advice(error) {
  return ADVICE[error.status] ?? (error.status ? "The server's log says why." : "Load the page again.");
}
