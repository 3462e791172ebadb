/** States of a container without content: loading, empty, failed. */
import { button, h, setChildren } from "./elements.js";
import { retryWhenReady } from "./recovery.js";

export function loading(text = "Loading …") {
  return h("p", { class: "loading", role: "status" }, text);
}

/** An empty state: a title, a hint about the next step, and optionally a shell `command` or an `action` element. */
export function empty(title, hint, { command, action } = {}) {
  return h("div", { class: "state" }, h("h2", {}, title), h("p", {}, hint), command && h("pre", {}, command), action);
}

/**
 * An error with the server's detail and advice on what to do.
 *
 * @param {Error} error an `ApiError`, or any error of this page
 * @param {() => void} [retry] adds a button that calls it. It is also called when a server that was gone is ready again.
 */
export function failure(error, retry) {
  const faults = (error.errors ?? []).map((fault) => h("li", {}, `${fault.loc.join(".")}: ${fault.msg}`));
  const element = h(
    "div",
    { class: "state failure", role: "alert" },
    h("h2", {}, error.title ?? "Error in this page"),
    h("p", {}, error.detail ?? String(error.message ?? error)),
    faults.length > 1 && h("ul", {}, faults),
    h("p", { class: "muted small" }, advice(error)),
    error.requestId && h("p", { class: "faint small" }, `Request ID in the server’s log: ${error.requestId}`),
    retry && retryButton(retry),
  );
  if (retry) retryWhenReady(error, element, retry);
  return element;
}

/** Dispatches `retryrequest` before it retries, so that a dismissed key dialog may open again. */
function retryButton(retry) {
  return button("Try again", () => {
    document.dispatchEvent(new CustomEvent("retryrequest"));
    retry();
  });
}

/** The latest `fill` of each container: earlier ones must not overwrite it. */
const latest = new WeakMap();

/** Fills `container` with the result of `work`; shows a loading state meanwhile and a failure state with a retry button on errors. */
export async function fill(container, work, { text, signal } = {}) {
  const turn = Symbol("turn");
  latest.set(container, turn);
  const isStale = () => signal?.aborted || latest.get(container) !== turn;
  setChildren(container, loading(text));
  try {
    const content = await work();
    if (!isStale()) setChildren(container, content);
  } catch (error) {
    if (error.name === "AbortError" || isStale()) return;
    if (error.name !== "ApiError") console.error(error);
    setChildren(
      container,
      failure(error, () => fill(container, work, { text, signal })),
    );
  }
}

const ADVICE = {
  0: "Is the server still running? Start it with `make up`, then try again.",
  401: "Enter a key of this server with the API key button at the top right.",
  403: "The scope of your API key does not allow this. Ask the server’s administrator for a key with a wider scope.",
  404: "It may have been deleted. Go back to the list.",
  409: "It was changed by another request. Reload it.",
  413: "Request less data at once.",
  422: "Change the fields named above.",
  429: "The server is busy. Wait a moment, then try again.",
  503: "The server is starting, or its engine is restarting. Wait a moment, then try again.",
  504: "The request exceeded the server’s deadline. Request less data at once.",
};

function advice(error) {
  return ADVICE[error.status] ?? (error.status ? "The server’s log has the details." : "Reload the page.");
}
