/** Frame of every view: brand, navigation, server status, theme and API key buttons. */
import { button, h, setChildren } from "../dom/elements.js";
import { announceReady } from "../dom/recovery.js";
import { icon } from "./icons.js";
import { setTheme, theme } from "./theme.js";
import { VIEWS } from "./views.js";

const POLL_MS = 15_000;
const LOST_POLL_MS = 2_000;

export class Shell {
  constructor(root, { onKey, onPalette }) {
    this.main = h("main", { id: "main", tabindex: "-1" });
    this.links = new Map(VIEWS.map(({ name, label }) => [name, h("a", { href: `#/${name}` }, label)]));
    this.dot = h("span", { class: "dot" });
    this.text = h("span", {}, "…");
    this.themeButton = button(null, () => this.#switchTheme(), { class: "quiet icon" });
    this.#showTheme();
    document.addEventListener("themechange", () => this.#showTheme());
    const brand = h(
      "a",
      { class: "brand", href: "#/atlas" },
      h("img", { src: "/web/icon.svg", alt: "" }),
      h("span", {}, "Prompt Atlas"),
    );
    const keyButton = button(icon("key"), onKey, { class: "quiet icon", title: "API key", "aria-label": "API key" });
    const paletteButton = button(icon("search"), onPalette, {
      class: "quiet icon",
      title: "Command palette (Ctrl K)",
      "aria-label": "Command palette",
    });
    const server = h("span", { class: "server", role: "status" }, this.dot, this.text);
    document.querySelector(".skip").addEventListener("click", (event) => this.#skip(event));
    setChildren(
      root,
      h(
        "header",
        { class: "bar" },
        brand,
        h("nav", { "aria-label": "Views" }, [...this.links.values()]),
        h("div", { class: "end" }, server, paletteButton, this.themeButton, keyButton),
      ),
      this.main,
    );
  }

  /** The skip link moves the focus only: the fragment of the URL holds the route and must not change. */
  #skip(event) {
    event.preventDefault();
    this.main.focus();
  }

  /** Marks a view as the current one; null marks none. */
  select(name) {
    for (const [own, element] of this.links) {
      if (own === name) element.setAttribute("aria-current", "page");
      else element.removeAttribute("aria-current");
    }
  }

  /** Polls `/ready`, more often while the server is not ready. The route needs no key. */
  watch() {
    document.addEventListener("serverlost", () => this.#check());
    this.#check();
  }

  async #check() {
    clearTimeout(this.timer);
    const turn = (this.turn = Symbol("turn"));
    const isReady = await this.#readStatus();
    if (turn !== this.turn) return;
    if (isReady && this.isReady === false) announceReady();
    this.isReady = isReady;
    this.timer = setTimeout(() => this.#check(), isReady ? POLL_MS : LOST_POLL_MS);
  }

  async #readStatus() {
    try {
      const state = await (await fetch("/ready", { credentials: "omit" })).json();
      const isReady = state.status === "ready";
      const hasWorker = state.workers?.status === "ok";
      this.#setStatus(
        isReady ? "good" : "warn",
        isReady ? (hasWorker ? "ready" : "ready, no worker for runs") : `engine ${state.engine?.status}`,
      );
      return isReady;
    } catch {
      this.#setStatus("bad", "no response");
      return false;
    }
  }

  #setStatus(kind, text) {
    this.dot.className = `dot ${kind}`;
    this.text.textContent = text;
  }

  #switchTheme() {
    setTheme(theme() === "dark" ? "light" : "dark");
  }

  #showTheme() {
    const other = theme() === "dark" ? "light" : "dark";
    setChildren(this.themeButton, icon(other === "dark" ? "moon" : "sun"));
    this.themeButton.title = `Switch to the ${other} theme`;
    this.themeButton.setAttribute("aria-label", `Switch to the ${other} theme`);
  }
}
