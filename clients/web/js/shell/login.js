/** Dialog for the API key. Concurrent requests share one dialog. */
import { button, field, h } from "../dom/elements.js";

export class Login {
  #session;
  #pending = null;
  #isDismissed = false;

  constructor(session) {
    this.#session = session;
  }

  /**
   * Asks for a key because a request was refused. Once the user has dismissed the dialog, requests in the background do
   * not open it again until `reset`.
   *
   * @returns {Promise<boolean>} whether there is a new key to try
   */
  request(wasRefused = false) {
    if (this.#isDismissed) return Promise.resolve(false);
    this.#pending ??= this.#open(wasRefused).finally(() => (this.#pending = null));
    return this.#pending;
  }

  /** Lets requests open the dialog again: the user navigated, retried, or wants to enter a key. */
  reset() {
    this.#isDismissed = false;
  }

  #open(wasRefused) {
    return new Promise((resolve) => {
      const input = h("input", {
        type: "password",
        name: "key",
        autocomplete: "off",
        required: true,
        spellcheck: "false",
      });
      const dialog = h("dialog", { "aria-labelledby": "login-title" });
      const close = (hasKey) => {
        this.#isDismissed = !hasKey;
        dialog.close();
        dialog.remove();
        resolve(hasKey);
      };
      const submit = (event) => {
        event.preventDefault();
        this.#session.key = input.value.trim();
        close(true);
      };
      const hint = wasRefused
        ? "The server refused this key. Enter another one."
        : "This server requires an API key. Its administrator sets keys in PROMPTATLAS_API_KEYS.";
      dialog.append(
        h(
          "form",
          { on: { submit } },
          h("h2", { id: "login-title" }, "API key"),
          h("p", { class: "muted" }, hint),
          field("Key", input, "The key is kept in this tab only, until the tab closes."),
          h(
            "div",
            { class: "row" },
            h("button", { class: "button primary", type: "submit" }, "Use this key"),
            button("Not now", () => close(false)),
          ),
        ),
      );
      dialog.addEventListener("cancel", () => close(false));
      document.body.append(dialog);
      dialog.showModal();
      input.focus();
    });
  }
}
