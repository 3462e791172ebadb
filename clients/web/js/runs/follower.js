/** Follows the events of a run; reconnects after the last event when the connection breaks. */
import { path } from "../api/client.js";

const RECONNECT_MS = 2000;
/** Past events arrive at once. They are drawn together, when there has been no event for this long. */
const QUIET_MS = 120;
const TEMPORARY = [0, 429, 500, 503, 504];

export class Follower {
  #last = 0;
  #timer = null;

  /**
   * @param {Object} on `metric(data)`, `status(data)`, `log(data)`, `done(data)`; `caughtUp()` in a pause between events;
   *   `connected()`; `disconnected(error)` when the connection breaks or cannot be opened
   */
  constructor(api, signal, on) {
    Object.assign(this, { api, signal, on });
  }

  /** Resolves when the run has ended, or the server refuses to send its events. */
  async follow(id) {
    while (!this.signal.aborted) {
      try {
        if (await this.#read(id)) return;
      } catch (error) {
        if (error.name === "AbortError" || this.signal.aborted) return;
        this.on.disconnected(error);
        if (error.status && !TEMPORARY.includes(error.status)) return;
      }
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
    }
  }

  /** @returns {Promise<boolean>} whether the run has ended */
  async #read(id) {
    let status = null;
    const restartTimer = () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => {
        if (status) this.on.status(status);
        status = null;
        this.on.caughtUp();
      }, QUIET_MS);
    };
    const onOpen = () => {
      this.on.connected();
      restartTimer();
    };
    const query = { after: this.#last };
    for await (const event of this.api.events(path`/v1/runs/${id}/events`, { query, signal: this.signal, onOpen })) {
      const data = JSON.parse(event.data);
      this.#last = Number(event.id);
      restartTimer();
      // Of several status events that arrive together only the last one is current.
      if (event.type === "status") status = data;
      else if (event.type === "done") {
        status = null;
        this.on.done(data);
        return true;
      } else this.on[event.type]?.(data);
    }
    return false;
  }
}
