/** Follows a run's events, and goes on after a broken connection where it was. */
import { path } from "../api/client.js";

const AGAIN_MS = 2000;
/** Without an event for so long what came so far is shown: the past comes all at once, and is drawn once. */
const QUIET_MS = 120;

export class Follower {
  #last = 0;
  #timer = null;

  /** on: `metric(data)`, `status(data)`, `log(data)`, `done(data)`, and `caughtUp()` when there is a pause */
  constructor(api, signal, on) {
    Object.assign(this, { api, signal, on });
  }

  async follow(id) {
    while (!this.signal.aborted) {
      try {
        if (await this.#read(id)) return;
      } catch (error) {
        if (error.name === "AbortError" || this.signal.aborted) return;
        if (error.status && ![0, 429, 500, 503, 504].includes(error.status)) return;
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }

  /** True when the run has ended. */
  async #read(id) {
    const events = this.api.events(path`/v1/runs/${id}/events`, { query: { after: this.#last }, signal: this.signal });
    let status = null;
    for await (const event of events) {
      const data = JSON.parse(event.data);
      this.#last = Number(event.id);
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => {
        if (status) this.on.status(status);
        status = null;
        this.on.caughtUp();
      }, QUIET_MS);
      // What a past status said is over: only the last one of what comes together counts.
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
