/** A dialog that asks before something is deleted. */
import { button, h } from "./elements.js";

/** @returns {Promise<boolean>} whether the user pressed the button `label` */
export function confirmed(title, text, label = "Delete") {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "confirm-title" });
    const cancel = button("Cancel", () => dialog.close());
    const accept = () => {
      dialog.returnValue = "yes";
      dialog.close("yes");
    };
    dialog.append(
      h(
        "div",
        { class: "stack" },
        h("h2", { id: "confirm-title" }, title),
        h("p", { class: "muted" }, text),
        h("div", { class: "row" }, button(label, accept, { class: "danger" }), cancel),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
    cancel.focus();
  });
}
