/** Client of the server's API over fetch: keys, RFC 9457 errors, JSON, safetensors and event streams. */
import { readEvents } from "./events.js";
import { readTensors } from "./safetensors.js";

/** An error response of the server; status 0 if there was no response. */
export class ApiError extends Error {
  constructor({ status, title, detail, requestId = null, errors = null }) {
    super(detail ?? title);
    Object.assign(this, { name: "ApiError", status, title, detail, requestId, errors });
  }
}

export class Api {
  #session;
  #requestKey;

  /**
   * @param {{key: ?string}} session
   * @param {(wasRefused: boolean) => Promise<boolean>} requestKey asks the user for a key after a 401; resolves to false
   *   if the user gave none.
   */
  constructor(session, requestKey) {
    this.#session = session;
    this.#requestKey = requestKey;
  }

  /** Whether requests carry a key. */
  get hasKey() {
    return Boolean(this.#session.key);
  }

  async get(path, query, options) {
    return (await this.#send("GET", path, { query, ...options })).json();
  }

  async post(path, body, options) {
    const response = await this.#send("POST", path, { body, ...options });
    return response.status === 204 ? null : response.json();
  }

  async put(path, body) {
    return (await this.#send("PUT", path, { body })).json();
  }

  async patch(path, body) {
    return (await this.#send("PATCH", path, { body })).json();
  }

  /** Posts a file as the body. */
  async upload(path, { file, type, query, signal }) {
    return (await this.#send("POST", path, { file, type, query, signal })).json();
  }

  async remove(path) {
    await this.#send("DELETE", path);
  }

  /** The tensors of a safetensors response; a POST request if there is a body. */
  async tensors(path, { body, query, signal } = {}) {
    const accept = "application/vnd.safetensors";
    const response = await this.#send(body ? "POST" : "GET", path, { body, query, signal, accept });
    return readTensors(await response.arrayBuffer());
  }

  async text(path) {
    return (await this.#send("GET", path, { accept: "*/*" })).text();
  }

  /** Downloads a file as `name`. A plain link could not carry the key. */
  async download(path, name, query) {
    const blob = await (await this.#send("GET", path, { accept: "*/*", query })).blob();
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 30_000);
  }

  /**
   * Server-sent events; `onOpen` is called when the response has started. tensors: a safetensors file with what the
   * interventions of the body name.
   */
  async *events(path, { body, tensors, query, signal, onOpen } = {}) {
    const accept = "text/event-stream";
    const response = await this.#send(body ? "POST" : "GET", path, { body, tensors, query, signal, accept });
    onOpen?.();
    yield* readEvents(response);
  }

  /** Rows of a paginated list, page after page until the end or until there are `limit` rows. */
  async list(path, query = {}, limit = 500) {
    const rows = [];
    let after = null;
    do {
      const page = await this.get(path, { limit: 100, ...query, after });
      rows.push(...page.data);
      after = page.has_more ? page.next : null;
    } while (after !== null && rows.length < limit);
    return rows;
  }

  async #send(method, path, options = {}) {
    const used = this.#session.key;
    const response = await this.#fetch(method, path, options);
    if (response.ok) return response;
    const error = await errorOf(response);
    // The key may have changed while this request was under way; then it is sent again with the new one.
    if (response.status === 401 && (this.#session.key !== used || (await this.#requestKey(used !== null)))) {
      return this.#send(method, path, options);
    }
    throw error;
  }

  async #fetch(method, path, { body, tensors, file, type, query, signal, accept = "application/json" }) {
    const headers = { Accept: accept };
    if (this.#session.key) headers.Authorization = `Bearer ${this.#session.key}`;
    if (body && !tensors) headers["Content-Type"] = "application/json"; // the browser names the type of a form
    if (file) headers["Content-Type"] = type;
    const search = encodeQuery(query ?? {});
    const url = search ? `${path}?${search}` : path;
    try {
      return await fetch(url, {
        method,
        headers,
        signal,
        body: file ?? (tensors ? formOf(body, tensors) : body && JSON.stringify(body)),
        credentials: "omit",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError({
        status: 0,
        title: TITLES[0],
        detail: `${method} ${path} got no response.`,
      });
    }
  }
}

/** A template tag for paths: names are percent-encoded. */
export function path(strings, ...names) {
  return strings.reduce((text, part, i) => text + encodeURIComponent(names[i - 1]) + part);
}

/** A multipart form with the JSON of the body and a file of tensors. */
function formOf(body, tensors) {
  const form = new FormData();
  form.append("request", new Blob([JSON.stringify(body)], { type: "application/json" }));
  form.append("tensors", tensors, "tensors.safetensors");
  return form;
}

function encodeQuery(query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return new URLSearchParams(given).toString();
}

/** One title for each status, whichever body the route answers with: problem+json or OpenAI's error object. */
const TITLES = {
  0: "The server does not respond",
  401: "API key required",
  403: "Not allowed",
  404: "Not found",
  409: "Conflict",
  413: "Too large",
  422: "Invalid request",
  429: "Too many requests",
  500: "Server error",
  503: "Server unavailable",
  504: "Deadline exceeded",
};

async function errorOf(response) {
  const problem = await response.json().catch(() => ({}));
  const openai = problem.error ?? {};
  return new ApiError({
    status: response.status,
    title: TITLES[response.status] ?? problem.title ?? `Error ${response.status}`,
    detail: problem.detail ?? openai.message ?? response.statusText,
    requestId: problem.request_id ?? response.headers.get("x-request-id"),
    errors: problem.errors,
  });
}
