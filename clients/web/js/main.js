/** Entry point: creates the frame and shows the view of the current route. */
import { Api } from "./api/client.js";
import { Catalogue } from "./api/catalogue.js";
import { Session } from "./api/session.js";
import { failure, loading } from "./dom/states.js";
import { setChildren } from "./dom/elements.js";
import { Login } from "./shell/login.js";
import { showNotFound } from "./shell/not_found.js";
import { openPalette } from "./shell/palette.js";
import { parseHash } from "./shell/router.js";
import { Shell } from "./shell/shell.js";
import { Shortcuts } from "./shell/shortcuts.js";
import { setTitle } from "./shell/title.js";

/** By the first part of a route: the view's module, and the most parts that its routes have. */
const ROUTES = {
  atlas: { load: () => import("./atlas/view.js"), nParts: 2 },
  datasets: { load: () => import("./datasets/view.js"), nParts: 2 },
  runs: { load: () => import("./runs/view.js"), nParts: 2, nPartsOf: { new: 3 } },
  prompts: { load: () => import("./prompts/view.js"), nParts: 3 },
  playground: { load: () => import("./playground/view.js"), nParts: 1 },
  reports: { load: () => import("./reports/view.js"), nParts: 2 },
};

/** The entry of a route; null if it has more parts than its view knows. */
function entryOf(name, parts) {
  if (!Object.hasOwn(ROUTES, name)) return null;
  const { nParts, nPartsOf = {} } = ROUTES[name];
  const limit = Object.hasOwn(nPartsOf, parts[1]) ? nPartsOf[parts[1]] : nParts;
  return parts.length <= limit ? ROUTES[name] : null;
}

class App {
  constructor(root) {
    const session = new Session();
    this.login = new Login(session);
    this.api = new Api(session, (wasRefused) => this.login.request(wasRefused));
    this.catalogue = new Catalogue(this.api);
    const onPalette = () => openPalette({ api: this.api, catalogue: this.catalogue, onKey: () => this.#enterKey() });
    this.shell = new Shell(root, { onKey: () => this.#enterKey(), onPalette });
    this.shortcuts = new Shortcuts({ openPalette: onPalette });
    this.leaving = new AbortController();
    addEventListener("hashchange", () => this.show());
    document.addEventListener("retryrequest", () => this.login.reset());
  }

  /** Shows the view of the current route and aborts the requests of the previous view. */
  async show() {
    const route = parseHash(location.hash);
    const name = route.parts[0] ?? "atlas";
    const entry = entryOf(name, route.parts);
    this.leaving.abort();
    this.leaving = new AbortController();
    const { signal } = this.leaving;
    this.login.reset();
    this.shell.select(entry && name);
    if (!entry) {
      showNotFound(this.shell.main);
      return;
    }
    setTitle(`${name[0].toUpperCase()}${name.slice(1)}`);
    setChildren(this.shell.main, loading());
    try {
      const { view } = await entry.load();
      if (!signal.aborted)
        await view({ root: this.shell.main, route, api: this.api, catalogue: this.catalogue, signal });
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      if (error.name !== "ApiError") console.error(error);
      setChildren(
        this.shell.main,
        failure(error, () => this.show()),
      );
    }
  }

  async #enterKey() {
    this.login.reset();
    if (await this.login.request()) this.show();
  }
}

const app = new App(document.getElementById("app"));
app.shell.watch();
app.show();
