/** The API key of this tab, in session storage: it is deleted when the tab closes, and other origins cannot read it. */
const NAME = "promptatlas-key";

export class Session {
  #fallback = null;

  get key() {
    try {
      return sessionStorage.getItem(NAME) ?? this.#fallback;
    } catch {
      return this.#fallback; // storage is disabled: the key is lost on reload
    }
  }

  set key(value) {
    this.#fallback = value;
    try {
      if (value) sessionStorage.setItem(NAME, value);
      else sessionStorage.removeItem(NAME);
    } catch {
      // Storage is disabled; see above.
    }
  }
}
