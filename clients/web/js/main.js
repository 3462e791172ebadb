/** Puts the page together and shows the view that the address names. */
import { Api } from "./api/client.js";
import { Catalogue } from "./api/catalogue.js";
import { Session } from "./api/session.js";
import { failure, loading } from "./dom/states.js";
import { put } from "./dom/elements.js";
import { Login } from "./shell/login.js";
import { parseHash } from "./shell/router.js";
import { Shell } from "./shell/shell.js";

const VIEWS = {
  atlas: () => import("./atlas/view.js"),
  runs: () => import("./runs/view.js"),
  prompts: () => import("./prompts/view.js"),
  playground: () => import("./playground/view.js"),
  reports: () => import("./reports/view.js"),
};

class App {
  constructor(root) {
    const session = new Session();
    const login = new Login(session);
    this.api = new Api(session, (wasRefused) => login.ask(wasRefused));
    this.catalogue = new Catalogue(this.api);
    this.shell = new Shell(root, { onKey: async () => (await login.ask()) && this.show() });
    this.leaving = new AbortController();
    addEventListener("hashchange", () => this.show());
  }

  /** Shows the view of the current address. What the last one still waits for is called off. */
  async show() {
    const route = parseHash(location.hash);
    const name = VIEWS[route.parts[0]] ? route.parts[0] : "atlas";
    this.leaving.abort();
    this.leaving = new AbortController();
    const { signal } = this.leaving;
    this.shell.select(name);
    document.title = `${name[0].toUpperCase()}${name.slice(1)} · Prompt Atlas`;
    put(this.shell.main, loading());
    try {
      const { view } = await VIEWS[name]();
      if (!signal.aborted)
        await view({ root: this.shell.main, route, api: this.api, catalogue: this.catalogue, signal });
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      if (error.name !== "ApiError") console.error(error);
      put(
        this.shell.main,
        failure(error, () => this.show()),
      );
    }
  }
}

const app = new App(document.getElementById("app"));
app.shell.watch();
app.show();
