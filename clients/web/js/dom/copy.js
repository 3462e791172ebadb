/** Texts to copy. */
import { notify } from "../shell/notices.js";
import { button, h } from "./elements.js";
import { tabs } from "./table.js";

/** Copies a text and says so. */
export async function copyText(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    notify(`Copied ${what}.`);
  } catch {
    notify("The browser denied access to the clipboard.", { bad: true });
  }
}

/** Tabs of texts with a button to copy each; `parts` are pairs of a label and a text. */
export function codeTabs(parts) {
  return tabs(
    parts.map(([label, text]) => [
      label,
      label,
      () =>
        h(
          "div",
          { class: "stack tight" },
          h("pre", { tabindex: "0", "aria-label": `${label} code` }, text),
          h(
            "div",
            { class: "row" },
            button(`Copy as ${label}`, () => copyText(text, `the request as ${label}`)),
          ),
        ),
    ]),
    parts[0][0],
  );
}
