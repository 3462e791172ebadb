/** Lists that several views need, asked for once and again only when something may have changed. */
const FRESH_MS = 10_000;

export class Catalogue {
  #api;
  #kept = new Map();

  constructor(api) {
    this.#api = api;
  }

  /** Base models in full. */
  models() {
    return this.#once("models", async () => {
      const { data } = await this.#api.get("/v1/models");
      const bases = data.filter((entry) => !entry.parent);
      return Promise.all(bases.map((entry) => this.#api.get(`/v1/models/${encodeURIComponent(entry.id)}`)));
    });
  }

  /** Names of prompts with their versions. */
  prompts() {
    return this.#once("prompts", () => this.#api.list("/v1/prompts"));
  }

  datasets() {
    return this.#once("datasets", () => this.#api.list("/v1/datasets"));
  }

  maps() {
    return this.#once("maps", () => this.#api.list("/v1/maps"));
  }

  /** Forget what was asked: something has been made or deleted. */
  forget() {
    this.#kept.clear();
  }

  #once(name, work) {
    const known = this.#kept.get(name);
    if (known && performance.now() - known.since < FRESH_MS) return known.answer;
    const answer = work();
    this.#kept.set(name, { answer, since: performance.now() });
    answer.catch(() => this.#kept.delete(name)); // an error is not kept
    return answer;
  }
}
