/** The API key of this tab. It goes with the tab: nothing is kept beyond it, and no other site can read it. */
const NAME = "promptatlas-key";

export class Session {
  #fallback = null;

  get key() {
    try {
      return sessionStorage.getItem(NAME) ?? this.#fallback;
    } catch {
      return this.#fallback; // storage is switched off: as long as this page is not loaded again
    }
  }

  set key(value) {
    this.#fallback = value;
    try {
      if (value) sessionStorage.setItem(NAME, value);
      else sessionStorage.removeItem(NAME);
    } catch {
      // See above.
    }
  }
}
