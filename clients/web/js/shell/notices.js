/** Notices at the corner of the page, announced by screen readers; they disappear after some seconds. */
import { h } from "../dom/elements.js";

let container = null;

export function notify(text, { bad = false } = {}) {
  container ??= document.body.appendChild(h("div", { class: "notices", role: "status", "aria-live": "polite" }));
  const notice = h("div", { class: ["notice", bad && "bad"] }, text);
  container.append(notice);
  setTimeout(() => notice.remove(), bad ? 9000 : 4500);
}

/** Runs the action of a button; shows `done` on success and the error otherwise. Returns undefined on errors. */
export async function attempt(work, done) {
  try {
    const result = await work();
    if (done) notify(done);
    return result;
  } catch (error) {
    if (error.name !== "AbortError") notify(error.detail ?? error.message, { bad: true });
    return undefined;
  }
}
