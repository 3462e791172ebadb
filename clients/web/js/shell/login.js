/** Asks for an API key. Several requests may want one at a time: they wait on the same question. */
import { button, field, h } from "../dom/elements.js";

export class Login {
  #session;
  #waiting = null;

  constructor(session) {
    this.#session = session;
  }

  /** Resolves to true when there is a new key to try, to false when the question was closed. */
  ask(wasRefused = false) {
    this.#waiting ??= this.#open(wasRefused).finally(() => (this.#waiting = null));
    return this.#waiting;
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
      const close = (answer) => {
        dialog.close();
        dialog.remove();
        resolve(answer);
      };
      const submit = (event) => {
        event.preventDefault();
        this.#session.key = input.value.trim();
        close(true);
      };
      const hint = wasRefused
        ? "The key that was given is not one of this server's. Enter another one."
        : "This server asks for an API key. Whoever runs it has set some in PROMPTATLAS_API_KEYS.";
      dialog.append(
        h(
          "form",
          { on: { submit } },
          h("h2", { id: "login-title" }, "API key"),
          h("p", { class: "muted" }, hint),
          field("Key", input, "It stays in this tab and is forgotten with it."),
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
