/** Short notes at the edge of the page, read out too; they go by themselves. */
import { h } from "../dom/elements.js";

let place = null;

export function notify(text, { bad = false } = {}) {
  place ??= document.body.appendChild(h("div", { class: "notices", role: "status", "aria-live": "polite" }));
  const notice = h("div", { class: ["notice", bad && "bad"] }, text);
  place.append(notice);
  setTimeout(() => notice.remove(), bad ? 9000 : 4500);
}

/** Runs what a button starts; an error becomes a notice. */
export async function attempt(work, done) {
  try {
    const found = await work();
    if (done) notify(done);
    return found;
  } catch (error) {
    if (error.name !== "AbortError") notify(error.detail ?? error.message, { bad: true });
    return undefined;
  }
}
