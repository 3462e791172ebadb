/** Cache of the lists that several views need: each is fetched once and again after FRESH_MS. */
const FRESH_MS = 10_000;

export class Catalogue {
  #api;
  #cached = new Map();

  constructor(api) {
    this.#api = api;
  }

  /** Base models with their architecture: `GET /v1/models/{id}` of each. */
  models() {
    return this.#once("models", async () => {
      const { data } = await this.#api.get("/v1/models");
      const bases = data.filter((entry) => !entry.parent);
      return Promise.all(bases.map((entry) => this.#api.get(`/v1/models/${encodeURIComponent(entry.id)}`)));
    });
  }

  /** Rows of `GET /v1/prompts`: a name with its versions. */
  prompts() {
    return this.#once("prompts", () => this.#api.list("/v1/prompts"));
  }

  datasets() {
    return this.#once("datasets", () => this.#api.list("/v1/datasets"));
  }

  maps() {
    return this.#once("maps", () => this.#api.list("/v1/maps"));
  }

  /** `GET /v1/capabilities`: limits of this server, kinds of runs and prompts. */
  capabilities() {
    return this.#once("capabilities", () => this.#api.get("/v1/capabilities"));
  }

  /** The server's OpenAPI document, which has the schemas of run specs. */
  openapi() {
    return this.#once("openapi", () => this.#api.get("/openapi.json"));
  }

  /** Clears the cache, after something was created or deleted. */
  invalidate() {
    this.#cached.clear();
  }

  #once(name, request) {
    const known = this.#cached.get(name);
    if (known && performance.now() - known.since < FRESH_MS) return known.answer;
    const answer = request();
    this.#cached.set(name, { answer, since: performance.now() });
    answer.catch(() => this.#cached.delete(name)); // errors are not cached
    return answer;
  }
}
