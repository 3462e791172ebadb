/** The server's API over fetch: keys, errors as RFC 9457 has them, JSON, tensors and streams. */
import { readEvents } from "./events.js";
import { readTensors } from "./safetensors.js";

/** What a server answered instead of what was asked for; status 0 if nothing came. */
export class ApiError extends Error {
  constructor({ status, title, detail, requestId = null, errors = null }) {
    super(detail ?? title);
    Object.assign(this, { name: "ApiError", status, title, detail, requestId, errors });
  }
}

export class Api {
  #session;
  #askKey;

  /**
   * @param {{key: ?string}} session
   * @param {() => Promise<boolean>} askKey asks for a key when the server wants one; false: there is none.
   */
  constructor(session, askKey) {
    this.#session = session;
    this.#askKey = askKey;
  }

  async get(path, query, options) {
    return (await this.#send("GET", path, { query, ...options })).json();
  }

  async post(path, body, options) {
    const response = await this.#send("POST", path, { body, ...options });
    return response.status === 204 ? null : response.json();
  }

  async remove(path) {
    await this.#send("DELETE", path);
  }

  /** The tensors of an answer; POST if there is a body. */
  async tensors(path, { body, query, signal } = {}) {
    const accept = "application/vnd.safetensors";
    const response = await this.#send(body ? "POST" : "GET", path, { body, query, signal, accept });
    return readTensors(await response.arrayBuffer());
  }

  async text(path) {
    return (await this.#send("GET", path, { accept: "*/*" })).text();
  }

  /** Saves a file under `name`: a link cannot carry the key. */
  async download(path, name, query) {
    const blob = await (await this.#send("GET", path, { accept: "*/*", query })).blob();
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 30_000);
  }

  /** Server-sent events, as they come. */
  async *events(path, { body, query, signal } = {}) {
    const accept = "text/event-stream";
    yield* readEvents(await this.#send(body ? "POST" : "GET", path, { body, query, signal, accept }));
  }

  /** All rows of a list, page by page, up to `most`. */
  async list(path, query = {}, most = 500) {
    const rows = [];
    let after = null;
    do {
      const page = await this.get(path, { limit: 100, ...query, after });
      rows.push(...page.data);
      after = page.has_more ? page.next : null;
    } while (after !== null && rows.length < most);
    return rows;
  }

  async #send(method, path, options = {}) {
    const used = this.#session.key;
    const response = await this.#fetch(method, path, options);
    if (response.ok) return response;
    const error = await errorOf(response);
    // Another request may have asked meanwhile: then there is another key to try.
    if (response.status === 401 && (this.#session.key !== used || (await this.#askKey(used !== null)))) {
      return this.#send(method, path, options);
    }
    throw error;
  }

  async #fetch(method, path, { body, query, signal, accept = "application/json" }) {
    const headers = { Accept: accept };
    if (this.#session.key) headers.Authorization = `Bearer ${this.#session.key}`;
    if (body) headers["Content-Type"] = "application/json";
    const url = query ? `${path}?${encodeQuery(query)}` : path;
    try {
      return await fetch(url, { method, headers, signal, body: body && JSON.stringify(body), credentials: "omit" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError({
        status: 0,
        title: "The server does not answer",
        detail: `${method} ${path} got no answer.`,
      });
    }
  }
}

/** The path of a thing with names in it that may be anything. */
export function path(strings, ...names) {
  return strings.reduce((text, part, i) => text + encodeURIComponent(names[i - 1]) + part);
}

function encodeQuery(query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return new URLSearchParams(given).toString();
}

async function errorOf(response) {
  const problem = await response.json().catch(() => ({}));
  const openai = problem.error ?? {};
  return new ApiError({
    status: response.status,
    title: problem.title ?? `The server answered ${response.status}`,
    detail: problem.detail ?? openai.message ?? response.statusText,
    requestId: problem.request_id ?? response.headers.get("x-request-id"),
    errors: problem.errors,
  });
}
